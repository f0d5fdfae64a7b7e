//! The memory of a cache.
//!
//! It comes from the system in *extents*, which are mappings of anonymous memory or of a file, and
//! goes to the cache as *segments*, or as *pages* of segments that hold large values. A [`Segment`]
//! and [`Pages`] own their bytes alone and give them back when they are dropped, whenever that is:
//! a connection may still be sending the pages of a value that the cache has forgotten.
//!
//! Memory is only touched by those who write to it, and what is free beyond the limit goes back to
//! the system, so that the process has as much as is in use, or was and is within the limit.
//!
//! This is the one file of the crate with `unsafe`. What it argues with is [`Held`]: the ledger
//! makes one for pages that are free, none for pages that are held, and it cannot be copied. So the
//! [`Run`] that is made of it is the only way to those bytes. The index has mappings of its own, which
//! come from here too, and which it owns as any other memory.
//!
//! - `ledger`: whose every page is
//! - `file`: memory that is a file, and what the next process finds in it
#![expect(unsafe_code, reason = "memory that is shared out by hand has no safe interface")]

use std::fs::File;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::Arc;
use std::{fmt, io, slice};

use memmap2::{MmapMut, MmapOptions, MmapRaw, UncheckedAdvice};
use nix::unistd::{SysconfVar, sysconf};
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

mod file;
mod ledger;

use ledger::{Held, Ledger};

pub(crate) use file::Recovery;

/// Bytes of a page.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Bytes of a mapping. Until it is touched it costs nothing but addresses.
const EXTENT_BYTES: usize = 64 << 20;

/// Memory in segments, up to a limit.
pub(crate) struct Arena {
    segment_bytes: usize,
    backing: Backing,
    state: Mutex<State>,
}

enum Backing {
    Anonymous,
    /// The segments are in a file, after a header of so many bytes. The file is locked while it is
    /// open.
    File {
        file: File,
        header: u64,
    },
}

struct State {
    ledger: Ledger,
    /// Each has as many segments as any other. They stay until the arena is dropped.
    extents: Vec<Arc<MmapRaw>>,
}

/// Exclusive memory of as many bytes as a segment of its arena has. What was in it before is still
/// there.
pub(crate) struct Segment {
    run: Run,
    arena: Arc<Arena>,
}

/// Exclusive memory of a large value: whole pages, in runs that are adjacent.
pub(crate) struct Pages {
    // Most have one, which is found without another access.
    runs: SmallVec<[Run; 1]>,
    arena: Arc<Arena>,
}

/// The part of a file that belongs to the owner of its arena. The file is locked as long as this is
/// there.
pub(crate) struct Header {
    map: MmapMut,
    arena: Arc<Arena>,
}

/// The bytes of adjacent pages. To have one is to own them, but it does not give them back, and it
/// is only good while its arena is there; so it is always part of something that sees to both.
struct Run {
    at: NonNull<u8>,
    held: Held,
}

impl Arena {
    /// Memory of this process, of which there is none at first: the limit is 0.
    ///
    /// # Panics
    ///
    /// `segment_bytes` must be a power of two from 16 KiB to 1 MiB.
    pub(crate) fn anonymous(segment_bytes: usize) -> Self {
        Self::new(segment_bytes, Backing::Anonymous)
    }

    fn new(segment_bytes: usize, backing: Backing) -> Self {
        assert!(Self::has_segments_of(segment_bytes));
        let ledger = Ledger::new(pages(segment_bytes), pages(EXTENT_BYTES));
        let state = Mutex::new(State { ledger, extents: Vec::new() });
        Self { segment_bytes, backing, state }
    }

    /// Whether segments can have so many bytes.
    pub(crate) fn has_segments_of(bytes: usize) -> bool {
        bytes.is_power_of_two() && (16 << 10..=1 << 20).contains(&bytes)
    }

    /// Bytes of each segment.
    pub(crate) fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// How many segments may be in use.
    pub(crate) fn limit(&self) -> usize {
        self.state.lock().ledger.limit()
    }

    /// Sets how many segments may be in use, to what `segments` finds under the lock: of several who
    /// set it at once, the last has seen what the others knew. Free memory beyond it goes back to the
    /// system now; what is in use beyond it, when it is dropped.
    pub(crate) fn set_limit(&self, segments: impl FnOnce() -> usize) {
        let mut state = self.state.lock();
        state.ledger.set_limit(segments());
        self.cool(&mut state);
    }

