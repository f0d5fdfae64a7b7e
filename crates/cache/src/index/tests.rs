use std::collections::HashMap;

use proptest::prelude::*;

use super::bucket::STUCK;
use super::*;
use crate::arena::PAGE_BYTES;

/// How a test hashes its keys.
#[derive(Clone, Copy, Debug)]
enum Hashing {
    Even,
    /// Few different hashes.
    Few,
    /// Buckets near the end of the row, so that they overflow into the first ones.
    End,
    /// Different buckets, but one tag.
    OneTag,
}

impl Hashing {
    fn hash(self, key: u32) -> u64 {
        match self {
            Self::Even => mix(key.into()),
            Self::Few => mix(u64::from(key) % 7),
            Self::End => mix(key.into()) | 0xffc0_0000_0000_0000,
            Self::OneTag => mix(key.into()) & !0xff,
        }
    }
}

/// Numbers that look random.
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// An index beside what should be in it. The lower half of a place is the key.
struct Model {
    index: Index,
    hashing: Hashing,
    items: HashMap<u32, (Place, u8)>,
    stores: u32,
    /// How many steps moved items, and to a larger and a smaller table.
    grew: u32,
    shrank: u32,
}

impl Model {
    fn new(hashing: Hashing) -> Self {
        let index = Index::new();
        Self { index, hashing, items: HashMap::new(), stores: 0, grew: 0, shrank: 0 }
    }

    fn find(&self, key: u32) -> Option<Slot> {
        self.index.find(self.hashing.hash(key), |place| {
            let item = self.items.get(&(place & 0xffff));
            assert_eq!(item.map(|item| item.0), Some(place), "asked about what is not there");
            place & 0xffff == key
        })
    }

    /// Stores an item, or moves it.
    fn store(&mut self, key: u32, uses: u8) {
        self.stores += 1;
        let place = (self.stores << 16) | key;
        let before = self.items.get(&key).copied();
        let slot = self.find(key);
        assert_eq!(slot.is_some(), before.is_some());
        if let Some((slot, (place_before, _))) = slot.zip(before) {
            assert_eq!(self.index.find_place(self.hashing.hash(key), place_before), Some(slot));
            self.index.put_place(slot, place);
            self.index.put_uses(slot, uses);
        } else {
            let (hashing, items) = (self.hashing, &self.items);
            let mut calls = 0;
            self.index.insert(hashing.hash(key), place, uses, |place| {
                calls += 1;
                assert_eq!(items[&(place & 0xffff)].0, place);
                hashing.hash(place & 0xffff)
            });
            assert!(calls <= LANES);
        }
        self.items.insert(key, (place, uses));
        self.count();
    }

    fn remove(&mut self, key: u32) {
        let slot = self.find(key);
        assert_eq!(slot.is_some(), self.items.remove(&key).is_some());
        let Some(slot) = slot else { return };
        let (hashing, items) = (self.hashing, &self.items);
        let mut calls = 0;
        self.index.remove(hashing.hash(key), slot, |place| {
            calls += 1;
            assert_eq!(items[&(place & 0xffff)].0, place);
            hashing.hash(place & 0xffff)
        });
        assert!(calls <= LANES);
        self.count();
    }

    fn count(&mut self) {
        if self.index.is_moving() {
            assert_ne!(self.index.table.buckets, self.index.old.buckets);
            let grows = self.index.table.buckets > self.index.old.buckets;
            self.grew += u32::from(grows);
            self.shrank += u32::from(!grows);
        }
    }

    fn check(&self) {
        assert_eq!(self.index.len(), self.items.len());
        let mut places: Vec<_> = self.index.places().collect();
        let mut expected: Vec<_> = self.items.values().map(|item| item.0).collect();
        places.sort_unstable();
        expected.sort_unstable();
        assert_eq!(places, expected);
        for (&key, &(place, uses)) in &self.items {
            let slot = self.find(key).unwrap();
            assert_eq!((self.index.place(slot), self.index.uses(slot)), (place, uses));
            assert_eq!(self.index.find_place(self.hashing.hash(key), place), Some(slot));
            assert_eq!(self.index.find_place(self.hashing.hash(key), place ^ (1 << 31)), None);
        }
        self.check_table(&self.index.table);
        self.check_table(&self.index.old);
    }

