//! Copies in this process: few bytes, for a short time.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::flights::Filled;

/// Copies of values, by key.
#[derive(Debug)]
pub(crate) struct Local {
    copies: Cache<Box<[u8]>, Copy, Bytes>,
    ttl: Duration,
    /// How often keys were written, of each part of all keys. Held while a copy comes or goes, so
    /// that none comes that is older than the last write.
    writes: [Mutex<u64>; PARTS],
    hasher: RandomState,
}

#[derive(Clone, Debug)]
struct Copy {
    filled: Filled,
    until: Instant,
}

/// How often a key had been written when it was asked for.
#[derive(Clone, std::marker::Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(Option<u64>);

impl Local {
    /// Copies of so many bytes in all, each for so long at most.
    pub(crate) fn new(bytes: u64, ttl: Duration) -> Self {
        let items = usize::try_from(bytes / EXPECTED_BYTES).unwrap_or(usize::MAX);
        let writes = std::array::from_fn(|_| Mutex::default());
        let copies = Cache::with_weighter(items, bytes, Bytes);
        Self { copies, ttl, writes, hasher: RandomState::new() }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Filled> {
        let copy = self.copies.get(key)?;
        (Instant::now() < copy.until).then_some(copy.filled)
    }

    /// To be asked before a value is.
    pub(crate) fn moment(&self, key: &[u8]) -> Moment {
        Moment(self.writes_of(key).map(|writes| *writes))
    }

    /// Keeps a value that was asked for after this moment, unless the key has been written since.
    pub(crate) fn keep(&self, key: &[u8], filled: &Filled, since: Moment) {
        let writes = self.writes_of(key);
        if Moment(writes.as_deref().copied()) == since {
            let until = Instant::now() + self.ttl;
            self.copies.insert(key.into(), Copy { filled: filled.clone(), until });
        }
    }

    /// The key is written.
    pub(crate) fn forget(&self, key: &[u8]) {
        let mut writes = self.writes_of(key);
        if let Some(writes) = &mut writes {
            **writes = writes.wrapping_add(1);
        }
        self.copies.remove(key);
    }

    fn writes_of(&self, key: &[u8]) -> Option<MutexGuard<'_, u64>> {
        let [part, ..] = self.hasher.hash_one(key).to_le_bytes();
        let writes = self.writes.get(usize::from(part) % PARTS)?;
        Some(writes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a copy takes, by its bytes.
#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<Box<[u8]>, Copy> for Bytes {
    fn weight(&self, key: &Box<[u8]>, copy: &Copy) -> u64 {
        (key.len() + copy.filled.bytes.len()) as u64 + OVERHEAD
    }
}

/// What a copy takes besides its key and value, in bytes: places in tables and heads in the heap.
const OVERHEAD: u64 = 128;

/// For which sizes the tables are made at first; they grow.
const EXPECTED_BYTES: u64 = 1024;

const PARTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &'static str) -> Filled {
        Filled { bytes: text.into(), ..Filled::default() }
    }

    #[test]
    fn what_was_asked_for_before_a_write_is_not_kept_after_it() {
        let local = Local::new(1 << 20, Duration::from_mins(1));
        let before = local.moment(b"k");
        local.keep(b"k", &value("old"), before);
        assert_eq!(local.get(b"k"), Some(value("old")));
        local.forget(b"k");
        assert_eq!(local.get(b"k"), None);
        local.keep(b"k", &value("old"), before);
        assert_eq!(local.get(b"k"), None);
        local.keep(b"k", &value("new"), local.moment(b"k"));
        assert_eq!(local.get(b"k"), Some(value("new")));
    }

    #[tokio::test(start_paused = true)]
    async fn copies_are_kept_for_a_short_time() {
        let local = Local::new(1 << 20, Duration::from_secs(1));
        local.keep(b"k", &value("v"), local.moment(b"k"));
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(local.get(b"k"), Some(value("v")));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(local.get(b"k"), None);
    }

    #[test]
    fn copies_take_no_more_than_they_may() {
        let local = Local::new(1 << 20, Duration::from_mins(1));
        for n in 0..100_000_u32 {
            let key = n.to_le_bytes();
            local.keep(&key, &value("some value"), local.moment(&key));
            assert!(local.copies.weight() <= 1 << 20);
        }
        assert!(local.copies.weight() > 1 << 19);
    }
}
