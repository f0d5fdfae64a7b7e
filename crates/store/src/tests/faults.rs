//! Disks that are slow, full or broken.

use std::process::Command;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use larder_protocol::{Delete, Fetch, Op, Outcome};
use tempfile::TempDir;

use super::basics::{NOW, count, get, open, put, set, small, text};
use super::damage::contents;
use super::faulty::{Faults, faulty};
use super::{block_on, ready};
use crate::storage::{Lsm, Storage};
use crate::{Condition, Options, Session, Store, failure};

#[test]
fn nothing_is_seen_or_answered_before_it_is_durable() {
    let place = TempDir::new().unwrap();
    let (store, faults) = faulty(&place);
    let (mut writer, mut other) = (store.session(), store.session());
    set(&mut writer, "k", "old", NOW);
    faults.commits.shut();
    let mut write = writer.execute(b"k", &Op::Store(put(b"new")), NOW);
    let mut own_read = writer.execute(b"k", &Op::Fetch(Fetch::GET), NOW);
    let mut flush = store.session().flush_all(0, NOW);
    let mut own_other_key = writer.execute(b"else", &Op::Fetch(Fetch::GET), NOW);
    for _ in 0..100 {
        assert_eq!(get(&mut other, "k", NOW).unwrap(), "old");
        assert!(!ready(&mut write) && !ready(&mut own_read) && !ready(&mut flush));
    }
    let patience = std::time::Instant::now();
    while !ready(&mut own_other_key) {
        assert!(patience.elapsed().as_secs() < 20, "other keys need not wait");
    }
    faults.commits.open();
    assert!(matches!(block_on(write), Outcome::Stored { .. }));
    assert_eq!(text(block_on(own_read)).unwrap(), "new");
    block_on(flush);
    assert_eq!(get(&mut other, "k", NOW), None);
}

