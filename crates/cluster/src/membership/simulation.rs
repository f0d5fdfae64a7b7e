//! Thousands of schedules of what can happen to a cluster, in virtual time.
//!
//! Each is made from a seed: `LARDER_SEED` is the first, `LARDER_ROUNDS` how many. One that fails tells
//! its own.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::RngExt as _;

use crate::member::Member;
use crate::membership::output::Notice;
use crate::view::View;

mod world;

use world::{MS, World};

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Runs a schedule for each of many seeds, on all processors.
fn for_each_seed(rounds: u64, schedule: impl Fn(u64) + Sync) {
    let first = from_environment("LARDER_SEED").unwrap_or(1);
    let end = first + from_environment("LARDER_ROUNDS").unwrap_or(rounds);
    let next = AtomicU64::new(first);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= end {
                return;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| schedule(seed))) {
                eprintln!("repeat with LARDER_SEED={seed} LARDER_ROUNDS=1");
                next.store(end, Ordering::SeqCst);
                resume_unwind(panic);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
}

/// A cluster of nodes that all are members.
fn cluster(seed: u64, nodes: usize) -> World {
    let mut world = World::new(seed);
    for index in 0..nodes {
        world.add(&format!("n{index}"), &[0, 1]);
        world.start(index, 0, false);
    }
    converge(&mut world, MS(10_000));
    world
}

/// What is wrong with how the nodes see the cluster: all must see all that live, and nobody else.
fn disagreement(world: &World) -> Option<String> {
    let names: BTreeSet<_> = world.living().map(|(index, _)| &world.nodes[index].name).collect();
    let mut common: Option<&[Arc<Member>]> = None;
    let mut inside = BTreeSet::new();
    for (index, life) in world.living() {
        let (name, members) = (&world.nodes[index].name, life.engine.members());
        let seen = members.iter().map(|member| &*member.name);
        let short = || members.iter().map(|m| format!("{}/{}", m.name, m.run)).collect::<Vec<_>>();
        if !life.settled {
            // It stands back for another of its name.
            let namesakes = world.living().filter(|(other, _)| world.nodes[*other].name == *name);
            if namesakes.count() < 2 || members.len() != 1 {
                return Some(format!("node {index} ({name}) is out of it, and sees {:?}", short()));
            }
        } else if !inside.insert(name) {
            return Some(format!("two nodes are called {name}"));
        } else if !seen.eq(names.iter().map(|name| name.as_str())) {
            return Some(format!("node {index} ({name}) sees {:?}, not {names:?}", short()));
        } else if *common.get_or_insert(members) != members {
            return Some(format!("node {index} ({name}) knows others otherwise: {:?}", short()));
        }
    }
    (inside != names).then(|| format!("only {inside:?} of {names:?}"))
}

/// Lets time pass until all nodes agree, and tells how much.
fn converge(world: &mut World, limit: Duration) -> Duration {
    let since = world.now;
    while let Some(wrong) = disagreement(world) {
        assert!(world.now < since + limit, "{wrong}");
        world.run(MS(20));
    }
    world.now - since
}

