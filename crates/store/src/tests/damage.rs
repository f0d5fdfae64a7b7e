//! Stores whose files are not what was written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::basics::{NOW, get, open, set, small};
use crate::directory::{Locked, unsynced};
use crate::storage::Lsm;
use crate::{Error, Options, Store};

const VALUE: &str = "a value of some length";

/// A store of 50 keys, each written with a batch of its own, that was closed.
fn written() -> (TempDir, PathBuf) {
    let place = TempDir::new().unwrap();
    let options = Options { backlog_bytes: 0, ..small() };
    let store = Store::open(place.path().join("store"), options).unwrap();
    let mut session = store.session();
    for number in 0..50 {
        set(&mut session, &format!("key{number}"), VALUE, NOW);
    }
    store.close().unwrap();
    let path = place.path().join("store");
    (place, path)
}

/// All that is in a directory.
pub(super) fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut contents = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            contents.append(&mut self::contents(&entry.path()));
            contents.insert(entry.path(), Vec::new());
        } else {
            contents.insert(entry.path(), fs::read(entry.path()).unwrap());
        }
    }
    contents
}

/// Opens it twice, and answers why it is refused.
fn refused(path: &Path, options: &Options) -> String {
    let before = contents(path);
    let [first, again] = [0, 1].map(|_| {
        let why = match Store::open(path, options.clone()) {
            Err(error @ Error::Corrupt { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(contents(path) == before, "opening has changed it: {why}");
        why
    });
    assert_eq!(first, again);
    first
}

/// Damages a batch in the middle of the first journal. Which file that is, and its bytes by then.
fn damage_in_the_middle(path: &Path) -> (PathBuf, Vec<u8>) {
    let journal = path.join("data/0.jnl");
    let mut damaged = fs::read(&journal).unwrap();
    let start = ends(&damaged)[25];
    damaged[start] ^= 0x55;
    fs::write(&journal, &damaged).unwrap();
    (journal, damaged)
}

/// Where batches end.
fn ends(journal: &[u8]) -> Vec<usize> {
    let ends = journal.windows(4).enumerate().filter(|(_, bytes)| bytes == b"FJL\x03");
    ends.map(|(at, _)| at + 4).collect()
}

#[test]
fn a_damaged_journal_is_refused_wherever_it_is_damaged_and_kept_as_it_is() {
    let (place, path) = written();
    let journal = path.join("data/0.jnl");
    let whole = fs::read(&journal).unwrap();
    let ends = ends(&whole);
    // Bytes of one batch in the middle: its start, its item, the state, its end.
    let (start, end) = (ends[25], ends[26]);
    for at in (start..start + 16).chain((start + 16..end).step_by(7)).chain(end - 13..end) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        fs::write(&journal, &damaged).unwrap();
        refused(&path, &small());
    }
    fs::write(&journal, &whole).unwrap();
    assert_eq!(get(&mut open(&place).session(), "key49", NOW).unwrap(), VALUE);
}

#[test]
fn an_older_journal_that_breaks_off_is_refused() {
    let (place, path) = written();
    // As if the engine had begun another in the middle.
    let [older, newer] = ["data/0.jnl", "data/1.jnl"].map(|name| path.join(name));
    let whole = fs::read(&older).unwrap();
    let ends = ends(&whole);
    let (first, second) = whole.split_at(ends[25]);
    fs::write(&newer, second).unwrap();
    // Its batches are all there, and the zeros it was made with.
    fs::write(&older, [first, &[0; 10_000]].concat()).unwrap();
    let store = open(&place);
    for number in 0..50 {
        assert_eq!(get(&mut store.session(), &format!("key{number}"), NOW).unwrap(), VALUE);
    }
    drop(store);
    // The engine would go on with the newer one, and no watermark would show it.
    let mut damaged = first.to_vec();
    damaged[ends[10]] ^= 0x55;
    fs::write(&older, &damaged).unwrap();
    let why = refused(&path, &small());
    assert!(why.contains("0.jnl is damaged: it breaks off"), "{why}");
    // If nothing follows, it is the end, whatever the engine has begun after it.
    fs::write(&older, [&whole[..], b"\x01\x02"].concat()).unwrap();
    fs::write(&newer, [0; 5000]).unwrap();
    let store = open(&place);
    assert_eq!(get(&mut store.session(), "key49", NOW).unwrap(), VALUE);
}

#[test]
fn an_unfinished_batch_at_the_end_is_no_damage() {
    let (place, path) = written();
    let journal = path.join("data/0.jnl");
    let whole = fs::read(&journal).unwrap();
    let ends = ends(&whole);
    let last = &whole[ends[48]..ends[49]];
    for len in (1..last.len()).step_by(9) {
        fs::write(&journal, [&whole[..ends[49]], &last[..len]].concat()).unwrap();
        let store = open(&place);
        let mut session = store.session();
        for number in 0..50 {
            assert_eq!(get(&mut session, &format!("key{number}"), NOW).unwrap(), VALUE);
        }
        drop(store);
        assert!(!path.join("data.kept").exists() && !path.join("data.new").exists());
    }
}

/// As the power may leave what was not synced: the end of a batch, but not its beginning.
#[test]
fn an_unsynced_end_of_any_mixture_is_done_again_from_the_log() {
    let (place, path) = written();
    let journal = path.join("data/0.jnl");
    let whole = fs::read(&journal).unwrap();
    let ends = ends(&whole);
    let watermark = path.join("WATERMARK");
    let noted = fs::read(&watermark).unwrap();
    for (from, until) in [(40, 49), (45, 46), (48, 49)] {
        for at in [ends[from] + 2, ends[from] + 20, ends[from] + 60, ends[until] - 10] {
            fs::write(&watermark, "1 40\n").unwrap();
            let mut torn = whole.clone();
            torn[at] ^= 0x55;
            torn[ends[from] + 30..ends[until] - 30].fill(0);
            fs::write(&journal, &torn).unwrap();
            let store = open(&place);
            for number in 0..50 {
                assert_eq!(get(&mut store.session(), &format!("key{number}"), NOW).unwrap(), VALUE);
            }
            drop(store);
            // But what was synced cannot be so.
            fs::write(&watermark, &noted).unwrap();
            fs::write(&journal, &torn).unwrap();
            refused(&path, &small());
        }
    }
}

#[test]
fn a_store_that_has_lost_its_end_is_refused() {
    let (place, path) = written();
    fs::write(path.join("WATERMARK"), "1 51\n").unwrap();
    let why = refused(&path, &small());
    assert!(why.contains("group 1 ends at write 50, but write 51 was durable"), "{why}");
    assert!(why.contains("keep a copy as it is"), "{why}");
    fs::write(path.join("WATERMARK"), "1 50\n").unwrap();
    assert_eq!(get(&mut open(&place).session(), "key49", NOW).unwrap(), VALUE);
}

/// The engine's threads flush and compact as soon as they are there.
#[test]
fn what_the_engine_does_to_its_sorted_files_is_undone_too() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("store");
    let options = Options { write_buffer_bytes: 1 << 20, ..small() };
    let value = "0123456789".repeat(20_000);
    for _ in 0..3 {
        let store = Store::open(&path, options.clone()).unwrap();
        for number in 0..20 {
            set(&mut store.session(), &format!("key{number}"), &value, NOW);
        }
    }
    let sorted = path.join("data/keyspaces/1/tables");
    assert!(fs::read_dir(sorted).unwrap().count() > 0, "there are sorted files");
    let watermark = fs::read(path.join("WATERMARK")).unwrap();
    fs::write(path.join("WATERMARK"), "1 1000\n").unwrap();
    refused(&path, &options);
    fs::write(path.join("WATERMARK"), watermark).unwrap();
    let store = Store::open(&path, options).unwrap();
    for number in 0..20 {
        assert_eq!(get(&mut store.session(), &format!("key{number}"), NOW).unwrap(), value);
    }
}

#[test]
fn a_crash_while_a_damaged_store_is_opened_loses_nothing_more() {
    let (_place, path) = written();
    let (journal, damaged) = damage_in_the_middle(&path);
    let before = contents(&path);
    let (directory, _) = Locked::lock(&path).unwrap().open(1).unwrap();
    directory.keep(|_| None).unwrap();
    drop(Lsm::open(&directory.data(), &small()).unwrap());
    assert!(fs::read(&journal).unwrap().len() < damaged.len(), "the engine has cut it");
    drop(directory);
    refused_after(&path, &before);
}

fn refused_after(path: &Path, before: &BTreeMap<PathBuf, Vec<u8>>) {
    let error = Store::open(path, small()).unwrap_err();
    assert!(
        error.to_string().contains("group 1 ends at write 26, but write 50 was durable"),
        "{error}"
    );
    assert!(contents(path) == *before);
}

#[test]
fn a_store_that_cannot_be_copied_is_opened_all_the_same() {
    let (place, path) = written();
    // In place of a full disk: it cannot be copied as a file.
    std::os::unix::fs::symlink("/", path.join("data/stray")).unwrap();
    assert!(Locked::lock(&path).unwrap().open(1).unwrap().0.keep(|_| None).is_err());
    assert_eq!(get(&mut open(&place).session(), "key49", NOW).unwrap(), VALUE);
    assert!(!path.join("data.new").exists());
}

/// The copy is there by its name, but the disk has not said so.
#[test]
fn a_copy_that_was_not_made_for_sure_never_undoes_what_was_acknowledged() {
    let (place, path) = written();
    let kept = path.join("data.kept");
    unsynced::WHILE.set(Some("data.kept".into()));
    let store = open(&place);
    unsynced::WHILE.set(None);
    assert!(!kept.exists());
    set(&mut store.session(), "key0", "acknowledged", NOW);
    // As after a kill: the watermark is not noted any more.
    let watermark = fs::read(path.join("WATERMARK")).unwrap();
    drop(store);
    fs::write(path.join("WATERMARK"), watermark).unwrap();
    assert_eq!(get(&mut open(&place).session(), "key0", NOW).unwrap(), "acknowledged");
    // Nor is anything acknowledged while it may come back.
    unsynced::WHILE.set(Some("data".into()));
    let error = Store::open(&path, small()).unwrap_err();
    unsynced::WHILE.set(None);
    assert!(error.to_string().starts_with("cannot sync "), "{error}");
    assert_eq!(get(&mut open(&place).session(), "key0", NOW).unwrap(), "acknowledged");
}

#[test]
fn a_store_restored_over_an_opening_that_did_not_end_is_not_replaced() {
    let (place, path) = written();
    let backup = contents(&path.join("data"));
    drop(open(&place));
    let (directory, _) = Locked::lock(&path).unwrap().open(1).unwrap();
    directory.keep(|_| None).unwrap();
    drop(directory);
    let data = path.join("data");
    fs::remove_dir_all(&data).unwrap();
    for (name, bytes) in backup {
        fs::create_dir_all(name.parent().unwrap()).unwrap();
        if !bytes.is_empty() || name.extension().is_some() {
            fs::write(name, bytes).unwrap();
        }
    }
    let before = contents(&path);
    let error = Store::open(&path, small()).unwrap_err();
    assert!(matches!(error, Error::Leftover { .. }), "{error}");
    assert!(contents(&path) == before);
}

/// What is free above the reserve is all that a copy may take.
#[test]
fn a_copy_takes_nothing_of_the_reserve() {
    let (_place, path) = written();
    let (journal, damaged) = damage_in_the_middle(&path);
    refused(&path, &small());
    let greedy = Options { reserve_bytes: Some(u64::MAX), ..small() };
    Store::open(&path, greedy).unwrap_err();
    assert!(fs::read(&journal).unwrap() != damaged, "there was a copy");
}

/// A sorted file is written under its name: one that a crash has left unfinished is in no list.
#[test]
fn a_sorted_file_that_was_not_finished_is_no_damage() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("store");
    let options = Options { write_buffer_bytes: 1 << 20, ..small() };
    let value = "0123456789".repeat(20_000);
    let store = Store::open(&path, options.clone()).unwrap();
    for number in 0..20 {
        set(&mut store.session(), &format!("key{number}"), &value, NOW);
    }
    store.close().unwrap();
    let sorted = path.join("data/keyspaces/1/tables");
    let whole = fs::read_dir(&sorted).unwrap().next().expect("there are sorted files").unwrap();
    let whole = fs::read(whole.path()).unwrap();
    for (name, bytes) in [("997", &[][..]), ("998", &whole[..whole.len() / 2]), ("999", b"nothing")]
    {
        fs::write(sorted.join(name), bytes).unwrap();
    }
    let store = Store::open(&path, options).unwrap();
    assert!(store.shared().storage.find_damaged(&mut |_| true).is_none());
    for number in 0..20 {
        assert_eq!(get(&mut store.session(), &format!("key{number}"), NOW).unwrap(), value);
    }
}

#[test]
fn a_missing_or_senseless_file_of_the_engine_is_damage() {
    let (place, path) = written();
    for number in 0..2 {
        let manifest = format!("data/keyspaces/{number}");
        let files = contents(&path.join(manifest));
        for (name, whole) in files.into_iter().filter(|(name, _)| !name.is_dir()) {
            let file = name.file_name().unwrap().to_str().unwrap();
            if file == "current" || file.starts_with('v') {
                fs::remove_file(&name).unwrap();
                refused(&path, &small());
                fs::write(&name, &whole[..whole.len().min(4)]).unwrap();
                refused(&path, &small());
                fs::write(&name, &whole).unwrap();
            }
        }
    }
    assert_eq!(get(&mut open(&place).session(), "key49", NOW).unwrap(), VALUE);
}
