//! A walk over all items while others use the cache.

use std::thread;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use super::*;

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
