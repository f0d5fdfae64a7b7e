use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use proptest::prelude::*;

use super::*;

/// The same in each run.
fn hash(key: &[u8]) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(key)
}

fn add(sketch: &mut Sketch, key: u64, weight: f32) {
    let key = key.to_be_bytes();
    sketch.add(hash(&key), &key, weight);
}

fn estimate(sketch: &Sketch, key: u64) -> Estimate {
    sketch.estimate(hash(&key.to_be_bytes()))
}

/// Numbers from 1 to 100,000, each `k` with a probability of one in `k`, before those are made to add up.
fn zipf(many: usize) -> Vec<u64> {
    let mut areas = Vec::new();
    let mut area = 0.0;
    for number in 1..=100_000 {
        area += 1.0 / f64::from(number);
        areas.push(area);
    }
    let mut state = 1_u64;
    let draw = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let at = f64::from(u32::try_from(state >> 32).unwrap()) / f64::from(u32::MAX) * area;
        1 + areas.partition_point(|area| *area < at) as u64
    };
    (0..many).map(draw).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Add(u64, u16),
    Halve(u32),
}

/// Some keys come again and again, most hardly ever.
fn step() -> impl Strategy<Value = Step> {
    let key = prop_oneof![0..10_u64, 10..300_u64, 300..100_000_u64];
    prop_oneof![
        400 => (key, prop_oneof![Just(1), 1..2000_u16]).prop_map(|(key, weight)| Step::Add(key, weight)),
        1 => (1..3_u32).prop_map(Step::Halve),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_key_has_no_less_and_no_more_than_it_is_told_to(
        steps in prop::collection::vec(step(), 1..6000),
    ) {
        let mut sketch = Sketch::default();
        let mut exact: HashMap<u64, f64> = HashMap::new();
        for step in steps {
            match step {
                Step::Add(key, weight) => {
                    *exact.entry(key).or_default() += f64::from(weight);
                    add(&mut sketch, key, f32::from(weight));
                }
                Step::Halve(times) => {
                    for has in exact.values_mut() {
                        *has /= f64::from(1 << times);
                    }
                    sketch.halve(times);
                }
            }
        }
        // Of a single-precision number of some millions, and of what is forgotten.
        let near = |has: f64| has * 1e-4 + 2.0 * f64::from(NOTHING);
        let total: f64 = exact.values().sum();
        prop_assert!((sketch.total() - total).abs() <= near(total));
        for (key, has) in exact {
            let Estimate { at_most, counted, squares } = estimate(&sketch, key);
            prop_assert!(f64::from(at_most) >= has - near(has), "{key} has {has}, told at most {at_most}");
            prop_assert!(f64::from(counted) <= has + near(has), "{key} has {has}, told {counted}");
            prop_assert!(squares <= counted * 2000.0 * 1.001);
        }
        prop_assert!(sketch.named().count() <= NAMED);
    }
}

#[test]
fn the_heaviest_are_named_in_their_order() {
    let mut sketch = Sketch::default();
    let mut exact: HashMap<u64, f32> = HashMap::new();
    for key in zipf(20_000) {
        add(&mut sketch, key, 1.0);
        *exact.entry(key).or_default() += 1.0;
    }
    let mut named: Vec<_> = sketch.named().collect();
    named.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let mut exact: Vec<_> = exact.into_iter().collect();
    exact.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    for ((key, told), (_, count)) in named.iter().zip(&exact).take(20) {
        let key = u64::from_be_bytes((*key).try_into().unwrap());
        assert!((told - count).abs() <= 2.0, "{key} is told {told}, its rank has {count}");
        assert!(estimate(&sketch, key).counted >= 0.9 * told, "{key}");
    }
}

#[test]
fn of_keys_that_come_once_none_is_counted_twice() {
    let mut sketch = Sketch::default();
    for key in 0..100_000 {
        add(&mut sketch, key, 1.0);
    }
    for key in 0..100_000 {
        assert!(estimate(&sketch, key).counted <= 1.0);
    }
    // Were all cells of a key raised alike, each would have its part of all keys, and a key all of that.
    let others: f32 = (100_000..101_000).map(|key| estimate(&sketch, key).at_most).sum();
    assert!(others / 1000.0 < 0.7 * 100_000.0 / 1024.0, "{others}");
}

#[test]
fn what_was_heavy_makes_way_and_is_forgotten() {
    let mut sketch = Sketch::default();
    for key in 0..100 {
        (0..1000).for_each(|_| add(&mut sketch, key, 1.0));
    }
    sketch.halve(5);
    for key in 1000..1048 {
        (0..100).for_each(|_| add(&mut sketch, key, 1.0));
        assert!(estimate(&sketch, key).counted > 60.0);
    }
    assert_eq!(sketch.named().count(), NAMED);
    sketch.halve(14);
    assert_eq!(sketch.named().count(), 0);
    assert!(sketch.cells.iter().all(|cell| *cell == 0.0));
    (0..4).for_each(|_| add(&mut sketch, 7, 2.0));
    let Estimate { counted, squares, .. } = estimate(&sketch, 7);
    assert_eq!([counted, squares].map(f32::to_bits), [8.0_f32, 16.0].map(f32::to_bits));
    sketch.halve(1);
    let Estimate { counted, squares, .. } = estimate(&sketch, 7);
    assert_eq!([counted, squares].map(f32::to_bits), [4.0_f32, 4.0].map(f32::to_bits));
    sketch.halve(u32::MAX);
    add(&mut sketch, 7, 3.0);
    assert_eq!(estimate(&sketch, 7).at_most.to_bits(), 3.0_f32.to_bits());
}
