//! A walk over all items.

use std::collections::BTreeMap;

use larder_protocol::{Header, Seconds};

use super::Cache;
use crate::index::Span;
use crate::shard::{Hashed, Shard};

/// How far a walk over all items of a cache has come.
///
/// It holds no lock and nothing of the cache: it may be left and taken up whenever, on any thread.
/// Each step locks one shard for some ten microseconds and copies what it finds. The walk goes by
/// the hashes of keys, which stay as they are: an item that is there all the time is found once,
/// whatever comes and goes beside it, is moved by the engine or written anew; one that comes or goes
/// meanwhile, once or not at all.
#[derive(Debug, Default)]
pub struct Walk {
    shard: usize,
    /// What is left of the shard, if it was begun.
    rest: Option<Span>,
}

/// What a step has found.
#[derive(Default)]
struct Found {
    keys: Vec<u8>,
    items: Vec<Sighted>,
}

struct Sighted {
    key_len: usize,
    header: Header,
    /// Of key and value.
    bytes: usize,
}

impl Walk {
    /// Takes a step: `look` is shown a shard, locked, looks at the first items of a span and gives
    /// what is left of that. `false` if all shards are done.
    pub(super) fn step(
        &mut self,
        cache: &Cache,
        now: Seconds,
        look: impl FnOnce(&Shard, Span) -> Option<Span>,
    ) -> bool {
        let Some(shard) = cache.shards.get(self.shard) else { return false };
        let shard = cache.enter(&shard.0, now);
        self.rest = look(&shard, self.rest.unwrap_or(Span::ALL));
        drop(shard);
        self.shard += usize::from(self.rest.is_none());
        true
    }

    /// Takes a step, and puts what it finds in the place of what was found before.
    fn find(&mut self, cache: &Cache, now: Seconds, found: &mut Found) -> bool {
        found.keys.clear();
        found.items.clear();
        self.step(cache, now, |shard, span| {
            shard.walk(span, &cache.hashing, |key, header, bytes| {
                found.keys.extend_from_slice(key);
                found.items.push(Sighted { key_len: key.len(), header, bytes });
            })
        })
    }
}

impl Found {
    /// Key, header, bytes of key and value.
    fn items(&self) -> impl Iterator<Item = (&[u8], Header, usize)> {
        let mut keys = &*self.keys;
        self.items.iter().filter_map(move |item| {
            let (key, rest) = keys.split_at_checked(item.key_len)?;
            keys = rest;
            Some((key, item.header, item.bytes))
        })
    }
}

impl Cache {
    /// How many items there are of which size: the upper end of a step of 32 bytes of key and
    /// value, and a number. It looks at every item, a few at a time: one that is there meanwhile
    /// counts once, one that comes or goes may count or not.
    pub fn sizes(&self, now: Seconds) -> BTreeMap<usize, u64> {
        let mut sizes = BTreeMap::new();
        let (mut walk, mut found) = (Walk::default(), Found::default());
        while walk.find(self, now, &mut found) {
            for (_, _, bytes) in found.items() {
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
        let (mut walk, mut found) = (Walk::default(), Found::default());
        while left > 0 && walk.find(self, now, &mut found) {
            let live = found.items().filter(|(_, header, _)| !header.expired(now));
            for (key, header, bytes) in live.take(left) {
                emit(key, bytes, header.exptime);
                left -= 1;
            }
        }
    }

    /// A step of a walk that drops all items whose keys are not to be kept: it asks `keep` of some
    /// two hundred at most, expired ones too. `false` if the walk was over: then every item that was
    /// there when it began, and is there still, was asked for once.
    ///
    /// No lock is held while `keep` runs, and each item is dropped under a lock of its own: what is
    /// stored meanwhile under a key that is not to be kept may go too. To clients the items are
    /// deleted, but no counter of theirs tells; and being asked for is no use of an item.
    pub fn drop_a_step(
        &self,
        walk: &mut Walk,
        now: Seconds,
        mut keep: impl FnMut(&[u8]) -> bool,
    ) -> bool {
        let mut found = Found::default();
        let goes_on = walk.find(self, now, &mut found);
        let mut changed = None;
        for (key, ..) in found.items() {
            if keep(key) {
                continue;
            }
            let key = Hashed { key, hash: self.hashing.hash_one(key), hashing: &self.hashing };
            let mut shard = self.lock(key.hash, now);
            shard.drop_unwanted(key);
            if self.leave(shard, now).news_of_held {
                changed = Some(key.hash);
            }
        }
        // All were of one shard.
        if let Some(hash) = changed {
            self.gather(self.shard(hash), now);
        }
        goes_on
    }
}
