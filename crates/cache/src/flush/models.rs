use loom::model;
use loom::model::Builder;
use loom::sync::{Arc, Mutex, MutexGuard};
use loom::thread;

use super::*;

/// Two shards and their flushes, as a cache has them.
#[derive(Default)]
struct Shards {
    flush: Flush,
    shards: [Mutex<Shard>; 2],
}

#[derive(Default)]
struct Shard {
    flushed: u64,
    items: Vec<&'static str>,
}

impl Shards {
    /// They were flushed before.
    fn holding(item: &'static str) -> Arc<Self> {
        let shards = Self::default();
        shards.flush_all(0, 0);
        shards.store(item, 0);
        Arc::new(shards)
    }

    fn enter(&self, number: usize, now: Seconds) -> MutexGuard<'_, Shard> {
        let mut shard = self.shards[number].lock().unwrap();
        if let Some(flush) = self.flush.due(now)
            && shard.flushed != flush
        {
            *shard = Shard { flushed: flush, items: Vec::new() };
        }
        shard
    }

    fn flush_all(&self, at: Seconds, now: Seconds) {
        self.flush.ask(at, |_| (), || (0..2).for_each(|number| drop(self.enter(number, now))));
    }

    /// Stores an item in each shard.
    fn store(&self, item: &'static str, now: Seconds) {
        (0..2).for_each(|number| self.enter(number, now).items.push(item));
    }

    /// How many shards have the item.
    fn count(&self, item: &str, now: Seconds) -> usize {
        (0..2).filter(|number| self.enter(*number, now).items.contains(&item)).count()
    }

    /// How many shards have memory for the item, whether or not it can be read.
    fn remains(&self, item: &str) -> usize {
        self.shards.iter().filter(|shard| shard.lock().unwrap().items.contains(&item)).count()
    }
}

fn spawn(shards: &Arc<Shards>, does: fn(&Shards)) -> thread::JoinHandle<()> {
    let shards = Arc::clone(shards);
    thread::spawn(move || does(&shards))
}

#[test]
fn what_was_there_is_gone_and_what_comes_after_stays() {
    model(|| {
        let shards = Shards::holding("old");
        let other = spawn(&shards, |shards| {
            // Others notice the flush where it was not yet carried out.
            shards.store("other", 1);
        });
        shards.flush_all(0, 1);
        assert_eq!(shards.remains("old"), 0);
        shards.store("new", 1);
        other.join().unwrap();
        assert_eq!((shards.count("old", 1), shards.count("new", 1)), (0, 2));
    });
}

#[test]
fn of_two_at_once_each_takes_what_was_there_before_it() {
    model(|| {
        let shards = Shards::holding("old");
        let other = spawn(&shards, |shards| {
            shards.store("other", 1);
            shards.flush_all(0, 1);
            assert_eq!((shards.remains("old"), shards.remains("other")), (0, 0));
        });
        shards.flush_all(0, 1);
        assert_eq!(shards.remains("old"), 0);
        other.join().unwrap();
        // None is carried out late.
        shards.store("new", 1);
        assert_eq!((shards.count("new", 1), shards.count("other", 1)), (2, 0));
    });
}

#[test]
fn one_for_now_is_not_lost_to_one_to_come() {
    model(|| {
        let shards = Shards::holding("old");
        let other = spawn(&shards, |shards| shards.flush_all(10, 1));
        shards.flush_all(0, 1);
        assert_eq!(shards.remains("old"), 0);
        shards.store("new", 1);
        other.join().unwrap();
        assert_eq!(shards.count("new", 9), 2);
        // The one to come was forgotten, or it comes; not in one shard alone.
        assert!([0, 2].contains(&shards.count("new", 10)));
    });
}

#[test]
fn two_for_now_and_one_to_come_are_one_after_the_other() {
    let mut model = Builder::new();
    // Of three threads there are too many orders to try those with more.
    model.preemption_bound = Some(4);
    model.check(|| {
        let shards = Shards::holding("old");
        let now: fn(&Shards) = |shards| {
            shards.flush_all(0, 1);
            assert_eq!(shards.remains("old"), 0);
        };
        let others = [spawn(&shards, now), spawn(&shards, |shards| shards.flush_all(10, 1))];
        now(&shards);
        for other in others {
            other.join().unwrap();
        }
        shards.store("new", 1);
        assert_eq!(shards.count("new", 9), 2);
        assert!([0, 2].contains(&shards.count("new", 10)));
    });
}

#[test]
fn one_that_is_due_is_not_lost_to_a_later_one() {
    model(|| {
        let shards = Shards::holding("old");
        shards.flush_all(10, 1);
        let other = spawn(&shards, |shards| {
            assert_eq!(shards.count("old", 11), 0);
            shards.store("other", 11);
        });
        shards.flush_all(100, 11);
        assert_eq!(shards.remains("old"), 0);
        other.join().unwrap();
        assert_eq!((shards.count("other", 99), shards.count("other", 100)), (2, 0));
    });
}

#[test]
fn one_to_come_takes_what_was_there_once() {
    model(|| {
        let shards = Shards::holding("old");
        shards.flush_all(10, 1);
        // Clocks of two threads may differ where a second ends.
        let early = spawn(&shards, |shards| shards.store("early", 9));
        let late = spawn(&shards, |shards| {
            assert_eq!(shards.count("old", 10), 0);
            shards.store("late", 10);
        });
        early.join().unwrap();
        late.join().unwrap();
        assert_eq!((shards.count("old", 10), shards.count("late", 10)), (0, 2));
    });
}
