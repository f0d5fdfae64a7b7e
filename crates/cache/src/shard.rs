//! One lock's worth of a cache: an index, logs of records, and what decides which of them stay.
//!
//! - `write`: how records are written
//! - `reclaim`: how room is made
//! - `gather`: how long values are brought together
//! - `walk`: what a walk over all items is shown, and drops
//! - `hand_over`: what another cache is given, and gives
//! - `census`: what is told of its state
//! - `restore`: what another process has left
//! - `audit`: whether the books are right, for tests

use std::borrow::Cow;
use std::sync::Arc;

use ahash::RandomState;
use larder_protocol::{
    Change, Header, Item, Marks, Mode, NewValue, Op, Outcome, Seconds, Store, Value, Verdict,
    decide,
};

use crate::arena::{self, Arena, Segment};
use crate::ghosts::Ghosts;
use crate::image::Image;
use crate::index::{Index, Place, Slot};
use crate::log::{Logs, Weight};
use crate::long::{Long, Longs};
use crate::policy::{Policy, Queue};
use crate::record::{self, Extent, Head, MIN_PAGED};
use crate::stats::Stats;

#[cfg(test)]
mod audit;
mod census;
mod gather;
mod hand_over;
mod reclaim;
mod restore;
mod walk;
mod write;

pub(crate) use hand_over::Wanted;
use reclaim::Job;
pub(crate) use reclaim::{Given, segments_left};

/// The items of one shard.
pub(crate) struct Shard {
    index: Index,
    logs: Logs,
    longs: Longs,
    ghosts: Ghosts,
    policy: Policy,
    /// The segment that is looked through to be given up.
    job: Option<Job>,
    /// Of each log, a segment that was looked through and has room at its end.
    tidied: [Option<u32>; 4],
    /// A segment for which others made way.
    spare: Option<Segment>,
    /// A record that stays although its turn may come, since it is about to be replaced.
    spared: Option<Place>,
    /// Long values that are gone, to be dropped outside of the lock.
    remains: Vec<Arc<Long>>,
    arena: Arc<Arena>,
    /// The file that its segments are in.
    image: Option<Arc<Image>>,
    evict: bool,
    /// Its place among the shards.
    number: usize,
    /// The last cas unique given out.
    cas: u64,
    /// How many shards there are. They share the cas uniques, so that no two items have the same.
    shards: u64,
    /// Up to this the next process knows that they may have been given out.
    cas_noted: u64,
    /// The last flush carried out here.
    flushed: u64,
    /// Bytes of keys and values.
    payload: u64,
    /// The overhead that was accounted for last.
    settled: u64,
    /// What it was last known to hold.
    told: u64,
    counters: Stats,
}

/// A key, its hash, and how keys are hashed here.
#[derive(Clone, Copy)]
pub(crate) struct Hashed<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) hash: u64,
    pub(crate) hashing: &'a RandomState,
}

/// A value's pages, written before the shard is locked.
#[derive(Debug)]
pub(crate) enum Preparation {
    /// It needs none.
    None,
    /// These.
    Made(Prepared),
    /// There is no memory for them.
    Failed,
}

/// What a command needs that it could not be carried out without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// Pages, made from the item as it is now.
    Pages,
    /// A segment, for which others may make way.
    Segment,
    /// Memory, of which there is none.
    Memory,
}

/// The pages of a new value.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) long: Long,
    /// If it was made from an older value: that, and what of the new one is not in pages.
    pub(crate) from: Option<(Before, Vec<u8>)>,
}

/// What an append or prepend that makes a long value starts from.
#[derive(Debug)]
pub(crate) struct Before {
    pub(crate) long: Option<Arc<Long>>,
    pub(crate) inline: Vec<u8>,
}

/// An item that is there.
#[derive(Clone, Copy)]
struct Found {
    slot: Slot,
    place: Place,
    head: Head,
    extent: Extent,
}

