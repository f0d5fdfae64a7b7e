//! Records in memory, before the engine that has them on disk.
//!
//! A row is what the engine would give: a key belongs to one group. Who has seen what a commit has changed never sees again what
//! was there before: so rows of keys that are about to change are forgotten before the commit, and
//! until it has ended no others are kept, nor those afterwards that were read before.

use std::fmt;
use std::sync::Arc;

use ahash::RandomState;
use bytes::Bytes;
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use super::{Items, Keys, Storage, Usage, Visit};
use crate::error::Error;
use crate::placement::GroupId;
use crate::state::Kept;

/// What keys have that were asked for not long ago.
pub(crate) struct Rows {
    cache: Cache<Box<[u8]>, Row, Weight, RandomState>,
    /// Of keys by their hash: some share one.
    stripes: Box<[Mutex<Stripe>]>,
    hasher: RandomState,
}

/// An engine with rows before it.
pub(crate) struct Cached {
    engine: Box<dyn Storage>,
    rows: Arc<Rows>,
}

/// A record as it is on disk; that there is none is known too.
type Row = Option<Bytes>;

/// How commits go about some keys.
#[derive(Clone, Copy, Debug, Default)]
struct Stripe {
    /// How often one of them began or ended to change.
    turns: u64,
    /// How many began and have not ended.
    changing: usize,
}

/// Bytes that a row takes, about.
#[derive(Clone)]
struct Weight;

impl Rows {
    /// None yet, and never more than so many bytes of them, keys included; about.
    pub(crate) fn new(bytes: u64) -> Self {
        let usual = usize::try_from(bytes / USUAL_BYTES).unwrap_or(usize::MAX);
        let hasher = RandomState::new();
        let lifecycle = DefaultLifecycle::default();
        let cache = Cache::with(usual, bytes, Weight, hasher.clone(), lifecycle);
        let stripes = (0..STRIPES).map(|_| Mutex::default()).collect();
        Self { cache, stripes, hasher }
    }

    /// What a key has, if it is known.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Row> {
        self.cache.get(key)
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        self.cache.clear();
    }

    /// The turn of a key, to be asked for before it is read.
    fn turn(&self, key: &[u8]) -> u64 {
        self.stripe(key).map_or(0, |stripe| stripe.lock().turns)
    }

    /// Keeps what was read, unless it may have changed since that turn.
    fn keep(&self, key: &[u8], row: &Row, turn: u64) {
        let Some(stripe) = self.stripe(key) else { return };
        let stripe = stripe.lock();
        if stripe.turns == turn {
            self.put(key, row, *stripe);
        }
    }

    /// A key is about to change. Whether it had a row.
    fn begin(&self, key: &[u8]) -> bool {
        let Some(stripe) = self.stripe(key) else { return false };
        let mut stripe = stripe.lock();
        stripe.turns += 1;
        stripe.changing += 1;
        self.cache.remove(key).is_some()
    }

    /// A key has changed. What it has now is kept if it had a row: to keep all that is written would
    /// cost a write a fourth more, and most of it is not asked for soon.
    fn end(&self, key: &[u8], row: &Row, had: bool) {
        let Some(stripe) = self.stripe(key) else { return };
        let mut stripe = stripe.lock();
        stripe.turns += 1;
        stripe.changing -= 1;
        if had {
            self.put(key, row, *stripe);
        }
    }

    fn put(&self, key: &[u8], row: &Row, stripe: Stripe) {
        let len = row.as_ref().map_or(0, Bytes::len);
        if stripe.changing == 0 && len <= MAX_LEN {
            self.cache.insert(key.into(), row.clone());
        }
    }

    fn stripe(&self, key: &[u8]) -> Option<&Mutex<Stripe>> {
        let [low, high, ..] = self.hasher.hash_one(key).to_le_bytes();
        self.stripes.get(usize::from(u16::from_le_bytes([low, high])) % STRIPES)
    }
}

