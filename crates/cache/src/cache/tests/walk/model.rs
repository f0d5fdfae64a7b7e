//! A walk that drops items, and one that hands them over, judged by what was there before and after
//! each step.

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::super::restart::contents;
use super::*;

/// What is done while a walk is under way.
#[derive(Clone, Debug)]
enum Act {
    /// So many keys from one on are set to values of about a length, which expire or not.
    Set {
        first: u16,
        keys: u16,
        len: usize,
        ttl: u8,
    },
    Delete {
        first: u16,
        keys: u16,
    },
    Get {
        first: u16,
        keys: u16,
    },
    /// So many seconds pass.
    Wait(u8),
    /// The limit is so many eighths of what it was.
    Resize(u64),
    Flush,
    /// So many steps; a new walk is begun when one is over.
    Walk(u8),
    /// The same of handing over.
    HandOver(u8),
}

fn act() -> impl Strategy<Value = Act> {
    let first = || 0..KEYS;
    let len = prop_oneof![12 => 0..120_usize, 3 => 120..3000_usize, 1 => 8000..40_000_usize];
    let set = (first(), 0..200_u16, len, prop_oneof![2 => Just(0), 1 => 1..20_u8]);
    prop_oneof![
        24 => set.prop_map(|(first, keys, len, ttl)| {
            let keys = if len < 120 { keys } else { keys / 8 };
            Act::Set { first, keys, len, ttl }
        }),
        6 => (first(), 0..200_u16).prop_map(|(first, keys)| Act::Delete { first, keys }),
        6 => (first(), 0..200_u16).prop_map(|(first, keys)| Act::Get { first, keys }),
        2 => (0..10_u8).prop_map(Act::Wait),
        2 => (1..=8_u64).prop_map(Act::Resize),
        1 => Just(Act::Flush),
        24 => (1..6_u8).prop_map(Act::Walk),
        24 => (1..40_u8).prop_map(Act::HandOver),
    ]
}

const KEYS: u16 = 5000;

/// What is known of a cache that is walked over.
struct Walked {
    cache: Cache,
    limit: u64,
    now: Seconds,
    /// What values stored now consist of.
    byte: u8,
    /// The latest value of each key, as its first byte and its length.
    values: HashMap<Vec<u8>, (u8, usize)>,
    walk: Walk,
    /// How many walks there were.
    walks: u32,
    /// What was there when this one began, and still is.
    stays: BTreeSet<Vec<u8>>,
    /// What it has asked for.
    asked: BTreeSet<Vec<u8>>,
    hand_over: HandOver,
    /// How often it came to its end.
    handed_over: u32,
    /// What was there when it began, still is, and was not given.
    owed: BTreeSet<Vec<u8>>,
}

impl Walked {
    fn new(limit: u64, evict: bool, shards: usize) -> Self {
        let options = Options { memory_limit: limit, evict, shards: Some(shards) };
        Self {
            cache: Cache::new(&options),
            limit,
            now: NOW,
            byte: 0,
            values: HashMap::new(),
            walk: Walk::default(),
            walks: 0,
            stays: BTreeSet::new(),
            asked: BTreeSet::new(),
            hand_over: HandOver::new(NOW),
            handed_over: 0,
            owed: BTreeSet::new(),
        }
    }