impl Shard {
    /// An empty shard, the `number`th of `shards`.
    pub(crate) fn new(number: usize, shards: usize, arena: &Arc<Arena>, evict: bool) -> Self {
        Self {
            index: Index::new(),
            logs: Logs::new(arena.segment_bytes()),
            longs: Longs::default(),
            ghosts: Ghosts::default(),
            policy: Policy::new(0),
            job: None,
            tidied: [None; 4],
            spare: None,
            spared: None,
            remains: Vec::new(),
            arena: Arc::clone(arena),
            image: None,
            evict,
            number,
            cas: number as u64,
            shards: shards as u64,
            cas_noted: u64::MAX,
            flushed: 0,
            payload: 0,
            settled: 0,
            told: 0,
            counters: Stats::default(),
        }
    }

    /// An empty shard whose segments are in a file.
    pub(crate) fn in_file(
        number: usize,
        image: &Arc<Image>,
        arena: &Arc<Arena>,
        evict: bool,
    ) -> Self {
        let past = image.past(number);
        let segment_bytes = arena.segment_bytes();
        let shard = u16::try_from(number).unwrap_or(u16::MAX);
        let logs = Logs::in_file(segment_bytes, image.secret(), shard, past.first_segment);
        let empty = Self::new(number, image.geometry().shards, arena, evict);
        Self {
            logs,
            image: Some(Arc::clone(image)),
            cas: past.cas.max(empty.cas),
            cas_noted: past.cas,
            flushed: past.flushed,
            ..empty
        }
    }

    /// Sets how many bytes the shard may have, about.
    pub(crate) fn set_budget(&mut self, bytes: u64) {
        self.policy.budget = bytes;
    }

    /// Its place among the shards.
    #[inline]
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Bytes it uses beside segments and pages.
    #[inline]
    pub(crate) fn overhead(&self) -> u64 {
        (self.index.bytes() + self.ghosts.bytes() + self.logs.overhead()) as u64
            + self.longs.overhead()
    }

    /// What is gone and to be dropped without the lock.
    #[inline]
    pub(crate) fn take_remains(&mut self) -> Vec<Arc<Long>> {
        // Most often there is nothing, and then nothing is written: what a processor has written
        // another has to wait for.
        if self.remains.is_empty() { Vec::new() } else { std::mem::take(&mut self.remains) }
    }

    /// Does `op` and gives the answer to `respond`, or says what it lacks and gives `respond` back:
    /// then nothing has changed that a client could see.
    #[inline]
    pub(crate) fn execute<R: FnOnce(Outcome<'_>)>(
        &mut self,
        key: Hashed<'_>,
        op: &Op<'_>,
        now: Seconds,
        prepared: &mut Preparation,
        respond: R,
    ) -> Result<(), (Lack, R)> {
        let found = self.find(key, now);
        if self.lacks_pages(found.as_ref(), op, now, prepared) {
            return Err((Lack::Pages, respond));
        }
        self.carry_out(key, found, op, now, prepared, respond)
    }

