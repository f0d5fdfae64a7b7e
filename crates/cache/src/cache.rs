//! The shards as one cache, and the memory they share.
//!
//! - `values`: large values, whose pages are written before a shard is locked
//! - `room`: how shards make room for each other, and for what is lent
//! - `walk`: a walk over all items, to list them or to drop some
//! - `hand_over`: items for another cache, and from one
//! - `census`: what is held, and in what state
//! - `restore`: empty shards filled with what a file has

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::{fmt, io};

use ahash::RandomState;
use larder_protocol::{Op, Outcome, Seconds};
use parking_lot::{Mutex, MutexGuard};

use crate::arena::Arena;
use crate::budget::Budget;
use crate::flush::Flush;
use crate::image::{Geometry, Image, Opened};
use crate::options::Options;
use crate::restored::Restored;
use crate::runway::Runway;
use crate::shard::{Hashed, Lack, Preparation, Prepared, Shard};
use crate::stats::Stats;

mod census;
mod hand_over;
mod restore;
mod room;
mod values;
mod walk;

pub use hand_over::HandOver;
pub use walk::Walk;

/// Items in memory, up to a limit.
pub struct Cache {
    shards: Box<[CacheLine<Mutex<Shard>>]>,
    /// How many bytes of segments and pages each shard holds, as it was last left. It is read to
    /// choose one to give up memory, so it needs no order.
    held: Box<[AtomicU64]>,
    /// Keys are hashed under seeds of this process, so that no client can aim at one shard.
    hashing: RandomState,
    arena: Arc<Arena>,
    /// The file that the arena is, for the next process.
    image: Option<Arc<Image>>,
    budget: Budget,
    flush: Flush,
    /// The shard that is next to give up memory for another, if it holds as much as others. Nothing
    /// else is read by it, so it needs no order.
    turn: AtomicUsize,
    evict: bool,
    /// The second in which no shard had anything to give, where nothing is evicted. Nothing else is
    /// read by it.
    barren: AtomicU32,
}

/// A value alone on its cache lines, so that neighbours do not slow each other.
#[repr(align(128))]
struct CacheLine<T>(T);

/// A shard, locked.
struct Locked<'a> {
    // Unlocked before the rest is dropped, which may take long.
    shard: MutexGuard<'a, Shard>,
    _flushed: Option<Box<Shard>>,
}

/// What became known of a shard as it was left.
#[derive(Clone, Copy)]
struct Left {
    /// Segments have to make way for what it uses beside them.
    over: bool,
    /// It holds more or fewer bytes of segments and pages than before.
    news_of_held: bool,
}

impl Cache {
    /// An empty cache.
    pub fn new(options: &Options) -> Self {
        let shards = options.shards();
        let arena = Arc::new(Arena::anonymous(options.segment_bytes()));
        let shards = (0..shards).map(|number| Shard::new(number, shards, &arena, options.evict));
        Self::of(shards.collect(), arena, RandomState::new(), options)
    }

    /// No cas unique up to `last` is given from now on. Caches of which one stands in for another begin at
    /// different ones, so that what was got from one does not match at the other. Below 2^40 an item's takes
    /// three bytes less.
    pub fn skip_cas(&self, last: u64) {
        self.shards.iter().for_each(|shard| shard.0.lock().skip_cas(last));
    }

    /// A cache whose memory is a file, best one that is in memory itself, as on a tmpfs: the next
    /// process to open it has the same items, whether this one closed it or was killed. The limit
    /// does not count its first 12 KiB.
    ///
    /// A file that is there keeps its number of shards. It is refused if another process has it.
    ///
    /// # Errors
    ///
    /// The file has something else in it, or is in use, or the system refuses it.
    pub fn open(options: &Options, path: &Path, now: Seconds) -> io::Result<(Self, Restored)> {
        let wanted = Geometry { segment_bytes: options.segment_bytes(), shards: options.shards() };
        let Opened { image, recovery, unusable } = Image::open(path, wanted)?;
        let image = Arc::new(image);
        let hashing = image.hashing();
        let arena = Arc::clone(recovery.arena());
        let shards = 0..image.geometry().shards;
        let mut shards: Vec<_> =
            shards.map(|number| Shard::in_file(number, &image, &arena, options.evict)).collect();
        // Nothing goes back to the system before it is known what is of use.
        arena.set_limit(|| usize::MAX);
        let (recovery, mut restored) =
            restore::restore(&mut shards, recovery, &image, &hashing, now);
        restored.unusable = unusable;
        // Nothing is free until it is known what the items make do with.
        recovery.finish(0);
        let mut cache = Self::of(shards, arena, hashing, options);
        cache.flush = Flush::resumed(image.flush());
        cache.image = Some(image);
        cache.shrink(now);
        Ok((cache, restored))
    }