impl Cached {
    pub(crate) fn new(engine: Box<dyn Storage>, rows: Arc<Rows>) -> Self {
        Self { engine, rows }
    }
}

impl Storage for Cached {
    fn read(&self, group: GroupId, key: &[u8]) -> Result<Option<Bytes>, Error> {
        if let Some(row) = self.rows.get(key) {
            return Ok(row);
        }
        let turn = self.rows.turn(key);
        let row = self.engine.read(group, key)?;
        self.rows.keep(key, &row, turn);
        Ok(row)
    }

    fn kept(&self, group: GroupId) -> Result<Kept, Error> {
        self.engine.kept(group)
    }

    /// After an error the keys have no rows any more: nobody knows what the engine has.
    fn commit(
        &self,
        group: GroupId,
        changes: &[(&[u8], Option<Bytes>)],
        kept: Option<&Kept>,
    ) -> Result<(), Error> {
        let had: Vec<_> = changes.iter().map(|(key, _)| self.rows.begin(key)).collect();
        self.engine.commit(group, changes, kept)?;
        for ((key, row), had) in changes.iter().zip(had) {
            self.rows.end(key, row, had);
        }
        Ok(())
    }

    fn persist(&self) -> Result<(), Error> {
        self.engine.persist()
    }

    fn whole(&self, group: GroupId) -> Result<(Kept, Items), Error> {
        self.engine.whole(group)
    }

    fn walk(&self, group: GroupId, keys: Keys<'_>, visit: &mut Visit<'_>) -> Result<(), Error> {
        self.engine.walk(group, keys, visit)
    }

    fn room(&self) -> Result<u64, Error> {
        self.engine.room()
    }

    fn check(&self) -> Result<(), Error> {
        self.engine.check()
    }

    fn is_behind(&self) -> bool {
        self.engine.is_behind()
    }

    fn usage(&self) -> Usage {
        self.engine.usage()
    }
}

impl Weighter<Box<[u8]>, Row> for Weight {
    fn weight(&self, key: &Box<[u8]>, row: &Row) -> u64 {
        (key.len() + row.as_ref().map_or(0, Bytes::len)) as u64 + OVERHEAD
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("len", &self.cache.len()).finish_non_exhaustive()
    }
}

