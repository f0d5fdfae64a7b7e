//! Where the items of a shard are.
//!
//! An [`Index`] maps hashes to places in the shard's log. It knows no keys: whether the record at a
//! place is the one that is looked for, the caller says.
//!
//! Its table is a row of buckets, each a cache line of twelve slots. An item's home is the bucket
//! that its hash falls on when all hashes are spread over the row in their order. An item that
//! finds its home full goes to the next bucket that is not, and every bucket that it passes counts
//! it, so that a lookup knows where to stop.
//!
//! A table that is too full, or too empty, is replaced by another, and no call pays for that alone:
//! each empties one bucket of the old table into the new. As the homes have the same order in both,
//! the new table is filled from its start while the old one is emptied from its own, and neither
//! has memory for the part without items.
//!
//! - `bucket`: the slots of a cache line
//! - `row`: their memory
//! - `span`: the items in the order of their hashes, a part at a time

mod bucket;
mod row;
mod span;

use std::alloc::{Layout, handle_alloc_error};

use bucket::{Bucket, EMPTY, LANES, tag};
use row::{PAGE, Row};
pub(crate) use span::Span;

/// The address of a record in a shard's log.
pub(crate) type Place = u32;

/// Places by hash, with a small count of uses for each.
pub(crate) struct Index {
    table: Table,
    /// The table that is being emptied into `table`; of no buckets when there is none.
    old: Table,
    /// How many buckets of `old` were emptied. It goes beyond their number when the last of them
    /// has overflowed into the first, which are then emptied once more.
    emptied: u32,
    /// Items whose home in `old` is below this one are put into `table`, the others into `old`.
    swept: u32,
    /// No item whose home in `old` is below this one is in `old`; never above `swept`. Between the
    /// two are the homes whose overflow may not have been reached.
    clear: u32,
    /// The buckets of `old` before this one were freed, but for those that may still be looked at.
    left: u32,
    len: usize,
}

