use std::collections::BTreeMap;

use super::*;

fn space(patterns: &str, low: u64, high: u64) -> KeySpace {
    let patterns = patterns.parse().unwrap();
    KeySpace { low, high, patterns, stddev: None, median: None, zipf_exponent: 1.0 }
}

fn keys(space: &KeySpace, client: u32, clients: u32, seed: u64) -> Keys {
    Keys::new(space, &space.of_client(client, clients), seed)
}

/// How often each key is set when every client goes once through its own.
fn coverage(space: &KeySpace, clients: u32) -> BTreeMap<u64, u32> {
    let mut counts = BTreeMap::new();
    for client in 0..clients {
        let range = space.of_client(client, clients);
        let mut keys = Keys::new(space, &range, 0);
        for _ in range {
            *counts.entry(keys.next_set()).or_default() += 1;
        }
    }
    counts
}

#[test]
fn parallel_clients_share_every_key_out_once() {
    // Among them: fewer keys than a part rounded up would need, and no even division.
    for (low, high, clients) in [(0, 10, 4), (1, 1_001, 200), (1, 1_000, 200), (5, 5, 1), (0, 6, 7)]
    {
        let counts = coverage(&space("P:P", low, high), clients);
        let every_key_once: BTreeMap<u64, u32> = (low..=high).map(|key| (key, 1)).collect();
        assert_eq!(counts, every_key_once, "{low} to {high}, {clients} clients");
    }
}

#[test]
fn parallel_parts_are_even() {
    let space = space("P:P", 1, 1_003);
    let sizes: Vec<usize> = (0..200).map(|client| space.of_client(client, 200).count()).collect();
    assert!(sizes.iter().all(|size| (5..=6).contains(size)), "{sizes:?}");
}

#[test]
fn more_parallel_clients_than_keys_share() {
    let counts = coverage(&space("P:P", 1, 3), 7);
    assert_eq!(counts, BTreeMap::from([(1, 3), (2, 2), (3, 2)]));
}

#[test]
fn the_whole_range_of_numbers_can_be_shared() {
    let space = space("P:P", 0, u64::MAX);
    assert_eq!(*space.of_client(0, 2).end(), u64::MAX / 2);
    assert_eq!(space.of_client(1, 2), u64::MAX / 2 + 1..=u64::MAX);
}

#[test]
fn sequential_clients_go_through_all_keys_each() {
    let counts = coverage(&space("S:S", 3, 12), 4);
    let every_key_by_all: BTreeMap<u64, u32> = (3..=12).map(|key| (key, 4)).collect();
    assert_eq!(counts, every_key_by_all);
}

#[test]
fn sequences_are_in_order_wrap_and_are_separate_for_sets_and_gets() {
    let mut keys = keys(&space("S:S", 1, 3), 0, 1, 0);
    let sets: Vec<u64> = (0..5).map(|_| keys.next_set()).collect();
    assert_eq!(sets, [1, 2, 3, 1, 2]);
    assert_eq!([keys.next_get(), keys.next_get()], [1, 2]);
    assert_eq!(keys.next_set(), 3);
}

#[test]
fn random_keys_are_uniform_and_reach_both_ends() {
    let mut keys = keys(&space("R:R", 10, 19), 0, 1, 3);
    let mut counts = [0_i32; 10];
    for _ in 0..10_000 {
        counts[usize::try_from(keys.next_get() - 10).unwrap()] += 1;
    }
    // 1,000 expected of each, standard deviation 30.
    assert!(counts.iter().all(|count| (count - 1_000).abs() < 150), "{counts:?}");
}

#[test]
fn gaussian_keys_gather_around_the_median() {
    let mut keys = keys(&space("G:G", 0, 599), 0, 1, 4);
    let draws: Vec<u64> = (0..30_000).map(|_| keys.next_set()).collect();
    assert!(draws.iter().all(|key| *key <= 599));
    // A sixth of the range is one standard deviation: 68 % lie within 100 of 300.
    let near = draws.iter().filter(|key| (200..400).contains(*key)).count();
    assert!((20_000..21_000).contains(&near), "{near}");
    let below = draws.iter().filter(|key| **key < 300).count();
    assert!((14_500..15_500).contains(&below), "{below}");
}

#[test]
fn gaussian_median_and_deviation_are_taken() {
    let mut space = space("G:R", 0, 1_000);
    (space.median, space.stddev) = (Some(100.0), Some(10.0));
    let mut keys = keys(&space, 0, 1, 5);
    let draws: Vec<u64> = (0..10_000).map(|_| keys.next_set()).collect();
    let near = draws.iter().filter(|key| (90..110).contains(*key)).count();
    assert!((6_500..7_200).contains(&near), "{near}");
}

#[test]
fn one_gaussian_key_is_that_key() {
    assert_eq!(keys(&space("G:G", 7, 7), 0, 1, 0).next_set(), 7);
}

#[test]
fn zipf_favours_low_keys() {
    let mut keys = keys(&space("Z:Z", 0, 1_000), 0, 1, 6);
    let draws: Vec<u64> = (0..10_000).map(|_| keys.next_get()).collect();
    let first = draws.iter().filter(|key| **key == 1).count();
    // One over the 1,000th harmonic number: 13.4 %.
    assert!((1_200..1_480).contains(&first), "{first}");
    assert!(!draws.contains(&0));
}

#[test]
fn the_seed_decides_the_keys() {
    let space = space("R:R", 0, 1_000_000);
    let draw = |seed| {
        let mut keys = keys(&space, 0, 1, seed);
        [keys.next_get(), keys.next_get(), keys.next_get()]
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}
