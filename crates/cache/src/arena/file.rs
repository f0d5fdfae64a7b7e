//! An arena whose memory is a file, which the next process finds as this one left it.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use super::{Arena, Backing, Header, PAGE_BYTES, Pages, Run, Segment};

/// The segments that a file already had. Until [`finish`](Self::finish) nothing else can be taken:
/// what holds items is looked at and claimed, and the rest is free.
pub(crate) struct Recovery {
    arena: Arc<Arena>,
    /// Those that nobody claimed. Where the file has nothing, there is nothing to claim.
    unclaimed: Vec<Option<Run>>,
    /// Pages that hold nothing of use. Were they given back, so would be the segments that others
    /// may still claim a part of.
    rejected: Vec<Pages>,
}

impl Arena {
    /// Memory that is a file: `header_bytes`, which are the caller's and a multiple of
    /// [`PAGE_BYTES`], and segments after that. The file is made if there is none, readable by its
    /// owner alone; its limit is 0 until the recovery is finished.
    ///
    /// # Errors
    ///
    /// The path is not of a regular file, another process has the file locked, or the system
    /// refuses something.
    pub(crate) fn file(
        path: &Path,
        segment_bytes: usize,
        header_bytes: usize,
    ) -> io::Result<(Recovery, Header)> {
        if header_bytes == 0 || !header_bytes.is_multiple_of(PAGE_BYTES) {
            let text = format!("a header of {header_bytes} bytes is no multiple of {PAGE_BYTES}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let file = open(path)?;
        let header = header_bytes as u64;
        let segments = file.metadata()?.len().saturating_sub(header) / segment_bytes as u64;
        let segments = u32::try_from(segments)
            .map_err(|_| refused(path, io::ErrorKind::FileTooLarge, "is too large"))?;
        commit(&file, 0, header)?;
        let backed = backed(&file, header, segment_bytes as u64, segments);

        let arena = Arc::new(Self::new(segment_bytes, Backing::File { file, header }));
        let header = Header::new(&arena, header_bytes)?;
        let mut state = arena.state.lock();
        while state.ledger.mapped() < segments {
            arena.extend(&mut state)?;
        }
        let old = state.ledger.hold_old(&backed);
        let unclaimed = old.into_iter().map(|held| Some(state.run(held?))).collect();
        drop(state);
        Ok((Recovery { arena, unclaimed, rejected: Vec::new() }, header))
    }
}

impl Recovery {
    /// The arena that the segments are of.
    pub(crate) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// How many segments the file had: their numbers are below this.
    pub(crate) fn segments(&self) -> u32 {
        u32::try_from(self.unclaimed.len()).unwrap_or(u32::MAX)
    }

    /// What a segment has that nobody claimed yet, nor pages of it; `None` also if the file has
    /// nothing there.
    pub(crate) fn segment(&self, number: u32) -> Option<&[u8]> {
        self.unclaimed.get(number as usize)?.as_deref()
    }

    /// Takes a segment as it is.
    pub(crate) fn claim(&mut self, number: u32) -> Option<Segment> {
        let run = self.unclaimed.get_mut(number as usize)?.take()?;
        Some(Segment { run, arena: Arc::clone(&self.arena) })
    }

    /// Takes these pages, in this order, which the value has too: all, or none if one is claimed
    /// already, appears twice or is not there. The segments that they are part of can then be
    /// claimed by pages only.
    pub(crate) fn claim_pages(&mut self, numbers: &[u32]) -> Option<Pages> {
        let mut sorted = numbers.to_vec();
        sorted.sort_unstable();
        let twice = sorted.array_windows().any(|[one, next]| one == next);
        if twice || !sorted.iter().all(|&page| self.is_unclaimed(page)) {
            return None;
        }
        let per_segment = self.arena.pages_per_segment();
        let mut state = self.arena.state.lock();
        let mut runs = Vec::new();
        for &page in numbers {
            let old = self.unclaimed.get_mut((page / per_segment) as usize);
            if let Some(run) = old.and_then(Option::take) {
                state.ledger.split(&run.held);
            }
            let held = state.ledger.take_loose(page)?;
            if !runs.last_mut().is_some_and(|run| state.ledger.join(run, &held)) {
                runs.push(held);
            }
        }
        Some(self.arena.pages(&state, runs))
    }

    /// These pages were claimed in vain.
    pub(crate) fn reject(&mut self, pages: Pages) {
        self.rejected.push(pages);
    }

    /// What is not claimed is free from now on, and its memory goes back to the system where it is
    /// more than the limit, in segments, allows.
    pub(crate) fn finish(self, limit: usize) -> Arc<Arena> {
        self.arena.set_limit(|| limit);
        for run in self.unclaimed.into_iter().rev().flatten() {
            drop(Segment { run, arena: Arc::clone(&self.arena) });
        }
        self.arena
    }

    fn is_unclaimed(&self, page: u32) -> bool {
        let segment = page / self.arena.pages_per_segment();
        self.segment(segment).is_some() || self.arena.state.lock().ledger.is_loose(page)
    }
}

/// Opens and locks the file of an arena; the lock is gone when the file is closed.
fn open(path: &Path) -> io::Result<File> {
    let irregular = || refused(path, io::ErrorKind::InvalidInput, "is not a regular file");
    // Asked first too, since opening can be an act: a device may do something.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(irregular());
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits());
    let file = options
        .open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(irregular());
    }
    // Whoever can write to it can have anything believed, and end the process.
    if found.uid() != nix::unistd::geteuid().as_raw() || found.mode() & 0o022 != 0 {
        return Err(refused(
            path,
            io::ErrorKind::PermissionDenied,
            "belongs to another user, or others may write to it; remove it or name another",
        ));
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(refused(path, io::ErrorKind::ResourceBusy, "is in use by another process"))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Which segments the file has something for; these then have all that they need.
fn backed(file: &File, header: u64, segment_bytes: u64, segments: u32) -> Vec<bool> {
    let mut backed = vec![false; segments as usize];
    let mut offset = header;
    while let Some(data) = next_data(file, offset) {
        let number = (data - header) / segment_bytes;
        let place = usize::try_from(number).ok().and_then(|number| backed.get_mut(number));
        let Some(place) = place else { break };
        offset = header + number * segment_bytes;
        *place = commit(file, offset, segment_bytes).is_ok();
        offset += segment_bytes;
    }
    backed
}

fn refused(path: &Path, kind: io::ErrorKind, why: &str) -> io::Error {
    io::Error::new(kind, format!("{} {why}", path.display()))
}

/// Makes sure that a part of a file has memory or disk behind it. Without that, a write to the
/// mapping finds out that there is none, and the system ends the process for it.
#[cfg(target_os = "linux")]
pub(super) fn commit(file: &File, offset: u64, len: u64) -> io::Result<()> {
    use nix::errno::Errno;
    use nix::fcntl::FallocateFlags;
    loop {
        return match fallocate(file, FallocateFlags::empty(), offset, len) {
            Err(Errno::EINTR) => continue,
            // A file system that cannot tell: better to trust it than to do without.
            Ok(()) | Err(Errno::EOPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        };
    }
}

/// Gives the memory or disk behind a part of a file back. A system that cannot keeps it, and the
/// next who takes the segment has it again.
#[cfg(target_os = "linux")]
pub(super) fn release(file: &File, offset: u64, len: u64) {
    use nix::fcntl::FallocateFlags;
    let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let _ = fallocate(file, hole, offset, len);
}

/// The first byte from `offset` on that the file has something for, as far as can be told.
#[cfg(target_os = "linux")]
pub(super) fn next_data(file: &File, offset: u64) -> Option<u64> {
    use nix::errno::Errno;
    use nix::unistd::{Whence, lseek64};
    match lseek64(file, offset.try_into().ok()?, Whence::SeekData) {
        Ok(data) => data.try_into().ok(),
        Err(Errno::ENXIO) => None,
        Err(_) => Some(offset),
    }
}

#[cfg(target_os = "linux")]
fn fallocate(
    file: &File,
    flags: nix::fcntl::FallocateFlags,
    offset: u64,
    len: u64,
) -> nix::Result<()> {
    let too_large = |_| nix::errno::Errno::EFBIG;
    let offset = offset.try_into().map_err(too_large)?;
    nix::fcntl::fallocate(file, flags, offset, len.try_into().map_err(too_large)?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn commit(_: &File, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn release(_: &File, _: u64, _: u64) {}

#[cfg(not(target_os = "linux"))]
pub(super) fn next_data(_: &File, offset: u64) -> Option<u64> {
    Some(offset)
}