    fn of(shards: Vec<Shard>, arena: Arc<Arena>, hashing: RandomState, options: &Options) -> Self {
        let segment_bytes = arena.segment_bytes();
        let cache = Self {
            held: shards.iter().map(|_| AtomicU64::new(0)).collect(),
            shards: shards.into_iter().map(|shard| CacheLine(Mutex::new(shard))).collect(),
            hashing,
            arena,
            image: None,
            budget: Budget::new(options.memory_limit, segment_bytes),
            flush: Flush::default(),
            turn: AtomicUsize::new(0),
            evict: options.evict,
            barren: AtomicU32::new(0),
        };
        for shard in &cache.shards {
            cache.settle(&mut shard.0.lock(), 0);
        }
        cache.share_out(0);
        cache
    }

    /// Has all of a file written to where it is kept, and notes that this is so: nothing may be
    /// done to the cache after that. It need not be called where the file is in memory.
    ///
    /// # Errors
    ///
    /// The system's. Then the file is good until the machine stops.
    pub fn close(&self) -> io::Result<()> {
        self.image.as_ref().map_or(Ok(()), |image| image.close())
    }

    /// Does `op` to `key`, a key of 1 to 250 bytes, and gives the answer to `respond`, which runs
    /// under a lock and should only copy.
    #[inline]
    pub fn execute<R>(&self, key: &[u8], op: &Op<'_>, now: Seconds, respond: R)
    where
        R: FnOnce(Outcome<'_>),
    {
        let key = Hashed { key, hash: self.hashing.hash_one(key), hashing: &self.hashing };
        let prepared = self.prepare(key, op, now);
        self.carry_out(key, op, prepared, now, respond);
    }

    /// As [`execute`](Self::execute), of an `op` that stores a value whose front has landed.
    pub fn execute_landed<R>(
        &self,
        key: &[u8],
        op: &Op<'_>,
        runway: Runway,
        now: Seconds,
        respond: R,
    ) where
        R: FnOnce(Outcome<'_>),
    {
        let key = Hashed { key, hash: self.hashing.hash_one(key), hashing: &self.hashing };
        let prepared = runway.into_parts().map_or(Preparation::Failed, |(long, pages)| {
            Preparation::Made(Prepared { long: self.add_pages(long, pages), from: None })
        });
        self.carry_out(key, op, prepared, now, respond);
    }

    #[inline]
    fn carry_out<R>(
        &self,
        key: Hashed<'_>,
        op: &Op<'_>,
        prepared: Preparation,
        now: Seconds,
        respond: R,
    ) where
        R: FnOnce(Outcome<'_>),
    {
        self.attempt(key, op, prepared, now, respond, |shard, prepared, respond| {
            shard.execute(key, op, now, prepared, respond)
        });
    }

    /// Has a shard carry something out, and gets for it what it lacks, which is what `op` would lack.
    #[inline]
    fn attempt<R>(
        &self,
        key: Hashed<'_>,
        op: &Op<'_>,
        mut prepared: Preparation,
        now: Seconds,
        mut respond: R,
        carry_out: impl Fn(&mut Shard, &mut Preparation, R) -> Result<(), (Lack, R)>,
    ) where
        R: FnOnce(Outcome<'_>),
    {
        let mut spare = None;
        for _ in 0..TRIES {
            let mut shard = self.lock(key.hash, now);
            shard.swap_spare(&mut spare);
            let done = carry_out(&mut shard, &mut prepared, respond);
            let left = self.leave(shard, now);
            if left.over {
                self.make_way_to_limit(now);
            }
            if left.news_of_held {
                self.gather(self.shard(key.hash), now);
            }
            let Err((lack, unanswered)) = done else { return };
            respond = unanswered;
            match lack {
                Lack::Pages => {
                    drop(prepared);
                    prepared = self.prepare(key, op, now);
                }
                Lack::Segment => {
                    spare = self.take_segment(now);
                    if spare.is_none() {
                        break;
                    }
                }
                // What was set aside may be needed no longer.
                Lack::Memory if self.pass(now) => {}
                Lack::Memory => break,
            }
        }
        let mut shard = self.lock(key.hash, now);
        let outcome = shard.refuse(key, op);
        self.leave(shard, now);
        respond(outcome);
    }

    /// These keys are about to be asked for: has the processor fetch where they are, all at once, so
    /// that the commands need not wait for memory one after the other. They may be anything.
    pub fn expect(&self, keys: &[&[u8]]) {
        let mut hashes = [0; MAX_EXPECTED];
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = self.hashing.hash_one(*key);
            if let Some(shard) = self.shard(*hash).try_lock() {
                shard.fetch_index(*hash);
            }
        }
        for hash in hashes.iter().take(keys.len()) {
            if let Some(shard) = self.shard(*hash).try_lock() {
                shard.fetch_record(*hash);
            }
        }
    }

    /// Removes the item of `key`, if there is one.
    pub fn remove(&self, key: &[u8], now: Seconds) {
        let key = Hashed { key, hash: self.hashing.hash_one(key), hashing: &self.hashing };
        let mut shard = self.lock(key.hash, now);
        shard.remove(key);
        self.leave(shard, now);
    }

    /// From the second `at` on, every item stored before it is gone; an `at` of 0 means now. A
    /// flush that is still to come is forgotten.
    pub fn flush_all(&self, at: Seconds, now: Seconds) {
        let note = |flush| {
            if let Some(image) = &self.image {
                image.note_flush(flush);
            }
        };
        self.flush.ask(at, note, || {
            for shard in &self.shards {
                // Memory is given back at once, not as keys are asked for.
                self.leave(self.enter(&shard.0, now), now);
            }
        });
    }

    /// Sets the limit, in bytes. A lower one is not in force until [`shrink`](Self::shrink) has made
    /// it so.
    pub fn set_memory_limit(&self, bytes: u64, now: Seconds) {
        self.budget.set_limit(bytes);
        self.share_out(now);
    }

    /// What is counted, over all shards.
    pub fn stats(&self, now: Seconds) -> Stats {
        let mut stats = Stats { memory_limit: self.budget.limit(), ..Stats::default() };
        for shard in &self.shards {
            stats.add(&self.enter(&shard.0, now).stats());
        }
        stats
    }

    /// Seconds since the item was used that is among the next to leave.
    pub fn oldest_use(&self, now: Seconds) -> Seconds {
        let next = |shard: &CacheLine<Mutex<Shard>>| self.enter(&shard.0, now).next_to_leave();
        let oldest = self.shards.iter().filter_map(next).min();
        oldest.map_or(0, |oldest| now.saturating_sub(oldest))
    }

    /// Counters begin again at 0.
    pub fn reset_stats(&self) {
        for shard in &self.shards {
            shard.0.lock().reset_stats();
        }
    }

    #[inline]
    fn lock(&self, hash: u64, now: Seconds) -> Locked<'_> {
        self.enter(self.shard(hash), now)
    }

    #[inline]
    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        let number = (hash >> 8) as usize & (self.shards.len() - 1);
        let shard = self.shards.get(number).or_else(|| self.shards.first());
        let Some(shard) = shard else { unreachable!("a cache has at least one shard") };
        &shard.0
    }

    /// Locks a shard and carries out a flush that is due.
    #[inline]
    fn enter<'a>(&self, shard: &'a Mutex<Shard>, now: Seconds) -> Locked<'a> {
        let mut shard = shard.lock();
        let flushed = self.flush.due(now).and_then(|flush| shard.flush(flush));
        Locked { shard, _flushed: flushed }
    }

