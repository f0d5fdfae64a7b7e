//! Whatever can happen, by chance.

use std::collections::BTreeSet;

use rand::RngExt as _;

use super::world::{MS, World};
use super::{converge, disagreement, for_each_seed};
use crate::membership::engine::Engine;
use crate::view::View;

/// Something happens.
fn befall(world: &mut World, seeds: usize) {
    let count = world.nodes.len();
    let node = world.chance.random_range(0..count);
    let other = world.chance.random_range(0..count);
    let runs = world.nodes[node].life.is_some();
    let behind = if world.chance.random_ratio(1, 5) { 100 } else { 0 };
    match world.chance.random_range(0..15) {
        0 | 1 => world.kill(node),
        2 | 3 => {
            let moved = world.chance.random_ratio(1, 3);
            world.kill(node);
            world.start(node, behind, moved);
        }
        4 if runs => {
            world.tell(format_args!("node {node} begins to leave"));
            world.act(node, Engine::begin_leaving);
        }
        5 if runs => {
            world.tell(format_args!("node {node} leaves"));
            world.act(node, Engine::leave);
            world.kill(node);
        }
        6 => {
            let half: BTreeSet<_> = (0..count).filter(|_| world.chance.random()).collect();
            world.cut(|node| half.contains(&node));
        }
        7 => {
            // One way only, between two nodes or to one of them.
            let all = world.chance.random_ratio(1, 3);
            let from = if all { 0..count } else { other..other + 1 };
            world.tell(format_args!("{from:?} do not reach {node}"));
            world.network.cuts.extend(from.map(|from| (from, node)));
        }
        8 | 9 => {
            world.tell("all are connected");
            world.network.cuts.clear();
        }
        10 => {
            let time = world.chance.random_range(50..5000);
            world.stall(node, MS(time));
        }
        11 => world.network.lost = world.chance.random_range(0..200),
        12 => world.network.late = world.chance.random_range(0..200),
        13 if runs => {
            world.tell(format_args!("node {node} begins to serve"));
            world.act(node, Engine::begin_serving);
        }
        14 if count < 11 => {
            let name = world.nodes[node].name.clone();
            let twin = world.add(&name, &(0..seeds).collect::<Vec<_>>());
            world.start(twin, behind, false);
        }
        _ => {}
    }
}

/// Anything may happen for a while, and after that all must agree.
fn schedule(seed: u64) {
    let mut world = World::new(seed);
    let nodes = world.chance.random_range(3..=9);
    let seeds = world.chance.random_range(1..=2);
    world.network.doubled = 20;
    for index in 0..nodes {
        let all: Vec<_> = (0..seeds).collect();
        world.add(&format!("n{index}"), &all);
        if index < seeds || world.chance.random_ratio(3, 4) {
            world.start(index, 0, false);
        }
    }
    let events = world.chance.random_range(1..12);
    for _ in 0..events {
        let pause = world.chance.random_range(1..2500);
        world.run(MS(pause));
        befall(&mut world, seeds);
    }
    let pause = world.chance.random_range(1..5000);
    world.run(MS(pause));

    // A cluster whose seeds are gone for good cannot be found.
    world.tell("quiet");
    world.network.cuts.clear();
    (world.network.lost, world.network.late, world.network.doubled) = (0, 0, 0);
    for seed in 0..seeds {
        if world.nodes[seed].life.is_none() {
            world.start(seed, 0, false);
        }
    }
    converge(&mut world, MS(60_000));
    world.run(MS(5000));
    assert_eq!(disagreement(&world), None, "after it was well");
    let seconds = world.now.as_secs() + 1;
    let bound = (50 + 40 * seconds) * u64::try_from(world.nodes.len()).unwrap();
    assert!(world.sent < bound, "{} messages in {seconds} seconds", world.sent);
    let mut owners = None;
    for (_, life) in world.living().filter(|(_, life)| life.settled) {
        let view = View::new(life.engine.version(), life.engine.members().to_vec());
        let key = |key: u64| view.owner(&key.to_le_bytes());
        let places: Vec<_> = (0..20).map(key).collect();
        assert_eq!(*owners.get_or_insert_with(|| places.clone()), places, "who has which key");
    }
}

#[test]
fn whatever_happened_all_who_live_agree_in_the_end_on_who_does() {
    for_each_seed(2000, schedule);
}
