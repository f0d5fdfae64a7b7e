use std::sync::atomic::AtomicBool;
use std::thread;

use larder_protocol::{Delete, Exptime, Fetch, Landing, Mode, Store};

use super::*;
use crate::arena::PAGE_BYTES;
use crate::census::Census;

mod census;
mod hand_over;
mod restart;
mod threads;
mod walk;

const NOW: Seconds = 1_700_000_000;

fn cache(bytes: u64) -> Cache {
    Cache::new(&Options { memory_limit: bytes, shards: Some(4), ..Options::default() })
}

/// Bytes used of the limit.
fn used(cache: &Cache) -> u64 {
    let segments = cache.arena.in_use() * cache.arena.segment_bytes();
    cache.budget.overhead() + segments as u64
}

fn told(cache: &Cache, key: &str, op: &Op<'_>, now: Seconds) -> Outcome<'static> {
    let mut told = None;
    cache.execute(key.as_bytes(), op, now, |outcome| told = Some(outcome.into_owned()));
    told.unwrap()
}

fn set(cache: &Cache, key: &str, value: &[u8], ttl: i64) -> Outcome<'static> {
    told(cache, key, &Op::Store(Store { value, exptime: Exptime(ttl), ..Store::SET }), NOW)
}

fn get(cache: &Cache, key: &str, now: Seconds) -> Option<Vec<u8>> {
    match told(cache, key, &Op::Fetch(Fetch::GET), now) {
        Outcome::Hit(hit) => Some(hit.value.to_bytes().to_vec()),
        Outcome::Miss => None,
        other => panic!("{other:?}"),
    }
}

/// Does `work` while two threads, by number, write in turns.
fn beside_writers(write: impl Fn(u32, u32) + Sync, work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..2 {
            let (write, done) = (&write, &done);
            scope.spawn(move || {
                for turn in (0..4000).cycle() {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    write(thread, turn);
                }
            });
        }
        // Else the threads would run for ever.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        outcome.unwrap();
    });
}

/// What a thread does in a turn so that other items come and go, some of them in pages.
fn write_others(cache: &Cache, store: &impl Fn(&str, usize), thread: u32, turn: u32) {
    let key = format!("others-{thread}-{}", turn % 2000);
    if turn >= 2000 {
        cache.remove(key.as_bytes(), NOW);
    } else {
        store(&key, if turn.is_multiple_of(400) { 20_000 } else { 100 });
    }
}

/// That all shards' books are right, and the shared ones too.
fn assert_accounts(cache: &Cache) {
    let mut overhead = 0;
    for shard in &cache.shards {
        let shard = shard.0.lock();
        shard.audit(&cache.hashing);
        overhead += shard.overhead();
    }
    assert_eq!(overhead, cache.budget.overhead());
    assert_memory_adds_up(cache);
}

/// That what the memory is said to be used for is what is used, and free, and no more.
fn assert_memory_adds_up(cache: &Cache) {
    // When nothing has expired.
    let Census { memory, probation, main, .. } = cache.census(0);
    assert_eq!(memory.used(), used(cache) + memory.lent, "{memory:?}");
    assert_eq!(memory.used() + memory.free, memory.limit + memory.over, "{memory:?}");
    assert!(memory.free == 0 || memory.over == 0, "{memory:?}");
    assert_eq!(memory.passing, 0, "{memory:?}");
    let bytes = probation.iter().chain([&main]).map(|log| log.bytes).sum::<u64>();
    assert_eq!(memory.records + memory.pages, bytes, "{memory:?}");
}

#[test]
fn small_and_large_values_come_back() {
    let cache = cache(8 << 20);
    for len in [0, 1, 100, 8191, 8192, 8193, 1 << 20] {
        let value = vec![b'x'; len];
        assert!(matches!(set(&cache, "k", &value, 0), Outcome::Stored { .. }));
        assert!(get(&cache, "k", NOW) == Some(value));
        assert_accounts(&cache);
    }
}