    /// How many more segments may be taken.
    pub(crate) fn room(&self) -> usize {
        self.state.lock().ledger.room()
    }

    /// Whether more is in use than may be, since the limit was lowered.
    pub(crate) fn is_above_limit(&self) -> bool {
        let ledger = &self.state.lock().ledger;
        ledger.in_use() > ledger.limit()
    }

    /// How many segments are in use, as a whole or by any of their pages.
    pub(crate) fn in_use(&self) -> usize {
        self.state.lock().ledger.in_use()
    }

    /// How many segments are in use, and how many bytes of them are free: pages, while others of
    /// their segments are in use.
    pub(crate) fn taken(&self) -> (u64, u64) {
        let ledger = &self.state.lock().ledger;
        (ledger.in_use() as u64, (ledger.loose_pages() * PAGE_BYTES) as u64)
    }

    /// A segment, if the limit leaves as many as these beside it; `None` also if the system has no
    /// memory.
    pub(crate) fn take_leaving(self: &Arc<Self>, left: usize) -> Option<Segment> {
        let mut state = self.state.lock();
        if state.ledger.room() <= left {
            return None;
        }
        while state.ledger.room() > 0 && state.ledger.warm() == 0 {
            self.warm_one(&mut state)?;
        }
        let held = state.ledger.take()?;
        let run = state.run(held);
        Some(Segment { run, arena: Arc::clone(self) })
    }

    /// So many pages; `None` if the limit does not allow them all or the system has no memory.
    pub(crate) fn take_pages(self: &Arc<Self>, pages: usize) -> Option<Pages> {
        let mut state = self.state.lock();
        while state.ledger.plan(pages).is_some_and(|segments| segments > state.ledger.warm()) {
            self.warm_one(&mut state)?;
        }
        let held = state.ledger.take_pages(pages)?;
        Some(self.pages(&state, held))
    }

    /// Whether so many pages are free, of segments that have others in use, that it is worth
    /// bringing those together.
    pub(crate) fn is_scattered(&self) -> bool {
        self.state.lock().ledger.is_scattered()
    }

    /// As many pages as these, elsewhere, if a fourth of a segment is free that those are in, and
    /// another that is no emptier has the room.
    pub(crate) fn take_denser<'a>(
        self: &Arc<Self>,
        pages: impl Iterator<Item = &'a Pages> + Clone,
    ) -> Option<Pages> {
        let mut state = self.state.lock();
        let held = state.ledger.take_denser(pages.flat_map(Pages::numbers))?;
        Some(self.pages(&state, held))
    }

    fn pages(self: &Arc<Self>, state: &State, held: Vec<Held>) -> Pages {
        let runs = held.into_iter().map(|held| state.run(held)).collect();
        Pages { runs, arena: Arc::clone(self) }
    }

    fn give<'a>(&self, runs: impl DoubleEndedIterator<Item = &'a Run>) {
        let mut state = self.state.lock();
        // The first is given back last, and so it is the first to be taken again.
        for run in runs.rev() {
            state.ledger.give(&run.held);
        }
        self.cool(&mut state);
    }

    /// Makes one more free segment ready to be written to; `None` if the system has no memory.
    ///
    /// In a file the memory is asked for here, segment by segment. Nobody asks when a mapping is
    /// written to: a process that writes where its tmpfs is full is killed. Asking for a whole
    /// extent would take up to 64 MiB that the limit does not allow, and would have to be done
    /// again for each segment that was given back to the system.
    fn warm_one(&self, state: &mut MutexGuard<'_, State>) -> Option<()> {
        let segment = loop {
            if let Some(segment) = state.ledger.next_cold() {
                break segment;
            }
            self.extend(state).ok()?;
        };
        let Backing::File { file, header } = &self.backing else {
            state.ledger.put_warm(segment);
            return Some(());
        };
        // The segment is in no list meanwhile, so nobody else comes upon it.
        let offset = header + self.offset(segment);
        let asked = MutexGuard::unlocked(state, || {
            file::commit(file, offset, self.segment_bytes as u64).is_ok()
        });
        if asked {
            state.ledger.put_warm(segment);
        } else {
            state.ledger.put_cold(segment);
        }
        // The limit may be another by now.
        self.cool(state);
        asked.then_some(())
    }

    /// Gives the memory of free segments beyond the limit back to the system: one at a time, and
    /// not under the lock.
    fn cool(&self, state: &mut MutexGuard<'_, State>) {
        while let Some(segment) = state.ledger.surplus() {
            match &self.backing {
                Backing::Anonymous => {
                    let (extent, offset) = state.place(segment * self.pages_per_segment());
                    let extent = extent.map(Arc::clone);
                    MutexGuard::unlocked(state, || {
                        if let Some(extent) = extent {
                            forget(&extent, offset, self.segment_bytes);
                        }
                    });
                }
                Backing::File { file, header } => {
                    let offset = header + self.offset(segment);
                    let len = self.segment_bytes as u64;
                    MutexGuard::unlocked(state, || file::release(file, offset, len));
                }
            }
            state.ledger.put_cold(segment);
        }
    }

    /// Maps another extent.
    fn extend(&self, state: &mut State) -> io::Result<()> {
        if !state.ledger.can_extend() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let extent = match &self.backing {
            Backing::Anonymous => zeros(EXTENT_BYTES)?.into(),
            Backing::File { file, header } => {
                let offset = header + state.extents.len() as u64 * EXTENT_BYTES as u64;
                let end = offset + EXTENT_BYTES as u64;
                if file.metadata()?.len() < end {
                    file.set_len(end)?;
                }
                MmapOptions::new().offset(offset).len(EXTENT_BYTES).map_raw(file)?
            }
        };
        state.extents.push(Arc::new(extent));
        state.ledger.extend();
        Ok(())
    }

    fn pages_per_segment(&self) -> u32 {
        pages(self.segment_bytes)
    }

    fn offset(&self, segment: u32) -> u64 {
        u64::from(segment) * self.segment_bytes as u64
    }
}

