//! Disks that do not answer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use larder_protocol::{Delete, Fetch, Op, Outcome};
use tempfile::TempDir;

use super::basics::{NOW, count, get, put, set};
use super::faulty::{faulty, faulty_watched};
use super::{block_on, ready};
use crate::command::Command;
use crate::watchdog::Watchdog;
use crate::{Condition, Error, Pending, Store, failure};

const LIMIT: Duration = Duration::from_secs(30);

fn watchdog(store: &Store) -> Watchdog {
    Watchdog::new(Arc::clone(store.shared()), LIMIT)
}

fn early() -> Instant {
    Instant::now() + LIMIT / 2
}

fn late() -> Instant {
    Instant::now() + LIMIT
}

fn until(store: &Store, condition: impl Fn(&Store) -> bool) {
    let patience = Instant::now();
    while !condition(store) {
        assert!(patience.elapsed().as_secs() < 20, "{:?}", store.stats());
        std::thread::yield_now();
    }
}

fn why(outcome: &Outcome<'_>) -> &'static str {
    match outcome {
        Outcome::Failed(why) => why,
        other => panic!("{other:?}"),
    }
}

/// What was answered by now.
fn told(mut pending: Pending) -> &'static str {
    match Pin::new(&mut pending).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => why(&outcome),
        Poll::Pending => panic!("it was not answered"),
    }
}

#[test]
fn writes_that_hang_are_told_so_and_those_after_them_are_refused() {
    let place = TempDir::new().unwrap();
    let (store, faults) = faulty(&place);
    let mut watchdog = watchdog(&store);
    let (mut session, mut other) = (store.session(), store.session());
    set(&mut session, "k", "old", NOW);
    faults.commits.shut();
    let mut hangs = session.execute(b"k", &Op::Store(put(b"new")), NOW);
    faults.commits.until(1);
    let mut behind = vec![
        session.execute(b"k", &count(1), NOW),
        session.execute(b"k", &Op::Fetch(Fetch::GET), NOW),
        session.flush_all(0, NOW),
        other.execute(b"else", &Op::Store(put(b"v")), NOW),
    ];
    watchdog.look(early());
    assert!(!ready(&mut hangs) && !behind.iter_mut().any(ready), "it may only be slow");
    assert_eq!(store.stats().condition, Condition::Serving);

    watchdog.look(late());
    assert_eq!(told(hangs), failure::HANGS);
    for pending in behind {
        assert_eq!(told(pending), failure::NOT_BEGUN);
    }
    assert_eq!(store.stats().condition, Condition::Hanging);
    let error = store.failure().unwrap().to_string();
    assert!(error.starts_with("cannot write to ") && error.contains("no answer for 3"), "{error}");
    assert_eq!(get(&mut other, "k", NOW).unwrap(), "old", "reads go on");
    // And those that come while it hangs.
    for _ in 0..3 {
        let write = other.execute(b"else", &Op::Store(put(b"v")), NOW);
        watchdog.look(late());
        assert_eq!(told(write), failure::NOT_BEGUN);
    }
    assert_eq!((store.stats().waiting_writes, store.stats().failures), (0, 8));

    // A sync that succeeds late has synced.
    faults.commits.open();
    until(&store, |store| store.stats().commits == 2);
    faults.commits.until(0);
    watchdog.look(Instant::now());
    assert_eq!(store.stats().condition, Condition::Serving);
    assert_eq!(get(&mut other, "k", NOW).unwrap(), "new");
    assert_eq!(get(&mut other, "else", NOW), None, "what was not begun was not done");
    assert_eq!(set(&mut session, "k", "again", NOW), 3);
    assert_eq!(get(&mut session, "k", NOW).unwrap(), "again", "the session goes on in order");
    assert!(matches!(block_on(session.flush_all(0, NOW)), Outcome::Deleted));
    let reads = store.stats().reads;
    for key in ["k", "else"] {
        get(&mut session, key, NOW);
    }
    until(&store, |store| store.stats().reads == reads + 2);
    store.close().unwrap();
}

#[test]
fn a_write_that_fails_after_it_hung_poisons() {
    let place = TempDir::new().unwrap();
    let (store, faults) = faulty(&place);
    let mut watchdog = watchdog(&store);
    *faults.fail.lock() = Some(0);
    faults.commits.shut();
    let mut session = store.session();
    let write = session.execute(b"k", &Op::Store(put(b"v")), NOW);
    faults.commits.until(1);
    watchdog.look(late());
    assert_eq!(told(write), failure::HANGS);
    faults.commits.open();
    until(&store, |store| store.stats().condition == Condition::Poisoned);
    watchdog.look(Instant::now());
    assert_eq!(store.stats().condition, Condition::Poisoned);
    let write = block_on(session.execute(b"k", &Op::Store(put(b"v")), NOW));
    assert_eq!(why(&write), failure::POISONED);
    assert_eq!(store.stats().failures, 2, "each counts once");
    assert_eq!(
        store.close().unwrap_err().to_string(),
        "cannot sync /broken: Input/output error (os error 5)"
    );
}