/// Does an `op` with a value whose front lands first.
fn land(cache: &Cache, key: &str, op: &Store<'_>) -> Outcome<'static> {
    let mut runway = cache.land(op.value.len(), NOW).unwrap();
    let (front, rest) = op.value.split_at(runway.len());
    let mut front = front;
    while !front.is_empty() {
        if runway.is_short() {
            cache.lengthen(&mut runway, NOW);
        }
        let room = runway.room();
        let (put, later) = front.split_at(front.len().min(room.len()).min(5000));
        room[..put.len()].copy_from_slice(put);
        runway.advance(put.len());
        front = later;
    }
    assert!(runway.room().is_empty());
    let op = Op::Store(Store { landed: runway.len(), value: rest, ..*op });
    let mut told = None;
    let respond = |outcome: Outcome<'_>| told = Some(outcome.into_owned());
    cache.execute_landed(key.as_bytes(), &op, runway, NOW, respond);
    told.unwrap()
}

#[test]
fn what_lands_is_stored_like_any_other_value() {
    let cache = cache(8 << 20);
    for len in [8192, 10_000, 65_536, 1_000_000] {
        let value: Vec<u8> = (0..=250).cycle().take(len).collect();
        let set = Store { value: &value, client_flags: 7, ..Store::SET };
        assert!(matches!(land(&cache, "k", &set), Outcome::Stored { .. }));
        assert!(get(&cache, "k", NOW) == Some(value.clone()));
        let add = Store { mode: Mode::Add, ..set };
        assert!(matches!(land(&cache, "k", &add), Outcome::NotStored));
        assert_accounts(&cache);
        told(&cache, "k", &Op::Delete(Delete::default()), NOW);
        assert!(matches!(land(&cache, "k", &add), Outcome::Stored { .. }));
        assert!(get(&cache, "k", NOW) == Some(value));
    }
    assert!(cache.land(8191, NOW).is_none(), "it has no pages");
    assert!(cache.land(8 << 20, NOW).is_none(), "it would take all memory");

    // What has not landed as announced is not stored.
    let runway = cache.land(10_000, NOW).unwrap();
    let half = Op::Store(Store { landed: 8192, value: &[0; 1808], ..Store::SET });
    let mut outcome = None;
    cache.execute_landed(b"k", &half, runway, NOW, |told| outcome = Some(told.into_owned()));
    assert!(matches!(outcome, Some(Outcome::NoMemory)));
    assert_eq!(get(&cache, "k", NOW), None);
    assert_accounts(&cache);
}

#[test]
fn the_limit_holds_whatever_is_stored() {
    let cache = cache(1 << 20);
    for number in 0..20_000 {
        set(&cache, &format!("key-{number}"), &vec![b'x'; number % 700], 0);
        assert!(used(&cache) <= 1 << 20);
    }
    let stats = cache.stats(NOW);
    assert!(stats.evictions > 0 && stats.items > 0);
    assert_eq!(stats.items + stats.evictions, 20_000);
    assert_accounts(&cache);
}

#[test]
fn a_large_value_finds_room_among_small_ones() {
    let cache = cache(1 << 20);
    for number in 0..10_000 {
        set(&cache, &format!("key-{number}"), b"small", 0);
    }
    // The largest that a node allows: it must fit twice.
    let large = vec![b'x'; 512 << 10];
    assert!(matches!(set(&cache, "large", &large, 0), Outcome::Stored { .. }));
    assert!(get(&cache, "large", NOW) == Some(large));
    assert_accounts(&cache);
}

#[test]
fn what_cannot_fit_is_refused_and_its_older_value_forgotten() {
    let cache = cache(1 << 20);
    set(&cache, "k", b"old", 0);
    assert!(matches!(set(&cache, "k", &vec![b'x'; 2 << 20], 0), Outcome::NoMemory));
    assert_eq!(get(&cache, "k", NOW), None);
    assert_eq!(cache.stats(NOW).out_of_memory, 1);
    assert_accounts(&cache);
}

#[test]
fn items_in_use_outlive_those_that_are_not() {
    let cache = cache(1 << 20);
    for number in 0..20_000 {
        set(&cache, &format!("key-{number}"), &[b'x'; 100], 0);
        assert_eq!(get(&cache, "hot", NOW).is_some(), number > 0);
        if number == 0 {
            set(&cache, "hot", b"v", 0);
        }
    }
}

#[test]
fn without_eviction_a_full_cache_refuses() {
    let options = Options { memory_limit: 1 << 20, evict: false, shards: Some(1) };
    let cache = Cache::new(&options);
    let mut stored = 0;
    while matches!(set(&cache, &format!("key-{stored}"), &[b'x'; 100], 0), Outcome::Stored { .. }) {
        stored += 1;
    }
    assert!(stored > 50);
    assert_eq!(cache.stats(NOW).items, stored);
    for number in 0..20 {
        told(&cache, &format!("key-{number}"), &Op::Delete(Delete::default()), NOW);
    }
    assert!(matches!(set(&cache, "again", &[b'x'; 100], 0), Outcome::Stored { .. }));
    assert!(used(&cache) <= 1 << 20);
}

#[test]
fn without_eviction_what_has_expired_makes_room() {
    let options = Options { memory_limit: 1 << 20, evict: false, shards: Some(1) };
    let cache = Cache::new(&options);
    let mut number = 0;
    while matches!(set(&cache, &format!("key-{number}"), &[b'x'; 100], 10), Outcome::Stored { .. })
    {
        number += 1;
    }
    let op = Op::Store(Store { value: &[b'x'; 100], ..Store::SET });
    assert!(matches!(told(&cache, "new", &op, NOW + 9), Outcome::NoMemory));
    let stored = (0..number).filter(|number| {
        let outcome = told(&cache, &format!("new-{number}"), &op, NOW + 10);
        matches!(outcome, Outcome::Stored { .. })
    });
    assert!(stored.count() > 50);
    assert_accounts(&cache);
}

#[test]
fn an_append_may_make_a_long_item() {
    let cache = cache(4 << 20);
    let value = vec![b'x'; 9000];
    let vivify = Some(Exptime::NEVER);
    let op = Op::Store(Store { mode: Mode::Append, value: &value, vivify, ..Store::SET });
    assert!(matches!(told(&cache, "k", &op, NOW), Outcome::Stored { .. }));
    assert!(matches!(told(&cache, "k", &op, NOW), Outcome::Stored { .. }));
    assert_eq!(get(&cache, "k", NOW).unwrap().len(), 18_000);
    assert_accounts(&cache);
}

#[test]
fn what_is_expected_changes_nothing() {
    let cache = cache(1 << 20);
    set(&cache, "k", b"v", 0);
    cache.expect(&[b"k", b"none", b"", &[b'x'; 1000]]);
    assert_eq!(get(&cache, "k", NOW), Some(b"v".to_vec()));
}

#[test]
fn a_cache_of_long_values_is_nearly_full() {
    let cache = Cache::new(&Options::default());
    for len in [16 << 10, 100 << 10, 1 << 20] {
        let value = vec![b'x'; len];
        let all = 3 * (64 << 20) / len;
        let mut payload = 0;
        for number in 0..all {
            set(&cache, &format!("{len}-{number}"), &value, 0);
            // On average: to have a segment as a whole it gives up several values now and then.
            if number >= all / 2 {
                payload += cache.stats(NOW).payload_bytes / (all - all / 2) as u64;
            }
        }
        assert!(payload > 56 << 20, "{payload} bytes of values of {len}");
    }
    assert_accounts(&cache);
}

/// A full cache of small values and a few long ones, left over from many.
fn fill_behind_long_values(cache: &Cache) {
    let long = |number: usize| number.to_le_bytes().repeat(9000 / 8);
    for number in 0..1000 {
        set(cache, &format!("long-{number}"), &long(number), 0);
    }
    for number in (0..1000).filter(|number| number % 8 > 0) {
        told(cache, &format!("long-{number}"), &Op::Delete(Delete::default()), NOW);
    }
    for number in 0..200_000 {
        set(cache, &format!("small-{number}"), &[b'x'; 100], 0);
        // They are in use.
        let key = number % 125 * 8;
        let value = get(cache, &format!("long-{key}"), NOW);
        assert!(value.is_some_and(|value| value == long(key)), "{number}: long-{key}");
    }
    assert!(cache.stats(NOW).evictions > 0);
    let memory = cache.census(NOW).memory;
    assert!(memory.slack < memory.limit / 16, "{memory:?}");
    assert_accounts(cache);
}

#[test]
fn what_is_left_of_long_values_is_brought_together() {
    let options = Options { memory_limit: 16 << 20, shards: Some(1), ..Options::default() };
    fill_behind_long_values(&Cache::new(&options));
}

#[test]
fn no_item_outgrows_the_limit() {
    let cache = cache(1 << 20);
    set(&cache, "k", &vec![b'x'; 450_000], 0);
    let more = vec![b'x'; 450_000];
    let append = Op::Store(Store { mode: Mode::Append, value: &more, ..Store::SET });
    assert!(matches!(told(&cache, "k", &append, NOW), Outcome::Stored { .. }));
    assert!(matches!(told(&cache, "k", &append, NOW), Outcome::NoMemory));
    assert!(used(&cache) <= 1 << 20);
}

#[test]
fn a_table_that_was_large_is_given_back() {
    let cache = cache(4 << 20);
    for number in 0..40_000 {
        set(&cache, &format!("{number}"), b"v", 0);
    }
    let full = cache.stats(NOW).index_bytes;
    for number in 0..400 {
        set(&cache, &format!("large-{number}"), &vec![b'x'; 100_000], 0);
    }
    let stats = cache.stats(NOW);
    assert!(stats.index_bytes < full / 4, "{} of {full}", stats.index_bytes);
    assert!(stats.payload_bytes > 3 << 20, "{}", stats.payload_bytes);
    assert_accounts(&cache);
}

#[test]
fn a_flush_is_not_undone_by_a_clock_that_goes_back() {
    let cache = cache(1 << 20);
    set(&cache, "k", b"v", 0);
    cache.flush_all(0, NOW);
    assert_eq!(get(&cache, "k", NOW - 100), None);
}

#[test]
fn expiry_is_exact_and_gives_room_back() {
    let cache = cache(1 << 20);
    set(&cache, "k", b"v", 10);
    assert!(get(&cache, "k", NOW + 9).is_some());
    assert!(get(&cache, "k", NOW + 10).is_none());
    let stats = cache.stats(NOW + 10);
    assert_eq!((stats.items, stats.payload_bytes), (0, 0));
    // memcached counts as reclaimed only what made room for others.
    assert_eq!((stats.get_expired, stats.reclaimed), (1, 0));
}

#[test]
fn expired_long_values_make_room_before_live_ones() {
    let cache = cache(32 << 20);
    // All but a few bytes of each are in pages, and all of a shard's records in one segment.
    let long = vec![b'x'; 24 * PAGE_BYTES + 10];
    let fill = |prefix: &str, number: u32, ttl: i64| {
        for number in 0..number {
            set(&cache, &format!("{prefix}-{number}"), &long, ttl);
        }
    };
    // Of the long ones, what would be evicted first is not what expires.
    fill("kept", 150, 0);
    fill("short-lived", 120, 10);
    assert_eq!(cache.stats(NOW).evictions, 0);
    let later = NOW + 10;
    for number in 0..80 {
        let set = Op::Store(Store { value: &long, ..Store::SET });
        let stored = told(&cache, &format!("new-{number}"), &set, later);
        assert!(matches!(stored, Outcome::Stored { .. }));
    }
    let stats = cache.stats(later);
    assert_eq!((stats.evictions, stats.expired_unfetched), (0, stats.reclaimed));
    assert!(stats.reclaimed > 10, "{}", stats.reclaimed);
}

#[test]
fn shards_share_out_the_memory_whatever_they_hold() {
    let cache = cache(32 << 20);
    let mut chance = Chance(1);
    let large = vec![b'x'; 1 << 20];
    for number in 0..30_000 {
        // Many small ones, and some that are as large as thousands.
        let len = if chance.below(8) == 0 { chance.below(1 << 20) } else { chance.below(500) };
        let stored = set(&cache, &format!("key-{number}"), &large[..len as usize], 0);
        assert!(matches!(stored, Outcome::Stored { .. }));
        cache.lend(if number % 2 == 0 { 1 } else { -1 } * (1 << 20), NOW);
    }
    let held: Vec<_> = cache.held.iter().map(|held| held.load(Ordering::Relaxed) >> 20).collect();
    assert!(held.iter().all(|held| (5..=9).contains(held)), "{held:?} MiB");
    assert_accounts(&cache);
}

#[test]
fn an_expired_item_is_no_obstacle() {
    let cache = cache(1 << 20);
    set(&cache, "k", b"v", 10);
    let add = Op::Store(Store { mode: Mode::Add, value: b"w", ..Store::SET });
    assert!(matches!(told(&cache, "k", &add, NOW + 9), Outcome::NotStored));
    assert!(matches!(told(&cache, "k", &add, NOW + 10), Outcome::Stored { .. }));
}

#[test]
fn a_flush_takes_what_was_there_and_nothing_after() {
    let cache = cache(1 << 20);
    set(&cache, "old", b"v", 0);
    cache.flush_all(0, NOW);
    set(&cache, "new", b"v", 0);
    assert_eq!(get(&cache, "old", NOW), None);
    assert!(get(&cache, "new", NOW).is_some());
    assert_accounts(&cache);
}

#[test]
fn a_flush_to_come_waits_and_may_be_replaced() {
    let cache = cache(1 << 20);
    set(&cache, "k", b"v", 0);
    cache.flush_all(NOW + 10, NOW);
    assert!(get(&cache, "k", NOW + 9).is_some());
    cache.flush_all(NOW + 20, NOW + 9);
    assert!(get(&cache, "k", NOW + 19).is_some(), "the first flush is forgotten");
    assert!(get(&cache, "k", NOW + 20).is_none());
}

#[test]
fn a_flush_that_is_due_is_not_forgotten_for_a_later_one() {
    let cache = cache(1 << 20);
    set(&cache, "k", b"v", 0);
    cache.flush_all(NOW + 10, NOW);
    cache.flush_all(NOW + 100, NOW + 11);
    assert!(get(&cache, "k", NOW + 12).is_none());
}

#[test]
fn cas_uniques_do_not_come_back_after_a_flush() {
    let cache = cache(1 << 20);
    let cas = |outcome| match outcome {
        Outcome::Stored { cas, .. } => cas,
        other => panic!("{other:?}"),
    };
    let first = cas(set(&cache, "k", b"v", 0));
    cache.flush_all(0, NOW);
    assert!(cas(set(&cache, "k", b"v", 0)) > first);
}

#[test]
fn no_two_items_have_the_same_cas_unique() {
    let cache = cache(1 << 20);
    let mut seen = std::collections::HashSet::new();
    for number in 0..500 {
        let Outcome::Stored { cas, .. } = set(&cache, &format!("key-{number}"), b"v", 0) else {
            panic!("not stored")
        };
        assert!(cas != 0 && seen.insert(cas));
    }
}

#[test]
fn cas_uniques_begin_where_they_are_told() {
    let cache = cache(1 << 20);
    cache.skip_cas(1_000_000_007);
    cache.skip_cas(5);
    let mut seen = std::collections::HashSet::new();
    for number in 0..500 {
        let Outcome::Stored { cas, .. } = set(&cache, &format!("key-{number}"), b"v", 0) else {
            panic!("not stored")
        };
        assert!(cas > 1_000_000_007 && seen.insert(cas), "{cas}");
    }
}

#[test]
fn a_lower_limit_evicts_at_once() {
    let cache = cache(1 << 20);
    for number in 0..5_000 {
        set(&cache, &format!("key-{number}"), &[b'x'; 100], 0);
    }
    cache.set_memory_limit(100 << 10, NOW);
    cache.shrink(NOW);
    assert!(used(&cache) <= 100 << 10);
    assert!(cache.stats(NOW).items > 50);
    cache.set_memory_limit(0, NOW);
    cache.shrink(NOW);
    assert_eq!(cache.stats(NOW).items, 0);
    assert_accounts(&cache);
}

#[test]
fn what_is_lent_is_made_room_for() {
    let cache = cache(1 << 20);
    let fill = || {
        for number in 0..5_000 {
            set(&cache, &format!("key-{number}"), &[b'x'; 100], 0);
        }
        used(&cache)
    };
    cache.lend(600 << 10, NOW);
    cache.lend(-(200 << 10), NOW);
    let used = fill();
    assert!((400 << 10..=512 << 10).contains(&used), "{used}: half of it is set aside");
    cache.lend(0, NOW + 2);
    let used = fill();
    assert!((580 << 10..=624 << 10).contains(&used), "{used}: 400 KiB are lent");
    cache.lend(2 << 20, NOW + 2);
    let used = fill();
    assert!((400 << 10..=512 << 10).contains(&used), "{used}: half stays with the items");
    assert_accounts(&cache);
}

#[test]
fn what_is_given_back_is_there_again_where_nothing_is_evicted() {
    let options = Options { memory_limit: 8 << 20, evict: false, shards: Some(4) };
    let cache = Cache::new(&options);
    let long = vec![b'x'; 20_000];
    (0..260).for_each(|number| drop(set(&cache, &format!("key-{number}"), &long, 0)));
    cache.lend(4 << 20, NOW);
    cache.lend(-(4 << 20), NOW);
    let stored = |key: &str, value: &[u8], now: Seconds| {
        let set = Op::Store(Store { value, ..Store::SET });
        matches!(told(&cache, key, &set, now), Outcome::Stored { .. })
    };
    assert!(!stored("soon", &long, NOW));
    assert!(stored("later", &long, NOW + 2));
    cache.lend(4 << 20, NOW + 2);
    cache.lend(-(4 << 20), NOW + 2);
    let small =
        |now| (0..5_000).all(|number| stored(&format!("small-{number}"), &[b'x'; 100], now));
    assert!(!small(NOW + 2));
    assert!(small(NOW + 4));
    assert_accounts(&cache);
}

#[test]
fn what_has_expired_makes_room_whichever_shard_has_it() {
    let options = Options { memory_limit: 8 << 20, evict: false, shards: Some(4) };
    let cache = Cache::new(&options);
    let long = vec![b'x'; 100_000];
    let shard = |key: &str| {
        let hash = cache.hashing.hash_one(key.as_bytes());
        std::ptr::eq(cache.shard(hash), &raw const cache.shards[0].0)
    };
    // One shard has little, and all of it expires.
    let mut kept = (0..).map(|number| format!("key-{number}")).filter(|key| !shard(key));
    let mut brief = (0..).map(|number| format!("key-{number}")).filter(|key| shard(key));
    for _ in 0..10 {
        set(&cache, &brief.next().unwrap(), &long, 10);
    }
    while matches!(set(&cache, &kept.next().unwrap(), &long, 0), Outcome::Stored { .. }) {}
    let set = Op::Store(Store { value: &long, ..Store::SET });
    let stored = told(&cache, &kept.next().unwrap(), &set, NOW + 10);
    assert!(matches!(stored, Outcome::Stored { .. }));
}

#[test]
fn what_has_expired_in_one_shard_makes_room_for_small_items_of_another() {
    let options = Options { memory_limit: 8 << 20, evict: false, shards: Some(4) };
    let cache = Cache::new(&options);
    let is_first = |key: &String| {
        let hash = cache.hashing.hash_one(key.as_bytes());
        std::ptr::eq(cache.shard(hash), &raw const cache.shards[0].0)
    };
    let keys = || (0..).map(|number| format!("key-{number}"));
    for key in keys().filter(is_first).take(5000) {
        set(&cache, &key, &[b'x'; 100], 10);
    }
    let mut kept = keys().filter(|key| !is_first(key));
    while matches!(set(&cache, &kept.next().unwrap(), &[b'x'; 100], 0), Outcome::Stored { .. }) {}
    let op = Op::Store(Store { value: &[b'x'; 100], ..Store::SET });
    for (number, key) in kept.take(4000).enumerate() {
        let stored = told(&cache, &key, &op, NOW + 10);
        assert!(matches!(stored, Outcome::Stored { .. }), "{number}: {stored:?}");
    }
    assert_accounts(&cache);
}

#[test]
fn half_stays_with_the_items_whatever_is_coming() {
    let cache = cache(16 << 20);
    let landing: Vec<_> = std::iter::from_fn(|| cache.land(1 << 20, NOW)).collect();
    assert_eq!(landing.len(), 8);
    drop(landing);
    cache.lend(6 << 20, NOW);
    cache.lend(-(6 << 20), NOW);
    let landing: Vec<_> = std::iter::from_fn(|| cache.land(1 << 20, NOW)).collect();
    assert_eq!(landing.len(), 2, "what was lent is still set aside");
    let stored = set(&cache, "k", b"v", 0);
    assert!(matches!(stored, Outcome::Stored { .. }));
}

#[test]
fn all_shards_make_room_for_what_is_lent() {
    let cache = cache(16 << 20);
    let store = |number: u32| {
        let stored = set(&cache, &format!("key-{number}"), &[b'x'; 100], 0);
        assert!(matches!(stored, Outcome::Stored { .. }));
    };
    (0..150_000).for_each(store);
    cache.lend(6 << 20, NOW);
    assert!(used(&cache) <= 10 << 20, "{}", used(&cache));
    // Of all that is stored from now on, only what falls to the first shard.
    let first = |number: &u32| {
        let hash = cache.hashing.hash_one(format!("key-{number}").as_bytes());
        std::ptr::eq(cache.shard(hash), &raw const cache.shards[0].0)
    };
    (150_000..250_000).filter(first).for_each(store);
    assert!(used(&cache) <= 10 << 20, "{}", used(&cache));
    let items: Vec<_> = cache.shards.iter().map(|shard| shard.0.lock().stats().items).collect();
    // The first makes room for its own; none is emptied.
    assert!(items.iter().all(|items| *items > 5_000), "{items:?}");
    assert_accounts(&cache);
}

#[test]
fn a_large_value_on_its_way_is_not_written_over() {
    let cache = cache(8 << 20);
    set(&cache, "k", &[b'a'; 10_000], 0);
    let Outcome::Hit(hit) = told(&cache, "k", &Op::Fetch(Fetch::GET), NOW) else { panic!() };
    set(&cache, "k", &[b'b'; 10_000], 0);
    assert_eq!(*hit.value.to_bytes(), [b'a'; 10_000]);
}

#[test]
fn counters_begin_again_and_gauges_stay() {
    let cache = cache(1 << 20);
    set(&cache, "k", b"v", 0);
    cache.reset_stats();
    let stats = cache.stats(NOW);
    assert_eq!((stats.stored, stats.items), (0, 1));
}

/// Numbers that look random and are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 % u64::from(end)).unwrap()
    }

    /// Bytes that are alike, seldom many.
    fn value(&mut self) -> Vec<u8> {
        let byte = u8::try_from(self.below(256)).unwrap();
        let most = match self.below(100) {
            0 => 100_000,
            1..5 => 20_000,
            5..20 => 3000,
            _ => 200,
        };
        vec![byte; self.below(most) as usize]
    }
}

