//! A walk over all items.

use std::collections::BTreeMap;

use larder_protocol::{Header, Seconds};

use super::Cache;
use crate::index::Span;

/// How far a walk over all items has come, and what its last step found.
///
/// Each step locks one shard for a few microseconds and copies what it finds, so that nobody waits
/// for whoever reads it. The walk goes by the hashes of keys, which stay as they are: an item that
/// is there all the time is found once, whatever comes and goes beside it; one that comes or goes
/// meanwhile, once or not at all.
struct Crawl {
    shard: usize,
    /// What is left of the shard.
    span: Span,
    keys: Vec<u8>,
    found: Vec<Found>,
}

struct Found {
    key_len: usize,
    header: Header,
    /// Of key and value.
    bytes: usize,
}

impl Crawl {
    fn new() -> Self {
        Self { shard: 0, span: Span::ALL, keys: Vec::new(), found: Vec::new() }
    }

    /// Takes a step. `false` if all shards are done.
    fn step(&mut self, cache: &Cache, now: Seconds) -> bool {
        self.keys.clear();
        self.found.clear();
        let Some(shard) = cache.shards.get(self.shard) else { return false };
        let shard = cache.enter(&shard.0, now);
        let rest = shard.crawl(self.span, &cache.hashing, |key, header, bytes| {
            self.keys.extend_from_slice(key);
            self.found.push(Found { key_len: key.len(), header, bytes });
        });
        drop(shard);
        self.shard += usize::from(rest.is_none());
        self.span = rest.unwrap_or(Span::ALL);
        true
    }

    /// What the last step found: key, header, bytes of key and value.
    fn found(&self) -> impl Iterator<Item = (&[u8], Header, usize)> {
        let mut keys = &*self.keys;
        self.found.iter().filter_map(move |found| {
            let (key, rest) = keys.split_at_checked(found.key_len)?;
            keys = rest;
            Some((key, found.header, found.bytes))
        })
    }
}

impl Cache {
    /// How many items there are of which size: the upper end of a step of 32 bytes of key and
    /// value, and a number. It looks at every item, a few at a time: one that is there meanwhile
    /// counts once, one that comes or goes may count or not.
    pub fn sizes(&self, now: Seconds) -> BTreeMap<usize, u64> {
        let mut sizes = BTreeMap::new();
        let mut crawl = Crawl::new();
        while crawl.step(self, now) {
            for (_, _, bytes) in crawl.found() {
                *sizes.entry(bytes.next_multiple_of(32)).or_default() += 1;
            }
        }
        sizes
    }

    /// Names up to `most` items that are not expired: key, bytes of key and value, exptime. No lock
    /// is held while `emit` runs. An item that is there meanwhile is named once, if there are no
    /// more than `most`; one that comes or goes may be named or not.
    pub fn list(&self, most: usize, now: Seconds, emit: &mut dyn FnMut(&[u8], usize, Seconds)) {
        let mut left = most;
        let mut crawl = Crawl::new();
        while left > 0 && crawl.step(self, now) {
            let live = crawl.found().filter(|(_, header, _)| !header.expired(now));
            for (key, header, bytes) in live.take(left) {
                emit(key, bytes, header.exptime);
                left -= 1;
            }
        }
    }
}
