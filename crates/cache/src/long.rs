//! Long values, whose whole pages are outside of their records and shared with connections.

use std::fmt;
use std::sync::Arc;

use larder_protocol::{Pieces, Piecewise};

use crate::arena::Pages;

/// The pages of a value, in as many groups as it took to write it: what is appended later is a
/// group of its own, so that nothing is copied that is already there.
#[derive(Clone, Default)]
pub(crate) struct Long {
    groups: Vec<Arc<Pages>>,
    /// Where each group ends, in pieces.
    ends: Vec<usize>,
    len: usize,
}

impl Long {
    /// This value's pages, then more.
    pub(crate) fn extended(mut self, pages: Pages) -> Self {
        self.len += pages.bytes();
        let pieces = pages.runs().len();
        self.ends.push(self.ends.last().copied().unwrap_or_default() + pieces);
        self.groups.push(Arc::new(pages));
        self
    }

    /// Bytes of memory it takes beside its pages, about.
    pub(crate) fn overhead(&self) -> u64 {
        let groups = self.groups.iter().map(|pages| 80 + 24 * pages.runs().len()).sum::<usize>();
        (80 + groups + 16 * self.groups.len()) as u64
    }
}

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
        let group = self.ends.partition_point(|end| *end <= number);
        let begin = group.checked_sub(1).and_then(|before| self.ends.get(before)).unwrap_or(&0);
        self.groups.get(group)?.runs().nth(number - begin)
    }
}

/// The long values of a shard, by the number that is in their records.
#[derive(Debug, Default)]
pub(crate) struct Longs {
    values: Vec<Option<Arc<Long>>>,
    vacant: Vec<u32>,
    overhead: u64,
}

impl Longs {
    pub(crate) fn insert(&mut self, long: Long) -> u32 {
        self.overhead += long.overhead();
        let long = Some(Arc::new(long));
        if let Some(number) = self.vacant.pop() {
            if let Some(place) = self.values.get_mut(number as usize) {
                *place = long;
            }
            return number;
        }
        self.values.push(long);
        u32::try_from(self.values.len() - 1).unwrap_or(u32::MAX)
    }

    /// Takes a value out. It may be long to drop: not under a lock.
    pub(crate) fn remove(&mut self, number: u32) -> Option<Arc<Long>> {
        let long = self.values.get_mut(number as usize)?.take()?;
        self.overhead -= long.overhead();
        self.vacant.push(number);
        Some(long)
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Arc<Long>> {
        self.values.get(number as usize)?.as_ref()
    }

    /// The value as it is handed out.
    pub(crate) fn pieces(&self, number: u32) -> Option<Pieces> {
        let long: Arc<dyn Piecewise> = Arc::clone(self.get(number)?) as _;
        Some(Pieces(long))
    }

    /// Bytes of memory they take beside their pages, about.
    pub(crate) fn overhead(&self) -> u64 {
        self.overhead + (self.values.capacity() * 8 + self.vacant.capacity() * 4) as u64
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.values.iter().flatten().count()
    }
}