/// A long run of everything: what is answered is the latest value or nothing, and the books are
/// right throughout. If the cache is in a file, the process ends now and then.
fn run_of_everything(options: &Options, file: Option<&Path>, seed: u64, steps: u64) -> Stats {
    let begin = |now| match file {
        Some(path) => Cache::open(options, path, now).unwrap(),
        None => (Cache::new(options), Restored::default()),
    };
    let (mut cache, _) = begin(NOW);
    let mut chance = Chance(seed);
    let mut now = NOW;
    let mut limit = options.memory_limit;
    let mut lent = 0_i64;
    // The latest value of each key, and its exptime.
    let mut model = std::collections::HashMap::<String, (Vec<u8>, Seconds)>::new();
    for step in 0..steps {
        let range = if chance.below(4) == 0 { 100_000 } else { 2000 };
        let key = format!("key-{}", chance.below(range));
        let known = model.get(&key).filter(|(_, exptime)| *exptime == 0 || *exptime > now).cloned();
        match chance.below(100) {
            0..50 => {
                let found = get(&cache, &key, now);
                if let Some(found) = found {
                    let (value, _) = known.unwrap_or_else(|| panic!("step {step}: {key} is dead"));
                    let same = found.iter().zip(&value).take_while(|(a, b)| a == b).count();
                    let (has, wanted) = (found.len(), value.len());
                    assert!(found == value, "{step}: {key} has {has} for {wanted}, {same} right");
                }
            }
            50..80 => {
                let value = chance.value();
                let ttl = if chance.below(3) == 0 { 1 + chance.below(600) } else { 0 };
                let op =
                    Op::Store(Store { value: &value, exptime: Exptime(ttl.into()), ..Store::SET });
                model.remove(&key);
                if let Outcome::Stored { .. } = told(&cache, &key, &op, now) {
                    let exptime = if ttl == 0 { 0 } else { now + ttl };
                    model.insert(key, (value, exptime));
                }
            }
            80..86 => {
                let added = chance.value();
                let mode = if chance.below(2) == 0 { Mode::Append } else { Mode::Prepend };
                let op = Op::Store(Store { value: &added, mode, ..Store::SET });
                if let Outcome::Stored { .. } = told(&cache, &key, &op, now) {
                    let (value, exptime) = known.expect("it was there");
                    let parts = if mode == Mode::Append { [value, added] } else { [added, value] };
                    model.insert(key, (parts.concat(), exptime));
                }
            }
            86..90 => {
                let ttl = if chance.below(2) == 0 { 0 } else { 1 + chance.below(600) };
                let fetch = Fetch { ttl: Some(Exptime(ttl.into())), ..Fetch::GET };
                if let Outcome::Hit(_) = told(&cache, &key, &Op::Fetch(fetch), now) {
                    let exptime = if ttl == 0 { 0 } else { now + ttl };
                    model.insert(key, (known.expect("it was there").0, exptime));
                }
            }
            90..97 => {
                told(&cache, &key, &Op::Delete(Delete::default()), now);
                model.remove(&key);
            }
            97..99 => now += chance.below(20),
            _ => match chance.below(400) {
                0 => {
                    cache.flush_all(0, now);
                    model.clear();
                }
                1..6 => {
                    limit = options.memory_limit / u64::from(1 + chance.below(4));
                    cache.set_memory_limit(limit, now);
                    cache.shrink(now);
                }
                11..31 if file.is_some() => {
                    let before = restart::contents(&cache);
                    drop(cache);
                    let restored;
                    (cache, restored) = begin(now);
                    cache.lend(lent, now);
                    cache.set_memory_limit(limit, now);
                    cache.shrink(now);
                    restart::assert_same(&before, &cache, &restored);
                }
                6..11 => {
                    let most = u32::try_from(limit / 2).unwrap();
                    let before = std::mem::replace(&mut lent, chance.below(most).into());
                    cache.lend(lent - before, now);
                    cache.set_memory_limit(limit, now);
                    cache.shrink(now);
                }
                _ => {}
            },
        }
        if step % 1000 == 0 {
            assert_accounts(&cache);
            // Without eviction a lower limit only stops what is new.
            let over = (cache.shards.len() * 2 * cache.arena.segment_bytes()) as u64;
            assert!(
                !options.evict || used(&cache) <= limit + over,
                "step {step}: {}",
                used(&cache)
            );
        }
    }
    assert_accounts(&cache);
    cache.stats(now)
}

