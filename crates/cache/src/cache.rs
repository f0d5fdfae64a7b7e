//! The shards as one cache, and the memory they share.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;
use larder_protocol::{Op, Outcome, Seconds};
use parking_lot::{Mutex, MutexGuard};

use crate::options::Options;
use crate::shard::{Hashed, Room, Shard};
use crate::stats::Stats;

/// Items in memory, up to a limit.
pub struct Cache {
    shards: Box<[CacheLine<Mutex<Shard>>]>,
    /// Keys are hashed under seeds of this process, so that no client can aim at one shard.
    hashing: RandomState,
    evict: bool,
    limit: AtomicU64,
    /// Bytes of the limit that are lent to others.
    lent: AtomicU64,
    /// Bytes used by all shards.
    used: AtomicU64,
    /// The last flush that was asked for.
    flush: Flush,
}

/// A value alone on its cache lines, so that neighbours do not slow each other.
#[repr(align(128))]
struct CacheLine<T>(T);

/// A flush to come, or the last one: its number, and the second from which it holds.
#[derive(Default)]
struct Flush(AtomicU64);

impl Cache {
    /// An empty cache.
    pub fn new(options: &Options) -> Self {
        let shards = options.shards.max(1).next_power_of_two();
        Self {
            shards: (0..shards)
                .map(|number| CacheLine(Mutex::new(Shard::new(number, shards))))
                .collect(),
            hashing: RandomState::new(),
            evict: options.evict,
            limit: AtomicU64::new(options.memory_limit),
            lent: AtomicU64::new(0),
            used: AtomicU64::new(0),
            flush: Flush::default(),
        }
    }