/// Where an item is in an index; good until the next insert or remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    bucket: u32,
    lane: u8,
    old: bool,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self::with_room(0)
    }

    /// An empty one that so many items can be added to before it grows.
    pub(crate) fn with_room(items: usize) -> Self {
        let buckets = u32::try_from(items as u64 * 100 / GROW_AT + 1).unwrap_or(MAX_BUCKETS);
        let buckets = buckets.min(MAX_BUCKETS).next_multiple_of(PAGE);
        Self {
            table: Table::new(buckets).unwrap_or_else(|| no_memory(buckets)),
            old: Table::default(),
            emptied: IDLE,
            swept: IDLE,
            clear: IDLE,
            left: 0,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory behind it.
    pub(crate) fn bytes(&self) -> usize {
        self.table.row.bytes() + self.old.row.bytes()
    }

    /// The item of this hash that `is` at one of the places it is asked about.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is: impl FnMut(Place) -> bool) -> Option<Slot> {
        let old_home = self.old.home(hash);
        let old = old_home >= self.swept;
        let table = self.side(old);
        let at = table.home(hash);
        let mut passed = true;
        if let Some(bucket) = table.row.get(at) {
            if let Some(lane) = bucket.find(tag(hash), &mut is) {
                return Some(Slot { bucket: at, lane, old });
            }
            passed = bucket.passed() > 0;
        }
        // Both are rare.
        let divided = !old && old_home >= self.clear;
        if passed || divided { self.find_beyond(hash, old, divided, &mut is) } else { None }
    }

    /// The item of this hash at `place`.
    #[inline]
    pub(crate) fn find_place(&self, hash: u64, place: Place) -> Option<Slot> {
        self.find(hash, |other| other == place)
    }

    /// The memory that a lookup of this hash reads first.
    #[inline]
    pub(crate) fn line(&self, hash: u64) -> Option<&Bucket> {
        let table = self.side(self.old.home(hash) >= self.swept);
        table.row.get(table.home(hash))
    }

    #[inline]
    pub(crate) fn place(&self, slot: Slot) -> Place {
        self.side(slot.old).row.get(slot.bucket).map_or(0, |bucket| bucket.place(slot.lane))
    }

    #[inline]
    pub(crate) fn put_place(&mut self, slot: Slot, place: Place) {
        if let Some(bucket) = self.side_mut(slot.old).row.get_mut(slot.bucket) {
            bucket.put_place(slot.lane, place);
        }
    }

    /// How often the item was used, 0 to 3, as told by `put_uses` or `insert`.
    #[inline]
    pub(crate) fn uses(&self, slot: Slot) -> u8 {
        self.side(slot.old).row.get(slot.bucket).map_or(0, |bucket| bucket.uses(slot.lane))
    }

    #[inline]
    pub(crate) fn put_uses(&mut self, slot: Slot, uses: u8) {
        if let Some(bucket) = self.side_mut(slot.old).row.get_mut(slot.bucket) {
            bucket.put_uses(slot.lane, uses);
        }
    }

    /// Adds an item, without looking for an equal one. `hash_of` gives the hash of the item at a
    /// place; it is asked at most [`LANES`] times.
    pub(crate) fn insert(
        &mut self,
        hash: u64,
        place: Place,
        uses: u8,
        hash_of: impl FnMut(Place) -> u64,
    ) {
        if !self.is_moving() && reaches(self.len, self.table.buckets, GROW_AT) {
            self.replace(grown(self.table.buckets));
        }
        if self.is_moving() {
            self.step(hash_of);
        }
        let old = self.old.home(hash) >= self.swept;
        self.side_mut(old).put(hash, place, uses);
        self.len += 1;
    }

    /// Takes the item of this hash out of its slot. `hash_of` is asked as by `insert`.
    pub(crate) fn remove(&mut self, hash: u64, slot: Slot, hash_of: impl FnMut(Place) -> u64) {
        if self.side_mut(slot.old).take(hash, slot.bucket, slot.lane) {
            self.len -= 1;
        }
        // A table that grows need not be helped by removals, unless it has become too large.
        if reaches(self.len, self.table.buckets, SHRINK_AT) {
            if self.old.buckets > self.table.buckets {
                self.step(hash_of);
            }
            return;
        }
        let fewer = shrunk(self.table.buckets);
        if !self.is_moving() && fewer < self.table.buckets {
            self.replace(fewer);
        }
        if self.is_moving() {
            self.step(hash_of);
        }
    }

    /// The places of all items, in no order.
    #[cfg(test)]
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        let tables = [&self.table, &self.old].into_iter();
        let all = tables.flat_map(|table| (0..table.buckets).filter_map(|at| table.row.get(at)));
        all.flat_map(Bucket::items).flatten().map(|item| item.place)
    }

    #[inline]
    fn side(&self, old: bool) -> &Table {
        if old { &self.old } else { &self.table }
    }

    #[inline]
    fn side_mut(&mut self, old: bool) -> &mut Table {
        if old { &mut self.old } else { &mut self.table }
    }

    /// The same for an item that is not in its home bucket, or that is in the old table though the
    /// new one was searched.
    #[cold]
    #[inline(never)]
    fn find_beyond(
        &self,
        hash: u64,
        old: bool,
        divided: bool,
        is: &mut impl FnMut(Place) -> bool,
    ) -> Option<Slot> {
        let found =
            self.side(old).find(hash, 1, is).map(|(bucket, lane)| Slot { bucket, lane, old });
        if found.is_some() || !divided {
            return found;
        }
        let (bucket, lane) = self.old.find(hash, 0, is)?;
        Some(Slot { bucket, lane, old: true })
    }

    fn is_moving(&self) -> bool {
        self.old.buckets > 0
    }

    /// Begins to move the items to a table of so many buckets.
    ///
    /// Neither table can become full before the end, as each insert makes a step. All homes are
    /// swept after a step for each bucket of the old table, which until then gets no more than one
    /// item for each: 11.56 items a bucket, of twelve. The end comes after as many steps again at
    /// the most, and the new table has then, for each bucket of the old one, 12.56 items for 15
    /// slots if it is the larger, and 6.2 items for 7.2 slots if it is the smaller. Both are below
    /// `GROW_AT`, so that it can be said again of the next.
    #[cold]
    fn replace(&mut self, buckets: u32) {
        let Some(table) = Table::new(buckets) else {
            // There may be memory again before this one is full.
            if reaches(self.len, self.table.buckets, FULL_AT) {
                no_memory(buckets)
            }
            return;
        };
        self.old = std::mem::replace(&mut self.table, table);
        self.emptied = 0;
        self.swept = 0;
        self.clear = 0;
        self.left = 0;
    }

    /// Empties the next bucket of the old table.
    fn step(&mut self, mut hash_of: impl FnMut(Place) -> u64) {
        let again = self.emptied >= self.old.buckets;
        let at = if again { self.emptied - self.old.buckets } else { self.emptied };
        let items = self.old.row.get(at).map_or([None; LANES], Bucket::items);
        // All hashes first, so that the processor fetches the records together.
        let hashed = items.map(|item| item.map(|item| (hash_of(item.place), item)));
        for (hash, item) in hashed.into_iter().flatten() {
            // What overflowed from the end of the row waits until its home has been swept.
            let home = self.old.home(hash);
            if (again || home <= at) && self.old.take(hash, at, item.lane) {
                self.table.put(hash, item.place, item.uses);
            }
        }
        self.emptied += 1;
        let passed = self.old.passed(at) > 0;
        if !again {
            self.swept = self.emptied;
            if !passed {
                self.clear = self.emptied;
                self.leave();
            }
        }
        let all = self.old.buckets;
        if self.emptied >= all && (!passed || self.emptied - all == all) {
            self.old = Table::default();
            self.swept = IDLE;
            self.clear = IDLE;
        }
    }

    /// Frees the memory of the old table that holds nothing any more.
    fn leave(&mut self) {
        let part = self.old.row.part();
        while self.left + part <= self.clear {
            // What overflowed from the end of the row may still be there.
            if self.old.passed(self.old.before(self.left)) == 0 {
                self.old.row.free(self.left);
            }
            self.left += part;
        }
    }
}