#[test]
fn whatever_is_done_values_and_books_are_right() {
    for (seed, evict, shards) in [(1, true, 4), (2, true, 1), (3, false, 2)] {
        let options = Options { memory_limit: 4 << 20, evict, shards: Some(shards) };
        let stats = run_of_everything(&options, None, seed, 100_000);
        assert!(stats.items > 100 && (stats.evictions > 1000) == evict, "{stats:?}");
        assert!(stats.reclaimed > 100, "{stats:?}");
    }
}

#[test]
fn long_values_find_room_in_every_shard() {
    for shards in [4, 32] {
        for len in [8 << 10, 16 << 10, 300 << 10] {
            let cache = Cache::new(&Options { shards: Some(shards), ..Options::default() });
            let value = vec![b'x'; len];
            let refused = (0..3 * (64 << 20) / len).filter(|number| {
                matches!(set(&cache, &format!("key-{number}"), &value, 0), Outcome::NoMemory)
            });
            assert_eq!(refused.count(), 0, "values of {len} in {shards} shards");
            assert_accounts(&cache);
        }
    }
}

#[test]
fn what_is_not_stored_evicts_nothing() {
    let cache = cache(1 << 20);
    for number in 0..20_000 {
        set(&cache, &format!("key-{number}"), &[b'x'; 100], 0);
    }
    set(&cache, "there", b"v", 0);
    let before = cache.stats(NOW).evictions;
    let value = vec![b'y'; 300_000];
    let modes = [(Mode::Add, "there"), (Mode::Replace, "absent"), (Mode::Append, "absent")];
    for (mode, key) in modes {
        let op = Op::Store(Store { value: &value, mode, ..Store::SET });
        assert!(matches!(told(&cache, key, &op, NOW), Outcome::NotStored { .. }));
    }
    let op = Op::Store(Store { value: &value, compare: Some(1), ..Store::SET });
    assert!(matches!(told(&cache, "there", &op, NOW), Outcome::Exists { .. }));
    assert_eq!(cache.stats(NOW).evictions, before);
    assert!(matches!(set(&cache, "there", &value, 0), Outcome::Stored { .. }));
    assert!(cache.stats(NOW).evictions > before);
}

