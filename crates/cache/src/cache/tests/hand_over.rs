//! Items that go from one cache to another.

use std::collections::HashMap;
use std::thread;

use larder_protocol::{Header, Item, Marks, Value};

use super::restart::contents;
use super::*;
use crate::policy::Policy;

/// What was given, in order: key, header, value.
fn hand_over(cache: &Cache, now: Seconds) -> Vec<(Vec<u8>, Header, Vec<u8>)> {
    let mut given = Vec::new();
    let mut course = HandOver::new(now);
    while cache.hand_over_a_step(&mut course, now, |key, item| {
        given.push((key.to_vec(), item.header, item.value.to_bytes().to_vec()));
    }) {}
    given
}

/// Hands all items over from one to another, and says how many it has taken.
fn move_all(from: &Cache, to: &Cache, now: Seconds) -> usize {
    let mut taken = 0;
    let mut course = HandOver::new(now);
    while from.hand_over_a_step(&mut course, now, |key, item| {
        taken += usize::from(to.take_over(key, &item, now));
    }) {}
    taken
}

#[test]
fn all_items_are_there_as_they_were() {
    let (from, to) = (cache(16 << 20), cache(16 << 20));
    for number in 0..3000_u32 {
        let len =
            if number < 300 { [0, 1, 90, 2000, 9000, 100_000][number as usize % 6] } else { 0 };
        let value: Vec<u8> = (0..=250).cycle().skip(number as usize).take(len).collect();
        let (client_flags, exptime) = (number % 3, Exptime(i64::from(number) % 4 * 100));
        let binary_key = number % 7 == 0;
        let store = Store { value: &value, client_flags, exptime, binary_key, ..Store::SET };
        told(&from, &format!("key-{number}"), &Op::Store(store), NOW + number / 100);
    }
    for number in 0..1000 {
        let key = format!("key-{}", number * 3);
        get(&from, &key, NOW + 40);
        if number % 5 == 0 {
            let stale = Delete { invalidate: true, ..Delete::default() };
            told(&from, &key, &Op::Delete(stale), NOW + 40);
        }
        if number % 10 == 0 {
            let win = Fetch { may_win: true, ..Fetch::GET };
            told(&from, &key, &Op::Fetch(win), NOW + 41);
        }
    }
    let (before, counted) = (contents(&from), format!("{:?}", from.stats(NOW)));
    let live = before.values().filter(|(header, _)| !header.expired(NOW + 150)).count();
    assert!((2000..3000).contains(&live), "{live}");
    assert_eq!(move_all(&from, &to, NOW + 150), live);
    assert!(contents(&from) == before, "to be given changes nothing");
    assert_eq!(format!("{:?}", from.stats(NOW)), counted);
    let mut cas = std::collections::HashSet::new();
    for (key, (header, len)) in contents(&to) {
        let (was, bytes) = before[&key];
        assert_eq!((Header { cas: was.cas, ..header }, len), (was, bytes));
        assert!(header.cas != 0 && cas.insert(header.cas), "{header:?}");
        let key = std::str::from_utf8(&key).unwrap();
        assert!(get(&to, key, NOW + 150) == get(&from, key, NOW + 150));
    }
    let marks = |mark| before.values().filter(|(header, _)| header.marks.has(mark)).count();
    assert!(marks(Marks::WON) > 50 && marks(Marks::STALE) > 100 && marks(Marks::BINARY_KEY) > 100);
    assert_accounts(&to);
    assert_eq!(move_all(&from, &to, NOW + 150), 0);
}

#[test]
fn the_hottest_come_first() {
    let options = Options { memory_limit: 4 << 20, shards: Some(2), ..Options::default() };
    let cache = Cache::new(&options);
    let mut chance = Chance(1);
    for number in 0..120_000 {
        set(&cache, &format!("new-{number}"), &[b'x'; 100], 0);
        // The lower its number, the more often one is asked for.
        let most = 1 + chance.below(8000);
        let key = format!("hot-{}", chance.below(most));
        if get(&cache, &key, NOW).is_none() {
            set(&cache, &key, &[b'x'; 100], 0);
        }
    }
    assert!(cache.stats(NOW).evictions > 50_000);
    let mut of_heat = [0; 5];
    for shard in &cache.shards {
        for (queue, uses) in shard.0.lock().uses() {
            of_heat[usize::from(Policy::heat(queue, uses))] += 1;
        }
    }
    assert!(of_heat.iter().all(|items| *items > 0), "{of_heat:?}");
    let given = hand_over(&cache, NOW + 2);
    assert_eq!(given.len() as u64, cache.stats(NOW).items);
    assert_eq!(given.len(), contents(&cache).len());
    // Where they are on average.
    let place = |numbers: std::ops::Range<u32>, name: &[u8]| {
        let is = |key: &[u8]| key.starts_with(name) && numbers.contains(&number_of(key));
        let places = given.iter().enumerate().filter(|(_, (key, ..))| is(key));
        let (sum, number) = places.fold((0, 0), |(sum, number), (at, _)| (sum + at, number + 1));
        sum / number
    };
    let often = place(0..500, b"hot");
    let seldom = place(4000..8000, b"hot");
    let never = place(0..120_000, b"new");
    assert!(often < seldom && seldom < never, "{often} {seldom} {never}");
    // Exactly: by what the engine knows of each.
    let mut last = u8::MAX;
    for (key, ..) in &given {
        let heat = heat_of(&cache, key);
        assert!(heat <= last, "{heat} after {last}");
        last = heat;
    }
}

