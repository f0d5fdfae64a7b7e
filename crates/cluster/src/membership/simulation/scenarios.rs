//! What is to happen, and what must come of it.

use std::time::Duration;

use parking_lot::Mutex;
use rand::RngExt as _;

use super::world::{MS, World};
use super::{cluster, converge, disagreement, for_each_seed, from_environment, loses, said};
use crate::membership::engine::Engine;
use crate::membership::output::Notice;

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
fn a_network_that_fails_for_half_a_second_has_nobody_lost() {
    for_each_seed(200, |seed| {
        let mut world = cluster(seed, 5);
        let since = world.now;
        for _ in 0..10 {
            let half = world.chance.random_range(1..5);
            world.cut(|node| node < half);
            world.run(MS(500));
            world.network.cuts.clear();
            world.run(MS(3000));
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
    println!("one again within {:?}", slowest.into_inner());
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
fn who_is_told_both_come_in_and_that_its_name_is_taken_does_not_go_in_and_out() {
    for_each_seed(50, |seed| {
        let mut world = cluster(seed, 4);
        world.cut(|node| node == 0);
        world.run(MS(5000));
        let since = world.now;
        let twin = world.add("n3", &[0, 1]);
        world.start(twin, 0, false);
        world.run(MS(20_000));
        let told = said(&world, twin, since);
        let let_in = told.iter().filter(|notice| ***notice == Notice::LetIn).count();
        assert_eq!(let_in, 0, "{told:?}");
    });
}

#[test]
fn who_leaves_is_gone_at_once_and_is_not_waited_for() {
    for_each_seed(100, |seed| {
        let mut world = cluster(seed, 9);
        let since = world.now;
        world.act(4, Engine::leave);
        world.kill(4);
        converge(&mut world, MS(600));
        for node in (0..9).filter(|node| *node != 4) {
            let told = said(&world, node, since);
            assert!(matches!(told[..], [.., Notice::Left(_)]), "{told:?}");
        }
        let known = |node: usize| world.nodes[node].life.as_ref().unwrap().engine.addresses();
        assert_eq!(known(0).count(), 7);
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
        for (name, seeds) in [("n0", &[][..]), ("n1", &[][..]), ("n2", &[0, 1][..])] {
            let node = world.add(name, seeds);
            world.start(node, 0, false);
        }
        converge(&mut world, MS(10_000));
        world.kill(2);
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
    let sent = world.sent;
    world.run(MS(10_000));
    println!("all joined after {joined:?}; {} messages a second each", (world.sent - sent) / 1000);
    for node in 0..10 {
        world.kill(10 * node + 5);
    }
    let lost = converge(&mut world, MS(20_000));
    println!("all lost after {lost:?}");
}
