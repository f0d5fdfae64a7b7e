//! Stores that go on from what a crash left: what the engine lacks is done again from the log, once.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use larder_consensus::Machine;
use larder_protocol::{Delete, Fetch, Mode, Op, Outcome, Store as Put};
use tempfile::TempDir;

use super::basics::{NOW, count, get, open, put, set, small};
use super::block_on;
use super::faulty::{Held, faulty, faulty_in, faulty_with};
use crate::applier::Applier;
use crate::state::Kept;
use crate::storage::{Lsm, Storage};
use crate::{Condition, Error, Options, Pending, Session, Store};

/// What is in `from` at this moment. Of journals without the zeros they are made with.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&from, &to);
            continue;
        }
        match fs::read(&from) {
            Ok(mut bytes) => {
                if from.extension().is_some_and(|extension| extension == "jnl") {
                    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
                    bytes.truncate(end);
                }
                fs::write(to, bytes).unwrap();
            }
            // It was the note of a moment.
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
        }
    }
}

fn next(session: &mut Session, key: &str) -> (u64, u64) {
    match block_on(session.execute(key.as_bytes(), &count(1), NOW)) {
        Outcome::Counted(counted) => (counted.number, counted.cas),
        other => panic!("{other:?}"),
    }
}

fn append(session: &mut Session, key: &str, tail: &str) {
    let op = Op::Store(Put { mode: Mode::Append, ..put(tail.as_bytes()) });
    let outcome = block_on(session.execute(key.as_bytes(), &op, NOW));
    assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
}

/// An entry on its way: what comes then is gathered until commits are let through.
fn fill(store: &Store, faults: &Held, session: &mut Session) -> Pending {
    faults.commits.shut();
    let pending = session.execute(b"filler", &Op::Store(put(b"v")), NOW);
    while store.stats().waiting_writes > 0 {
        std::thread::yield_now();
    }
    pending
}

/// Killed after each write: the copy is what a process that was killed leaves, and what the engine
/// has not even given to the system is not in it.
#[test]
fn whatever_was_answered_before_a_kill_is_there_once() {
    let place = TempDir::new().unwrap();
    let store = open(&place);
    let mut session = store.session();
    set(&mut session, "text", "", NOW);
    let mut text = String::new();
    let mut last = 0;
    for round in 1..=12 {
        let (number, cas) = next(&mut session, "n");
        assert_eq!(number, round);
        assert!(cas > last);
        write!(text, "{round},").unwrap();
        append(&mut session, "text", &format!("{round},"));
        set(&mut session, "gone", "v", NOW);
        if round % 4 == 0 {
            block_on(session.flush_all(0, NOW));
            text.clear();
            set(&mut session, "text", "", NOW);
            block_on(session.execute(b"n", &count(round), NOW));
        }
        let deleted = block_on(session.execute(b"gone", &Op::Delete(Delete::default()), NOW));
        assert!(matches!(deleted, Outcome::Deleted | Outcome::NotFound));
        last = set(&mut session, "last", "v", NOW);

        let killed = place.path().join("killed");
        copy(&place.path().join("store"), &killed);
        // As often as it is killed again, before anything new.
        for _ in 0..2 {
            let store = Store::open(&killed, small()).unwrap();
            let mut session = store.session();
            assert_eq!(get(&mut session, "n", NOW).unwrap(), round.to_string());
            assert_eq!(get(&mut session, "text", NOW).unwrap(), text);
            assert_eq!(get(&mut session, "gone", NOW), None);
            let Outcome::Hit(hit) = block_on(session.execute(b"last", &Op::Fetch(Fetch::GET), NOW))
            else {
                panic!("lost");
            };
            assert_eq!(hit.before.cas, last, "what is done again is done as it was");
            let again = place.path().join("again");
            copy(&killed, &again);
            drop(store);
            fs::remove_dir_all(&killed).unwrap();
            fs::rename(&again, &killed).unwrap();
        }
        let store = Store::open(&killed, small()).unwrap();
        let mut session = store.session();
        assert!(set(&mut session, "more", "v", NOW) > last);
        assert_eq!(next(&mut session, "n").0, round + 1);
        drop(store);
        fs::remove_dir_all(&killed).unwrap();
    }
}