fn number_of(key: &[u8]) -> u32 {
    std::str::from_utf8(&key[4..]).unwrap().parse().unwrap()
}

fn heat_of(cache: &Cache, key: &[u8]) -> u8 {
    let hash = cache.hashing.hash_one(key);
    let key = Hashed { key, hash, hashing: &cache.hashing };
    cache.shard(hash).lock().heat(key).unwrap()
}

/// Else a walk could pass an item by before it has the heat that the walk shows, and the next after.
#[test]
fn what_nobody_uses_gets_no_hotter() {
    let options = Options { memory_limit: 1 << 20, shards: Some(1), ..Options::default() };
    let cache = Cache::new(&options);
    let store = |name: &str, number: u32| {
        set(&cache, &format!("{name}-{number}"), &vec![b'x'; 50 + number as usize % 900], 0);
    };
    (0..1000).for_each(|number| store("watched", number));
    // Some are always in use, some were once.
    for round in 0..60 {
        (0..50).for_each(|number| store("old", 50 * round + number));
        let used = if round % 10 == 0 { 0..1000 } else { 0..300 };
        for number in used {
            get(&cache, &format!("watched-{number}"), NOW);
        }
    }
    (1000..1300).for_each(|number| store("watched", number));
    let heat = || {
        let there = contents(&cache).into_keys().filter(|key| key.starts_with(b"watched"));
        there.map(|key| {
            let heat = heat_of(&cache, &key);
            (key, heat)
        })
    };
    let mut before: HashMap<_, _> = heat().collect();
    let hot = before.values().filter(|heat| **heat > 1).count();
    let cold = before.values().filter(|heat| **heat == 0).count();
    assert!(hot > 100 && cold > 100, "{hot} {cold} of {}", before.len());
    for number in 0..2000 {
        store("new", number);
        let after: HashMap<_, _> = heat().collect();
        for (key, heat) in &after {
            assert!(before.get(key).is_some_and(|before| heat <= before), "after {number}");
        }
        before = after;
    }
    assert!(before.len() < 1300, "some have had their turn");
}

fn item(value: &[u8], exptime: Seconds) -> Item<'_> {
    let marks = Marks::FETCHED;
    let header = Header { cas: 7, client_flags: 5, exptime, last_access: NOW - 9, marks };
    Item { header, value: Value::Slice(value) }
}

#[test]
fn what_is_there_stays_and_what_has_expired_does_not() {
    let cache = cache(1 << 20);
    set(&cache, "k", b"mine", 10);
    let before = contents(&cache);
    let long = vec![b'x'; 20_000];
    for value in [&b"other"[..], &long] {
        assert!(!cache.take_over(b"k", &item(value, 0), NOW + 9));
        assert!(contents(&cache) == before, "nor is it used");
        assert!(!cache.take_over(b"new", &item(value, NOW), NOW));
        assert_eq!(get(&cache, "new", NOW), None);
    }
    assert!(cache.take_over(b"k", &item(&long, NOW + 11), NOW + 10));
    assert_eq!(get(&cache, "k", NOW + 10), Some(long));
    assert_eq!(get(&cache, "k", NOW + 11), None);
    assert_accounts(&cache);
}

#[test]
fn what_has_no_room_is_not_taken_over() {
    let options = Options { memory_limit: 1 << 20, evict: false, shards: Some(1) };
    let cache = Cache::new(&options);
    assert!(!cache.take_over(b"large", &item(&vec![b'x'; 2 << 20], 0), NOW));
    let mut taken = 0;
    while cache.take_over(format!("key-{taken}").as_bytes(), &item(&[b'x'; 100], 0), NOW) {
        taken += 1;
    }
    assert!(taken > 1000, "{taken}");
    let stats = cache.stats(NOW);
    assert_eq!((stats.items, stats.out_of_memory), (taken, 2));
    assert_accounts(&cache);
}

