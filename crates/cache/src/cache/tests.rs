use larder_protocol::{Arithmetic, Delete, Exptime, Fetch, Mode, Store};

use super::*;

const NOW: Seconds = 1_700_000_000;

fn cache(bytes: u64) -> Cache {
    Cache::new(&Options { memory_limit: bytes, shards: 4, ..Options::default() })
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
        Outcome::Hit(hit) => Some(hit.value.as_slice().to_vec()),
        Outcome::Miss => None,
        other => panic!("{other:?}"),
    }
}

/// Bytes used as the shards count them, which the shared counter must agree with.
fn assert_accounts(cache: &Cache, now: Seconds) {
    let stats = cache.stats(now);
    assert_eq!(stats.bytes, cache.used.load(Ordering::Relaxed));
    let mut payload = 0;
    for shard in &cache.shards {
        payload += shard.0.lock().items().map(|item| item.payload() as u64).sum::<u64>();
    }
    assert_eq!(stats.payload_bytes, payload);
}

#[test]
fn small_and_large_values_come_back() {
    let cache = cache(8 << 20);
    for len in [0, 1, 100, 8191, 8192, 8193, 1 << 20] {
        let value = vec![b'x'; len];
        assert!(matches!(set(&cache, "k", &value, 0), Outcome::Stored { .. }));
        assert!(get(&cache, "k", NOW) == Some(value));
        assert_accounts(&cache, NOW);
    }
}

#[test]
fn the_limit_holds_whatever_is_stored() {
    let cache = cache(1 << 20);
    for number in 0..20_000 {
        set(&cache, &format!("key-{number}"), &vec![b'x'; number % 700], 0);
        assert!(cache.used.load(Ordering::Relaxed) <= 1 << 20);
    }
    let stats = cache.stats(NOW);
    assert!(stats.evictions > 0 && stats.items > 0);
    assert_eq!(stats.items + stats.evictions, 20_000);
    assert_accounts(&cache, NOW);
}

#[test]
fn a_large_value_finds_room_among_small_ones() {
    let cache = cache(1 << 20);
    for number in 0..10_000 {
        set(&cache, &format!("key-{number}"), b"small", 0);
    }
    let large = vec![b'x'; 900 << 10];
    assert!(matches!(set(&cache, "large", &large, 0), Outcome::Stored { .. }));
    assert!(get(&cache, "large", NOW) == Some(large));
    assert_accounts(&cache, NOW);
}

#[test]
fn what_cannot_fit_is_refused_and_its_older_value_forgotten() {
    let cache = cache(1 << 20);
    set(&cache, "k", b"old", 0);
    assert!(matches!(set(&cache, "k", &vec![b'x'; 2 << 20], 0), Outcome::NoMemory));
    assert_eq!(get(&cache, "k", NOW), None);
    assert_eq!(cache.stats(NOW).out_of_memory, 1);
    assert_accounts(&cache, NOW);
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
    let options = Options { memory_limit: 64 << 10, evict: false, shards: 4 };
    let cache = Cache::new(&options);
    let mut stored = 0;
    while matches!(set(&cache, &format!("key-{stored}"), &[b'x'; 100], 0), Outcome::Stored { .. }) {
        stored += 1;
    }
    assert!(stored > 50);
    assert_eq!(cache.stats(NOW).items, stored);
    told(&cache, "key-0", &Op::Delete(Delete::default()), NOW);
    assert!(matches!(set(&cache, "again", &[b'x'; 100], 0), Outcome::Stored { .. }));
    assert!(cache.used.load(Ordering::Relaxed) <= 64 << 10);
}

#[test]
fn without_eviction_what_has_expired_makes_room() {
    let options = Options { memory_limit: 64 << 10, evict: false, shards: 4 };
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
    assert_accounts(&cache, NOW + 10);
}

#[test]
fn no_item_outgrows_the_limit() {
    let cache = cache(64 << 10);
    set(&cache, "k", &vec![b'x'; 30_000], 0);
    let more = vec![b'x'; 30_000];
    let append = Op::Store(Store { mode: Mode::Append, value: &more, ..Store::SET });
    assert!(matches!(told(&cache, "k", &append, NOW), Outcome::Stored { .. }));
    assert!(matches!(told(&cache, "k", &append, NOW), Outcome::NoMemory));
    assert!(cache.used.load(Ordering::Relaxed) <= 64 << 10);
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
    assert_accounts(&cache, NOW);
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
    assert_eq!((stats.get_expired, stats.reclaimed), (1, 1));
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
    assert_accounts(&cache, NOW);
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
fn a_lower_limit_evicts_at_once() {
    let cache = cache(1 << 20);
    for number in 0..5_000 {
        set(&cache, &format!("key-{number}"), &[b'x'; 100], 0);
    }
    cache.set_memory_limit(100 << 10, NOW);
    assert!(cache.used.load(Ordering::Relaxed) <= 100 << 10);
    assert!(cache.stats(NOW).items > 50);
    cache.set_memory_limit(0, NOW);
    assert_eq!(cache.stats(NOW).items, 0);
    assert_accounts(&cache, NOW);
}

#[test]
fn what_is_lent_is_made_room_for() {
    let cache = cache(1 << 20);
    cache.lend(600 << 10);
    cache.lend(-(200 << 10));
    for number in 0..5_000 {
        set(&cache, &format!("key-{number}"), &[b'x'; 100], 0);
    }
    assert!(cache.used.load(Ordering::Relaxed) <= 624 << 10);
    cache.lend(2 << 20);
    assert!(matches!(set(&cache, "k", b"v", 0), Outcome::Stored { .. }));
    let used = cache.used.load(Ordering::Relaxed);
    assert!((400 << 10..=512 << 10).contains(&used), "{used}: half stays with the items");
    assert_accounts(&cache, NOW);
}

#[test]
fn a_large_value_on_its_way_is_not_written_over() {
    let cache = cache(8 << 20);
    set(&cache, "k", &[b'a'; 10_000], 0);
    let Outcome::Hit(hit) = told(&cache, "k", &Op::Fetch(Fetch::GET), NOW) else { panic!() };
    set(&cache, "k", &[b'b'; 10_000], 0);
    assert_eq!(hit.value.as_slice(), [b'a'; 10_000]);
}

#[test]
fn concurrent_counting_loses_nothing() {
    let cache = cache(1 << 20);
    set(&cache, "n", b"0", 0);
    let incr = Op::Arithmetic(Arithmetic::INCR);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, incr) = (&cache, &incr);
            scope.spawn(move || {
                for number in 0..5_000 {
                    told(cache, "n", incr, NOW);
                    set(cache, &format!("{thread}-{number}"), &[b'x'; 300], 0);
                    get(cache, "n", NOW);
                }
            });
        }
    });
    assert_eq!(get(&cache, "n", NOW), Some(b"20000".to_vec()));
    assert!(cache.used.load(Ordering::Relaxed) <= 1 << 20);
    assert_accounts(&cache, NOW);
}

#[test]
fn sizes_are_counted_in_steps_of_32_bytes() {
    let cache = cache(1 << 20);
    set(&cache, "k", &[b'x'; 31], 0);
    set(&cache, "l", &[b'x'; 32], 0);
    assert_eq!(cache.sizes(NOW).into_iter().collect::<Vec<_>>(), [(32, 1), (64, 1)]);
}

#[test]
fn counters_begin_again_and_gauges_stay() {
    let cache = cache(1 << 20);
    set(&cache, "k", b"v", 0);
    cache.reset_stats();
    let stats = cache.stats(NOW);
    assert_eq!((stats.stored, stats.items), (0, 1));
}
