use super::*;
use proptest::prelude::*;

fn ring(nodes: &[(&str, u32)]) -> Ring {
    Ring::new(nodes.iter().copied())
}

/// As libmemcached 1.1.4 says with `MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED`; the tests package compares
/// many more with the library itself.
#[test]
fn placements_are_libmemcacheds() {
    let weighted = ring(&[
        ("10.0.0.1", 1),
        ("10.0.0.2", 2),
        ("10.0.0.3:11212", 3),
        ("cache-4.example.com", 1),
    ]);
    let local = ring(&[("127.0.0.1", 1), ("127.0.0.1:11212", 1), ("127.0.0.1:11213", 1)]);
    let owners = |ring: &Ring| -> Vec<usize> {
        (0..20).map(|n| ring.owner(format!("key:{n}").as_bytes()).unwrap()).collect()
    };
    assert_eq!(owners(&weighted), [1, 1, 3, 2, 1, 2, 2, 2, 1, 3, 3, 1, 1, 2, 3, 1, 3, 0, 0, 1]);
    assert_eq!(owners(&local), [1, 0, 0, 0, 0, 1, 2, 2, 0, 1, 0, 0, 0, 2, 0, 1, 0, 0, 1, 0]);
}

#[test]
fn equal_nodes_have_160_points_each_but_for_rounding() {
    assert_eq!(ketama::points(&[("a", 1), ("b", 1), ("c", 1)]).len(), 3 * 160);
    assert_eq!(ketama::points(&[("a", 7)]).len(), 160);
    let nodes = [("n", 1); 25];
    assert_eq!(ketama::points(&nodes).len(), 25 * 156);
}

#[test]
fn a_ring_without_nodes_has_no_owner() {
    let ring = ring(&[]);
    assert_eq!(ring.owner(b"k"), None);
    assert_eq!(ring.candidates(b"k").count(), 0);
}

#[test]
fn a_node_whose_weight_gives_it_no_point_is_no_candidate() {
    let ring = ring(&[("a", 1000), ("b", 1)]);
    for n in 0..100 {
        assert_eq!(ring.candidates(format!("{n}").as_bytes()).collect::<Vec<_>>(), [0]);
    }
}

#[test]
fn removing_a_node_moves_its_keys_to_their_next_candidates_only() {
    // Eight nodes to seven keeps the points of the rest: 40 digests each, in single precision too.
    let names: Vec<String> = (0..8).map(|n| format!("10.0.0.{n}:11212")).collect();
    let nodes: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let all = ring(&nodes);
    let without_last = ring(&nodes[..7]);
    for n in 0..2000 {
        let key = format!("key:{n}");
        let mut candidates = all.candidates(key.as_bytes()).filter(|node| *node != 7);
        assert_eq!(without_last.owner(key.as_bytes()), candidates.next());
    }
}

proptest! {
    /// Against the definition, without any ring at hand.
    #[test]
    fn candidates_are_the_distinct_nodes_met_on_a_walk(
        weights in proptest::collection::vec(1..20_u32, 1..12),
        key in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let names: Vec<String> = (0..weights.len()).map(|n| format!("node-{n}:1")).collect();
        let nodes: Vec<_> = names.iter().map(String::as_str).zip(weights).collect();
        let mut points = ketama::points(&nodes);
        points.sort_unstable();
        let position = ketama::key_position(&key);
        let (before, from) = points.split_at(points.partition_point(|(p, _)| *p < position));
        let mut walk = Vec::new();
        for (_, node) in from.iter().chain(before) {
            if !walk.contains(&(*node as usize)) {
                walk.push(*node as usize);
            }
        }
        walk.truncate(MAX_CANDIDATES);
        let ring = ring(&nodes);
        prop_assert_eq!(ring.owner(&key), walk.first().copied());
        prop_assert_eq!(ring.candidates(&key).collect::<Vec<_>>(), walk);
    }
}

#[test]
fn shares_are_of_what_is_owned() {
    let ring = ring(&[("a", 1), ("b", 2), ("c", 0)]);
    let shares = ring.shares();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9 && shares[2] == 0.0, "{shares:?}");
    let keys = 20_000_u32;
    let owned = (0..keys).filter(|key| ring.owner(key.to_string().as_bytes()) == Some(0)).count();
    let share = f64::from(u32::try_from(owned).unwrap()) / f64::from(keys);
    assert!((share - shares[0]).abs() < 0.02, "{share} {shares:?}");
    assert!(Ring::new([]).shares().is_empty());
}