/// The power fails: the engine's files are as they were when they were synced last, or some time
/// after; the log has all.
#[test]
fn what_the_engine_had_not_synced_is_done_again() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("store");
    let synced = place.path().join("synced");
    let store = open(&place);
    for _ in 0..10 {
        next(&mut store.session(), "n");
    }
    store.close().unwrap();
    copy(&path, &synced);
    let store = open(&place);
    let mut last = 0;
    for _ in 0..30 {
        last = next(&mut store.session(), "n").1;
    }
    for at_once in [false, true] {
        let left = place.path().join("left");
        copy(&synced, &left);
        fs::remove_dir_all(left.join("log")).unwrap();
        copy(&path.join("log"), &left.join("log"));
        if at_once {
            // From the beginning: nothing of it was ever synced.
            fs::remove_dir_all(left.join("data")).unwrap();
            fs::write(left.join("WATERMARK"), "1 0\n").unwrap();
        }
        let store = Store::open(&left, small()).unwrap();
        assert_eq!(get(&mut store.session(), "n", NOW).unwrap(), "40");
        let (number, cas) = next(&mut store.session(), "n");
        assert_eq!((number, cas), (41, last + 1));
        store.close().unwrap();
        fs::remove_dir_all(&left).unwrap();
    }
}

/// Each append writes the whole value, so that an entry of ten is kept in some slices.
#[test]
fn an_entry_that_is_done_in_part_is_not_begun_anew() {
    let value = "v".repeat(900);
    let mut in_part = 0;
    for slices in 0..6 {
        let place = TempDir::new().unwrap();
        let (store, faults) = faulty_with(&place, |options| options.batch_bytes = 2000);
        let mut session = store.session();
        set(&mut session, "k", &value, NOW);
        let filler = fill(&store, &faults, &mut session);
        let mut appends = Vec::new();
        for digit in 0..10 {
            let digit = digit.to_string();
            let op = Op::Store(Put { mode: Mode::Append, ..put(digit.as_bytes()) });
            appends.push(session.execute(b"k", &op, NOW));
        }
        *faults.fail.lock() = Some(1 + slices);
        faults.commits.open();
        block_on(filler);
        let stored = appends.into_iter().map(block_on);
        let stored = stored.filter(|outcome| matches!(outcome, Outcome::Stored { .. })).count();
        assert_eq!(store.stats().largest_batch, 10, "they are one entry");
        drop(store);
        let path = place.path().join("store");
        let lsm = Lsm::open(&path.join("data"), &small()).unwrap();
        let done = lsm.kept(1).unwrap().state.done as usize;
        drop(lsm);
        in_part += usize::from(done > 0);
        assert!(stored == 10 || done == stored, "{done} {stored}");
        let store = Store::open(&path, small()).unwrap();
        assert_eq!(get(&mut store.session(), "k", NOW).unwrap(), format!("{value}0123456789"));
    }
    assert!(in_part > 2, "{in_part}");
}

#[test]
fn a_log_that_is_not_the_stores_is_refused() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("store");
    let store = open(&place);
    for _ in 0..5 {
        set(&mut store.session(), "k", "v", NOW);
    }
    store.close().unwrap();
    let log = path.join("log");
    let aside = place.path().join("aside");
    fs::rename(&log, &aside).unwrap();
    let refused = || {
        let error = Store::open(&path, small()).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. } | Error::Log(_)), "{error}");
        error.to_string()
    };
    let why = refused();
    assert!(why.contains("store/log is damaged: it is missing"), "{why}");
    assert!(!log.exists(), "one that was made anew would be in the way");
    fs::create_dir(&log).unwrap();
    let why = refused();
    assert!(why.contains("its machine has done entry"), "{why}");
    // Another store's, which is shorter.
    fs::remove_dir_all(&log).unwrap();
    let other = place.path().join("other");
    Store::open(&other, small()).unwrap().close().unwrap();
    copy(&other.join("log"), &log);
    let why = refused();
    assert!(why.contains("its machine has done entry"), "{why}");
    fs::remove_dir_all(&log).unwrap();
    fs::rename(&aside, &log).unwrap();
    assert_eq!(get(&mut open(&place).session(), "k", NOW).unwrap(), "v");
}

