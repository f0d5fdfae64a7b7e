//! The caches that are compared, behind one interface.

use std::sync::Arc;

use ahash::RandomState;
use larder_cache::{Cache, Options};
use larder_protocol::{Fetch, Op, Outcome, Seconds, Store};
use quick_cache::Weighter;
use quick_cache::sync::DefaultLifecycle;

use crate::workload::OVERHEAD_BYTES;

/// A cache under test. All are given the same limit in bytes and hash with the same function.
///
/// A key of the others is a `Box<[u8]>`, since keys come in all lengths, and a value an `Arc<[u8]>`:
/// one allocation, and no copy is made under their locks. `Bytes` would do the same with twice the
/// handle.
pub(crate) trait Engine: Sync {
    /// What its results are called.
    const NAME: &str;

    /// An empty cache.
    fn new(memory_limit: u64, items: usize) -> Self;

    /// Appends a copy of the value to `into`, as a server does with its reply. `false` if there is
    /// none.
    fn get(&self, key: &[u8], into: &mut Vec<u8>) -> bool;

    /// Stores a copy of the value.
    fn set(&self, key: &[u8], value: &[u8]);

    /// How many items it holds, and how many bytes of its limit it says they take.
    fn held(&self) -> (u64, u64);
}

type Key = Box<[u8]>;
type Value = Arc<[u8]>;

/// Larder's.
pub(crate) struct Larder(Cache);

/// The crate `quick_cache`.
pub(crate) struct QuickCache(quick_cache::sync::Cache<Key, Value, KeyAndValue, RandomState>);

/// The crate `moka`.
pub(crate) struct Moka(moka::sync::Cache<Key, Value, RandomState>);

/// Weighs key and value.
#[derive(Clone)]
pub(crate) struct KeyAndValue;

/// The time, which a server reads once for many requests.
const NOW: Seconds = 1_800_000_000;

impl Engine for Larder {
    const NAME: &str = "larder";

    fn new(memory_limit: u64, _: usize) -> Self {
        Self(Cache::new(&Options { memory_limit, ..Options::default() }))
    }

    fn get(&self, key: &[u8], into: &mut Vec<u8>) -> bool {
        let mut found = false;
        self.0.execute(key, &Op::Fetch(Fetch::GET), NOW, |outcome| {
            if let Outcome::Hit(hit) = outcome {
                for part in hit.value.parts() {
                    into.extend_from_slice(part);
                }
                found = true;
            }
        });
        found
    }

    fn set(&self, key: &[u8], value: &[u8]) {
        self.0.execute(key, &Op::Store(Store { value, ..Store::SET }), NOW, |outcome| {
            assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
        });
    }

    fn held(&self) -> (u64, u64) {
        let stats = self.0.stats(NOW);
        (stats.items, stats.bytes)
    }
}

impl Engine for QuickCache {
    const NAME: &str = "quick_cache";

    fn new(memory_limit: u64, items: usize) -> Self {
        let (hashing, lifecycle) = (RandomState::new(), DefaultLifecycle::default());
        Self(quick_cache::sync::Cache::with(items, memory_limit, KeyAndValue, hashing, lifecycle))
    }

    fn get(&self, key: &[u8], into: &mut Vec<u8>) -> bool {
        let value = self.0.get(key);
        value.inspect(|value| into.extend_from_slice(value)).is_some()
    }

    fn set(&self, key: &[u8], value: &[u8]) {
        self.0.insert(key.into(), value.into());
    }

    fn held(&self) -> (u64, u64) {
        (self.0.len() as u64, self.0.weight())
    }
}

impl Engine for Moka {
    const NAME: &str = "moka";

    fn new(memory_limit: u64, items: usize) -> Self {
        let cache = moka::sync::Cache::builder()
            .max_capacity(memory_limit)
            .initial_capacity(items)
            .weigher(|key: &Key, value: &Value| weight(key, value))
            .build_with_hasher(RandomState::new());
        Self(cache)
    }

    fn get(&self, key: &[u8], into: &mut Vec<u8>) -> bool {
        let value = self.0.get(key);
        value.inspect(|value| into.extend_from_slice(value)).is_some()
    }

    fn set(&self, key: &[u8], value: &[u8]) {
        self.0.insert(key.into(), value.into());
    }

    fn held(&self) -> (u64, u64) {
        self.0.run_pending_tasks();
        (self.0.entry_count(), self.0.weighted_size())
    }
}

impl Weighter<Key, Value> for KeyAndValue {
    fn weight(&self, key: &Key, value: &Value) -> u64 {
        weight(key, value).into()
    }
}

/// The bytes that an item counts for.
fn weight(key: &[u8], value: &[u8]) -> u32 {
    u32::try_from(key.len() + value.len() + OVERHEAD_BYTES).unwrap_or(u32::MAX)
}
