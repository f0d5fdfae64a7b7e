//! Long values, whose whole pages are outside of their records and shared with connections.

use std::fmt;
use std::sync::Arc;

use larder_protocol::{Pieces, Piecewise};
use smallvec::SmallVec;
use xxhash_rust::xxh3::Xxh3;

use crate::arena::{self, PAGE_BYTES, Pages, Recovery};
use crate::field::take;

/// The pages of a value, in as many groups as it took to write it: what is appended later is a
/// group of its own, so that nothing is copied that is already there.
#[derive(Clone, Default)]
pub(crate) struct Long {
    // Most have one, which is found without another access.
    groups: SmallVec<[Group; 1]>,
    len: usize,
    /// In a file, of each group: a checksum, how many runs, and of each run the first page and the
    /// one behind its last. It is empty if it would be too long; then the next process will not find
    /// the value.
    map: Vec<u8>,
}

#[derive(Clone)]
struct Group {
    pages: Arc<Pages>,
    /// Where it ends, in pieces.
    end: usize,
}

impl Long {
    /// This value's pages, then more; in a file with their checksum, for the map.
    pub(crate) fn extended(mut self, pages: Pages, check: Option<u64>) -> Self {
        if let Some(check) = check
            && (self.len == 0 || !self.map.is_empty())
        {
            let runs = u32::try_from(pages.runs().len()).unwrap_or(u32::MAX);
            self.map.extend_from_slice(&check.to_le_bytes());
            self.map.extend_from_slice(&runs.to_le_bytes());
            for run in pages.numbers() {
                self.map.extend_from_slice(&run.start.to_le_bytes());
                self.map.extend_from_slice(&run.end.to_le_bytes());
            }
            if self.map.len() > pages.segment_bytes() / MAP_OF_SEGMENT {
                self.map = Vec::new();
            }
        }
        self.len += pages.bytes();
        let end = self.groups.last().map_or(0, |group| group.end) + pages.runs().len();
        self.groups.push(Group { pages: Arc::new(pages), end });
        self
    }

    /// The pages, group by group.
    pub(crate) fn pages(&self) -> impl Iterator<Item = &Pages> + Clone {
        self.groups.iter().map(|group| &*group.pages)
    }

    /// Bytes of the map of a value whose pages are these.
    pub(crate) fn map_len(pages: &Pages) -> usize {
        size_of::<u64>() + size_of::<u32>() + pages.runs().len() * 2 * size_of::<u32>()
    }

    /// Where the pages of a file are that it has.
    pub(crate) fn map(&self) -> &[u8] {
        &self.map
    }

    /// The value of `len` bytes that a map tells of; `None` if the file has another there.
    pub(crate) fn recover(
        mut map: &[u8],
        len: usize,
        recovery: &mut Recovery,
        secret: u64,
    ) -> Option<Self> {
        let mut long = Self::default();
        while !map.is_empty() {
            let check = u64::from_le_bytes(take(&mut map)?);
            let runs = u32::from_le_bytes(take(&mut map)?);
            let mut numbers = Vec::new();
            for _ in 0..runs {
                let first = u32::from_le_bytes(take(&mut map)?);
                let end = u32::from_le_bytes(take(&mut map)?);
                let left = (len - long.len) / PAGE_BYTES - numbers.len();
                if end.checked_sub(first)? as usize > left {
                    return None;
                }
                numbers.extend(first..end);
            }
            let pages = recovery.claim_pages(&numbers)?;
            if checksum(&pages, secret) != check {
                recovery.reject(pages);
                return None;
            }
            long = long.extended(pages, Some(check));
        }
        (long.len == len).then_some(long)
    }

    /// Bytes of memory it takes beside its pages, about.
    pub(crate) fn overhead(&self) -> u64 {
        let pages = self.groups.iter().map(|group| SHARED + group.pages.overhead()).sum::<usize>();
        let spilled = if self.groups.spilled() { self.groups.capacity() } else { 0 };
        (SHARED + size_of::<Self>() + spilled * size_of::<Group>() + pages + self.map.len()) as u64
    }
}

/// What the map says of pages, so that they are known again.
pub(crate) fn checksum(pages: &Pages, secret: u64) -> u64 {
    let mut sum = Xxh3::with_seed(secret);
    pages.runs().for_each(|run| sum.update(run));
    sum.digest()
}

/// What an allocation takes beside what is shared in it: two counts, and the allocator's own.
const SHARED: usize = 32;

/// A record must fit a segment, map and all: so the map may be this part of one, which is enough for
/// some hundred megabytes.
const MAP_OF_SEGMENT: usize = 2;

impl fmt::Debug for Long {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Long").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Piecewise for Long {
    fn len(&self) -> usize {
        self.len
    }