    /// The counts of a table are what its items make them.
    fn check_table(&self, table: &Table) {
        let mut passed = vec![0; table.buckets as usize];
        for at in 0..table.buckets {
            for item in table.row.get(at).map_or([None; LANES], Bucket::items).iter().flatten() {
                let mut passing = table.home(self.hashing.hash(item.place & 0xffff));
                while passing != at {
                    passed[passing as usize] += 1;
                    passing = table.after(passing);
                }
            }
        }
        for (at, passed) in (0..).zip(passed) {
            let counted = table.passed(at);
            assert!(counted == passed || counted == STUCK, "{at}: {counted} for {passed}");
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Store(u32, u32, u8),
    Remove(u32, u32),
    Look(u32),
}

fn act(keys: u32) -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0..keys, 0..keys / 2, 0..4u8).prop_map(|(from, n, uses)| Act::Store(from, n, uses)),
        3 => (0..keys, 0..keys / 2).prop_map(|(from, n)| Act::Remove(from, n)),
        2 => (0..keys, 0..9u32, 0..4u8).prop_map(|(from, n, uses)| Act::Store(from, n, uses)),
        2 => (0..keys, 0..9u32).prop_map(|(from, n)| Act::Remove(from, n)),
        2 => (0..keys * 2).prop_map(Act::Look),
    ]
}

fn hashing() -> impl Strategy<Value = Hashing> {
    prop_oneof![Just(Hashing::Even), Just(Hashing::Few), Just(Hashing::End), Just(Hashing::OneTag)]
}

fn play(hashing: Hashing, keys: u32, acts: &[Act]) {
    let mut model = Model::new(hashing);
    for act in acts {
        match *act {
            Act::Store(from, n, uses) => {
                (from..from + n).for_each(|key| model.store(key % keys, uses));
            }
            Act::Remove(from, n) => (from..from + n).for_each(|key| model.remove(key % keys)),
            Act::Look(key) => assert_eq!(model.find(key).is_some(), model.items.contains_key(&key)),
        }
        model.check();
    }
    (0..keys).for_each(|key| model.remove(key));
    model.check();
    assert_eq!(model.index.len(), 0);
    assert!(model.index.bytes() <= 2 * PAGE_BYTES);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn does_what_a_map_does(
        hashing in hashing(),
        (keys, acts) in prop_oneof![Just(40u32), Just(400), Just(2000)]
            .prop_flat_map(|keys| (Just(keys), prop::collection::vec(act(keys), 1..30))),
    ) {
        play(hashing, keys, &acts);
    }
}

#[test]
fn every_state_of_growing_and_shrinking_is_sound() {
    for hashing in [Hashing::Even, Hashing::Few, Hashing::End, Hashing::OneTag] {
        let mut model = Model::new(hashing);
        // Those that are alike are looked at again and again.
        let keys = if matches!(hashing, Hashing::Even | Hashing::OneTag) { 3000 } else { 1500 };
        let looks = |key| key % 31 == 0 || (700..1000).contains(&key);
        for key in 0..keys {
            model.store(key, (key % 4) as u8);
            if looks(key) {
                model.check();
            }
        }
        for key in (0..keys).rev() {
            model.remove(key);
            if looks(key) {
                model.check();
            }
        }
        assert!(model.grew > 100 && model.shrank > 30, "{} {}", model.grew, model.shrank);
        assert!(model.index.table.buckets <= 2 * PAGE);
    }
}