/// The hottest come first, and would be the first to leave if they began like any new item.
#[test]
fn what_was_in_use_stays_while_the_rest_is_taken_over() {
    let cache = cache(2 << 20);
    let take = |name: &str, number: u32, marks| {
        let header = Header { marks, ..item(b"", 0).header };
        let item = Item { header, value: Value::Slice(&[b'x'; 100]) };
        assert!(cache.take_over(format!("{name}-{number}").as_bytes(), &item, NOW));
    };
    (0..4000).for_each(|number| take("used", number, Marks::FETCHED));
    (0..60_000).for_each(|number| take("unused", number, Marks::default()));
    let stay = (0..4000).filter(|number| get(&cache, &format!("used-{number}"), NOW).is_some());
    assert_eq!(stay.count(), 4000);
    assert!(cache.stats(NOW).evictions > 40_000);
    assert_accounts(&cache);
}

#[test]
fn cas_uniques_are_its_own_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    let options = Options { memory_limit: 1 << 20, shards: Some(1), ..Options::default() };
    let mut last = 0;
    for round in 0..3 {
        let (cache, _) = Cache::open(&options, &path, NOW).unwrap();
        let key = format!("key-{round}").into_bytes();
        assert!(cache.take_over(&key, &item(b"v", 0), NOW));
        let (header, _) = contents(&cache)[&key];
        assert!(header.cas > last, "{} after {last}", header.cas);
        last = header.cas;
    }
}

#[test]
fn of_many_that_hand_over_one_key_one_succeeds() {
    let cache = cache(32 << 20);
    let taken = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..4_u8 {
            let (cache, taken) = (&cache, &taken);
            scope.spawn(move || {
                for number in 0..3000 {
                    let value = vec![b'a' + thread; if number % 20 == 0 { 20_000 } else { 100 }];
                    let key = format!("key-{number}");
                    let stored = cache.take_over(key.as_bytes(), &item(&value, 0), NOW);
                    taken.fetch_add(usize::from(stored), Ordering::Relaxed);
                    let found = get(cache, &key, NOW).unwrap();
                    assert!(found.iter().all(|byte| *byte == found[0]));
                    assert!(!stored || found == value);
                }
            });
        }
    });
    assert_eq!(taken.into_inner(), 3000);
    assert_accounts(&cache);
}

#[test]
fn all_that_stays_is_handed_over_while_others_write_and_the_engine_moves_it() {
    const EACH: u32 = 4000;
    // What is deleted and overwritten is all that makes room.
    let options = Options { memory_limit: 4 << 20, evict: false, shards: Some(2) };
    let from = Cache::new(&options);
    let store = |key: &str, len: usize| {
        let byte = key.as_bytes()[key.len() - 1];
        let stored = set(&from, key, &vec![byte; len], 0);
        assert!(matches!(stored, Outcome::Stored { .. }), "{key}: {stored:?}");
    };
    let stays = |number: u32| format!("stays-{number}");
    (0..EACH).for_each(|number| store(&stays(number), if number < 20 { 20_000 } else { 60 }));
    let write = |thread: u32, turn: u32| {
        write_others(&from, &store, thread, turn);
        let written = 20 + 2 * (turn % (EACH / 2 - 10)) + thread;
        if turn.is_multiple_of(3) {
            get(&from, &stays(written), NOW);
        } else {
            store(&stays(written), 50 + turn as usize % 17);
        }
    };
    beside_writers(write, || {
        for round in 0..10 {
            let to = cache(64 << 20);
            assert!(move_all(&from, &to, NOW) >= EACH as usize);
            for key in (0..EACH).map(stays) {
                let found = get(&to, &key, NOW);
                let byte = key.as_bytes()[key.len() - 1];
                let is_whole = |value: Vec<u8>| value.iter().all(|other| *other == byte);
                assert!(found.is_some_and(is_whole), "{key} in round {round}");
            }
            assert_accounts(&to);
        }
    });
    assert_accounts(&from);
}

#[test]
fn a_step_copies_no_more_than_some_large_values() {
    let cache = cache(64 << 20);
    for number in 0..5000 {
        set(&cache, &format!("key-{number}"), &[b'x'; 8000], 0);
    }
    let mut course = HandOver::new(NOW);
    let mut seen = HashMap::<Vec<u8>, u32>::new();
    loop {
        let mut bytes = 0;
        let goes_on = cache.hand_over_a_step(&mut course, NOW, |key, item| {
            bytes += item.value.len();
            *seen.entry(key.to_vec()).or_default() += 1;
        });
        // Those of a bucket, and of what has overflowed into the next.
        assert!(bytes < (32 << 10) + 40 * 8000, "{bytes}");
        if !goes_on {
            break;
        }
    }
    assert_eq!(seen.len(), 5000);
}
