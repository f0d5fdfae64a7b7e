//! Stores of which one byte is not what was written, in each kind of file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use larder_protocol::{Delete, Fetch, Op, Outcome};
use tempfile::TempDir;

use super::basics::{NOW, set, small};
use super::block_on;
use super::cluster::eventually;
use super::damage::contents;
use crate::{Options, Store, failure};

/// What is in a directory.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// What a store is to answer: `None` for a miss.
type Items = BTreeMap<String, Option<String>>;

/// Sorted files, of which one is compacted, journals and files of the log, all of them small.
fn options() -> Options {
    Options {
        write_buffer_bytes: 1 << 20,
        log_file_bytes: 256 << 10,
        cache_bytes: 1 << 20,
        sweep_per_sec: 0,
        ..small()
    }
}

/// A closed store, and what it holds: items that were written once, anew, and deleted, in sorted
/// files and after these.
fn written(path: &Path) -> Items {
    let store = Store::open(path, options()).unwrap();
    let mut session = store.session();
    let mut items = Items::new();
    let mut noise = 1_u64;
    for round in 0..4 {
        for number in 0..60 {
            let key = format!("key{number}");
            let letter = || {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b'a' + u8::try_from(noise >> 60).unwrap())
            };
            if number % 7 == round {
                let delete = Op::Delete(Delete::default());
                let deleted = block_on(session.execute(key.as_bytes(), &delete, NOW));
                assert!(matches!(deleted, Outcome::Deleted | Outcome::NotFound));
                items.insert(key, None);
            } else if number % 5 >= round {
                let value: String = std::iter::repeat_with(letter).take(9000).collect();
                set(&mut session, &key, &value, NOW);
                items.insert(key, Some(value));
            }
        }
    }
    eventually("there are sorted files", || {
        (fs::read_dir(path.join(SORTED)).unwrap().count() > 0).then_some(())
    });
    set(&mut session, "last", "of all", NOW);
    items.insert("last".to_owned(), Some("of all".to_owned()));
    store.close().unwrap();
    items
}

/// The files of each kind: those whose names differ only in their numbers.
fn kinds(path: &Path, files: &Files) -> BTreeMap<String, Vec<PathBuf>> {
    let mut kinds = BTreeMap::<String, Vec<PathBuf>>::new();
    for name in files.keys().filter(|name| name.is_file()) {
        let within = name.strip_prefix(path).unwrap().to_str().unwrap();
        let kind = within.split(|letter: char| letter.is_ascii_digit());
        let kind: Vec<_> = kind.filter(|part| !part.is_empty()).collect();
        kinds.entry(kind.join("#")).or_default().push(name.clone());
    }
    kinds
}

/// Makes the directory what it was.
fn put_back(path: &Path, files: &Files, directories: &[PathBuf]) {
    fs::remove_dir_all(path).unwrap();
    for directory in directories {
        fs::create_dir_all(directory).unwrap();
    }
    for (name, bytes) in files.iter().filter(|(name, _)| !directories.contains(name)) {
        fs::write(name, bytes).unwrap();
    }
}