    fn piece(&self, number: usize) -> Option<&[u8]> {
        let at = self.groups.partition_point(|group| group.end <= number);
        let before = at.checked_sub(1).and_then(|before| self.groups.get(before));
        self.groups.get(at)?.pages.run(number - before.map_or(0, |group| group.end))
    }
}

/// The long values of a shard, by the number that is in their records.
#[derive(Debug, Default)]
pub(crate) struct Longs {
    values: Vec<Option<Numbered>>,
    vacant: Vec<u32>,
    overhead: u64,
    /// The next that is looked at by [`survey`](Self::survey).
    next: usize,
}

#[derive(Clone, Debug)]
struct Numbered {
    long: Arc<Long>,
    /// By which its record is found.
    hash: u64,
}

/// A long value and where it was found.
pub(crate) struct Sighting {
    pub(crate) number: u32,
    pub(crate) hash: u64,
    pub(crate) long: Arc<Long>,
}

impl Longs {
    /// Puts a value where it was in another process; `false` if there is one already.
    pub(crate) fn restore(&mut self, number: u32, hash: u64, long: Long) -> bool {
        let overhead = long.overhead();
        let at = number as usize;
        if at >= MOST_RESTORED {
            return false;
        }
        if at >= self.values.len() {
            self.values.resize(at + 1, None);
        }
        match self.values.get_mut(at) {
            Some(place @ None) => *place = Some(Numbered { long: Arc::new(long), hash }),
            _ => return false,
        }
        self.overhead += overhead;
        true
    }

    /// All are restored: the other numbers are free.
    pub(crate) fn restored(&mut self) {
        let free = (0..).zip(&self.values).filter(|(_, value)| value.is_none());
        self.vacant = free.map(|(number, _)| number).collect();
    }

    /// Adds the value of a key of this hash. Its number.
    pub(crate) fn insert(&mut self, hash: u64, long: Arc<Long>) -> u32 {
        self.overhead += long.overhead();
        let value = Some(Numbered { long, hash });
        if let Some(number) = self.vacant.pop() {
            if let Some(place) = self.values.get_mut(number as usize) {
                *place = value;
            }
            return number;
        }
        self.values.push(value);
        u32::try_from(self.values.len() - 1).unwrap_or(u32::MAX)
    }

    /// Takes a value out. It may be long to drop: not under a lock.
    pub(crate) fn remove(&mut self, number: u32) -> Option<Arc<Long>> {
        let Numbered { long, .. } = self.values.get_mut(number as usize)?.take()?;
        self.overhead -= long.overhead();
        self.vacant.push(number);
        Some(long)
    }

    /// Has another be the value of this number: the same bytes in other pages. The old one, as with
    /// [`remove`](Self::remove).
    pub(crate) fn replace(&mut self, number: u32, long: Arc<Long>) -> Option<Arc<Long>> {
        let place = self.values.get_mut(number as usize)?.as_mut()?;
        self.overhead = self.overhead + long.overhead() - place.long.overhead();
        Some(std::mem::replace(&mut place.long, long))
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Arc<Long>> {
        self.values.get(number as usize)?.as_ref().map(|value| &value.long)
    }

    /// Looks at the next few values, of all one after the other: the first of them that `is`.
    pub(crate) fn survey<T>(
        &mut self,
        mut is: impl FnMut(&Long) -> Option<T>,
    ) -> Option<(Sighting, T)> {
        for _ in 0..self.values.len().min(SURVEYED) {
            let number = self.next;
            self.next = (number + 1) % self.values.len();
            let Some(Numbered { long, hash }) = self.values.get(number).and_then(Option::as_ref)
            else {
                continue;
            };
            if let Some(found) = is(long) {
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                return Some((Sighting { number, hash: *hash, long: Arc::clone(long) }, found));
            }
        }
        None
    }

    /// The value as it is handed out.
    pub(crate) fn pieces(&self, number: u32) -> Option<Pieces> {
        let long = Arc::clone(self.get(number)?);
        // They are looked at soon, when the reply is written.
        if let Some(first) = long.groups.first() {
            arena::prefetch(&*first.pages);
        }
        Some(Pieces(long))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.len() == self.vacant.len()
    }

    /// Bytes of memory they take beside their pages, about.
    pub(crate) fn overhead(&self) -> u64 {
        self.overhead
            + (self.values.capacity() * size_of::<Option<Numbered>>() + self.vacant.capacity() * 4)
                as u64
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.values.iter().flatten().count()
    }
}

/// So many values are looked at under one lock, each of which may have many runs.
const SURVEYED: usize = 16;

/// No file has more: a shard is of 4 GiB, and a long value of two pages.
const MOST_RESTORED: usize = 1 << 20;
