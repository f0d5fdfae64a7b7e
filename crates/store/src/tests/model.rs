//! Random pipelines, moments and restarts, against a map.

use std::collections::BTreeMap;

use larder_protocol::{Delete, Exptime, Fetch, Mode, Op, Outcome, Seconds, Store as Put};
use proptest::prelude::*;
use tempfile::TempDir;

use super::basics::{NOW, count, open, open_several, put};
use super::block_on;
use crate::Store;

#[derive(Clone, Debug)]
enum Step {
    Get(u8),
    Set(u8, u8, Seconds),
    Append(u8, u8),
    Count(u8),
    Delete(u8),
    Flush(Seconds),
    /// All answers so far are awaited, then time passes.
    Wait(Seconds),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..3_u8;
    prop_oneof![
        4 => key.clone().prop_map(Step::Get),
        4 => (key.clone(), 0..9_u8, 0..4_u32).prop_map(|(key, value, ttl)| Step::Set(key, value, ttl)),
        2 => (key.clone(), 0..9_u8).prop_map(|(key, value)| Step::Append(key, value)),
        2 => key.clone().prop_map(Step::Count),
        1 => key.prop_map(Step::Delete),
        1 => (0..4_u32).prop_map(Step::Flush),
        2 => (0..3_u32).prop_map(Step::Wait),
        1 => Just(Step::Reopen),
    ]
}

/// Value, and the second from which it is gone.
#[derive(Default)]
struct Model {
    items: BTreeMap<u8, (String, Seconds)>,
    flush_at: Seconds,
}

impl Model {
    fn pass(&mut self, now: Seconds) {
        if self.flush_at != 0 && self.flush_at <= now {
            self.items.clear();
            self.flush_at = 0;
        }
        self.items.retain(|_, (_, gone)| *gone == 0 || *gone > now);
    }

    fn answer(&mut self, step: &Step, now: Seconds) -> String {
        self.pass(now);
        let found = |key: &u8, items: &BTreeMap<u8, (String, Seconds)>| items.get(key).cloned();
        match step {
            Step::Get(key) => found(key, &self.items).map_or("miss".into(), |item| item.0),
            Step::Set(key, value, ttl) => {
                let gone = if *ttl == 0 { 0 } else { now + ttl };
                self.items.insert(*key, (value.to_string(), gone));
                "stored".into()
            }
            Step::Append(key, value) => match self.items.get_mut(key) {
                Some(item) => {
                    item.0.push_str(&value.to_string());
                    "stored".into()
                }
                None => "not stored".into(),
            },
            Step::Count(key) => {
                let (number, gone) = match found(key, &self.items) {
                    // A number that got shorter was padded; one too long for 64 bits is none.
                    Some((text, gone)) => match text.split(' ').next().unwrap().parse::<u64>() {
                        Ok(number) => (number.wrapping_add(1), gone),
                        Err(_) => return "no number".into(),
                    },
                    None => (1, 0),
                };
                let old = found(key, &self.items).map_or(0, |item| item.0.len());
                self.items.insert(*key, (format!("{number:<old$}"), gone));
                number.to_string()
            }
            Step::Delete(key) => match self.items.remove(key) {
                Some(_) => "deleted".into(),
                None => "not found".into(),
            },
            Step::Flush(delay) => {
                self.flush_at = if *delay == 0 { 1 } else { now + delay };
                self.pass(now);
                "deleted".into()
            }
            Step::Wait(_) | Step::Reopen => unreachable!(),
        }
    }
}

fn words(outcome: &Outcome<'_>) -> String {
    match outcome {
        Outcome::Hit(hit) => String::from_utf8(hit.value.to_bytes().to_vec()).unwrap(),
        Outcome::Miss => "miss".into(),
        Outcome::Stored { .. } => "stored".into(),
        Outcome::NotStored => "not stored".into(),
        Outcome::NotFound => "not found".into(),
        Outcome::Deleted => "deleted".into(),
        Outcome::Counted(counted) => counted.number.to_string(),
        Outcome::NotANumber => "no number".into(),
        other => panic!("{other:?}"),
    }
}

fn run(steps: &[Step], open: fn(&TempDir) -> Store) -> Result<(), TestCaseError> {
    let place = TempDir::new().unwrap();
    let mut store = open(&place);
    let mut session = store.session();
    let (mut model, mut now) = (Model::default(), NOW);
    let mut flying = Vec::new();
    for step in steps.iter().chain([&Step::Wait(0)]) {
        let key = |key: &u8| vec![b'k', *key];
        let pending = match step {
            Step::Get(k) => session.execute(&key(k), &Op::Fetch(Fetch::GET), now),
            Step::Set(k, value, ttl) => {
                let value = value.to_string();
                let op = Put { exptime: Exptime((*ttl).into()), ..put(value.as_bytes()) };
                session.execute(&key(k), &Op::Store(op), now)
            }
            Step::Append(k, value) => {
                let value = value.to_string();
                let op = Put { mode: Mode::Append, ..put(value.as_bytes()) };
                session.execute(&key(k), &Op::Store(op), now)
            }
            Step::Count(k) => session.execute(&key(k), &count(1), now),
            Step::Delete(k) => session.execute(&key(k), &Op::Delete(Delete::default()), now),
            Step::Flush(0) => session.flush_all(0, now),
            Step::Flush(delay) => session.flush_all(now + delay, now),
            Step::Wait(_) | Step::Reopen => {
                for (step, expected, pending) in flying.drain(..) {
                    let got = words(&block_on(pending));
                    prop_assert_eq!(got, expected, "{:?}", step);
                }
                if let Step::Wait(time) = step {
                    now += time;
                } else {
                    drop(store);
                    store = open(&place);
                    session = store.session();
                }
                continue;
            }
        };
        flying.push((step, model.answer(step, now), pending));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_store_does_what_a_map_does(steps in prop::collection::vec(step(), 1..60)) {
        for open in [open, open_several] {
            run(&steps, open)?;
        }
    }
}