/// A row of buckets, where each hash has its home.
#[derive(Default)]
struct Table {
    row: Row,
    buckets: u32,
}

impl Table {
    /// `None` if there is no memory.
    fn new(buckets: u32) -> Option<Self> {
        Some(Self { row: Row::new(buckets)?, buckets })
    }

    /// The bucket that a hash falls on: of hashes in order the buckets are in order, too.
    #[inline]
    fn home(&self, hash: u64) -> u32 {
        (((hash >> 32) * u64::from(self.buckets)) >> 32) as u32
    }

    #[inline]
    fn after(&self, at: u32) -> u32 {
        if at + 1 < self.buckets { at + 1 } else { 0 }
    }

    fn before(&self, at: u32) -> u32 {
        at.checked_sub(1).unwrap_or(self.buckets.saturating_sub(1))
    }

    fn passed(&self, at: u32) -> u32 {
        self.row.get(at).map_or(0, Bucket::passed)
    }

    /// Bucket and lane of the item of this hash that `is` at the place there, if it is not in the
    /// first `skipped` buckets from its home on.
    fn find(
        &self,
        hash: u64,
        skipped: u32,
        is: &mut impl FnMut(Place) -> bool,
    ) -> Option<(u32, u8)> {
        let mut at = self.home(hash);
        for number in 0..self.buckets {
            let bucket = self.row.get(at)?;
            if number >= skipped
                && let Some(lane) = bucket.find(tag(hash), is)
            {
                return Some((at, lane));
            }
            if bucket.passed() == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Puts an item into the first bucket from its home on that has room.
    #[inline]
    fn put(&mut self, hash: u64, place: Place, uses: u8) {
        let mut at = self.home(hash);
        for _ in 0..self.buckets {
            let Some(bucket) = self.row.put_to_use(at) else { break };
            if let Some(lane) = bucket.lanes(EMPTY).pop() {
                bucket.put(lane, tag(hash), place, uses);
                return;
            }
            bucket.pass();
            at = self.after(at);
        }
        debug_assert!(false, "a table is replaced before it is full");
    }

    /// Empties a lane of an item of this hash; false if it was empty.
    #[inline]
    fn take(&mut self, hash: u64, from: u32, lane: u8) -> bool {
        let Some(bucket) = self.row.get_mut(from) else { return false };
        if !bucket.clear(lane) {
            return false;
        }
        let mut at = self.home(hash);
        while at != from {
            if let Some(bucket) = self.row.get_mut(at) {
                bucket.unpass();
            }
            at = self.after(at);
        }
        true
    }
}

/// Whether `len` items are so many for each hundred buckets.
#[inline]
fn reaches(len: usize, buckets: u32, per_hundred: u64) -> bool {
    len as u64 * 100 >= u64::from(buckets) * per_hundred
}

/// Buckets of the table after one of `buckets` that is full. So each item is moved for four that are
/// inserted, or four moves for one; an eighth would save .2 bytes an item, and a set that fills a
/// cache would take a sixth more of the processor's time.
fn grown(buckets: u32) -> u32 {
    (buckets + buckets / 4 + 1).next_multiple_of(PAGE)
}

/// Buckets of the table after one of `buckets` that is all but empty: as many if it is small.
fn shrunk(buckets: u32) -> u32 {
    (buckets - buckets / 5 * 2).next_multiple_of(PAGE)
}

fn no_memory(buckets: u32) -> ! {
    handle_alloc_error(Layout::array::<Bucket>(buckets as usize).unwrap_or(Layout::new::<Bucket>()))
}

/// Items for each hundred buckets at which a table is replaced by a larger one, 88 % of the slots,
/// or by a smaller one, 35 %. A fuller table makes more lookups go on to a second bucket: at 88 % it
/// is one in eleven of those that find an item and nearly half of those that find none, when the table
/// has just grown, at 77 %, one in 24 and one in five.
const GROW_AT: u64 = 1056;
const SHRINK_AT: u64 = 420;
/// The same at which it must be replaced.
const FULL_AT: u64 = 1150;

/// Those of more items than there are places.
const MAX_BUCKETS: u32 = 1 << 29;
/// What the marks in the old table are when there is none: above the home that any hash has there.
const IDLE: u32 = 1;

#[cfg(test)]
pub(crate) mod tests;
