use loom::model;
use loom::sync::{Arc, Mutex};
use loom::thread;

use super::*;

const SEGMENT: u64 = 16 << 10;
const NOW: Seconds = 10;

/// A budget of 100 segments, and what it is for: an arena and two shards, each with what it was
/// told last.
struct Told {
    budget: Budget,
    arena: Mutex<usize>,
    shards: [Mutex<u64>; 2],
}

impl Told {
    fn new() -> Arc<Self> {
        let budget = Budget::new(100 * SEGMENT, 16 << 10);
        Arc::new(Self { budget, arena: Mutex::new(100), shards: [(); 2].map(|()| Mutex::new(0)) })
    }

    fn tell_arena(&self) {
        let mut arena = self.arena.lock().unwrap();
        *arena = self.budget.segments();
    }

    fn lend(&self, segments: i64) {
        self.budget.lend(segments * SEGMENT.cast_signed(), NOW);
        self.tell_arena();
    }

    fn settle(&self, segments: i64) {
        self.budget.settle(segments * SEGMENT.cast_signed());
        self.tell_arena();
    }

    fn set_limit(&self, segments: u64) {
        self.reach_limit(segments);
        self.tell_arena();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap();
            *shard = self.budget.part(2);
        }
    }

    fn reach_limit(&self, segments: u64) {
        self.budget.set_limit(segments * SEGMENT);
        while self.budget.approach_limit() {}
    }

    fn arena(&self) -> usize {
        *self.arena.lock().unwrap()
    }
}

/// Does both at once, and one here, and waits for them.
fn at_once(told: &Arc<Told>, there: &[fn(&Told)], here: fn(&Told)) {
    let begin = |does: &fn(&Told)| {
        let (told, does) = (Arc::clone(told), *does);
        thread::spawn(move || does(&told))
    };
    let threads: Vec<_> = there.iter().map(begin).collect();
    here(told);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn the_arena_has_what_the_numbers_leave_once_all_have_returned() {
    let mut model = loom::model::Builder::new();
    // Of three threads, all orders would take minutes.
    model.preemption_bound = Some(3);
    model.check(|| {
        let told = Told::new();
        let there: [fn(&Told); 2] = [|told| told.lend(10), |told| told.settle(5)];
        at_once(&told, &there, |told| told.set_limit(60));
        assert_eq!(told.arena(), 45);
    });
}

#[test]
fn what_is_lent_and_given_back_is_there_again() {
    model(|| {
        let told = Told::new();
        let lend: fn(&Told) = |told| {
            told.lend(30);
            told.settle(2);
            told.lend(-30);
        };
        at_once(&told, &[lend], lend);
        assert!(told.budget.lend(0, NOW + 2), "what was set aside is needed no longer");
        told.tell_arena();
        assert_eq!(told.arena(), 96);
    });
}

#[test]
fn whoever_returned_is_never_forgotten_again() {
    model(|| {
        let told = Told::new();
        at_once(&told, &[|told| told.settle(5)], |told| {
            told.lend(10);
            // The other may or may not have been counted yet.
            assert!([90, 85].contains(&told.arena()));
        });
        assert_eq!(told.arena(), 85);
    });
}

#[test]
fn every_shard_has_its_part_of_the_last_limit() {
    model(|| {
        let told = Told::new();
        at_once(&told, &[|told| told.set_limit(60)], |told| told.set_limit(40));
        let limit = told.budget.limit();
        assert!([60, 40].contains(&(limit / SEGMENT)));
        assert_eq!(told.arena() as u64 * SEGMENT, limit);
        for shard in &told.shards {
            assert_eq!(*shard.lock().unwrap(), limit / 2);
        }
    });
}

#[test]
fn the_last_limit_is_in_force_in_the_end() {
    model(|| {
        let told = Told::new();
        at_once(&told, &[|told| told.reach_limit(150)], |told| told.reach_limit(60));
        assert_eq!(told.budget.in_force.load(Relaxed), told.budget.limit());
    });
}