impl State {
    fn run(&self, held: Held) -> Run {
        let (extent, offset) = self.place(held.first());
        let Some(extent) = extent else { unreachable!("what is held has an address") };
        // The invariant of a run, which its `unsafe` relies on.
        assert!(offset + held.bytes() <= extent.len(), "a run ends with its extent");
        let at = extent.as_mut_ptr().wrapping_add(offset);
        let Some(at) = NonNull::new(at) else { unreachable!("nothing is mapped at 0") };
        Run { at, held }
    }

    fn place(&self, page: u32) -> (Option<&Arc<MmapRaw>>, usize) {
        let (extent, page) = (page / pages(EXTENT_BYTES), page % pages(EXTENT_BYTES));
        (self.extents.get(extent as usize), page as usize * PAGE_BYTES)
    }
}

impl Deref for Segment {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.run
    }
}

impl DerefMut for Segment {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.run
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.arena.give([&self.run].into_iter());
    }
}

impl Pages {
    /// Bytes of a segment of the arena they are of.
    pub(crate) fn segment_bytes(&self) -> usize {
        self.arena.segment_bytes
    }

    /// Bytes of all pages.
    pub(crate) fn bytes(&self) -> usize {
        self.runs.iter().map(|run| run.len()).sum()
    }

    /// The bytes in order, adjacent pages as one slice.
    pub(crate) fn runs(&self) -> impl ExactSizeIterator<Item = &[u8]> + DoubleEndedIterator {
        self.runs.iter().map(Deref::deref)
    }

    /// Bytes of memory it takes beside its pages.
    pub(crate) fn overhead(&self) -> usize {
        let spilled = if self.runs.spilled() { self.runs.capacity() } else { 0 };
        size_of::<Self>() + spilled * size_of::<Run>()
    }

    /// One of the runs.
    pub(crate) fn run(&self, number: usize) -> Option<&[u8]> {
        self.runs.get(number).map(Deref::deref)
    }

    /// One of the runs, to be written.
    pub(crate) fn run_mut(&mut self, number: usize) -> Option<&mut [u8]> {
        self.runs.get_mut(number).map(DerefMut::deref_mut)
    }

    /// The bytes in order, adjacent pages as one slice.
    pub(crate) fn runs_mut(&mut self) -> impl ExactSizeIterator<Item = &mut [u8]> {
        self.runs.iter_mut().map(DerefMut::deref_mut)
    }

    /// Which pages of the arena these are, run by run, in a file also to the next process.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = Range<u32>> + Clone {
        self.runs.iter().map(|run| run.held.numbers())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.arena.give(self.runs.iter());
    }
}

