//! What the next process finds, however this one ended. To drop a cache changes nothing in its file,
//! so that what is found after is what would be found after a kill at that moment.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use larder_protocol::{Arithmetic, Header, Marks};
use tempfile::TempDir;

use super::*;
use crate::index::Span;

/// The items of a cache: header, and bytes of key and value.
pub(super) fn contents(cache: &Cache) -> HashMap<Vec<u8>, (Header, usize)> {
    let mut contents = HashMap::new();
    for shard in &cache.shards {
        let shard = shard.0.lock();
        let mut left = Some(Span::ALL);
        while let Some(span) = left {
            left = shard.walk(span, &cache.hashing, |key, header, len| {
                contents.insert(key.to_vec(), (header, len));
            });
        }
    }
    contents
}

/// That nothing was lost but by eviction, and nothing is other than it was.
pub(super) fn assert_same(
    before: &HashMap<Vec<u8>, (Header, usize)>,
    cache: &Cache,
    restored: &Restored,
) {
    assert_eq!(restored.damaged, 0);
    assert_eq!(restored.items + restored.expired, before.len() as u64);
    for (key, item) in contents(cache) {
        assert_eq!(before.get(&key), Some(&item));
    }
    assert_accounts(cache);
}

fn place() -> (TempDir, PathBuf) {
    // Where such a file belongs.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let dir = dir.unwrap();
    let path = dir.path().join("memory");
    (dir, path)
}

fn options(limit: u64) -> Options {
    Options { memory_limit: limit, shards: Some(4), ..Options::default() }
}

fn open(path: &Path, limit: u64, now: Seconds) -> (Cache, Restored) {
    Cache::open(&options(limit), path, now).unwrap()
}

#[test]
fn what_a_walk_has_dropped_does_not_come_back() {
    let (_dir, path) = place();
    let (cache, _) = open(&path, 8 << 20, NOW);
    for number in 0..300 {
        set(&cache, &format!("key-{number}"), &vec![b'x'; number * 50], 0);
    }
    let mut walk = Walk::default();
    while cache.drop_a_step(&mut walk, NOW, |key| !key.ends_with(b"3")) {}
    let before = contents(&cache);
    drop(cache);
    let (cache, restored) = open(&path, 8 << 20, NOW);
    assert_eq!((restored.items, cache.stats(NOW).items), (270, 270));
    assert_same(&before, &cache, &restored);
}

#[test]
fn a_value_of_very_many_pieces_comes_back() {
    let (_dir, path) = place();
    let options = Options { memory_limit: 256 << 20, shards: Some(4), ..Options::default() };
    let value: Vec<u8> = (0..=250).cycle().take(120 << 20).collect();
    let (cache, _) = Cache::open(&options, &path, NOW).unwrap();
    let set = Store { value: &value, ..Store::SET };
    assert!(matches!(land(&cache, "k", &set), Outcome::Stored { .. }));
    drop(cache);
    let (cache, restored) = Cache::open(&options, &path, NOW).unwrap();
    assert_eq!((restored.items, restored.damaged), (1, 0));
    assert!(get(&cache, "k", NOW) == Some(value));
}

#[test]
fn long_values_that_were_moved_are_found_where_they_are() {
    let (_dir, path) = place();
    let options = Options { memory_limit: 16 << 20, shards: Some(1), ..Options::default() };
    let (cache, _) = Cache::open(&options, &path, NOW).unwrap();
    fill_behind_long_values(&cache);
    let before = contents(&cache);
    drop(cache);
    let (cache, restored) = Cache::open(&options, &path, NOW).unwrap();
    assert_same(&before, &cache, &restored);
    assert!(before.keys().filter(|key| key.starts_with(b"long")).count() == 125);
}

#[test]
fn whatever_is_done_and_however_often_it_ends_values_and_books_are_right() {
    for (seed, evict, shards) in [(1, true, 4), (2, true, 1), (3, false, 2)] {
        let (_dir, path) = place();
        let options = Options { memory_limit: 4 << 20, evict, shards: Some(shards) };
        let stats = run_of_everything(&options, Some(&path), seed, 100_000);
        assert!(stats.items > 100, "{stats:?}");
    }
}

