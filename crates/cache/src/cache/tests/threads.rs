//! Many threads at one cache.

use std::collections::VecDeque;
use std::thread;

use larder_protocol::{Arithmetic, Hit};

use super::*;

/// Bytes of a block, all of which say whose it is: a value is whole blocks, however it was made.
const BLOCK: usize = 512;

/// A block of a key's value, with a number of its own.
fn block(key: u32, number: u32) -> Vec<u8> {
    (u64::from(key) << 32 | u64::from(number)).to_le_bytes().repeat(BLOCK / 8)
}

/// The numbers of the blocks of a key's value, each of which is whole.
fn blocks(key: u32, value: &[u8]) -> Vec<u32> {
    let (blocks, rest) = value.as_chunks::<BLOCK>();
    assert!(rest.is_empty(), "{} bytes of half a block", rest.len());
    let number = |bytes: &[u8; BLOCK]| {
        let number = u32::from_le_bytes(*bytes.first_chunk().unwrap());
        assert!(bytes[..] == block(key, number), "a block of another value");
        number
    };
    blocks.iter().map(number).collect()
}

/// Does the same on several threads at once, each with its number.
fn at_once(threads: u32, does: impl Fn(u32) + Sync) {
    thread::scope(|scope| {
        for number in 0..threads {
            let does = &does;
            scope.spawn(move || does(number));
        }
    });
}

#[test]
fn counting_loses_nothing() {
    let cache = cache(1 << 20);
    set(&cache, "n", b"0", 0);
    let incr = Op::Arithmetic(Arithmetic::INCR);
    at_once(4, |thread| {
        for number in 0..5_000 {
            told(&cache, "n", &incr, NOW);
            set(&cache, &format!("{thread}-{number}"), &[b'x'; 300], 0);
            get(&cache, "n", NOW);
        }
    });
    assert_eq!(get(&cache, "n", NOW), Some(b"20000".to_vec()));
    assert!(used(&cache) <= 1 << 20);
    assert_accounts(&cache);
}