impl Header {
    fn new(arena: &Arc<Arena>, bytes: usize) -> io::Result<Self> {
        let Backing::File { file, .. } = &arena.backing else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        // SAFETY: No extent has this part of the file, since they begin after it; and `Arena::file`
        // makes one header of a file that it has locked, which stays locked while the arena is
        // there. A process that ignores the lock breaks this, as it would any mapped file.
        let map = unsafe { MmapOptions::new().len(bytes).map_mut(file)? };
        Ok(Self { map, arena: Arc::clone(arena) })
    }
}

impl Header {
    /// Has the system write all of the file, header and segments, to where it is kept.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match &self.arena.backing {
            Backing::File { file, .. } => file.sync_all(),
            Backing::Anonymous => Ok(()),
        }
    }
}

impl Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl DerefMut for Header {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }
}

// SAFETY: A run owns its bytes as a box does; nothing about them belongs to a thread.
unsafe impl Send for Run {}

// SAFETY: A shared run gives shared slices only.
unsafe impl Sync for Run {}

impl Deref for Run {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `State::run` saw that the bytes are in a mapping, which is there as long as the
        // arena, and that as long as what has this run. The system began them as zeros. Nobody
        // writes to them: only one `Held` covers them, and this borrow keeps the run from giving an
        // exclusive slice.
        unsafe { slice::from_raw_parts(self.at.as_ptr(), self.held.bytes()) }
    }
}

impl DerefMut for Run {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: As for `deref`; and since the run is borrowed exclusively, this is the only slice
        // of the bytes.
        unsafe { slice::from_raw_parts_mut(self.at.as_ptr(), self.held.bytes()) }
    }
}

/// Gives anonymous memory of a free segment back to the system; it reads as zeros after.
///
/// It can fail where memory is locked. Then it stays, and whoever takes the segment has it again.
fn forget(extent: &MmapRaw, offset: usize, bytes: usize) {
    // SAFETY: The segment is free and in no list while this goes on, so nobody has a slice of it,
    // and bytes that become zeros are as good as any to the next who has it.
    drop(unsafe { extent.unchecked_advise_range(UncheckedAdvice::DontNeed, offset, bytes) });
}

/// Gives a range of anonymous memory back to the system, whole pages of it; it reads as zeros after.
/// `false` if it stays as it is: where memory is locked, or the range is not in it.
pub(crate) fn give_back(memory: &mut MmapMut, range: Range<usize>) -> bool {
    let page = system_page_bytes();
    let whole = range.start.is_multiple_of(page) && range.end.is_multiple_of(page);
    // Elsewhere what is given back may read as it was.
    if !cfg!(target_os = "linux") || !whole || memory.get(range.clone()).is_none() {
        return false;
    }
    // SAFETY: The range is in the memory, as was just seen, and is of whole pages, so that no byte
    // beside it is touched. Nobody else has a slice of it while it is borrowed exclusively, and bytes
    // that become zeros are bytes.
    let given = unsafe {
        memory.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
    };
    given.is_ok()
}

/// Anonymous memory, of zeros, which costs nothing until it is touched: in pages of the smallest
/// size, as the system would fill a huge one up again of which a part was given back.
pub(crate) fn zeros(bytes: usize) -> io::Result<MmapMut> {
    let memory = MmapMut::map_anon(bytes)?;
    // A system that has no huge pages refuses, and is right to.
    #[cfg(target_os = "linux")]
    let _ = memory.advise(memmap2::Advice::NoHugePage);
    Ok(memory)
}

/// Bytes of a page of the system's, 4096 or more.
pub(crate) fn system_page_bytes() -> usize {
    let asked = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    asked.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(PAGE_BYTES)
}

/// Asks for the cache line where `at` begins, which will be read soon.
#[inline]
pub(crate) fn prefetch<T: ?Sized>(at: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: Every processor of this kind has the instruction, and it reads nothing that the
        // program can see, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// How many pages so many bytes are, which are a segment or an extent.
const fn pages(bytes: usize) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "an extent has 16384 pages")]
    let pages = (bytes / PAGE_BYTES) as u32;
    pages
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("segment_bytes", &self.segment_bytes)
            .field("limit", &self.limit())
            .field("in_use", &self.in_use())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