#[test]
fn all_that_is_known_of_an_item_is_kept() {
    let (_dir, path) = place();
    let (cache, restored) = open(&path, 8 << 20, NOW);
    assert_eq!(restored, Restored::default());
    let long = vec![b'l'; 1_000_001];
    set(&cache, "long", &long, 0);
    let store = Store { value: b"v", client_flags: 77, exptime: Exptime(100), ..Store::SET };
    told(&cache, "small", &Op::Store(store), NOW);
    get(&cache, "small", NOW + 5);
    for (key, ttl) in [("gone", 10), ("deleted", 0), ("counted", 0)] {
        set(&cache, key, b"41", ttl);
    }
    told(&cache, "deleted", &Op::Delete(Delete::default()), NOW);
    told(&cache, "counted", &Op::Arithmetic(Arithmetic::INCR), NOW);
    let before = contents(&cache);
    drop(cache);

    let (cache, restored) = open(&path, 8 << 20, NOW + 50);
    assert_same(&before, &cache, &restored);
    assert_eq!((restored.items, restored.expired, restored.unusable), (3, 1, None));
    let (header, _) = contents(&cache)[&b"small"[..]];
    assert_eq!((header.client_flags, header.exptime), (77, NOW + 100));
    assert_eq!((header.last_access, header.marks), (NOW + 5, Marks::FETCHED));
    assert!(get(&cache, "long", NOW + 50) == Some(long));
    assert_eq!(get(&cache, "counted", NOW + 50), Some(b"42".to_vec()));
    for key in ["gone", "deleted"] {
        assert_eq!(get(&cache, key, NOW + 50), None);
    }
    let greatest = before.values().map(|(header, _)| header.cas).max().unwrap();
    let Outcome::Stored { cas, .. } = set(&cache, "new", b"v", 0) else { panic!() };
    assert!(!before.values().any(|(header, _)| header.cas == cas), "{cas} is not new");
    assert!(greatest > 0);
}

#[test]
fn no_cas_unique_is_given_out_twice() {
    let (_dir, path) = place();
    let mut given = std::collections::HashSet::new();
    for _ in 0..3 {
        let (cache, _) = open(&path, 8 << 20, NOW);
        for _ in 0..10 {
            let Outcome::Stored { cas, .. } = set(&cache, "k", b"v", 0) else { panic!() };
            assert!(given.insert(cas));
            told(&cache, "k", &Op::Delete(Delete::default()), NOW);
        }
    }
}

#[test]
fn a_flush_is_not_undone() {
    let (_dir, path) = place();
    let (cache, _) = open(&path, 8 << 20, NOW);
    let fill = |cache: &Cache, name: &str, now| {
        for number in 0..1000 {
            let op = Op::Store(Store { value: &[b'x'; 100], ..Store::SET });
            told(cache, &format!("{name}-{number}"), &op, now);
        }
    };
    fill(&cache, "old", NOW);
    cache.flush_all(0, NOW);
    fill(&cache, "new", NOW);
    cache.flush_all(NOW + 10, NOW);
    drop(cache);

    let (cache, restored) = open(&path, 8 << 20, NOW);
    assert_eq!(restored.items, 1000);
    assert_eq!(get(&cache, "old-1", NOW), None);
    assert!(get(&cache, "new-1", NOW).is_some());
    drop(cache);
    // One that is still to come is not forgotten.
    let (cache, _) = open(&path, 8 << 20, NOW + 10);
    assert_eq!(get(&cache, "new-1", NOW + 10), None);
    fill(&cache, "newest", NOW + 10);
    drop(cache);
    let (_, restored) = open(&path, 8 << 20, NOW + 11);
    assert_eq!(restored.items, 1000);
}