#[test]
fn reads_that_hang_are_told_so() {
    let place = TempDir::new().unwrap();
    let (store, faults) = faulty(&place);
    let mut watchdog = watchdog(&store);
    let [mut one, mut two, mut three] = [store.session(), store.session(), store.session()];
    set(&mut one, "k", "v", NOW);
    let read = Op::Fetch(Fetch::GET);
    faults.reads.shut();
    let mut hangs = one.execute(b"k", &read, NOW);
    faults.reads.until(1);
    let mut behind = vec![
        one.execute(b"k", &read, NOW),
        one.execute(b"k", &Op::Store(put(b"w")), NOW),
        one.flush_all(0, NOW),
        one.execute(b"else", &read, NOW),
    ];
    watchdog.look(early());
    assert!(!ready(&mut hangs) && !behind.iter_mut().any(ready), "it may only be slow");
    let hangs_too = two.execute(b"k", &read, NOW);
    faults.reads.until(2);
    let queued = three.execute(b"k", &read, NOW);

    watchdog.look(late());
    assert_eq!(told(hangs), failure::UNANSWERED);
    assert_eq!(told(hangs_too), failure::UNANSWERED);
    assert_eq!(told(queued), failure::UNANSWERED, "no thread is left for it");
    for pending in behind {
        assert_eq!(told(pending), failure::NOT_BEGUN);
    }
    let again = one.execute(b"k", &read, NOW);
    watchdog.look(late());
    assert_eq!(told(again), failure::NOT_BEGUN);
    let error = store.failure().unwrap().to_string();
    assert!(error.starts_with("cannot read "), "{error}");
    assert_eq!(store.stats().condition, Condition::Hanging);
    set(&mut three, "z", "v", NOW);

    faults.reads.open();
    faults.reads.until(0);
    watchdog.look(late());
    for session in [&mut one, &mut two, &mut three] {
        assert_eq!(get(session, "k", NOW).unwrap(), "v");
        set(session, "k", "v", NOW);
    }
    assert!(matches!(block_on(one.flush_all(0, NOW)), Outcome::Deleted));
    store.close().unwrap();
}

/// A fetch of a stale item writes who has won it.
#[test]
fn a_read_that_was_given_up_does_not_write() {
    let place = TempDir::new().unwrap();
    let (store, faults) = faulty(&place);
    let mut watchdog = watchdog(&store);
    let mut session = store.session();
    set(&mut session, "k", "v", NOW);
    let invalidate = Op::Delete(Delete { invalidate: true, ..Delete::default() });
    block_on(session.execute(b"k", &invalidate, NOW));
    let fetch = Op::Fetch(Fetch { may_win: true, ..Fetch::GET });
    faults.reads.shut();
    let hangs = session.execute(b"k", &fetch, NOW);
    faults.reads.until(1);
    watchdog.look(late());
    assert_eq!(told(hangs), failure::UNANSWERED);
    faults.reads.open();
    let outcome = block_on(session.execute(b"k", &fetch, NOW));
    assert!(matches!(&outcome, Outcome::Hit(hit) if hit.won), "{outcome:?}");
}

/// One reader takes several reads at once; the first of them hangs, or all do.
#[test]
fn what_a_thread_that_hangs_has_not_begun_others_do() {
    for all in [false, true] {
        let place = TempDir::new().unwrap();
        let (store, faults) = faulty(&place);
        let mut watchdog = watchdog(&store);
        let mut sessions: Vec<_> = (0..40).map(|_| store.session()).collect();
        set(&mut sessions[0], "k", "v", NOW);
        let read = Op::Fetch(Fetch::GET);
        let held = |at: usize| store.shared().reading[at].unbegun();
        // Both threads read, and what comes then is taken by the first that returns.
        faults.reads.shut();
        let mut pending = Vec::new();
        for session in &mut sessions[..2] {
            pending.push(session.execute(b"k", &read, NOW));
        }
        faults.reads.until(2);
        for session in &mut sessions[2..] {
            pending.push(session.execute(b"k", &read, NOW));
        }
        faults.reads.let_in(1);
        until(&store, |_| held(0) + held(1) >= 15);
        faults.reads.until(2);
        if !all {
            // The other returns from its call, and gets all that the first has not begun.
            let other = usize::from(held(0) > 0);
            store.shared().reading[other].go_on();
            watchdog.look(late());
            let told = pending.iter_mut().map(ready).filter(|told| *told).count();
            assert_eq!(told, 2, "the one that was read, and the one that hangs");
            assert_eq!((held(0) + held(1), store.stats().waiting_reads), (0, 37));
            faults.reads.open();
            until(&store, |store| store.stats().reads == 40);
            continue;
        }
        watchdog.look(late());
        let failed = pending.into_iter().map(|mut pending| {
            match Pin::new(&mut pending).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Outcome::Failed(why)) => {
                    assert_eq!(why, failure::UNANSWERED);
                    1
                }
                Poll::Ready(_) => 0,
                Poll::Pending => panic!("no thread is left for it"),
            }
        });
        assert_eq!(failed.sum::<u64>(), 39);
        assert_eq!(store.stats().failures, 39);
        // Nothing waits behind what was given up.
        let mut again = Vec::new();
        for session in &mut sessions {
            again.push(session.execute(b"k", &read, NOW));
        }
        watchdog.look(late());
        assert!(again.iter_mut().all(ready));
        faults.reads.open();
        faults.reads.until(0);
        for session in &mut sessions {
            set(session, "k", "w", NOW);
            assert_eq!(get(session, "k", NOW).unwrap(), "w");
        }
    }
}