/// What a connection is sending stays as it was, whatever becomes of the item meanwhile.
#[test]
fn what_was_read_stays_as_it_was_and_the_books_are_right() {
    let limit = 4 << 20;
    let cache = Cache::new(&Options { memory_limit: limit, shards: Some(2), ..Options::default() });
    at_once(4, |thread| {
        let mut chance = Chance(u64::from(thread) + 1);
        // What this connection is sending.
        let mut sending = VecDeque::<(u32, Hit<'static>, Vec<u32>)>::new();
        let mut lent = 0;
        for round in 0..4_000 {
            let number = chance.below(20);
            let key = number.to_string();
            let store = |mode, blocks: u32, vivify| {
                let stamp = thread << 24 | round;
                let value = block(number, stamp).repeat(blocks as usize);
                let op = Store { mode, value: &value, vivify, ..Store::SET };
                told(&cache, &key, &Op::Store(op), NOW);
            };
            match chance.below(100) {
                0..40 => {
                    if let Outcome::Hit(hit) = told(&cache, &key, &Op::Fetch(Fetch::GET), NOW) {
                        let read = blocks(number, &hit.value.to_bytes());
                        sending.push_back((number, hit, read));
                    }
                }
                40..60 => store(Mode::Set, chance.below(250), None),
                60..75 => store(Mode::Append, 1 + chance.below(40), Some(Exptime::NEVER)),
                75..80 => store(Mode::Prepend, 1 + chance.below(20), Some(Exptime::NEVER)),
                80..85 => cache.expect(&[key.as_bytes(), b"another"]),
                85..95 => {
                    told(&cache, &key, &Op::Delete(Delete::default()), NOW);
                }
                95..98 => {
                    let more = i64::from(chance.below(200 << 10)) - lent;
                    lent += more;
                    cache.lend(more, NOW);
                }
                98 => {
                    cache.set_memory_limit(limit / u64::from(1 + chance.below(3)), NOW);
                    cache.shrink(NOW);
                }
                _ => cache.flush_all(0, NOW),
            }
            if sending.len() > 8 {
                let (number, hit, read) = sending.pop_front().unwrap();
                assert_eq!(blocks(number, &hit.value.to_bytes()), read);
            }
        }
        for (number, hit, read) in sending {
            assert_eq!(blocks(number, &hit.value.to_bytes()), read);
        }
        cache.lend(-lent, NOW);
    });
    assert_accounts(&cache);
    assert!(cache.stats(NOW).evictions > 100, "{:?}", cache.stats(NOW));
    assert_eq!(cache.arena.limit(), cache.budget.segments());
    cache.set_memory_limit(limit, NOW);
    cache.shrink(NOW);
    assert!(used(&cache) <= limit);
    cache.flush_all(0, NOW);
    assert_eq!(cache.arena.in_use(), 0, "nobody has pages of a value any more");
}

#[test]
fn what_is_added_to_a_long_value_is_there_once_and_in_order() {
    const EACH: u32 = 100;
    let cache = cache(32 << 20);
    set(&cache, "k", &block(0, u32::MAX), 0);
    at_once(4, |thread| {
        let mode = if thread < 3 { Mode::Append } else { Mode::Prepend };
        for number in 0..EACH {
            let added = block(0, thread * EACH + number).repeat(1 + number as usize % 9);
            let op = Op::Store(Store { value: &added, mode, ..Store::SET });
            // It is told to try again if others were faster for too long.
            while !matches!(told(&cache, "k", &op, NOW), Outcome::Stored { .. }) {}
            set(&cache, &format!("{thread}-{number}"), &[b'x'; 300], 0);
        }
    });
    let all = blocks(0, &get(&cache, "k", NOW).unwrap());
    for thread in 0..4 {
        let mut added: Vec<u32> =
            all.iter().copied().filter(|number| *number / EACH == thread).collect();
        if thread == 3 {
            added.reverse();
        }
        let expected = (0..EACH).flat_map(|number| {
            std::iter::repeat_n(thread * EACH + number, 1 + number as usize % 9)
        });
        assert_eq!(added, expected.collect::<Vec<_>>());
    }
    assert_accounts(&cache);
}

#[test]
fn a_flush_takes_what_was_there_whoever_else_flushes() {
    let cache = cache(4 << 20);
    at_once(4, |thread| {
        for round in 0..1_000 {
            let key = |number: u32| format!("{thread}-{number}");
            for number in 0..8 {
                let len = if number == 0 { 10_000 } else { 100 };
                set(&cache, &key(number), &vec![b'x'; len], 0);
            }
            if thread == 0 {
                // One to come, that others forget.
                cache.flush_all(NOW + 10 + round, NOW);
            } else {
                cache.flush_all(0, NOW);
                for number in 0..8 {
                    assert_eq!(get(&cache, &key(number), NOW), None, "round {round}");
                }
            }
        }
    });
    assert_accounts(&cache);
    cache.flush_all(0, NOW);
    assert_eq!(cache.stats(NOW).items, 0);
    set(&cache, "new", b"v", 0);
    assert!(get(&cache, "new", NOW + 10_000).is_some(), "none is still to come");
}

#[test]
fn an_append_does_not_bring_back_what_was_cleared_meanwhile() {
    let cache = cache(4 << 20);
    set(&cache, "k", &block(0, 1).repeat(40), 0);
    let value = block(0, 2).repeat(40);
    let op = Op::Store(Store { mode: Mode::Append, value: &value, ..Store::SET });
    let hash = cache.hashing.hash_one(b"k".as_slice());
    let key = Hashed { key: b"k", hash, hashing: &cache.hashing };
    let mut prepared = cache.prepare(key, &op, NOW);
    // Which leaves the cas unique as it was.
    told(&cache, "k", &Op::Delete(Delete { clear: true, ..Delete::default() }), NOW);
    let done = cache.lock(hash, NOW).execute(key, &op, NOW, &mut prepared, |_| ());
    assert!(done.is_err(), "what it was made from is another");
    drop(prepared);
    told(&cache, "k", &op, NOW);
    assert_eq!(get(&cache, "k", NOW), Some(value));
    assert_accounts(&cache);
}

#[test]
fn an_append_does_not_bring_back_what_went_meanwhile() {
    let cache = cache(4 << 20);
    set(&cache, "k", &block(0, 1).repeat(40), 0);
    let value = block(0, 2).repeat(40);
    let vivify = Some(Exptime::NEVER);
    let store = Store { mode: Mode::Append, value: &value, vivify, ..Store::SET };
    let hash = cache.hashing.hash_one(b"k".as_slice());
    let key = Hashed { key: b"k", hash, hashing: &cache.hashing };
    let op = Op::Store(store);
    let mut prepared = cache.prepare(key, &op, NOW);
    cache.remove(b"k", NOW);
    let done = cache.lock(hash, NOW).execute(key, &op, NOW, &mut prepared, |_| ());
    assert!(done.is_err(), "what it was made from is gone");
    drop(prepared);
    told(&cache, "k", &op, NOW);
    assert_eq!(get(&cache, "k", NOW), Some(value));
    assert_accounts(&cache);
}