    fn act(&mut self, act: &Act) {
        let keys = |first: u16, keys: u16| (first..first + keys).map(|key| format!("{key}"));
        match *act {
            Act::Set { first, keys: number, len, ttl } => {
                self.byte = self.byte.wrapping_add(1);
                for (key, more) in keys(first, number).zip(0..) {
                    let byte = self.byte;
                    let value = vec![byte; len + more % 7];
                    let exptime = Exptime(ttl.into());
                    let op = Op::Store(Store { value: &value, exptime, ..Store::SET });
                    if let Outcome::Stored { .. } = told(&self.cache, &key, &op, self.now) {
                        self.values.insert(key.into_bytes(), (byte, value.len()));
                    } else {
                        self.values.remove(key.as_bytes());
                    }
                }
            }
            Act::Delete { first, keys: number } => {
                for key in keys(first, number) {
                    told(&self.cache, &key, &Op::Delete(Delete::default()), self.now);
                    self.values.remove(key.as_bytes());
                }
            }
            Act::Get { first, keys: number } => {
                for key in keys(first, number) {
                    if let Some(found) = get(&self.cache, &key, self.now) {
                        let (byte, len) = self.values[key.as_bytes()];
                        assert!(found == vec![byte; len], "another value than was stored");
                    }
                }
            }
            Act::Wait(secs) => self.now += Seconds::from(secs),
            Act::Resize(eighths) => {
                self.cache.set_memory_limit(self.limit * eighths / 8, self.now);
                self.cache.shrink(self.now);
            }
            Act::Flush => {
                self.cache.flush_all(0, self.now);
                self.values.clear();
            }
            Act::Walk(steps) => (0..steps).for_each(|_| self.step()),
            Act::HandOver(steps) => (0..steps).for_each(|_| self.hand_over_a_step()),
        }
        let there = contents(&self.cache);
        self.stays.retain(|key| there.contains_key(key));
        let now = self.now;
        self.owed.retain(|key| there.get(key).is_some_and(|(header, _)| !header.expired(now)));
        assert_accounts(&self.cache);
    }

    fn step(&mut self) {
        let (before, counted) = (contents(&self.cache), self.cache.stats(self.now));
        let walks = self.walks;
        let keep = |key: &[u8]| !(u32::from(*key.last().unwrap()) + walks).is_multiple_of(4);
        let mut asked = BTreeSet::new();
        let goes_on = self.cache.drop_a_step(&mut self.walk, self.now, |key| {
            assert!(asked.insert(key.to_vec()), "asked twice for {key:?}");
            keep(key)
        });
        let mut expected = before;
        expected.retain(|key, _| !asked.contains(key) || keep(key));
        assert!(contents(&self.cache) == expected, "what was not kept is gone, and nothing else");
        let stats = self.cache.stats(self.now);
        let Stats { items, bytes, payload_bytes, memory_limit, index_bytes, .. } = stats;
        let dropped = counted.dropped + counted.items - items;
        let gauges = Stats { items, bytes, payload_bytes, memory_limit, index_bytes, ..counted };
        let wanted = Stats { dropped, ..gauges };
        assert_eq!(format!("{stats:?}"), format!("{wanted:?}"));
        for key in asked {
            self.stays.remove(&key);
            assert!(self.asked.insert(key), "asked twice in one walk");
        }
        if !goes_on {
            assert!(self.stays.is_empty(), "{} were never asked for", self.stays.len());
            self.walks += 1;
            self.walk = Walk::default();
            self.asked.clear();
            self.stays = contents(&self.cache).into_keys().collect();
        }
    }

    fn hand_over_a_step(&mut self) {
        let Self { cache, now, owed, values, .. } = self;
        let goes_on = cache.hand_over_a_step(&mut self.hand_over, *now, |key, item| {
            let (byte, len) = values[key];
            assert!(*item.value.to_bytes() == vec![byte; len], "another value than was stored");
            assert!(!item.header.expired(*now));
            owed.remove(key);
        });
        if !goes_on {
            assert!(owed.is_empty(), "{} were never given", owed.len());
            self.handed_over += 1;
            self.hand_over = HandOver::new(*now);
            let live = contents(cache).into_iter().filter(|(_, (header, _))| !header.expired(*now));
            self.owed = live.map(|(key, _)| key).collect();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_done_meanwhile_all_that_stays_is_met(
        acts in prop::collection::vec(act(), 1..250), evict: bool, shards in 0..3_u32,
    ) {
        let mut walked = Walked::new(2 << 20, evict, 1 << shards);
        for act in &acts {
            walked.act(act);
        }
        // To their ends, and once more.
        let (walks, handed_over) = (walked.walks, walked.handed_over);
        while walked.handed_over < handed_over + 2 {
            walked.hand_over_a_step();
        }
        while walked.walks < walks + 2 {
            walked.step();
        }
    }
}
