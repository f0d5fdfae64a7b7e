//! What was lately evicted, as fingerprints: enough to know one again that comes back.
#![expect(clippy::cast_possible_truncation, reason = "bits are picked from hashes and counts")]

/// Fingerprints of evicted items. The oldest are written over.
#[derive(Debug, Default)]
pub(crate) struct Ghosts {
    buckets: Box<[Bucket]>,
    /// Evictions since this table was begun.
    now: u64,
    /// An age counts evictions in units of two to this power, so that it stays short.
    unit: u32,
}

/// A cache line of ghosts: a fingerprint of 16 bits, where it was, and 15 bits of when it went.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Bucket([u32; 16]);

/// Where a ghost was, and how long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ghost {
    pub(crate) from_probation: bool,
    /// Evictions since then, about.
    pub(crate) age: u64,
}

impl Ghosts {
    /// Bytes they take.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    /// Remembers an eviction from a shard with so many items.
    #[inline]
    pub(crate) fn add(&mut self, hash: u64, from_probation: bool, items: usize) {
        let wanted = (items / ITEMS_PER_GHOST).div_ceil(BUCKET_LEN).max(1);
        let has = self.buckets.len();
        if wanted > has + has / 4 || wanted < has / 2 {
            self.begin(wanted);
        }
        self.now += 1;
        let (now, unit) = (self.now, self.unit);
        let number = self.number(hash);
        let Some(bucket) = self.buckets.get_mut(number) else { return };
        let age = |ghost: u32| if ghost == 0 { u64::MAX } else { age(ghost, now >> unit) };
        let Some(oldest) = bucket.0.iter_mut().max_by_key(|ghost| age(**ghost)) else { return };
        let when = (now >> unit) as u32 & MAX_AGE;
        *oldest = fingerprint(hash) << 16 | when << 1 | u32::from(from_probation);
    }

    /// The ghost of this hash, if there is one.
    #[inline]
    pub(crate) fn find(&self, hash: u64) -> Option<Ghost> {
        let bucket = self.buckets.get(self.number(hash))?;
        let ghost = bucket.0.iter().find(|ghost| **ghost >> 16 == fingerprint(hash))?;
        let age = age(*ghost, self.now >> self.unit) << self.unit;
        Some(Ghost { from_probation: ghost & 1 == 1, age })
    }

    /// Forgets the ghost of this hash.
    pub(crate) fn forget(&mut self, hash: u64) {
        let number = self.number(hash);
        let Some(bucket) = self.buckets.get_mut(number) else { return };
        if let Some(ghost) = bucket.0.iter_mut().find(|ghost| **ghost >> 16 == fingerprint(hash)) {
            *ghost = 0;
        }
    }

    /// Begins anew with so many buckets. A shard's items are as many as ever, but for the time in
    /// which it fills, when nothing is evicted.
    fn begin(&mut self, buckets: usize) {
        self.buckets = vec![Bucket([0; BUCKET_LEN]); buckets].into();
        let ghosts = buckets * BUCKET_LEN;
        self.unit = (ghosts / UNITS_PER_TABLE).checked_ilog2().map_or(0, |log| log + 1);
        self.now = 0;
    }

    #[inline]
    fn number(&self, hash: u64) -> usize {
        (((hash >> 32) * self.buckets.len() as u64) >> 32) as usize
    }
}

/// Sixteen bits of a hash that are not in its bucket's number; never 0, which is no ghost.
#[inline]
fn fingerprint(hash: u64) -> u32 {
    ((hash >> 16) as u32 & 0xffff).max(1)
}

#[inline]
fn age(ghost: u32, now: u64) -> u64 {
    u64::from((now as u32).wrapping_sub(ghost >> 1) & MAX_AGE)
}

const BUCKET_LEN: usize = 16;

/// One ghost for so many items. More of them, at four bytes each, cost more than they bring.
const ITEMS_PER_GHOST: usize = 4;

/// Fifteen bits.
const MAX_AGE: u32 = 0x7fff;

/// A table's worth of evictions is at most so many units, so that one that is overlooked for eight
/// times as long does not seem young.
const UNITS_PER_TABLE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::tests::mix as hash;

    fn take(ghosts: &mut Ghosts, hash: u64) -> Option<Ghost> {
        let found = ghosts.find(hash);
        ghosts.forget(hash);
        found
    }

    #[test]
    fn one_that_comes_back_is_known_once() {
        let mut ghosts = Ghosts::default();
        assert_eq!(take(&mut ghosts, hash(1)), None);
        ghosts.add(hash(1), true, 1000);
        ghosts.add(hash(2), false, 1000);
        assert_eq!(take(&mut ghosts, hash(1)), Some(Ghost { from_probation: true, age: 1 }));
        assert_eq!(take(&mut ghosts, hash(1)), None);
        assert_eq!(take(&mut ghosts, hash(2)), Some(Ghost { from_probation: false, age: 0 }));
    }

    #[test]
    fn the_latest_are_remembered_and_the_oldest_are_not() {
        let (items, evicted) = (40_000, 100_000);
        let mut ghosts = Ghosts::default();
        for number in 0..evicted {
            ghosts.add(hash(number), true, items);
        }
        let mut known = |from: u64, to: u64| {
            (from..to).filter(|number| take(&mut ghosts, hash(*number)).is_some()).count()
        };
        assert!(known(evicted - 4000, evicted) > 3900);
        assert!(known(0, 50_000) < 100);
    }

    #[test]
    fn ages_are_right_to_a_few_units() {
        let mut ghosts = Ghosts::default();
        let items = 4_000_000;
        for number in 0..500_000_u64 {
            ghosts.add(hash(number), true, items);
        }
        for number in [0, 250_000, 499_000] {
            let age = take(&mut ghosts, hash(number)).unwrap().age;
            assert!(age.abs_diff(499_999 - number) < 1024, "{number}: {age}");
        }
    }

    #[test]
    fn they_take_a_byte_an_item() {
        let mut ghosts = Ghosts::default();
        ghosts.add(hash(0), true, 1_000_000);
        assert!(ghosts.bytes() <= 1_001_000, "{}", ghosts.bytes());
    }
}