/// Something happens.
fn befall(world: &mut World, seeds: usize) {
    let count = world.nodes.len();
    let node = world.chance.random_range(0..count);
    let other = world.chance.random_range(0..count);
    let runs = world.nodes[node].life.is_some();
    let behind = if world.chance.random_ratio(1, 5) { 100 } else { 0 };
    match world.chance.random_range(0..14) {
        0 | 1 => world.kill(node),
        2 | 3 => {
            let moved = world.chance.random_ratio(1, 3);
            world.kill(node);
            world.start(node, behind, moved);
        }
        4 if runs => {
            world.tell(format_args!("node {node} begins to leave"));
            world.act(node, |engine, now| engine.begin_leaving(now));
        }
        5 if runs => {
            world.tell(format_args!("node {node} leaves"));
            world.act(node, |engine, now| engine.leave(now));
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
        13 if count < 11 => {
            let name = world.nodes[node].name.clone();
            let twin = world.add(&name, &(0..seeds).collect::<Vec<_>>());
            world.start(twin, behind, false);
        }
        _ => {}
    }
}

/// Anything may happen for a while. Returns how long the nodes took to agree after that.
fn schedule(seed: u64) -> Duration {
    let mut world = World::new(seed);
    let nodes = world.chance.random_range(3..=9);
    let seeds = world.chance.random_range(1..=2);
    world.network.doubled = 20;
    for index in 0..nodes {
        let seeds: Vec<_> = (0..seeds).collect();
        world.add(&format!("n{index}"), &seeds);
        if index < seeds.len() || world.chance.random_ratio(3, 4) {
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
    let took = converge(&mut world, MS(60_000));
    world.run(MS(5000));
    assert_eq!(disagreement(&world), None, "after it was well");
    let seconds = world.now.as_secs() + 1;
    let bound = (50 + 40 * seconds) * u64::try_from(world.nodes.len()).unwrap();
    assert!(world.sent < bound, "{} messages in {seconds} seconds", world.sent);
    let mut owners = None;
    for (_, life) in world.living().filter(|(_, life)| life.settled) {
        let view = View::new(life.engine.version(), life.engine.members().to_vec());
        let key = |key: u64| view.owner(&key.to_le_bytes());
        let found: Vec<_> = (0..20).map(key).collect();
        assert_eq!(*owners.get_or_insert_with(|| found.clone()), found, "who has which key");
    }
    took
}

#[test]
fn whatever_happened_all_who_live_agree_in_the_end_on_who_does() {
    for_each_seed(4000, |seed| {
        schedule(seed);
    });
}

/// What a node has said since then.
fn said(world: &World, node: usize, since: Duration) -> Vec<&Notice> {
    let life = world.nodes[node].life.as_ref().unwrap();
    life.notices.iter().filter(|(at, _)| *at >= since).map(|(_, notice)| notice).collect()
}

fn loses(world: &World, node: usize, since: Duration) -> bool {
    said(world, node, since).iter().any(|notice| matches!(notice, Notice::Lost(_)))
}

#[test]
fn who_is_killed_is_lost_to_all_in_about_two_seconds() {
    let times = Mutex::new(Vec::new());
    for_each_seed(300, |seed| {
        let mut world = cluster(seed, 5);
        let pause = world.chance.random_range(0..1000);
        world.run(MS(pause));
        world.kill(3);
        let took = converge(&mut world, MS(10_000));
        times.lock().push(took);
    });
    let mut times = times.into_inner();
    times.sort_unstable();
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    println!("lost to all after {median:?}, at most {most:?}");
    assert!(median < MS(2000) && most < MS(4000), "{median:?}, {most:?}");
}

#[test]
fn who_stands_still_for_less_than_half_a_second_is_not_lost() {
    for_each_seed(100, |seed| {
        let mut world = cluster(seed, 5);
        let since = world.now;
        for _ in 0..30 {
            for _ in 0..world.chance.random_range(1..3) {
                let node = world.chance.random_range(0..5);
                let time = world.chance.random_range(100..400);
                world.stall(node, MS(time));
            }
            world.run(MS(1000));
        }
        assert!(!(0..5).any(|node| loses(&world, node, since)));
    });
}

#[test]
fn who_was_stopped_for_long_is_lost_comes_back_by_itself_and_has_lost_nobody() {
    for_each_seed(200, |seed| {
        let mut world = cluster(seed, 5);
        let since = world.now;
        let pause = world.chance.random_range(0..2000);
        world.run(MS(pause));
        world.stall(2, MS(10_000));
        world.run(MS(9900));
        assert!([0, 1, 3, 4].into_iter().all(|node| loses(&world, node, since)));
        world.run(MS(100));
        let took = converge(&mut world, MS(3000));
        world.run(MS(5000));
        assert!(!loses(&world, 2, since), "though it was there again within {took:?}");
    });
}

#[test]
fn two_halves_are_one_again_soon_after_they_can_be() {
    let slowest = Mutex::new(Duration::ZERO);
    for_each_seed(100, |seed| {
        let mut world = cluster(seed, 5);
        let half = |node| node < 2;
        world.cut(half);
        world.run(MS(60_000));
        let members = |node: usize| world.nodes[node].life.as_ref().unwrap().engine.members().len();
        assert_eq!([0, 1, 2, 3, 4].map(members), [2, 2, 3, 3, 3]);
        world.network.cuts.clear();
        let took = converge(&mut world, MS(10_000));
        let mut slowest = slowest.lock();
        *slowest = took.max(*slowest);
    });
    println!("one again within {slowest:?}");
}

#[test]
fn halves_that_have_forgotten_each_other_find_each_other_by_their_seeds() {
    let mut world = cluster(from_environment("LARDER_SEED").unwrap_or(1), 3);
    world.cut(|node| node == 0);
    world.run(Duration::from_mins(75));
    let known = |node: usize| world.nodes[node].life.as_ref().unwrap().engine.addresses().count();
    assert_eq!([0, 1, 2].map(known), [0, 1, 1], "they have");
    world.network.cuts.clear();
    converge(&mut world, MS(10_000));
}

#[test]
fn of_two_that_come_at_once_with_one_name_the_later_stays_and_nobody_else_is_bothered() {
    for_each_seed(200, |seed| {
        let mut world = cluster(seed, 4);
        let since = world.now;
        // One in each half, before they know that they are halves.
        let (early, late) = (world.add("twin", &[0]), world.add("twin", &[3]));
        world.cut(|node| node < 2 || node == early);
        world.start(early, 0, false);
        world.run(MS(100));
        world.start(late, 0, false);
        world.run(MS(400));
        world.network.cuts.clear();
        converge(&mut world, MS(10_000));
        world.run(MS(10_000));
        let settled = |node: usize| world.nodes[node].life.as_ref().unwrap().settled;
        assert!(!settled(early) && settled(late));
        let told = said(&world, early, since);
        let told = told.iter().filter(|n| matches!(n, Notice::Displaced(_) | Notice::Taken(_)));
        assert_eq!(told.count(), 1, "it says so once");
        let lost = (0..4).filter(|node| loses(&world, *node, since));
        assert_eq!(lost.count(), 0);
    });
}

#[test]
fn a_name_that_is_taken_is_free_when_who_has_it_is_lost() {
    for_each_seed(100, |seed| {
        let mut world = cluster(seed, 4);
        let since = world.now;
        let behind = world.chance.random_range(0..100);
        let twin = world.add("n3", &[0, 1]);
        world.start(twin, behind, false);
        world.run(MS(20_000));
        assert_eq!(disagreement(&world), None);
        assert!(world.nodes[3].life.as_ref().unwrap().settled, "who was there first stays");
        let told = said(&world, twin, since);
        assert!(matches!(told[..], [.., Notice::Taken(_)]), "{told:?}");
        world.kill(3);
        converge(&mut world, MS(10_000));
        assert!(world.nodes[twin].life.as_ref().unwrap().settled);
    });
}

#[test]
fn two_of_one_name_that_know_nobody_else_do_not_wait_for_each_other_forever() {
    for_each_seed(100, |seed| {
        let mut world = World::new(seed);
        for other in [1, 0] {
            world.add("twin", &[other]);
        }
        for node in 0..2 {
            world.start(node, 0, false);
        }
        world.run(MS(1000));
        converge(&mut world, MS(120_000));
        world.run(MS(30_000));
        assert_eq!(disagreement(&world), None);
    });
}

#[test]
fn who_has_no_seeds_and_has_to_give_way_finds_back() {
    for_each_seed(100, |seed| {
        let mut world = World::new(seed);
        for (name, seeds) in [("n0", &[][..]), ("n1", &[0][..]), ("n2", &[0][..])] {
            let node = world.add(name, seeds);
            world.start(node, 0, false);
        }
        converge(&mut world, MS(10_000));
        // Another n0 comes in while the first is not heard of.
        world.cut(|node| node == 0);
        world.run(MS(5000));
        let twin = world.add("n0", &[1]);
        world.start(twin, 0, false);
        world.run(MS(1000));
        world.network.cuts.clear();
        converge(&mut world, MS(10_000));
        assert!(world.nodes[twin].life.as_ref().unwrap().settled);
        world.kill(twin);
        converge(&mut world, MS(20_000));
    });
}

#[test]
fn a_hundred_join_by_one_seed_and_ten_of_them_are_lost_at_once() {
    let mut world = World::new(from_environment("LARDER_SEED").unwrap_or(1));
    for index in 0..100 {
        let node = world.add(&format!("node-{index:02}.cache.example"), &[0]);
        world.start(node, 0, false);
    }
    let joined = converge(&mut world, MS(10_000));
    world.run(MS(10_000));
    let (since, sent) = (world.now, world.sent);
    world.run(MS(10_000));
    println!("all joined after {joined:?}; {} messages a second each", (world.sent - sent) / 1000);
    for node in 0..10 {
        world.kill(10 * node + 5);
    }
    let lost = converge(&mut world, MS(20_000));
    println!("all lost after {lost:?}, {:?}", world.now - since);
}