/// Runs commands as one entry, behind one that is an entry of its own.
fn in_one_entry(
    store: &Store,
    faults: &Faults,
    session: &mut Session,
    commands: &[(&[u8], Op<'_>)],
) -> (Outcome<'static>, Vec<Outcome<'static>>) {
    faults.commits.shut();
    let first = session.execute(b"first", &Op::Store(put(b"v")), NOW);
    while store.stats().waiting_writes > 0 {
        std::thread::yield_now();
    }
    let pending: Vec<_> = commands.iter().map(|(key, op)| session.execute(key, op, NOW)).collect();
    faults.commits.open();
    (block_on(first), pending.into_iter().map(block_on).collect())
}

#[test]
fn a_failed_engine_ends_writing_for_good_and_reads_go_on() {
    let place = TempDir::new().unwrap();
    let (store, faults) = faulty(&place);
    let mut session = store.session();
    set(&mut session, "k", "durable", NOW);
    *faults.fail.lock() = Some(1);
    let (first, answers) = in_one_entry(
        &store,
        &faults,
        &mut session,
        &[
            (b"k", Op::Store(put(b"lost"))),
            (b"k", Op::Fetch(Fetch::GET)),
            (b"k", Op::Delete(Delete::default())),
            (b"first", Op::Fetch(Fetch::GET)),
            (b"none", Op::Delete(Delete::default())),
        ],
    );
    assert!(matches!(first, Outcome::Stored { .. }), "{first:?}");
    let [write, read, delete, first, missed] = answers.try_into().unwrap();
    assert!(matches!(write, Outcome::Failed(failure::UNKNOWN)), "{write:?}");
    assert_eq!(text(read).unwrap(), "durable", "not what its own batch failed to write");
    assert!(matches!(delete, Outcome::Failed(failure::UNKNOWN)), "{delete:?}");
    assert_eq!(text(first).unwrap(), "v");
    assert!(matches!(missed, Outcome::NotFound));

    let later = block_on(session.execute(b"k", &count(1), NOW));
    assert!(matches!(later, Outcome::NotANumber), "what changes nothing is answered: {later:?}");
    let later = block_on(session.flush_all(0, NOW));
    assert!(matches!(later, Outcome::Failed(failure::POISONED)), "{later:?}");
    assert_eq!(get(&mut session, "k", NOW).unwrap(), "durable");
    assert_eq!(store.stats().condition, Condition::Poisoned);
    let why = store.close().unwrap_err();
    assert_eq!(why.to_string(), "cannot sync /broken: Input/output error (os error 5)");

    // The log has what the engine has not.
    let store = open(&place);
    let mut session = store.session();
    assert_eq!(get(&mut session, "k", NOW), None);
    assert_eq!(get(&mut session, "first", NOW).unwrap(), "v");
    assert_eq!(set(&mut session, "k", "again", NOW), 4, "it was stored, and deleted");
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let place = TempDir::new().unwrap();
    let (store, faults) = faulty(&place);
    let mut session = store.session();
    set(&mut session, "a", "v", NOW);
    set(&mut session, "b", "v", NOW);
    faults.room.store(99, Ordering::Relaxed);
    let refused = block_on(session.execute(b"c", &Op::Store(put(b"v")), NOW));
    assert!(matches!(refused, Outcome::Failed(failure::FULL)), "{refused:?}");
    assert_eq!(store.stats().condition, Condition::OutOfSpace);
    assert_eq!(get(&mut session, "a", NOW).unwrap(), "v");
    let delete = |session: &mut Session, key: &[u8]| {
        block_on(session.execute(key, &Op::Delete(Delete::default()), NOW))
    };
    assert!(matches!(delete(&mut session, b"a"), Outcome::Deleted), "deletes make room");
    faults.room.store(49, Ordering::Relaxed);
    assert!(matches!(delete(&mut session, b"b"), Outcome::Failed(failure::FULL)));
    faults.room.store(100, Ordering::Relaxed);
    let patience = std::time::Instant::now();
    while store.stats().condition != Condition::Serving {
        assert!(patience.elapsed().as_secs() < 20, "no write is needed to notice");
        std::thread::yield_now();
    }
    let cas = set(&mut session, "c", "v", NOW);
    assert_eq!(cas, 3, "what was refused did not count");
    assert_eq!(store.stats().condition, Condition::Serving);
    store.close().unwrap();
}

#[test]
fn what_cannot_be_read_is_no_miss() {
    let place = TempDir::new().unwrap();
    let (store, faults) = faulty(&place);
    let mut session = store.session();
    set(&mut session, "k", "v", NOW);
    faults.unreadable.store(true, Ordering::Relaxed);
    let read = block_on(session.execute(b"k", &Op::Fetch(Fetch::GET), NOW));
    assert!(matches!(read, Outcome::Failed(failure::UNREAD)));
    let write = block_on(session.execute(b"k", &count(1), NOW));
    assert!(matches!(write, Outcome::Failed(failure::UNREAD)));
    faults.unreadable.store(false, Ordering::Relaxed);
    assert_eq!(get(&mut session, "k", NOW).unwrap(), "v");
    faults.panics.store(true, Ordering::Relaxed);
    let mut reads = Vec::new();
    for _ in 0..5 {
        reads.push(session.execute(b"k", &Op::Fetch(Fetch::GET), NOW));
    }
    for read in reads {
        assert!(matches!(block_on(read), Outcome::Failed(failure::UNREAD)));
    }
    faults.panics.store(false, Ordering::Relaxed);
    assert_eq!(get(&mut session, "k", NOW).unwrap(), "v", "the line goes on");
    assert!(store.failure().is_some());
    store.close().unwrap();
}

#[test]
fn records_and_state_of_another_version_are_refused() {
    let place = TempDir::new().unwrap();
    open(&place).close().unwrap();
    let data = place.path().join("store/data");
    let lsm = Lsm::open(&data, &small()).unwrap();
    let kept = lsm.kept(1).unwrap();
    let record = |bytes: &'static [u8]| Some(Bytes::from_static(bytes));
    let changes = [(&b"newer"[..], record(&[9, 0])), (b"cut", record(&[1, 0, 0]))];
    lsm.commit(1, &changes, Some(&kept)).unwrap();
    lsm.persist().unwrap();
    drop(lsm);
    let store = open(&place);
    let mut session = store.session();
    let newer = block_on(session.execute(b"newer", &Op::Fetch(Fetch::GET), NOW));
    assert!(matches!(newer, Outcome::Failed(failure::NEWER)));
    let why = store.failure().unwrap().to_string();
    assert!(why.contains("store/data has format 9"), "{why}");
    let cut = block_on(session.execute(b"cut", &count(1), NOW));
    assert!(matches!(cut, Outcome::Failed(failure::DAMAGED)));
    set(&mut session, "cut", "whole", NOW);
}

#[test]
fn a_path_that_cannot_be_used_says_so() {
    let error = Store::open("/dev/null/store", small()).unwrap_err();
    assert!(error.to_string().contains("/dev/null/store: "), "{error}");
}

/// The real thing: the engine finds no room in the middle of a write or a compaction.
#[test]
#[ignore = "mounts a file system: needs root"]
fn a_volume_that_fills_up_loses_nothing_that_was_answered() {
    let volume = Volume::new("size=200m");
    let path = volume.0.path().join("store");

    // With a reserve: refused before the engine notices, and resumed without a restart.
    let options = Options { reserve_bytes: None, write_buffer_bytes: 1 << 20, ..small() };
    let store = Store::open(&path, options.clone()).unwrap();
    let (stored, why) = fill(&store, 0);
    assert_eq!((why, store.stats().condition), (failure::FULL, Condition::OutOfSpace));
    volume.mount("remount,size=300m");
    let (stored, why) = fill(&store, stored);
    assert_eq!(why, failure::FULL);
    store.close().unwrap();

    // Without: the engine gives up, which is said, and all that was answered is still there.
    let store = Store::open(&path, Options { reserve_bytes: Some(0), ..options.clone() }).unwrap();
    let (stored, why) = fill(&store, stored);
    assert!([failure::UNKNOWN, failure::POISONED].contains(&why), "{why}");
    assert_eq!(store.stats().condition, Condition::Poisoned);
    let mut session = store.session();
    assert_eq!(get(&mut session, &format!("key{stored}"), NOW), None, "it was not answered");
    let read = block_on(session.execute(b"key0", &Op::Fetch(Fetch::GET), NOW));
    assert!(matches!(read, Outcome::Hit(_)));
    store.close().unwrap_err();

    // There is no room for a copy of the journals either: it can be read all the same.
    let full = Store::open(&path, options.clone()).unwrap();
    let read = block_on(full.session().execute(b"key0", &Op::Fetch(Fetch::GET), NOW));
    assert!(matches!(read, Outcome::Hit(_)));
    drop(full);
    assert!(!path.join("data.new").exists() && !path.join("data.kept").exists());
    volume.mount("remount,size=3g");
    let store = Store::open(&path, options).unwrap();
    let mut session = store.session();
    for number in 0..stored {
        let key = format!("key{number}");
        let read = block_on(session.execute(key.as_bytes(), &Op::Fetch(Fetch::GET), NOW));
        assert!(matches!(read, Outcome::Hit(_)), "{key} of {stored}: {read:?}");
    }
    set(&mut session, "more", "v", NOW);
}

#[test]
#[ignore = "mounts a file system: needs root, whom permissions do not bind"]
fn a_volume_that_cannot_be_written_to_is_refused_and_said_so() {
    let volume = Volume::new("size=200m");
    let path = volume.0.path().join("store");
    let store = Store::open(&path, small()).unwrap();
    set(&mut store.session(), "k", "v", NOW);
    store.close().unwrap();
    let before = contents(&path);
    volume.mount("remount,ro");
    for _ in 0..2 {
        let why = Store::open(&path, small()).unwrap_err().to_string();
        assert!(why.contains(path.to_str().unwrap()), "{why}");
        assert!(why.contains("Read-only file system"), "{why}");
    }
    let new = volume.0.path().join("new");
    let why = Store::open(&new, small()).unwrap_err().to_string();
    let wanted = format!("cannot create {}: Read-only file system", new.display());
    assert!(why.starts_with(&wanted), "{why}");
    volume.mount("remount,rw");
    assert!(contents(&path) == before);
    let store = Store::open(&path, small()).unwrap();
    assert_eq!(get(&mut store.session(), "k", NOW).unwrap(), "v");
}

/// A small file system of its own.
struct Volume(TempDir);

impl Volume {
    fn new(option: &str) -> Self {
        let volume = Self(TempDir::new().unwrap());
        volume.mount(option);
        volume
    }

    fn mount(&self, option: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", option, "larder-test"]).arg(self.0.path());
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Stores values that do not compress until one is refused: its number, and why.
fn fill(store: &Store, from: u32) -> (u32, &'static str) {
    let mut session = store.session();
    let mut noise = 1_u64;
    for number in from.. {
        let value: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(number.into());
            noise.to_le_bytes()[7]
        })
        .take(50_000)
        .collect();
        let key = format!("key{number}");
        match block_on(session.execute(key.as_bytes(), &Op::Store(put(&value)), NOW)) {
            Outcome::Stored { .. } => {}
            Outcome::Failed(why) => return (number, why),
            other => panic!("{other:?}"),
        }
    }
    unreachable!()
}