    /// Gives `op` up, for want of memory. What to answer.
    #[cold]
    pub(crate) fn refuse(&mut self, key: Hashed<'_>, op: &Op<'_>) -> Outcome<'static> {
        self.counters.out_of_memory += 1;
        // Better no value than one that its client believes replaced.
        if matches!(op, Op::Store(Store { mode: Mode::Set, compare: None, .. })) {
            self.remove(key);
        }
        Outcome::NoMemory
    }

    /// Whether a value with pages would be put that is not prepared, or from what is no longer there.
    #[inline]
    fn lacks_pages(
        &self,
        found: Option<&Found>,
        op: &Op<'_>,
        now: Seconds,
        prepared: &Preparation,
    ) -> bool {
        let Op::Store(store) = op else { return false };
        let old = found.filter(|_| matches!(store.mode, Mode::Append | Mode::Prepend));
        let len = store.value_len() + old.map_or(0, |old| old.head.value_len as usize);
        if len < MIN_PAGED {
            return false;
        }
        let ready = match prepared {
            Preparation::None => false,
            Preparation::Made(Prepared { from, .. }) => match (from, old) {
                (None, None) => true,
                (Some((before, _)), Some(old)) => self.is_still(before, old),
                _ => false,
            },
            Preparation::Failed => true,
        };
        !ready && self.would_put(found, op, now)
    }

    /// Whether an item has the value that was there before. A cas unique does not tell: clients may
    /// give one twice, and a value that is cleared keeps its own.
    fn is_still(&self, before: &Before, found: &Found) -> bool {
        let Some((long, inline)) = self.parts_of(found) else { return false };
        before.long.as_ref().map(Arc::as_ptr) == long.map(Arc::as_ptr) && before.inline == inline
    }

    /// Whether a command puts a value here as things are.
    pub(crate) fn would_put_at(&self, key: Hashed<'_>, op: &Op<'_>, now: Seconds) -> bool {
        let found = self.look_up(key).filter(|found| !found.head.header.expired(now));
        self.would_put(found.as_ref(), op, now)
    }

    fn would_put(&self, found: Option<&Found>, op: &Op<'_>, now: Seconds) -> bool {
        let item = found.and_then(|found| {
            let value = value_at(&self.logs, &self.longs, found)?;
            Some(Item { header: found.head.header, value })
        });
        matches!(decide(item, op, now, || 0).change, Change::Put(..))
    }

    #[inline]
    fn carry_out<R: FnOnce(Outcome<'_>)>(
        &mut self,
        key: Hashed<'_>,
        found: Option<Found>,
        op: &Op<'_>,
        now: Seconds,
        prepared: &mut Preparation,
        respond: R,
    ) -> Result<(), (Lack, R)> {
        if self.cas + self.shards > self.cas_noted {
            self.note_cas();
        }
        let (cas, step) = (&mut self.cas, self.shards);
        let next_cas = || {
            *cas += step;
            *cas
        };
        let Some(found) = found else {
            let Verdict { outcome, change } = decide(None, op, now, next_cas);
            if let Change::Put(header, value) = change
                && let Err(lack) = self.put(key, None, header, &value, prepared, now)
            {
                return Err((lack, respond));
            }
            respond(outcome);
            return Ok(());
        };
        let Some(value) = value_at(&self.logs, &self.longs, &found) else {
            respond(Outcome::Miss);
            return Ok(());
        };
        let item = Item { header: found.head.header, value };
        let Verdict { outcome, change } = decide(Some(item), op, now, next_cas);
        match change {
            Change::Keep => respond(outcome),
            Change::Use(header) => {
                respond(outcome);
                if let Some(bytes) = self.logs.at_mut(found.place) {
                    record::note_fetch(bytes, found.head.value_len, header.marks, now);
                }
                self.use_once(&found);
            }
            Change::Header(header) => {
                let same = record::same_shape(&header, &found.head.header);
                // A longer head must be written elsewhere; then the answer cannot borrow.
                if same {
                    respond(outcome);
                    self.put_header(&found, header);
                    self.logs.seal(found.place);
                    self.use_once(&found);
                } else {
                    let outcome = outcome.into_owned();
                    let moved = self.put(
                        key,
                        Some(found),
                        header,
                        &NewValue::Append(&[]),
                        &mut Preparation::None,
                        now,
                    );
                    if let Err(lack) = moved {
                        return Err((lack, respond));
                    }
                    respond(outcome);
                }
            }
            Change::Put(header, value) => {
                let outcome = outcome.into_owned();
                let overwritten = self.overwrite(&found, header, &value);
                // A number that is counted in place is no new item.
                self.counters.stored += u64::from(overwritten && matches!(op, Op::Store(_)));
                if !overwritten
                    && let Err(lack) = self.put(key, Some(found), header, &value, prepared, now)
                {
                    return Err((lack, respond));
                }
                respond(outcome);
            }
            Change::Remove => {
                let outcome = outcome.into_owned();
                self.take_out(key, &found);
                respond(outcome);
            }
        }
        Ok(())
    }

    /// Removes the item, if there is one.
    pub(crate) fn remove(&mut self, key: Hashed<'_>) {
        if let Some(found) = self.look_up(key) {
            self.take_out(key, &found);
        }
    }

    /// What an append or prepend of `more` bytes to this key would start from, if it makes a long
    /// value.
    pub(crate) fn before(&self, key: Hashed<'_>, more: usize, now: Seconds) -> Option<Before> {
        let found = self.look_up(key)?;
        let Head { header, value_len, .. } = found.head;
        if header.expired(now) || value_len as usize + more < MIN_PAGED {
            return None;
        }
        let (long, inline) = self.parts_of(&found)?;
        Some(Before { long: long.cloned(), inline: inline.to_vec() })
    }

    /// What of a value is in pages, and what is not.
    fn parts_of(&self, found: &Found) -> Option<(Option<&Arc<Long>>, &[u8])> {
        let inline = self.logs.at(found.place)?.get(found.extent.value..found.extent.map)?;
        Some((found.head.pages.and_then(|pages| self.longs.get(pages.number)), inline))
    }

    /// Has the processor fetch where an item would be found.
    #[inline]
    pub(crate) fn fetch_index(&self, hash: u64) {
        if let Some(line) = self.index.line(hash) {
            arena::prefetch(line);
        }
    }

    /// Has the processor fetch the first bytes of what is probably the item, once it has its place.
    #[inline]
    pub(crate) fn fetch_record(&self, hash: u64) {
        self.index.find(hash, |place| {
            self.fetch_at(place);
            true
        });
    }

    #[inline]
    fn fetch_at(&self, place: Place) {
        if let Some(record) = self.logs.at(place) {
            record.iter().step_by(LINE).take(LINES_AHEAD).for_each(arena::prefetch);
        }
    }

    /// Drops every item if `flush`, a number that grows with each flush, was not carried out here.
    /// What it held is to be dropped without the lock.
    pub(crate) fn flush(&mut self, flush: u64) -> Option<Box<Self>> {
        if self.flushed == flush {
            return None;
        }
        let mut empty = match &self.image {
            None => Self::new(self.number, 1, &self.arena, self.evict),
            Some(image) => {
                image.note_flushed(self.number, flush, self.logs.next_label());
                Self::in_file(self.number, image, &self.arena, self.evict)
            }
        };
        empty.flushed = flush;
        (empty.cas, empty.shards, empty.cas_noted) = (self.cas, self.shards, self.cas_noted);
        empty.policy = self.policy.clone();
        (empty.settled, empty.told) = (self.settled, self.told);
        empty.counters = std::mem::take(&mut self.counters);
        Some(Box::new(std::mem::replace(self, empty)))
    }

    /// No cas unique up to `last` is given from now on.
    pub(crate) fn skip_cas(&mut self, last: u64) {
        self.cas = self.cas.max(last - last % self.shards + self.number as u64);
    }

    /// A cas unique that nobody was given.
    fn next_cas(&mut self) -> u64 {
        if self.cas + self.shards > self.cas_noted {
            self.note_cas();
        }
        self.cas += self.shards;
        self.cas
    }

    /// Has the next process know of cas uniques that may be given out from now on.
    #[cold]
    fn note_cas(&mut self) {
        if let Some(image) = &self.image {
            self.cas_noted = self.cas + CAS_NOTED_AHEAD * self.shards;
            image.note_cas(self.number, self.cas_noted);
        }
    }

    /// What is counted here.
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            items: self.index.len() as u64,
            bytes: self.live_bytes(),
            payload_bytes: self.payload,
            index_bytes: self.index.bytes() as u64,
            ..self.counters.clone()
        }
    }

    pub(crate) fn reset_stats(&mut self) {
        self.counters = Stats::default();
    }

    /// Accounts for what it uses beside segments and pages: how much more that is than last time.
    #[inline]
    pub(crate) fn settle(&mut self) -> i64 {
        let overhead = self.overhead();
        let more = overhead.wrapping_sub(self.settled).cast_signed();
        if more != 0 {
            self.settled = overhead;
        }
        more
    }

    /// Bytes of the segments and pages it holds, if it was not asked since that changed.
    #[inline]
    pub(crate) fn news_of_held(&mut self) -> Option<u64> {
        let held = self.logs.held();
        if held == self.told {
            return None;
        }
        self.told = held;
        Some(held)
    }

    /// The item of a key, expired or not.
    #[inline]
    fn look_up(&self, key: Hashed<'_>) -> Option<Found> {
        let slot = self
            .index
            .find(key.hash, |place| self.logs.at(place).and_then(record::key) == Some(key.key))?;
        let place = self.index.place(slot);
        let (head, extent) = Head::read(self.logs.at(place)?)?;
        Some(Found { slot, place, head, extent })
    }

    /// A live item.
    #[inline]
    fn find(&mut self, key: Hashed<'_>, now: Seconds) -> Option<Found> {
        let found = self.look_up(key)?;
        if !found.head.header.expired(now) {
            return Some(found);
        }
        self.counters.get_expired += 1;
        self.take_out(key, &found);
        None
    }

    #[inline]
    fn use_once(&mut self, found: &Found) {
        let Some(segment) = self.logs.segment(self.logs.segment_of(found.place)) else { return };
        let uses = self.index.uses(found.slot);
        let more = self.policy.used(segment.queue, uses, segment.begun);
        if more != uses {
            self.index.put_uses(found.slot, more);
        }
    }

    /// Writes a head of the same length over the old one. The record is then to be sealed.
    fn put_header(&mut self, found: &Found, header: Header) {
        let segment = self.logs.segment_of(found.place);
        if header.exptime != found.head.header.exptime {
            let weight = self.logs.weight(&found.head, &found.extent);
            self.logs.leave(segment, weight);
            self.logs.enter(segment, Weight { exptime: header.exptime, ..weight });
        }
        if let Some(bytes) = self.logs.at_mut(found.place) {
            Head { header, ..found.head }.write(bytes);
        }
    }

    /// The bytes an item takes, on average.
    #[inline]
    fn mean_cost(&self) -> u64 {
        let items = self.index.len().max(1) as u64;
        self.live_bytes() / items + INDEX_COST
    }

    #[inline]
    fn live_bytes(&self) -> u64 {
        Queue::ALL.into_iter().map(|queue| self.logs.bytes(queue)).sum()
    }

    /// Removes an item on request.
    fn take_out(&mut self, key: Hashed<'_>, found: &Found) {
        let Self { index, logs, .. } = self;
        index.remove(key.hash, found.slot, |place| hash_at(logs, key.hashing, place));
        self.discard(found, None);
    }

    /// Accounts for a record that is no longer in the index. Its pages go too, but for `kept`.
    fn discard(&mut self, found: &Found, kept: Option<u32>) {
        self.logs.bury(found.place);
        let segment = self.logs.segment_of(found.place);
        self.logs.leave(segment, self.logs.weight(&found.head, &found.extent));
        self.payload -= u64::from(found.head.key_len) + u64::from(found.head.value_len);
        let pages = found.head.pages.map(|pages| pages.number);
        if let Some(number) = pages.filter(|number| kept != Some(*number)) {
            self.remains.extend(self.longs.remove(number));
        }
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

fn hash_at(logs: &Logs, hashing: &RandomState, place: Place) -> u64 {
    hashing.hash_one(logs.at(place).and_then(record::key).unwrap_or_default())
}

/// The value of an item as it is.
#[inline]
fn value_at<'a>(logs: &'a Logs, long_values: &Longs, found: &Found) -> Option<Value<'a>> {
    value_of(logs.at(found.place)?, &found.head, &found.extent, long_values)
}

/// The same of an item of which this is the record, from its first byte on.
#[inline]
fn value_of<'a>(
    record: &'a [u8],
    head: &Head,
    extent: &Extent,
    longs: &Longs,
) -> Option<Value<'a>> {
    let inline = record.get(extent.value..extent.map)?;
    Some(match head.pages {
        None => Value::Slice(inline),
        Some(pages) => Value::Long(longs.pieces(pages.number)?, Cow::Borrowed(inline)),
    })
}

/// Bytes that a processor fetches at once.
const LINE: usize = 64;

/// So many of them of a record: the rest of a longer one follows by itself.
const LINES_AHEAD: usize = 3;

/// What an item takes in the index and of ghosts, about, in bytes.
const INDEX_COST: u64 = 8;

/// So many cas uniques are noted at once: seldom enough to cost nothing, and not so many that restarts
/// use them up.
const CAS_NOTED_AHEAD: u64 = 1 << 16;