    /// Accounts for a shard, unlocks it, and then drops what is gone from it.
    #[inline]
    fn leave(&self, mut shard: Locked<'_>, now: Seconds) -> Left {
        let left = self.settle(&mut shard, now);
        let remains = shard.take_remains();
        drop(shard);
        drop(remains);
        left
    }

    /// Accounts for what a shard holds, and what it uses beside that.
    #[inline]
    fn settle(&self, shard: &mut Shard, now: Seconds) -> Left {
        let held = shard.news_of_held();
        if let Some(held) = held
            && let Some(known) = self.held.get(shard.number())
        {
            known.store(held, Ordering::Relaxed);
            self.pass(now);
        }
        let more = shard.settle();
        if more != 0 {
            self.budget.settle(more);
            self.set_arena_limit();
        }
        Left { over: more > 0 && self.arena.is_above_limit(), news_of_held: held.is_some() }
    }

    /// Time has passed. `true` if there is more or less for segments than before.
    fn pass(&self, now: Seconds) -> bool {
        let changed = self.budget.lend(0, now);
        if changed {
            self.set_arena_limit();
        }
        changed
    }

    /// Segments get what others leave of the limit.
    fn set_arena_limit(&self) {
        self.arena.set_limit(|| self.budget.segments());
    }

    /// Tells every shard its part of the limit.
    fn share_out(&self, now: Seconds) {
        self.set_arena_limit();
        for shard in &self.shards {
            let mut shard = self.enter(&shard.0, now);
            shard.set_budget(self.budget.part(self.shards.len()));
        }
    }
}

/// So many keys at most are expected at once: a processor has not many more accesses under way.
const MAX_EXPECTED: usize = 16;

/// How often a command begins anew, since another was faster, before it gives up: its client may
/// try again.
const TRIES: usize = 32;

impl Deref for Locked<'_> {
    type Target = Shard;

    #[inline]
    fn deref(&self) -> &Shard {
        &self.shard
    }
}

impl DerefMut for Locked<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Shard {
        &mut self.shard
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        if self.image.is_some() {
            // What is given back from here on is the next process's, even if it is above the limit.
            self.arena.set_limit(|| usize::MAX);
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("shards", &self.shards.len())
            .field("limit", &self.budget.limit())
            .field("in_use", &self.arena.in_use())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