    /// Does `op` to `key`, a key of 1 to 250 bytes, and gives the answer to `respond`, which runs
    /// under a lock and should only copy.
    #[inline]
    pub fn execute<R>(&self, key: &[u8], op: &Op<'_>, now: Seconds, respond: R)
    where
        R: FnOnce(Outcome<'_>),
    {
        let hash = self.hashing.hash_one(key);
        let key = Hashed { key, hash, hashing: &self.hashing };
        if !self.evict && matches!(op, Op::Store(_)) {
            self.reap(now);
        }
        let mut shard = self.lock(hash, now);
        let before = shard.bytes();
        let item = self.room();
        let growth = if self.evict { u64::MAX } else { item.saturating_sub(self.used()) };
        let room = Room { item, growth };
        let mut refused = false;
        shard.execute(key, op, now, room, |outcome| {
            refused = matches!(outcome, Outcome::NoMemory);
            respond(outcome);
        });
        if refused {
            shard.count_out_of_memory();
        }
        if shard.bytes() != before {
            self.settle(shard, before, key.key, now);
        }
    }

    /// Removes the item of `key`, if there is one.
    pub fn remove(&self, key: &[u8], now: Seconds) {
        let hash = self.hashing.hash_one(key);
        let mut shard = self.lock(hash, now);
        let before = shard.bytes();
        shard.remove(Hashed { key, hash, hashing: &self.hashing });
        self.settle(shard, before, key, now);
    }

    /// From the second `at` on, every item stored before it is gone; an `at` of 0 means now. A
    /// flush that is still to come is forgotten.
    pub fn flush_all(&self, at: Seconds, now: Seconds) {
        for shard in &self.shards {
            // A flush that is due must not be forgotten where it was not yet noticed.
            drop(self.enter(&shard.0, now));
        }
        self.flush.ask(at);
    }

    /// Sets the limit, in bytes, and evicts down to it.
    pub fn set_memory_limit(&self, bytes: u64, now: Seconds) {
        self.limit.store(bytes, Ordering::Relaxed);
        self.evict_down(None, now);
    }

    /// So many bytes more of the limit are used by others, or fewer: the items make do with the
    /// rest, from the next that is stored on. Half of the limit stays theirs.
    pub fn lend(&self, change: i64) {
        self.lent.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
    }

    /// What is counted, over all shards.
    pub fn stats(&self, now: Seconds) -> Stats {
        let mut stats =
            Stats { memory_limit: self.limit.load(Ordering::Relaxed), ..Stats::default() };
        for shard in &self.shards {
            stats.add(&self.enter(&shard.0, now).stats());
        }
        stats
    }

    /// Seconds since the item was used that was not used for longest. It looks at every item.
    pub fn oldest_use(&self, now: Seconds) -> Seconds {
        let uses = self.shards.iter().filter_map(|shard| {
            self.enter(&shard.0, now).items().map(|slot| slot.header.last_access).min()
        });
        uses.min().map_or(0, |oldest| now.saturating_sub(oldest))
    }

    /// How many items there are of which size: the upper end of a step of 32 bytes of key and
    /// value, and a number. It looks at every item.
    pub fn sizes(&self, now: Seconds) -> std::collections::BTreeMap<usize, u64> {
        let mut sizes = std::collections::BTreeMap::new();
        for shard in &self.shards {
            for slot in self.enter(&shard.0, now).items() {
                *sizes.entry(slot.payload().next_multiple_of(32)).or_default() += 1;
            }
        }
        sizes
    }

    /// Names up to `most` items: key, bytes of key and value, exptime. A shard is locked while its
    /// own are named.
    pub fn list(&self, most: usize, now: Seconds, emit: &mut dyn FnMut(&[u8], usize, Seconds)) {
        let mut left = most;
        for shard in &self.shards {
            let shard = self.enter(&shard.0, now);
            for slot in shard.items().filter(|slot| !slot.header.expired(now)).take(left) {
                emit(slot.key(), slot.payload(), slot.header.exptime);
                left -= 1;
            }
        }
    }

    /// Counters begin again at 0.
    pub fn reset_stats(&self) {
        for shard in &self.shards {
            shard.0.lock().reset_stats();
        }
    }

    #[inline]
    fn lock(&self, hash: u64, now: Seconds) -> MutexGuard<'_, Shard> {
        // The index uses the low bits and the seven highest; these are neither.
        let number = (hash >> 40) as usize & (self.shards.len() - 1);
        let shard = self.shards.get(number).or_else(|| self.shards.first());
        let Some(shard) = shard else { unreachable!("a cache has at least one shard") };
        self.enter(&shard.0, now)
    }

    /// Locks a shard and carries out a flush that is due.
    #[inline]
    fn enter<'a>(&self, shard: &'a Mutex<Shard>, now: Seconds) -> MutexGuard<'a, Shard> {
        let mut shard = shard.lock();
        if let Some(flush) = self.flush.due(now) {
            let before = shard.bytes();
            shard.flush(flush);
            self.used.fetch_sub(before - shard.bytes(), Ordering::Relaxed);
        }
        shard
    }

    /// Accounts for what a command did to a shard, and makes room for it if it has to be.
    fn settle(&self, mut shard: MutexGuard<'_, Shard>, before: u64, key: &[u8], now: Seconds) {
        let after = shard.bytes();
        if after <= before {
            self.used.fetch_sub(before - after, Ordering::Relaxed);
            return;
        }
        let limit = self.room();
        let used = self.used.fetch_add(after - before, Ordering::Relaxed) + (after - before);
        if used <= limit || !self.evict {
            return;
        }
        let mut over = used - limit;
        while over > 0 {
            let before = shard.bytes();
            if shard.evict(&self.hashing, Some(key), now).is_none() {
                break;
            }
            let freed = before - shard.bytes();
            self.used.fetch_sub(freed, Ordering::Relaxed);
            over = over.saturating_sub(freed);
        }
        drop(shard);
        if over > 0 {
            self.evict_down(Some(key), now);
        }
    }

    /// Where nothing is evicted, what has expired must make room all the same: a few buckets of
    /// each shard in turn, once the limit is near.
    fn reap(&self, now: Seconds) {
        let limit = self.room();
        if self.used() < limit - limit / 16 {
            return;
        }
        for shard in &self.shards {
            let mut shard = self.enter(&shard.0, now);
            let before = shard.bytes();
            shard.reap(&self.hashing, REAPED_BUCKETS, now);
            self.used.fetch_sub(before - shard.bytes(), Ordering::Relaxed);
        }
    }

    /// Bytes that items and index may have.
    fn room(&self) -> u64 {
        let limit = self.limit.load(Ordering::Relaxed);
        limit - self.lent.load(Ordering::Relaxed).min(limit / 2)
    }

    fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Evicts from all shards in turn until the limit holds, but not the item of `spared`.
    fn evict_down(&self, spared: Option<&[u8]>, now: Seconds) {
        let mut empty = 0;
        for shard in self.shards.iter().cycle() {
            if self.used() <= self.room() || empty == self.shards.len() {
                return;
            }
            let mut shard = self.enter(&shard.0, now);
            let before = shard.bytes();
            let found = shard.evict(&self.hashing, spared, now);
            self.used.fetch_sub(before - shard.bytes(), Ordering::Relaxed);
            empty = if found.is_some() { 0 } else { empty + 1 };
        }
    }
}

/// How far the hand of a shard goes on, looking for what has expired, each time a full cache that
/// does not evict is asked to store.
const REAPED_BUCKETS: usize = 32;

impl Flush {
    /// Asks for a flush from the second `at` on; 0 is now, whatever clocks do later. Of two at the
    /// same moment, one is as good as both.
    fn ask(&self, at: Seconds) {
        let number = (self.0.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        self.0.store(number << 32 | u64::from(at), Ordering::Release);
    }

    /// The flush that holds at `now`, if there was ever one: a number unlike any before it.
    #[inline]
    fn due(&self, now: Seconds) -> Option<u64> {
        let flush = self.0.load(Ordering::Acquire);
        let at = flush & u64::from(u32::MAX);
        (flush != 0 && at <= u64::from(now)).then_some(flush)
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("shards", &self.shards.len())
            .field("limit", &self.limit)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
