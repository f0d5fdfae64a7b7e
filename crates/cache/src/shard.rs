//! One lock's worth of a cache: a table of items, and a clock hand that goes round it.

use ahash::RandomState;
use hashbrown::HashTable;
use larder_protocol::{
    Change, Header, Item, Marks, Mode, NewValue, Op, Outcome, Seconds, Store, Verdict, decide,
};

use crate::slot::{Slot, cost};
use crate::stats::Stats;

/// The items of one shard.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    slots: HashTable<Slot>,
    /// The next bucket that eviction looks at.
    hand: usize,
    /// The last cas unique given out.
    cas: u64,
    /// How far the next one is: shards share the numbers, so that no two items have the same.
    cas_step: u64,
    /// The last flush carried out here.
    flushed: u64,
    /// Bytes of the items' allocations, by [`cost`].
    allocated: u64,
    /// Of these, bytes of keys and values.
    payload: u64,
    counters: Stats,
}

/// How much a command may use, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    /// The largest item.
    pub(crate) item: u64,
    /// By how much what is used may grow.
    pub(crate) growth: u64,
}

impl Room {
    fn has(self, growth: u64, item: u64) -> bool {
        item <= self.item && growth <= self.growth
    }
}

/// A key, its hash, and how keys are hashed here.
#[derive(Clone, Copy)]
pub(crate) struct Hashed<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) hash: u64,
    pub(crate) hashing: &'a RandomState,
}

impl Shard {
    /// An empty shard, the `number`th of `shards`.
    pub(crate) fn new(number: usize, shards: usize) -> Self {
        Self { cas: number as u64, cas_step: shards as u64, ..Self::default() }
    }

    /// Bytes used, by items and the table of them.
    #[inline]
    pub(crate) fn bytes(&self) -> u64 {
        self.allocated + self.slots.allocation_size() as u64
    }

    /// Does `op` and gives the answer to `respond`.
    #[inline]
    pub(crate) fn execute<R: FnOnce(Outcome<'_>)>(
        &mut self,
        key: Hashed<'_>,
        op: &Op<'_>,
        now: Seconds,
        room: Room,
        respond: R,
    ) {
        let found = self.find(key, op, now);
        let (cas, step) = (&mut self.cas, self.cas_step);
        let next_cas = || {
            *cas += step;
            *cas
        };
        let slot = found.and_then(|bucket| self.slots.get_bucket_mut(bucket));
        let Some(slot) = slot else {
            let Verdict { outcome, change } = decide(None, op, now, next_cas);
            return match change {
                Change::Put(header, value) if self.has_room_for(key.key, &value, room) => {
                    self.insert(key, header, &value);
                    respond(outcome);
                }
                Change::Put(..) => respond(Outcome::NoMemory),
                _ => respond(outcome),
            };
        };
        let (stored, used, value) = slot.open();
        let old_len = value.len();
        let Verdict { outcome, change } =
            decide(Some(Item { header: *stored, value }), op, now, next_cas);
        match change {
            Change::Keep => respond(outcome),
            Change::Use(header) | Change::Header(header) => {
                *stored = header;
                *used = true;
                respond(outcome);
            }
            Change::Put(header, value) => {
                let outcome = outcome.into_owned();
                let old = cost(slot.payload());
                let new = cost(key.key.len() + value.len_after(old_len));
                if room.has(new.saturating_sub(old), new) {
                    self.replace(found, header, &value);
                    respond(outcome);
                } else {
                    // Better no value than one that its client believes replaced.
                    if matches!(op, Op::Store(Store { mode: Mode::Set, compare: None, .. })) {
                        self.remove(key);
                    }
                    respond(Outcome::NoMemory);
                }
            }
            Change::Remove => {
                let outcome = outcome.into_owned();
                self.remove(key);
                respond(outcome);
            }
        }
    }

    /// Removes the item, if there is one.
    pub(crate) fn remove(&mut self, key: Hashed<'_>) {
        if let Ok(entry) = self.slots.find_entry(key.hash, |slot| slot.key() == key.key) {
            let (slot, _) = entry.remove();
            self.release(&slot, key.hashing);
        }
    }

    /// Makes room of one item: an expired one, or the first that the clock hand finds unused since
    /// it last passed, but not the one of `spared`. `None` if there is none.
    pub(crate) fn evict(
        &mut self,
        hashing: &RandomState,
        spared: Option<&[u8]>,
        now: Seconds,
    ) -> Option<()> {
        // Twice round: the first pass may only take away marks of use.
        for _ in 0..=self.slots.num_buckets() * 2 {
            let bucket = self.advance_hand();
            let Some(slot) = self.slots.get_bucket_mut(bucket) else { continue };
            let expired = slot.header.expired(now);
            if spared == Some(slot.key()) || (slot.used && !expired) {
                slot.used = false;
                continue;
            }
            self.take_out(bucket, hashing, expired, now);
            return Some(());
        }
        None
    }

