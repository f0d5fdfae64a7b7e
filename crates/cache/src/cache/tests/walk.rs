//! A walk over all items while others use the cache.

use std::collections::HashMap;
use std::thread;

use super::restart::contents;
use super::*;

mod model;

/// How often each key is named.
fn named(cache: &Cache, most: usize, now: Seconds) -> HashMap<Vec<u8>, u32> {
    let mut named = HashMap::new();
    cache.list(most, now, &mut |key, _, _| *named.entry(key.to_vec()).or_default() += 1);
    named
}

#[test]
fn sizes_are_counted_in_steps_of_32_bytes() {
    let cache = cache(1 << 20);
    set(&cache, "k", &[b'x'; 31], 0);
    set(&cache, "l", &[b'x'; 32], 0);
    assert_eq!(cache.sizes(NOW).into_iter().collect::<Vec<_>>(), [(32, 1), (64, 1)]);
}

#[test]
fn the_live_are_named_up_to_a_number() {
    let cache = cache(8 << 20);
    for number in 0..5000 {
        set(&cache, &format!("key-{number}"), b"value", number % 2 * 10);
    }
    assert_eq!(named(&cache, usize::MAX, NOW).len(), 5000);
    assert_eq!(named(&cache, usize::MAX, NOW + 10).len(), 2500);
    assert_eq!(named(&cache, 777, NOW).len(), 777);
    assert_eq!(cache.sizes(NOW).into_values().sum::<u64>(), 5000);
    let mut last = None;
    cache.list(1, NOW + 10, &mut |key, bytes, exptime| last = Some((key.len(), bytes, exptime)));
    let (key_len, bytes, exptime) = last.unwrap();
    assert_eq!((bytes, exptime), (key_len + 5, 0));
}

#[test]
fn no_lock_is_held_while_they_are_named() {
    let cache = cache(1 << 20);
    set(&cache, "k", b"v", 0);
    cache.list(9, NOW, &mut |key, _, _| cache.remove(key, NOW));
    assert_eq!(cache.stats(NOW).items, 0);
}

