//! Which group a key belongs to.

use xxhash_rust::xxh3::xxh3_64;

use crate::placement::GroupId;

/// How many slots keys are spread over, in every cluster and for good.
pub(crate) const SLOTS: u16 = 1024;

/// The slot of a key.
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    // The low bits of a hash are as good as any.
    let [low, high, ..] = xxh3_64(key).to_le_bytes();
    u16::from_le_bytes([low, high]) % SLOTS
}

/// The group that has a slot, of so many: groups beside group 0 have slots that follow each other.
pub(crate) fn group_of(slot: u16, groups: u16) -> GroupId {
    1 + u64::from(slot) * u64::from(groups) / u64::from(SLOTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_slot_for_good() {
        let slots = [&b""[..], b"a", b"key", &[0xff; 250]].map(slot_of);
        assert_eq!(slots, [194, 543, 483, 552]);
    }

    #[test]
    fn groups_have_as_many_slots_each_but_for_one() {
        for groups in [1, 2, 3, 7, 12, SLOTS] {
            let mut counts = vec![0_u16; usize::from(groups)];
            for slot in 0..SLOTS {
                counts[usize::try_from(group_of(slot, groups)).unwrap() - 1] += 1;
            }
            let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
            assert!(most - least <= 1, "{groups}: {counts:?}");
        }
    }

    #[test]
    fn keys_that_are_alike_are_spread() {
        let mut counts = [0_u32; 12];
        for number in 0..12_000 {
            let slot = slot_of(format!("user:{number}").as_bytes());
            counts[usize::try_from(group_of(slot, 12)).unwrap() - 1] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