#[test]
fn a_pause_of_the_whole_process_is_no_hanging_disk() {
    let place = TempDir::new().unwrap();
    let (store, faults) = faulty(&place);
    let mut watchdog = watchdog(&store);
    faults.commits.shut();
    let mut session = store.session();
    let mut write = session.execute(b"k", &Op::Store(put(b"v")), NOW);
    faults.commits.until(1);
    let (tick, pause) = (Duration::from_millis(100), Duration::from_hours(1));
    let mut now = Instant::now();
    watchdog.wake(now, tick);
    now += pause;
    watchdog.wake(now, pause);
    now += LIMIT / 2;
    watchdog.wake(now, tick);
    assert!(!ready(&mut write));
    assert_eq!(store.stats().condition, Condition::Serving);
    now += LIMIT / 2;
    watchdog.wake(now, tick);
    assert_eq!(told(write), failure::HANGS);
    // Nor does a pause end one.
    now += pause;
    watchdog.wake(now, pause);
    watchdog.wake(now + tick, tick);
    assert_eq!(store.stats().condition, Condition::Hanging);
}

#[test]
fn compaction_that_is_behind_is_no_hanging_disk_and_what_it_refuses_is_not_done() {
    let place = TempDir::new().unwrap();
    let (store, faults) = faulty(&place);
    let mut watchdog = watchdog(&store);
    let (mut session, mut other) = (store.session(), store.session());
    set(&mut session, "k", "old", NOW);
    faults.behind.store(true, Ordering::Relaxed);
    let waits = session.execute(b"k", &Op::Store(put(b"new")), NOW);
    until(&store, |store| {
        store.shared().ways.partitions()[0].proposing.sight(late(), LIMIT).is_some()
    });
    let behind = [
        session.execute(b"k", &Op::Fetch(Fetch::GET), NOW),
        other.execute(b"else", &Op::Store(put(b"v")), NOW),
    ];
    assert!(store.shared().ways.write(Command::reclaim(b"k", 1, NOW).of_group(1)).is_none());
    watchdog.look(early());
    assert_eq!(store.stats().condition, Condition::Serving);
    watchdog.look(late());
    for pending in [waits].into_iter().chain(behind) {
        assert_eq!(told(pending), failure::BEHIND);
    }
    assert_eq!(store.stats().condition, Condition::Hanging);
    let error = store.failure().unwrap().to_string();
    assert!(error.contains("waiting for compaction for 3"), "{error}");
    assert_eq!(store.shared().counters.forgotten.value(), 1);
    assert_eq!(get(&mut other, "k", NOW).unwrap(), "old", "reads go on");

    faults.behind.store(false, Ordering::Relaxed);
    until(&store, |store| {
        store.shared().ways.partitions()[0].proposing.sight(late(), LIMIT).is_none()
    });
    watchdog.look(Instant::now());
    assert_eq!(store.stats().condition, Condition::Serving);
    assert_eq!(set(&mut session, "else", "mine", NOW), 2, "nothing was written before");
    assert_eq!(get(&mut session, "k", NOW).unwrap(), "old");
    assert_eq!((store.stats().failures, store.stats().commits), (3, 2));
    store.close().unwrap();
}

#[test]
fn an_engine_that_gives_up_while_it_is_behind_ends_the_wait() {
    let place = TempDir::new().unwrap();
    let (store, faults) = faulty(&place);
    faults.behind.store(true, Ordering::Relaxed);
    let write = store.session().execute(b"k", &Op::Store(put(b"v")), NOW);
    until(&store, |store| {
        store.shared().ways.partitions()[0].proposing.sight(late(), LIMIT).is_some()
    });
    let error = std::io::Error::from_raw_os_error(5);
    store.shared().health.poison(Error::io("sync", place.path())(error));
    assert_eq!(why(&block_on(write)), failure::POISONED);
}

#[test]
fn a_store_watches_itself() {
    let place = TempDir::new().unwrap();
    let (store, faults) = faulty_watched(&place, Duration::from_millis(20));
    faults.commits.shut();
    let write = store.session().execute(b"k", &Op::Store(put(b"v")), NOW);
    assert_eq!(why(&block_on(write)), failure::HANGS);
    assert_eq!(store.stats().condition, Condition::Hanging);
    faults.commits.open();
    until(&store, |store| store.stats().condition == Condition::Serving);
}