#[test]
fn a_lower_limit_holds_from_the_start() {
    let (_dir, path) = place();
    let (cache, _) = open(&path, 8 << 20, NOW);
    for number in 0..50_000 {
        set(&cache, &format!("key-{number}"), &[b'x'; 100], 0);
    }
    drop(cache);
    let (cache, restored) = open(&path, 4 << 20, NOW);
    assert!(restored.items > 40_000, "{restored:?}");
    assert!(used(&cache) <= 4 << 20);
    assert!(cache.stats(NOW).items > 15_000);
    assert_accounts(&cache);
    assert!(matches!(set(&cache, "k", b"v", 0), Outcome::Stored { .. }));
}

/// Where the segments of a small cache begin, and how many bytes each has.
const HEADER: u32 = 12 << 10;
const SEGMENT: u32 = 16 << 10;

#[test]
fn what_is_damaged_is_not_believed() {
    let (_dir, path) = place();
    let value = |number: u32| format!("{number:>200}").into_bytes();
    let long = |number: u32| format!("{number:>20000}").into_bytes();
    let mut chance = Chance(7);
    for round in 0..90 {
        let _ = fs::remove_file(&path);
        let (cache, _) = open(&path, 1 << 20, NOW);
        for number in 0..2000 {
            // What was there before must not come back, however it was moved meanwhile.
            set(&cache, &format!("key-{number}"), &value(number)[number as usize % 100 + 1..], 0);
        }
        for number in 0..2000 {
            set(&cache, &format!("key-{number}"), &value(number), 0);
        }
        for number in 0..2000 {
            if number % 3 == 0 {
                told(&cache, &format!("key-{number}"), &Op::Delete(Delete::default()), NOW);
            }
        }
        for number in 0..10 {
            set(&cache, &format!("long-{number}"), &long(number), 0);
        }
        drop(cache);
        let mut bytes = fs::read(&path).unwrap();
        let end = u32::try_from(bytes.len()).unwrap().min(1 << 20);
        for _ in 0..1 << (round / 3 % 12) {
            let at = match round % 3 {
                // One in the labels alone, or in the numbers of the header that change.
                0 => HEADER + chance.below(end - HEADER) / SEGMENT * SEGMENT + chance.below(32),
                1 if chance.below(2) == 0 => 80 + chance.below(52),
                1 => 4096 + chance.below(4 * 32),
                _ => chance.below(end),
            };
            bytes[at as usize] ^= 1 << chance.below(8);
        }
        if round % 5 == 0 {
            bytes.truncate(chance.below(end) as usize);
        }
        fs::write(&path, bytes).unwrap();
        let Ok((cache, restored)) = Cache::open(&options(1 << 20), &path, NOW) else {
            continue;
        };
        assert_accounts(&cache);
        for number in 0..2000 {
            let found = get(&cache, &format!("key-{number}"), NOW);
            let right = found.is_none() || (number % 3 != 0 && found == Some(value(number)));
            assert!(right, "{number} in round {round}: {restored:?}");
        }
        for number in 0..10 {
            let found = get(&cache, &format!("long-{number}"), NOW);
            assert!(found.is_none_or(|found| found == long(number)));
        }
        for number in 0..2000 {
            assert!(matches!(
                set(&cache, &format!("key-{number}"), b"v", 0),
                Outcome::Stored { .. }
            ));
        }
        assert_accounts(&cache);
    }
}

#[test]
fn what_a_label_does_not_vouch_for_is_not_looked_at() {
    let (_dir, path) = place();
    let (cache, _) = open(&path, 1 << 20, NOW);
    let key = |number: u32| format!("key-{number}");
    // Every other one goes, so that the rest is moved together; then that goes too.
    for round in 0..4 {
        for number in 0..5000 {
            set(&cache, &key(number), &[b'a' + round; 200], 0);
        }
        for number in (0..5000).step_by(2) {
            cache.remove(key(number).as_bytes(), NOW);
        }
    }
    (0..5000).for_each(|number| cache.remove(key(number).as_bytes(), NOW));
    assert_eq!(cache.stats(NOW).items, 0);
    drop(cache);
    let mut bytes = fs::read(&path).unwrap();
    for segment in bytes[HEADER as usize..].chunks_exact_mut(SEGMENT as usize) {
        // It seems to end where its memory does, with all it ever had.
        let end = u64::from_le_bytes(segment[16..24].try_into().unwrap());
        let end = end >> 21 << 21 | u64::from(SEGMENT);
        segment[16..24].copy_from_slice(&end.to_le_bytes());
    }
    fs::write(&path, bytes).unwrap();
    let (_, restored) = open(&path, 1 << 20, NOW);
    assert_eq!((restored.items, restored.unusable), (0, None));
}

