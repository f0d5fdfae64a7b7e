//! Thousands of schedules of what can happen to a cluster, in virtual time.
//!
//! Each is made from a seed: `LARDER_SEED` is the first, `LARDER_ROUNDS` how many. One that fails tells
//! its own.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::member::Member;
use crate::membership::output::Notice;

mod scenarios;
mod schedules;
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
    world.now.saturating_sub(since)
}

/// What a node has said since then.
fn said(world: &World, node: usize, since: Duration) -> Vec<&Notice> {
    let life = world.nodes[node].life.as_ref().unwrap();
    life.notices.iter().filter(|(at, _)| *at >= since).map(|(_, notice)| notice).collect()
}

fn loses(world: &World, node: usize, since: Duration) -> bool {
    said(world, node, since).iter().any(|notice| matches!(notice, Notice::Lost(_)))
}