/// So many that two threads at two keys seldom meet.
const STRIPES: usize = 1024;
/// Longer ones are left to the engine's own cache of blocks: copying them is most of what they cost.
const MAX_LEN: usize = 64 << 10;
/// What a row takes besides key and record: its place, how it is found, and two allocations.
const OVERHEAD: u64 = 120;
const USUAL_BYTES: u64 = 256;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread;

    use super::*;

    /// An engine with one number at each key, which takes its time.
    #[derive(Default)]
    struct Numbers {
        numbers: [AtomicU64; KEYS],
        reads: AtomicU64,
    }

    const KEYS: usize = 4;

    impl Storage for Arc<Numbers> {
        fn read(&self, _: GroupId, key: &[u8]) -> Result<Option<Bytes>, Error> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            thread::yield_now();
            let number = self.numbers[usize::from(key[0])].load(Ordering::SeqCst);
            thread::yield_now();
            Ok((number > 0).then(|| Bytes::copy_from_slice(&number.to_le_bytes())))
        }

        fn kept(&self, _: GroupId) -> Result<Kept, Error> {
            Ok(Kept::default())
        }

        fn commit(
            &self,
            _: GroupId,
            changes: &[(&[u8], Option<Bytes>)],
            _: Option<&Kept>,
        ) -> Result<(), Error> {
            rest();
            for (key, row) in changes {
                self.numbers[usize::from(key[0])].store(number(row), Ordering::SeqCst);
            }
            rest();
            Ok(())
        }

        fn persist(&self) -> Result<(), Error> {
            Ok(())
        }

        fn whole(&self, _: GroupId) -> Result<(Kept, Items), Error> {
            Ok((Kept::default(), Box::new(std::iter::empty())))
        }

        fn walk(&self, _: GroupId, _: Keys<'_>, _: &mut Visit<'_>) -> Result<(), Error> {
            Ok(())
        }

        fn room(&self) -> Result<u64, Error> {
            Ok(0)
        }

        fn check(&self) -> Result<(), Error> {
            Ok(())
        }

        fn is_behind(&self) -> bool {
            false
        }

        fn usage(&self) -> Usage {
            Usage::default()
        }
    }

    /// Lets others do something.
    fn rest() {
        for _ in 0..10 {
            thread::yield_now();
        }
    }

    fn number(row: &Row) -> u64 {
        row.as_ref().map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap()))
    }

    fn cached(bytes: u64) -> (Arc<Numbers>, Cached) {
        let numbers = Arc::new(Numbers::default());
        let rows = Arc::new(Rows::new(bytes));
        (Arc::clone(&numbers), Cached::new(Box::new(numbers), rows))
    }

    fn put(cached: &Cached, key: u8, number: u64) {
        let row = Some(Bytes::copy_from_slice(&number.to_le_bytes()));
        cached.commit(1, &[(&[key], row)], None).unwrap();
    }

    #[test]
    fn the_engine_is_asked_once_for_what_does_not_change() {
        let (numbers, cached) = cached(1 << 20);
        numbers.numbers[0].store(7, Ordering::SeqCst);
        for _ in 0..3 {
            assert_eq!(number(&cached.read(1, &[0]).unwrap()), 7);
            assert_eq!(cached.read(1, &[1]).unwrap(), None);
        }
        put(&cached, 0, 8);
        put(&cached, 2, 9);
        assert_eq!(number(&cached.read(1, &[0]).unwrap()), 8);
        assert_eq!(cached.rows.get(&[2]), None);
        cached.commit(1, &[(&[0], None)], None).unwrap();
        assert_eq!(cached.read(1, &[0]).unwrap(), None);
        assert_eq!(numbers.reads.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let (numbers, cached) = cached(0);
        for asked in 1..=3 {
            cached.read(1, &[0]).unwrap();
            assert_eq!(numbers.reads.load(Ordering::Relaxed), asked);
        }
    }

    /// Who has seen a number never sees an older one, and nobody one older than the last that was
    /// acknowledged when he asked.
    #[test]
    fn no_row_is_older_than_what_was_seen() {
        let (numbers, cached) = cached(1 << 20);
        let acknowledged: [AtomicU64; KEYS] = Default::default();
        let seen: [AtomicU64; KEYS] = Default::default();
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !ended.load(Ordering::Relaxed) {
                        for key in 0..KEYS {
                            let least = acknowledged[key].load(Ordering::SeqCst);
                            let least = least.max(seen[key].load(Ordering::SeqCst));
                            let row = cached.read(1, &[u8::try_from(key).unwrap()]).unwrap();
                            assert!(number(&row) >= least, "{} after {least}", number(&row));
                            seen[key].fetch_max(number(&row), Ordering::SeqCst);
                        }
                    }
                });
            }
            // Others may write at once, but not the same key.
            let writers: Vec<_> = (0..2)
                .map(|writer| {
                    let (cached, acknowledged) = (&cached, &acknowledged);
                    scope.spawn(move || {
                        for next in 1..=5_000 {
                            for key in [writer, writer + 2] {
                                put(cached, u8::try_from(key).unwrap(), next);
                                acknowledged[key].store(next, Ordering::SeqCst);
                            }
                        }
                    })
                })
                .collect();
            for writer in writers {
                writer.join().unwrap();
            }
            ended.store(true, Ordering::Relaxed);
        });
        let reads = numbers.reads.load(Ordering::Relaxed);
        assert!(seen.iter().all(|seen| seen.load(Ordering::SeqCst) > 0), "{reads} reads");
    }
}