#[test]
fn memory_comes_and_goes_page_by_page() {
    let mut model = Model::new(Hashing::Even);
    for key in 0..40_000 {
        model.store(key, 3);
        if key % 997 == 0 {
            model.check();
        }
        let Index { table, old, clear, .. } = &model.index;
        let used = if old.buckets > 0 { old.buckets + clear / 4 } else { table.buckets };
        let used = used as usize * size_of::<Bucket>();
        // Of each table a part that is in use to some extent, and one that was overflowed into.
        let parts = 2 * (table.row.part() + old.row.part()) as usize * size_of::<Bucket>();
        let bytes = model.index.bytes();
        assert!(bytes <= used + parts && used <= bytes + parts, "{key}: {bytes} for {used}");
    }
    let mut steps = 0;
    for key in 0..40_000 {
        model.remove(key);
        let shrinks = model.index.table.buckets < model.index.old.buckets;
        steps = if shrinks { steps + 1 } else { 0 };
        assert!(steps <= 2 * model.index.old.buckets, "removals alone shrink");
        if key % 997 == 0 {
            model.check();
        }
    }
    assert_eq!(model.index.places().count(), 0);
    assert!(model.index.bytes() <= 2 * PAGE_BYTES);
}

#[test]
fn one_hash_for_all_is_slow_and_not_wrong() {
    const ITEMS: u32 = 3000;
    for hash in [0, 1 << 63, u64::MAX] {
        let mut index = Index::new();
        for place in 0..ITEMS {
            index.insert(hash, place, 1, |_| hash);
            assert!(index.find_place(hash, place).is_some());
            assert!(index.find_place(hash, place / 2).is_some());
        }
        assert!((0..ITEMS).all(|place| index.find_place(hash, place).is_some()));
        let tables = [&index.table, &index.old];
        assert!(tables.iter().any(|table| table.passed(table.home(hash)) == STUCK));
        // As many items come and go again: the table stays what it is.
        let bytes = index.bytes();
        for place in 0..2 * ITEMS {
            let slot = index.find_place(hash, place).unwrap();
            index.remove(hash, slot, |_| hash);
            index.insert(hash, place + ITEMS, 1, |_| hash);
        }
        assert!(index.bytes() <= bytes * 5 / 4);
        assert_eq!(index.len(), ITEMS as usize);
        for place in 2 * ITEMS..3 * ITEMS {
            let slot = index.find_place(hash, place).unwrap();
            index.remove(hash, slot, |_| hash);
        }
        assert_eq!((index.len(), index.places().count()), (0, 0));
        assert!(index.bytes() <= 2 * PAGE_BYTES);
    }
}

#[test]
fn an_item_costs_less_than_seven_bytes() {
    let hash = |place: Place| mix(place.into());
    let mut index = Index::new();
    // Thousandths of bytes for an item.
    let (mut sum, mut samples, mut most) = (0, 0, 0);
    let mut asked = 0_u32;
    let mut sample_at = 10_000;
    for place in 0..1_000_000 {
        let mut calls = 0;
        index.insert(hash(place), place, 0, |place| {
            calls += 1;
            hash(place)
        });
        most = most.max(calls);
        asked += calls;
        if place == sample_at {
            sample_at += sample_at / 1000;
            let bytes = index.bytes() * 1000 / index.len();
            sum += bytes;
            // Of each table a part is in use to some extent, and one is gone on to.
            let parts = 2 * index.table.row.part() + index.old.row.part();
            let parts = parts as usize * size_of::<Bucket>() * 1000 / index.len();
            assert!(bytes < 6950 + parts, "{bytes} of {}", index.len());
            samples += 1;
        }
    }
    let mean = sum / samples;
    assert!(mean < 6600, "{mean}");
    assert!(most <= 12 && asked < 5_000_000, "{most} {asked}");
    assert!((0..1_000_000).all(|place| index.find_place(hash(place), place).is_some()));
}

#[test]
fn an_empty_index_is_small() {
    let mut index = Index::new();
    index.insert(5, 7, 9, |_| 0);
    assert_eq!(index.find_place(5, 7).map(|slot| index.uses(slot)), Some(3));
    assert_eq!(index.bytes(), PAGE_BYTES);
}
