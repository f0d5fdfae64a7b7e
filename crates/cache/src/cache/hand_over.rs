//! Items for another cache, and from one.

use std::borrow::Cow;

use larder_protocol::{Header, Item, Mode, Op, Outcome, Pieces, Seconds, Store, Value};

use super::Cache;
use super::walk::Walk;
use crate::policy::HOTTEST;
use crate::shard::{Hashed, Wanted};

/// How far the items of a cache have been handed over, the hottest first.
///
/// It is a [`Walk`] for each degree of heat that the engine knows: those in the main log by the
/// uses they have left, then those that would come there, then the rest. What nobody uses cools
/// down at most, and so is met by the walk of one degree or another; what was used meanwhile is shown
/// by the last.
#[derive(Debug)]
pub struct HandOver {
    walk: Walk,
    /// How hot the items are that this walk shows.
    heat: u8,
    began: Seconds,
}

/// Items as they were.
#[derive(Default)]
struct Copied {
    /// Keys, and what of their values is not in pages.
    bytes: Vec<u8>,
    items: Vec<Parts>,
}

struct Parts {
    header: Header,
    key_len: usize,
    inline_len: usize,
    pieces: Option<Pieces>,
}

impl HandOver {
    /// One that begins now.
    pub fn new(now: Seconds) -> Self {
        Self { walk: Walk::default(), heat: HOTTEST, began: now }
    }
}

impl Copied {
    fn add(&mut self, key: &[u8], item: Item<'_>) {
        self.bytes.extend_from_slice(key);
        let before = self.bytes.len();
        let pieces = if let Value::Long(pieces, inline) = item.value {
            self.bytes.extend_from_slice(&inline);
            Some(pieces)
        } else {
            item.value.parts().for_each(|part| self.bytes.extend_from_slice(part));
            None
        };
        let inline_len = self.bytes.len() - before;
        self.items.push(Parts { header: item.header, key_len: key.len(), inline_len, pieces });
    }

    fn give(self, mut give: impl FnMut(&[u8], Item<'_>)) {
        let mut bytes = &*self.bytes;
        for Parts { header, key_len, inline_len, pieces } in self.items {
            let Some((key, rest)) = bytes.split_at_checked(key_len) else { return };
            let Some((inline, rest)) = rest.split_at_checked(inline_len) else { return };
            bytes = rest;
            let value = match pieces {
                None => Value::Slice(inline),
                Some(pieces) => Value::Long(pieces, Cow::Borrowed(inline)),
            };
            give(key, Item { header, value });
        }
    }
}

impl Cache {
    /// A step of handing over all items that are not expired, the hottest first: some of them, or
    /// none, are given to `give`, which runs without a lock. `false` if all were.
    ///
    /// An item that is there from beginning to end is given at least once, and again if it is used
    /// meanwhile, or cools down; one that comes or goes may be given or not. One whose exptime is
    /// changed, or that is marked stale, and that nobody fetches or stores, may be left out. To be
    /// given is no use of an item.
    pub fn hand_over_a_step(
        &self,
        hand_over: &mut HandOver,
        now: Seconds,
        give: impl FnMut(&[u8], Item<'_>),
    ) -> bool {
        let HandOver { walk, heat, began } = hand_over;
        // Another thread may know of an earlier second only.
        let used_since = (*heat == 0).then(|| began.saturating_sub(1));
        let wanted = Wanted { heat: *heat, used_since };
        let mut copied = Copied::default();
        let goes_on = walk.step(self, now, |shard, span| {
            shard.hand_over(span, wanted, &self.hashing, now, |key, item| copied.add(key, item))
        });
        copied.give(give);
        if !goes_on && *heat > 0 {
            *heat -= 1;
            *walk = Walk::default();
            return true;
        }
        goes_on
    }

    /// Stores an item as another cache had it, under a key of 1 to 250 bytes and with a cas unique of
    /// its own, if there is none and it is not expired. `false` if it is not stored: then what is
    /// there stays as it is, and is not used by that.
    pub fn take_over(&self, key: &[u8], item: &Item<'_>, now: Seconds) -> bool {
        if item.header.expired(now) {
            return false;
        }
        let key = Hashed { key, hash: self.hashing.hash_one(key), hashing: &self.hashing };
        let value = item.value.to_bytes();
        let store = Store { mode: Mode::Add, value: &value, ..Store::SET };
        let op = Op::Store(store);
        let prepared = self.prepare(key, &op, now);
        let mut is_stored = false;
        let respond = |outcome: Outcome<'_>| is_stored = matches!(outcome, Outcome::Stored { .. });
        self.attempt(key, &op, prepared, now, respond, |shard, prepared, respond| {
            shard.adopt(key, item.header, &store, now, prepared, respond)
        });
        is_stored
    }
}