#[test]
fn what_is_durable_elsewhere_the_log_forgets_and_an_older_engine_is_refused() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("store");
    let before = place.path().join("before");
    let options =
        Options { log_bytes: 64 << 10, log_file_bytes: 16 << 10, sweep_per_sec: 0, ..small() };
    let store = Store::open(&path, options.clone()).unwrap();
    set(&mut store.session(), "k", "v", NOW);
    store.close().unwrap();
    copy(&path, &before);
    let store = Store::open(&path, options.clone()).unwrap();
    let value = "v".repeat(10_000);
    let patience = std::time::Instant::now();
    let noted = || fs::read_to_string(path.join("WATERMARK")).unwrap();
    let first = noted();
    while noted() == first {
        assert!(patience.elapsed().as_secs() < 20, "it is never made durable");
        set(&mut store.session(), "k", &value, NOW);
    }
    store.close().unwrap();
    for name in ["data", "WATERMARK"] {
        let (old, new) = (before.join(name), path.join(name));
        if old.is_dir() {
            fs::remove_dir_all(&new).unwrap();
            copy(&old, &new);
        } else {
            fs::copy(old, new).unwrap();
        }
    }
    let error = Store::open(&path, options).unwrap_err().to_string();
    assert!(error.contains("its machine wants entry"), "{error}");
}

#[test]
fn many_commands_are_one_entry_and_answered_in_their_order() {
    let place = TempDir::new().unwrap();
    let (store, faults) = faulty(&place);
    let mut session = store.session();
    set(&mut session, "text", "", NOW);
    let entries = store.stats().log.entries;
    let filler = fill(&store, &faults, &mut session);
    let mut pending = Vec::new();
    for number in 0..200 {
        let tail = format!("{number},");
        let op = Op::Store(Put { mode: Mode::Append, ..put(tail.as_bytes()) });
        pending.push(session.execute(b"text", &op, NOW));
        pending.push(session.execute(b"text", &Op::Fetch(Fetch::GET), NOW));
        pending.push(session.execute(b"n", &count(1), NOW));
    }
    faults.commits.open();
    block_on(filler);
    let mut text = String::new();
    let mut answers = pending.into_iter().map(block_on);
    for number in 0..200_u64 {
        write!(text, "{number},").unwrap();
        assert!(matches!(answers.next(), Some(Outcome::Stored { .. })));
        let read = answers.next();
        assert!(
            matches!(&read, Some(Outcome::Hit(hit)) if *hit.value.to_bytes() == *text.as_bytes())
        );
        let counted = answers.next();
        assert!(matches!(counted, Some(Outcome::Counted(counted)) if counted.number == number + 1));
    }
    let stats = store.stats();
    assert_eq!((stats.log.entries - entries, stats.largest_batch), (2, 600));
    assert_eq!(stats.condition, Condition::Serving);
}

/// Another replica's partition becomes what this one is, whatever it was.
#[test]
fn a_partition_becomes_the_view_of_another() {
    let place = TempDir::new().unwrap();
    let [(one, _held), (other, _too)] = ["one", "other"].map(|name| {
        let inner = place.path().join(name);
        fs::create_dir(&inner).unwrap();
        faulty_in(&inner, |_| {})
    });
    let (mut session, mut seen) = (one.session(), other.session());
    let large = "large".repeat(200_000);
    for number in 0..50 {
        set(&mut session, &format!("key{number}"), &large, NOW);
    }
    set(&mut session, "k", "one", NOW);
    block_on(session.flush_all(NOW + 10, NOW));
    for number in 0..3000 {
        block_on(seen.execute(format!("other{number}").as_bytes(), &Op::Store(put(b"v")), NOW));
    }
    set(&mut seen, "k", "other", NOW);
    let machine = |store: &Store, mark: &'static [u8]| {
        let shared = store.shared();
        let partition = &shared.ways.partitions()[0];
        let state = partition.published.state();
        let kept = Kept { state, mark: Bytes::from_static(mark) };
        Applier::new(Arc::clone(shared), Arc::clone(partition), kept, mpsc::channel().0)
    };
    let mut view = machine(&one, b"mark").view().unwrap();
    // What is done to it since does not show.
    set(&mut session, "k", "since", NOW);
    let mut becomes = machine(&other, b"another");
    becomes.install(&mut *view).unwrap();
    assert_eq!(becomes.mark().unwrap().unwrap(), b"mark"[..]);
    assert_eq!(get(&mut seen, "k", NOW).unwrap(), "one");
    assert_eq!(get(&mut seen, "key49", NOW).unwrap(), large);
    assert_eq!(get(&mut seen, "other7", NOW), None);
    assert_eq!(get(&mut seen, "k", NOW + 10), None, "what is to be flushed comes along");
    assert_eq!(other.stats().sequence, 51);
}
