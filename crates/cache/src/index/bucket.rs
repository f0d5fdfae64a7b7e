//! One bucket of an index: twelve slots, and how many items went on past them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Place;

/// A cache line of slots; of zeros it is empty.
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C, align(64))]
pub(crate) struct Bucket {
    /// Of each lane eight bits of the hash, or `EMPTY`.
    tags: [u8; LANES],
    /// Of each lane, from the low end, two bits of uses; in the upper eight bits how many items
    /// passed this bucket because it was full. That number stays at its largest once it got there,
    /// as nobody knows then how many they are.
    counts: u32,
    places: [Place; LANES],
}

const _: () = assert!(size_of::<Bucket>() == 64);

/// What a lane holds.
#[derive(Clone, Copy)]
pub(super) struct Item {
    pub(super) lane: u8,
    pub(super) place: Place,
    pub(super) uses: u8,
}

impl Bucket {
    /// The lanes with this tag.
    #[inline]
    pub(super) fn lanes(&self, tag: u8) -> Lanes {
        let low = self.tags.first_chunk().map_or(0, |low| u64::from_le_bytes(*low));
        let high = self.tags.last_chunk().map_or(0, |high| u32::from_le_bytes(*high)).into();
        // Of the upper half only the four bytes that are tags.
        Lanes(equal(low, tag) >> 7 | (equal(high, tag) & 0x8080_8080) >> 6)
    }

    #[inline]
    pub(super) fn find(&self, tag: u8, is: &mut impl FnMut(Place) -> bool) -> Option<u8> {
        let mut lanes = self.lanes(tag);
        while let Some(lane) = lanes.pop() {
            if is(self.place(lane)) {
                return Some(lane);
            }
        }
        None
    }

    #[inline]
    pub(super) fn place(&self, lane: u8) -> Place {
        self.places.get(usize::from(lane)).copied().unwrap_or_default()
    }

    #[inline]
    pub(super) fn put_place(&mut self, lane: u8, place: Place) {
        if let Some(old) = self.places.get_mut(usize::from(lane)) {
            *old = place;
        }
    }

    #[inline]
    pub(super) fn uses(&self, lane: u8) -> u8 {
        let [uses, ..] = (self.counts >> (2 * lane) & 3).to_le_bytes();
        uses
    }

    #[inline]
    pub(super) fn put_uses(&mut self, lane: u8, uses: u8) {
        self.counts &= !(3 << (2 * lane));
        self.counts |= u32::from(uses.min(3)) << (2 * lane);
    }

    #[inline]
    pub(super) fn put(&mut self, lane: u8, tag: u8, place: Place, uses: u8) {
        if let Some(old) = self.tags.get_mut(usize::from(lane)) {
            *old = tag;
        }
        self.put_place(lane, place);
        self.put_uses(lane, uses);
    }

    /// Empties a lane; false if it was empty.
    #[inline]
    pub(super) fn clear(&mut self, lane: u8) -> bool {
        let Some(tag) = self.tags.get_mut(usize::from(lane)) else { return false };
        std::mem::replace(tag, EMPTY) != EMPTY
    }

    #[inline]
    pub(super) fn passed(&self) -> u32 {
        self.counts >> PASSED
    }

    pub(super) fn pass(&mut self) {
        if self.passed() < STUCK {
            self.counts += 1 << PASSED;
        }
    }

    pub(super) fn unpass(&mut self) {
        if (1..STUCK).contains(&self.passed()) {
            self.counts -= 1 << PASSED;
        }
    }

    pub(super) fn items(&self) -> [Option<Item>; LANES] {
        let mut lanes = 0..;
        self.tags.map(|tag| {
            let lane = lanes.next()?;
            (tag != EMPTY).then(|| Item { lane, place: self.place(lane), uses: self.uses(lane) })
        })
    }
}

/// Some lanes of a bucket: lane n of the lower eight is bit 8 n, of the upper four 8 (n - 8) + 1.
pub(super) struct Lanes(u64);

impl Lanes {
    /// Takes one of them out.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<u8> {
        if self.0 == 0 {
            return None;
        }
        let [bit, ..] = self.0.trailing_zeros().to_le_bytes();
        self.0 &= self.0 - 1;
        Some(bit >> 3 | (bit & 1) << 3)
    }
}

/// The upper bit of each byte that is `byte`, and no other bit.
#[inline]
fn equal(bytes: u64, byte: u8) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let differ = bytes ^ u64::from_le_bytes([byte; 8]);
    // The sum carries into the upper bit if a lower one is set, and never into the next byte.
    !(((differ & LOW) + LOW) | differ | LOW)
}

/// What a lane remembers of a hash. A shard is chosen by the bits above these, and a bucket by the
/// upper half.
#[inline]
pub(super) fn tag(hash: u64) -> u8 {
    let [tag, ..] = hash.to_le_bytes();
    // One in 128 items shares its tag with twice as many as the others: nothing to mend.
    if tag == EMPTY { !EMPTY } else { tag }
}

/// Slots in a bucket.
pub(super) const LANES: usize = 12;
/// The tag of an empty lane.
pub(super) const EMPTY: u8 = 0;
/// Where in its counts a bucket has the number of items that passed.
const PASSED: u32 = 24;
/// The largest number there.
pub(super) const STUCK: u32 = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_finds_the_equal_bytes_only() {
        // Next to an equal byte, a difference of one must not look equal.
        for (tag, tags) in [(1_u8, [1, 0, 1, 0, 0, 1, 2, 0, 1, 0, 0, 1]), (0x80, [0x81; 12])] {
            let bucket = Bucket { tags, ..Bucket::default() };
            let mut lanes = bucket.lanes(tag);
            let mut found: Vec<_> = std::iter::from_fn(|| lanes.pop()).map(usize::from).collect();
            found.sort_unstable();
            let expected: Vec<_> = (0..12).filter(|&lane| tags[lane] == tag).collect();
            assert_eq!(found, expected);
        }
    }
}
