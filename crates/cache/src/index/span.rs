//! A part of all hashes: what a walk over an index goes by, since it is the same part however the
//! tables change between two steps.

use super::bucket::Item;
use super::{Index, Place, Table};

/// The hashes whose upper halves are from one number up to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    from: u64,
    /// Not among them.
    to: u64,
}

impl Span {
    /// All hashes.
    pub(crate) const ALL: Self = Self { from: 0, to: 1 << 32 };

    #[inline]
    pub(crate) fn has(self, hash: u64) -> bool {
        (self.from..self.to).contains(&(hash >> 32))
    }

    /// The hashes behind it. `None` if there are none.
    pub(crate) fn rest(self) -> Option<Self> {
        (self.to < Self::ALL.to).then_some(Self { from: self.to, ..Self::ALL })
    }
}

impl Index {
    /// The beginning of a span, of hashes that fall on no more than so many buckets of the table.
    pub(crate) fn beginning(&self, span: Span, buckets: u32) -> Span {
        let row = u64::from(self.table.buckets);
        let end = u64::from(self.table.home(span.from << 32)) + u64::from(buckets.max(1));
        // The lowest whose home is `end`.
        let to = (end << 32).div_ceil(row);
        Span { to: to.min(span.to), ..span }
    }

    /// Shows place and uses of all items whose hashes are in a span, and of some of its neighbours.
    pub(crate) fn visit(&self, span: Span, mut visit: impl FnMut(Place, u8)) {
        let mut visit = |item: Item| visit(item.place, item.uses);
        self.table.visit(span, &mut visit);
        self.old.visit(span, &mut visit);
    }
}

impl Table {
    fn visit(&self, span: Span, visit: &mut impl FnMut(Item)) {
        let mut at = self.home(span.from << 32);
        let homes = self.home((span.to - 1) << 32) - at;
        for number in 0..self.buckets {
            if let Some(bucket) = self.row.get(at) {
                bucket.items().into_iter().flatten().for_each(&mut *visit);
            }
            // Behind the last home may be what found it full.
            if number >= homes && self.passed(at) == 0 {
                return;
            }
            at = self.after(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::tests::mix;

    fn hash(place: Place) -> u64 {
        mix(place.into())
    }

    /// Walks over the index in steps of so many buckets, calls `between` after each, and counts how
    /// often each of the first `items` was seen.
    fn walk(
        index: &mut Index,
        hash: impl Fn(Place) -> u64,
        buckets: u32,
        items: Place,
        mut between: impl FnMut(&mut Index),
    ) -> Vec<u32> {
        let mut seen = vec![0; items as usize];
        let mut left = Some(Span::ALL);
        while let Some(span) = left {
            let step = index.beginning(span, buckets);
            index.visit(step, |place, _| {
                if step.has(hash(place)) && place < items {
                    seen[place as usize] += 1;
                }
            });
            left = step.rest();
            between(index);
        }
        seen
    }

    #[test]
    fn what_stays_is_seen_once_while_the_index_grows_and_shrinks() {
        const STAY: Place = 2000;
        for (buckets, others) in [(1, 40), (1, 400), (7, 300), (1000, 9000)] {
            let mut index = Index::new();
            (0..STAY).for_each(|place| index.insert(hash(place), place, 1, hash));
            let (mut next, mut steps) = (STAY, 0);
            let (mut smallest, mut largest) = (u32::MAX, 0);
            let seen = walk(&mut index, hash, buckets, STAY, |index| {
                // Others come for a while, then go.
                steps += 1;
                for _ in 0..others {
                    if steps % 40 < 20 {
                        index.insert(hash(next), next, 0, hash);
                        next += 1;
                    } else if next > STAY {
                        next -= 1;
                        let slot = index.find_place(hash(next), next).unwrap();
                        index.remove(hash(next), slot, hash);
                    }
                }
                smallest = smallest.min(index.table.buckets);
                largest = largest.max(index.table.buckets);
            });
            assert!(seen.iter().all(|times| *times == 1), "steps of {buckets}");
            assert!(buckets > 1 || largest > smallest, "{largest}");
        }
    }

    #[test]
    fn what_overflows_is_seen_once() {
        // All but the last bits are set: one home for all, at the end of the row.
        let crowded = |place: Place| u64::MAX << 32 | hash(place) >> 32;
        let few = |place: Place| hash(place % 5);
        for hash in [&crowded as &dyn Fn(Place) -> u64, &few] {
            let mut index = Index::new();
            for items in 1..300 {
                index.insert(hash(items - 1), items - 1, 0, hash);
                let seen = walk(&mut index, hash, 1, items, |_| ());
                assert!(seen.iter().all(|times| *times == 1), "{items} items");
            }
        }
    }

    #[test]
    fn a_step_is_as_short_as_it_is_told_to_be() {
        let mut index = Index::new();
        (0..100_000).for_each(|place| index.insert(hash(place), place, 0, hash));
        let (mut left, mut steps) = (Some(Span::ALL), 0);
        while let Some(span) = left {
            let step = index.beginning(span, 16);
            let mut shown = 0;
            index.visit(step, |_, _| shown += 1);
            // Overflow, and buckets of two tables.
            assert!(shown < 2 * 12 * 16 + 12 * 16, "{shown}");
            left = step.rest();
            steps += 1;
        }
        assert!(steps <= index.table.buckets / 16 + 1, "{steps}");
    }
}