#[test]
fn what_is_above_a_lower_limit_goes_little_by_little() {
    let cache = cache(16 << 20);
    let fill = |from: u32, to: u32| {
        for number in from..to {
            let stored = set(&cache, &format!("key-{number}"), &[b'x'; 100], 0);
            assert!(matches!(stored, Outcome::Stored { .. }));
        }
    };
    fill(0, 200_000);
    cache.set_memory_limit(4 << 20, NOW);
    // Nobody who stores something has to give up all of it.
    fill(200_000, 210_000);
    assert!(used(&cache) > 12 << 20, "{}", used(&cache));
    cache.shrink(NOW);
    assert!(used(&cache) <= 4 << 20);
    assert!(cache.stats(NOW).items > 20_000);
    fill(220_000, 240_000);
    assert_accounts(&cache);
}

#[test]
fn an_item_takes_no_more_than_24_bytes_over_key_and_value() {
    for value_len in [50, 100, 500] {
        let cache = Cache::new(&Options { memory_limit: 128 << 20, ..Options::default() });
        let value = vec![b'x'; value_len];
        let mut items = 0;
        while cache.stats(NOW).evictions == 0 {
            for number in items..items + 1000 {
                set(&cache, &format!("{number:032}"), &value, 0);
            }
            items += 1000;
        }
        let items = cache.stats(NOW).items;
        // In tenths of a byte.
        let over = 10 * used(&cache) / items - 10 * (32 + value_len as u64);
        println!("values of {value_len}: {over} tenths of a byte over key and value");
        assert!((180..=240).contains(&over), "{over}");
    }
}