#[test]
fn a_file_of_something_else_is_left_as_it_is() {
    let (_dir, path) = place();
    fs::write(&path, b"my only copy").unwrap();
    let error = Cache::open(&options(1 << 20), &path, NOW).unwrap_err();
    assert!(error.to_string().contains("is not the memory file of a cache"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"my only copy");
}

#[test]
fn a_file_in_use_is_refused() {
    let (_dir, path) = place();
    let (_cache, _) = open(&path, 1 << 20, NOW);
    let error = Cache::open(&options(1 << 20), &path, NOW).unwrap_err();
    assert!(error.to_string().contains("is in use by another process"), "{error}");
}

#[test]
fn after_another_boot_only_what_was_closed_is_believed() {
    let (_dir, path) = place();
    let reboot = || {
        let mut bytes = fs::read(&path).unwrap();
        bytes[96] ^= 1;
        fs::write(&path, bytes).unwrap();
    };
    let (cache, _) = open(&path, 1 << 20, NOW);
    set(&cache, "k", b"v", 0);
    cache.close().unwrap();
    drop(cache);
    reboot();
    let (cache, restored) = open(&path, 1 << 20, NOW);
    assert_eq!((restored.items, restored.unusable), (1, None));
    drop(cache);
    reboot();
    let (cache, restored) = open(&path, 1 << 20, NOW);
    assert_eq!(restored.items, 0);
    assert!(restored.unusable.unwrap().contains("stopped before"));
    assert_eq!(get(&cache, "k", NOW), None);
}

#[test]
fn what_begins_with_zeros_is_something_else() {
    let (_dir, path) = place();
    let mut bytes = vec![0; 1 << 20];
    bytes[500_000] = 1;
    fs::write(&path, &bytes).unwrap();
    assert!(Cache::open(&options(1 << 20), &path, NOW).is_err());
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_file_that_others_may_write_to_is_refused() {
    let (_dir, path) = place();
    drop(open(&path, 1 << 20, NOW));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).unwrap();
    let error = Cache::open(&options(1 << 20), &path, NOW).unwrap_err();
    assert!(error.to_string().contains("others may write to it"), "{error}");
}

#[test]
fn a_damaged_long_value_takes_no_other_with_it() {
    let (_dir, path) = place();
    let (cache, _) = open(&path, 1 << 20, NOW);
    for number in 0..10 {
        set(&cache, &format!("long-{number}"), &vec![b'a' + number; 9000], 0);
    }
    drop(cache);
    let mut bytes = fs::read(&path).unwrap();
    let damaged = bytes.windows(100).position(|window| window == [b'c'; 100]).unwrap();
    bytes[damaged] = b'x';
    fs::write(&path, bytes).unwrap();
    let (cache, restored) = open(&path, 1 << 20, NOW);
    assert_eq!((restored.items, restored.damaged), (9, 1));
    for number in (0..10).filter(|number| *number != 2) {
        let value = vec![b'a' + number; 9000];
        assert!(get(&cache, &format!("long-{number}"), NOW) == Some(value));
    }
    assert_accounts(&cache);
}

#[test]
fn a_file_is_not_taken_for_closed_once_it_was_opened_again() {
    let (_dir, path) = place();
    let (cache, _) = open(&path, 1 << 20, NOW);
    cache.close().unwrap();
    drop(cache);
    let (cache, _) = open(&path, 1 << 20, NOW);
    assert_eq!(fs::read(&path).unwrap()[80], 0);
    drop(cache);
}