/// Where a file is damaged: at its beginning, in its middle, at its end, where the engine says what
/// is before.
fn places(len: usize) -> Vec<usize> {
    let spread = (0..len).step_by(len.div_ceil(SPREAD).max(1));
    let end = (len.saturating_sub(END)..len).step_by(END.div_ceil(SPREAD));
    let mut places: Vec<_> = (0..len.min(4)).chain(spread).chain(end).collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// What comes of it: why it is refused, or how many items could not be read; everything else is as
/// it was.
fn opened(path: &Path, items: &Items) -> Result<usize, String> {
    let store = Store::open(path, options()).map_err(|error| error.to_string())?;
    let mut session = store.session();
    let mut unread = 0;
    for (key, value) in items {
        match block_on(session.execute(key.as_bytes(), &Op::Fetch(Fetch::GET), NOW)) {
            Outcome::Hit(hit) => {
                let found = hit.value.to_bytes();
                assert_eq!(Some(&found[..]), value.as_ref().map(String::as_bytes), "{key}");
            }
            Outcome::Miss => assert!(value.is_none(), "{key} is lost"),
            Outcome::Failed(failure::UNREAD) => unread += 1,
            other => panic!("{key}: {other:?}"),
        }
    }
    Ok(unread)
}

#[test]
fn a_damaged_byte_in_any_kind_of_file_is_refused_or_told_and_never_answered_with() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("store");
    let items = written(&path);
    let whole = contents(&path);
    let directories: Vec<_> = whole.keys().filter(|name| name.is_dir()).cloned().collect();
    let kinds = kinds(&path, &whole);
    for known in KINDS {
        assert!(kinds.contains_key(known), "{known} is none of {:?}", kinds.keys());
    }
    let (mut refused, mut unread) = (0, 0);
    for files in kinds.into_values() {
        // The first and the last of them, for it counts what comes after.
        let last = files.last().filter(|_| files.len() > 1);
        for name in files.first().into_iter().chain(last) {
            for at in places(whole[name].len()) {
                put_back(&path, &whole, &directories);
                let mut damaged = whole[name].clone();
                damaged[at] ^= 0x55;
                fs::write(name, &damaged).unwrap();
                let case = format!("{} at {at} of {}", name.display(), damaged.len());
                let before = contents(&path);
                match opened(&path, &items) {
                    Ok(of_items) => unread += of_items,
                    Err(why) => {
                        refused += 1;
                        assert!(why.contains(path.to_str().unwrap()), "{case}: {why}");
                        assert!(why.contains("keep a copy as it is"), "{case}: {why}");
                        assert_eq!(opened(&path, &items), Err(why), "{case}");
                        let changed = changed(&before, &contents(&path));
                        assert!(changed.is_empty(), "{case}: {changed:?}");
                    }
                }
            }
        }
    }
    // There would be nothing to see otherwise.
    assert!(refused > 100 && unread > 10, "{refused} {unread}");
    put_back(&path, &whole, &directories);
    assert_eq!(opened(&path, &items), Ok(0));
}

/// The engine says that a checksum is wrong, and not whose.
#[test]
fn a_damaged_block_is_named_by_file_and_offset_once_it_was_met() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("store");
    let items = written(&path);
    let sorted = fs::read_dir(path.join(SORTED)).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&sorted).unwrap();
    let damage = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        fs::write(&sorted, &bytes).unwrap();
        let store = Store::open(&path, options()).unwrap();
        let mut session = store.session();
        let fails = |key: &String| {
            let read = session.execute(key.as_bytes(), &Op::Fetch(Fetch::GET), NOW);
            matches!(block_on(read), Outcome::Failed(failure::UNREAD))
        };
        let is_read = items.keys().any(fails);
        is_read.then_some((at, store))
    };
    // Of some blocks all records were written anew.
    let (at, store) = (2..20).find_map(|part| damage(whole.len() * part / 22)).unwrap();
    let why = eventually("it is named", || {
        let why = store.failure().unwrap().to_string();
        why.contains("at offset").then_some(why)
    });
    assert!(why.contains(sorted.to_str().unwrap()), "{why}");
    let offset = why.split("at offset ").nth(1).unwrap().split(',').next().unwrap();
    let offset: usize = offset.parse().unwrap();
    // A block has one record of that length, or two.
    assert!(offset <= at && at - offset < 30_000, "{why}");
    assert!(whole[offset..].starts_with(b"LSM\x03"), "{why}");
}

/// What is not there any more as it was. What was opened before something else was refused has gone on:
/// a log behind its end, and it notes so; and the engine has removed lists that counted no longer.
fn changed(before: &Files, after: &Files) -> Vec<PathBuf> {
    let is_changed = |(name, bytes): &(&PathBuf, &Vec<u8>)| {
        let goes_on = match after.get(*name) {
            Some(after) => after.starts_with(bytes) || name.ends_with("log/LARDER"),
            None => name.to_str().unwrap().contains("/keyspaces/1/v"),
        };
        !goes_on
    };
    before.iter().filter(is_changed).map(|(name, _)| name.clone()).collect()
}

/// Kinds of files that there are, at least.
const KINDS: [&str; 13] = [
    "LARDER",
    "SEATS",
    "WATERMARK",
    "data/#.jnl",
    "data/keyspaces/#/current",
    "data/keyspaces/#/tables/",
    "data/keyspaces/#/v",
    "data/lock",
    "data/version",
    "log/LARDER",
    "log/data/#.raftlog",
    "log/data/#.rewrite",
    "log/data/LOCK",
];
const SORTED: &str = "data/keyspaces/1/tables";
const SPREAD: usize = 12;
const END: usize = 1500;