    /// Removes what has expired among the next `buckets` that the hand passes.
    pub(crate) fn reap(&mut self, hashing: &RandomState, buckets: usize, now: Seconds) {
        for _ in 0..buckets.min(self.slots.num_buckets()) {
            let bucket = self.advance_hand();
            if self.slots.get_bucket(bucket).is_some_and(|slot| slot.header.expired(now)) {
                self.take_out(bucket, hashing, true, now);
            }
        }
    }

    fn advance_hand(&mut self) -> usize {
        let bucket = if self.hand < self.slots.num_buckets() { self.hand } else { 0 };
        self.hand = bucket + 1;
        bucket
    }

    fn take_out(&mut self, bucket: usize, hashing: &RandomState, expired: bool, now: Seconds) {
        if let Ok(entry) = self.slots.get_bucket_entry(bucket) {
            let (slot, _) = entry.remove();
            self.count_removal(&slot.header, expired, now);
            self.release(&slot, hashing);
        }
    }

    /// Drops every item if `flush`, a number that grows with each flush, was not carried out here.
    pub(crate) fn flush(&mut self, flush: u64) {
        if self.flushed == flush {
            return;
        }
        let counters = std::mem::take(&mut self.counters);
        let (cas, cas_step) = (self.cas, self.cas_step);
        *self = Self { flushed: flush, cas, cas_step, counters, ..Self::default() };
    }

    /// What is counted here.
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            items: self.slots.len() as u64,
            bytes: self.bytes(),
            payload_bytes: self.payload,
            index_bytes: self.slots.allocation_size() as u64,
            ..self.counters.clone()
        }
    }

    pub(crate) fn count_out_of_memory(&mut self) {
        self.counters.out_of_memory += 1;
    }

    pub(crate) fn reset_stats(&mut self) {
        self.counters = Stats::default();
    }

    /// The items, in no order.
    pub(crate) fn items(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// The bucket of a live item.
    #[inline]
    fn find(&mut self, key: Hashed<'_>, op: &Op<'_>, now: Seconds) -> Option<usize> {
        let bucket = self.slots.find_bucket_index(key.hash, |slot| slot.key() == key.key)?;
        let header = self.slots.get_bucket(bucket)?.header;
        if !header.expired(now) {
            return Some(bucket);
        }
        if matches!(op, Op::Fetch(_)) {
            self.counters.get_expired += 1;
        }
        self.remove(key);
        self.count_removal(&header, true, now);
        None
    }

    fn insert(&mut self, key: Hashed<'_>, header: Header, value: &NewValue<'_>) {
        let slot = Slot::new(key.key, header, value);
        self.counters.stored += 1;
        self.charge(slot.payload());
        self.slots.insert_unique(key.hash, slot, |slot| key.hashing.hash_one(slot.key()));
    }

    fn replace(&mut self, bucket: Option<usize>, header: Header, value: &NewValue<'_>) {
        let Some(slot) = bucket.and_then(|bucket| self.slots.get_bucket_mut(bucket)) else {
            return;
        };
        let before = slot.payload();
        slot.put(header, value);
        let after = slot.payload();
        self.counters.stored += 1;
        self.discharge(before);
        self.charge(after);
    }

    /// Whether a new item is within `room`, with what it makes the table grow: a full one doubles.
    fn has_room_for(&self, key: &[u8], value: &NewValue<'_>, room: Room) -> bool {
        let full = self.slots.len() == self.slots.capacity();
        let table = if full { self.slots.allocation_size() as u64 } else { 0 };
        let item = cost(key.len() + value.len_after(0));
        room.has(table + item, item)
    }

    /// Accounts for an item that is no longer in the table, and gives back a table that has become
    /// far too large.
    fn release(&mut self, slot: &Slot, hashing: &RandomState) {
        self.discharge(slot.payload());
        let items = self.slots.len();
        if items < self.slots.capacity() / 8 && self.slots.capacity() > MIN_CAPACITY {
            self.slots.shrink_to(items * 2, |slot| hashing.hash_one(slot.key()));
        }
    }

    fn charge(&mut self, payload: usize) {
        self.payload += payload as u64;
        self.allocated += cost(payload);
    }

    fn discharge(&mut self, payload: usize) {
        self.payload -= payload as u64;
        self.allocated -= cost(payload);
    }

    /// Counts an item that is gone without a client's asking.
    fn count_removal(&mut self, header: &Header, expired: bool, now: Seconds) {
        let unfetched = u64::from(!header.marks.has(Marks::FETCHED));
        if expired {
            self.counters.reclaimed += 1;
            self.counters.expired_unfetched += unfetched;
        } else {
            self.counters.evictions += 1;
            self.counters.evicted_unfetched += unfetched;
            self.counters.evicted_with_ttl += u64::from(header.exptime != 0);
            self.counters.evicted_idle_secs = now.saturating_sub(header.last_access);
        }
    }
}

/// A table of so few slots is not worth giving back.
const MIN_CAPACITY: usize = 64;