#[test]
fn what_stays_is_named_once_while_the_rest_comes_and_goes() {
    let cache = cache(32 << 20);
    for number in 0..5000 {
        set(&cache, &format!("stays-{number}"), b"v", 0);
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..2 {
            let (cache, done) = (&cache, &done);
            scope.spawn(move || {
                // Enough for the index to grow and to shrink, again and again.
                for number in (0..20_000).cycle() {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    let key = format!("{thread}-{}", number % 10_000);
                    if number < 10_000 {
                        set(cache, &key, b"value", 0);
                    } else {
                        cache.remove(key.as_bytes(), NOW);
                    }
                    // Those that stay are written anew now and then.
                    set(cache, &format!("stays-{}", number % 5000), &[b'x'; 90], 0);
                }
            });
        }
        for _ in 0..60 {
            let named = named(&cache, usize::MAX, NOW);
            let stays = (0..5000).map(|number| named.get(format!("stays-{number}").as_bytes()));
            let once = stays.filter(|times| *times == Some(&1)).count();
            done.store(once != 5000, Ordering::Relaxed);
            assert_eq!(once, 5000);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_accounts(&cache);
}

/// Drops all that is not to be kept.
fn drop_but(cache: &Cache, now: Seconds, mut keep: impl FnMut(&[u8]) -> bool) {
    let mut walk = Walk::default();
    while cache.drop_a_step(&mut walk, now, &mut keep) {}
}

#[test]
fn what_is_not_kept_goes_and_nothing_else_changes() {
    let cache = cache(8 << 20);
    for number in 0..3000 {
        let len = if number % 100 < 2 { 20_000 } else { number % 300 };
        let (key, value) = (format!("key-{number}"), vec![b'x'; len]);
        let flags = u32::try_from(number).unwrap() % 3;
        let exptime = Exptime(i64::try_from(number).unwrap() % 4 * 10);
        let op = Store { value: &value, client_flags: flags, exptime, ..Store::SET };
        told(&cache, &key, &Op::Store(op), NOW);
        if number % 5 == 0 {
            get(&cache, &key, NOW + 1);
        }
    }
    let uses = || cache.shards.iter().flat_map(|shard| shard.0.lock().uses()).collect::<Vec<_>>();
    let (before, heat, counted) = (contents(&cache), uses(), cache.stats(NOW));
    drop_but(&cache, NOW + 15, |_| true);
    assert!(contents(&cache) == before && uses() == heat);
    let keep = |key: &[u8]| key.last().unwrap().is_multiple_of(2);
    drop_but(&cache, NOW + 15, keep);
    let kept: HashMap<_, _> = before.into_iter().filter(|(key, _)| keep(key)).collect();
    assert_eq!(kept.len(), 1500);
    assert!(contents(&cache) == kept);
    let stats = cache.stats(NOW);
    let gauges = Stats { items: 1500, dropped: 1500, ..counted };
    let Stats { bytes, payload_bytes, index_bytes, .. } = stats;
    let expected = Stats { bytes, payload_bytes, index_bytes, ..gauges };
    assert_eq!(format!("{stats:?}"), format!("{expected:?}"));
    assert_accounts(&cache);
    drop_but(&cache, NOW, |_| false);
    assert_eq!((cache.stats(NOW).items, cache.census(NOW).memory.pages), (0, 0));
    assert_accounts(&cache);
}

#[test]
fn what_was_dropped_makes_room_before_anything_is_evicted() {
    let cache = cache(8 << 20);
    let store = |name: &str, number: u32| {
        let len = if number.is_multiple_of(100) { 10_000 } else { 100 };
        set(&cache, &format!("{name}-{number}"), &vec![b'x'; len], 0);
    };
    let mut number = 0;
    // One store may take more than a segment: of records, of pages, and for the index.
    while cache.arena.room() > 3 {
        store("old", number);
        number += 1;
    }
    assert_eq!(cache.stats(NOW).evictions, 0);
    // All of the long ones, and some of the others.
    drop_but(&cache, NOW, |key| !key.ends_with(b"0") && !key.ends_with(b"3"));
    (0..number / 10).for_each(|number| store("new", number));
    let stats = cache.stats(NOW);
    assert_eq!(stats.evictions, 0);
    assert_eq!(stats.items + stats.dropped, u64::from(number + number / 10));
    assert!(stats.dropped > u64::from(number / 6), "{stats:?}");
    assert_accounts(&cache);
}

#[test]
fn a_walk_may_be_taken_up_by_another_thread_and_when_it_is_over() {
    fn is_send<T: Send + 'static>(_: &T) {}
    let cache = cache(1 << 20);
    set(&cache, "k", b"v", 0);
    let mut walk = Walk::default();
    is_send(&walk);
    let mut steps = 0;
    while cache.drop_a_step(&mut walk, NOW, |_| false) {
        steps += 1;
    }
    assert!(steps > 4, "{steps}");
    set(&cache, "k", b"v", 0);
    assert!(!cache.drop_a_step(&mut walk, NOW, |_| panic!("it is over")));
}

#[test]
fn keys_are_asked_for_without_a_lock() {
    let cache = cache(1 << 20);
    set(&cache, "k", b"v", 0);
    drop_but(&cache, NOW, |key| {
        cache.remove(key, NOW);
        false
    });
    assert_eq!((cache.stats(NOW).items, cache.stats(NOW).dropped), (0, 0));
}

#[test]
fn what_is_not_kept_goes_while_others_write_and_the_engine_moves_the_rest() {
    const EACH: u32 = 4000;
    // What is deleted and overwritten is all that makes room.
    let options = Options { memory_limit: 4 << 20, evict: false, shards: Some(2) };
    let cache = Cache::new(&options);
    let store = |key: &str, len: usize| {
        let stored = set(&cache, key, &vec![b'x'; len], 0);
        assert!(matches!(stored, Outcome::Stored { .. }), "{key}: {stored:?}");
    };
    (0..EACH).for_each(|number| store(&format!("stays-{number}"), 60));
    let write = |thread: u32, turn: u32| {
        write_others(&cache, &store, thread, turn);
        let stays = 2 * (turn % (EACH / 2)) + thread;
        store(&format!("stays-{stays}"), 50 + turn as usize % 17);
    };
    beside_writers(write, || {
        // Until all memory was used several times: what the writers get done in a round is the
        // machine's affair.
        let mut round = 0;
        while round < 30 || cache.stats(NOW).stored < 200_000 {
            round += 1;
            for number in 0..EACH / 2 {
                store(&format!("goes-{round}-{number}"), if number == 0 { 30_000 } else { 90 });
            }
            drop_but(&cache, NOW, |key| !key.starts_with(b"goes"));
            let left = named(&cache, usize::MAX, NOW);
            let stays = (0..EACH).map(|number| left.get(format!("stays-{number}").as_bytes()));
            assert_eq!(stays.filter(|times| *times == Some(&1)).count(), EACH as usize);
            assert!(!left.keys().any(|key| key.starts_with(b"goes")));
            assert_eq!(cache.stats(NOW).dropped, u64::from(round * EACH / 2));
        }
    });
    assert_accounts(&cache);
}
