//! The model, the rules and both engines do the same commands and are asked the same questions.

use std::collections::HashMap;

use larder_cache::Cache;
use larder_protocol::{
    Arithmetic, Change, Delete, Exptime, Fetch, Item, Marks, Mode, Op, Outcome, Store, Value,
    decide,
};
use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::model::{Marks as ModelMarks, Model};

/// Something that keeps items.
trait Engine {
    fn execute(&mut self, key: &[u8], op: &Op<'_>, now: u32) -> Outcome<'static>;
    fn flush_all(&mut self, at: u32, now: u32);

    /// Whether it keeps that an item was fetched.
    fn keeps_use(&self) -> bool {
        true
    }
}

/// The rules on a map: what every engine should be.
#[derive(Default)]
struct Plain {
    items: HashMap<Vec<u8>, (larder_protocol::Header, Vec<u8>)>,
    last_cas: u64,
    flush_at: Option<u32>,
}

impl Plain {
    fn flush(&mut self, now: u32) {
        if self.flush_at.take_if(|at| *at <= now).is_some() {
            self.items.clear();
        }
    }
}

impl Engine for Plain {
    fn execute(&mut self, key: &[u8], op: &Op<'_>, now: u32) -> Outcome<'static> {
        self.flush(now);
        let old = self.items.remove(key).filter(|(header, _)| !header.expired(now));
        let current = old
            .as_ref()
            .map(|(header, value)| Item { header: *header, value: Value::Slice(value) });
        self.last_cas += 1;
        let verdict = decide(current, op, now, || self.last_cas);
        let outcome = verdict.outcome.into_owned();
        let new = match verdict.change {
            Change::Keep => old,
            Change::Use(header) | Change::Header(header) => old.map(|(_, value)| (header, value)),
            Change::Put(header, new) => {
                let old = old.map_or_else(Vec::new, |(_, value)| value);
                let (first, second) = new.parts(&old);
                Some((header, [first, second].concat()))
            }
            Change::Remove => None,
        };
        self.items.extend(new.map(|item| (key.to_vec(), item)));
        outcome
    }

    fn flush_all(&mut self, at: u32, now: u32) {
        self.flush(now);
        self.flush_at = Some(at.max(now));
    }
}

impl Engine for Cache {
    fn execute(&mut self, key: &[u8], op: &Op<'_>, now: u32) -> Outcome<'static> {
        let mut answer = None;
        Cache::execute(self, key, op, now, |outcome| answer = Some(outcome.into_owned()));
        answer.expect("an answer")
    }

    fn flush_all(&mut self, at: u32, now: u32) {
        Cache::flush_all(self, at, now);
    }
}

/// A store in a folder of its own.
struct Durable {
    session: larder_store::Session,
    _store: larder_store::Store,
    runtime: Runtime,
    _folder: TempDir,
}

impl Durable {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = larder_store::Store::open(folder.path(), larder_store::Options::default());
        let store = store.unwrap();
        let runtime = Builder::new_current_thread().build().unwrap();
        Self { session: store.session(), _store: store, runtime, _folder: folder }
    }
}

impl Engine for Durable {
    fn execute(&mut self, key: &[u8], op: &Op<'_>, now: u32) -> Outcome<'static> {
        self.runtime.block_on(self.session.execute(key, op, now))
    }

    fn flush_all(&mut self, at: u32, now: u32) {
        self.runtime.block_on(self.session.flush_all(at, now));
    }

    fn keeps_use(&self) -> bool {
        false
    }
}

/// A cas unique to send. Each engine makes its own, so they are named by when they were told.
#[derive(Clone, Copy, Debug)]
enum Cas {
    /// The one told last for this key, or one before it.
    Told(usize),
    Zero,
    /// One given with `E`.
    Given(u64),
}

/// A step of a test.
#[derive(Clone, Debug)]
enum Step {
    Do { key: usize, ask: Ask },
    Wait(u32),
    Flush(u32),
}

/// An operation whose cas unique is yet to be filled in.
#[derive(Clone, Debug)]
enum Ask {
    Fetch(Fetch),
    Store { op: Store<'static>, value: &'static str, compare: Option<Cas> },
    Delete { op: Delete, compare: Option<Cas> },
    Count { op: Arithmetic, compare: Option<Cas> },
}

impl Ask {
    fn op(&self, known: &[u64]) -> Op<'_> {
        let fill = |cas: &Option<Cas>| {
            cas.map(|cas| match cas {
                Cas::Told(back) => known.iter().rev().nth(back).copied().unwrap_or(GIVEN),
                Cas::Zero => 0,
                Cas::Given(cas) => cas,
            })
        };
        match self {
            Self::Fetch(op) => Op::Fetch(*op),
            Self::Store { op, value, compare } => {
                Op::Store(Store { value: value.as_bytes(), compare: fill(compare), ..*op })
            }
            Self::Delete { op, compare } => Op::Delete(Delete { compare: fill(compare), ..*op }),
            Self::Count { op, compare } => {
                Op::Arithmetic(Arithmetic { compare: fill(compare), ..*op })
            }
        }
    }
}

/// What a command is answered, but for cas uniques.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// The times are the exptimes before and after, the marks those before.
    Found {
        value: Vec<u8>,
        client_flags: u32,
        times: (u32, u32),
        marks: ModelMarks,
        wins: bool,
    },
    Missing,
    Stored {
        len: usize,
    },
    NotStored,
    Exists,
    NotFound,
    Deleted,
    Counted {
        number: u64,
        times: (u32, u32),
    },
    NotANumber,
}

/// What an outcome says, and the cas unique it tells.
fn said(outcome: Outcome<'_>) -> (Said, Option<u64>) {
    match outcome {
        Outcome::Hit(hit) => {
            let letters = [
                (Marks::FETCHED, 'h'),
                (Marks::STALE, 'X'),
                (Marks::WON, 'Z'),
                (Marks::BINARY_KEY, 'b'),
            ];
            let marks = letters.into_iter().filter(|(mark, _)| hit.before.marks.has(*mark));
            let said = Said::Found {
                value: hit.value.to_bytes().to_vec(),
                client_flags: hit.before.client_flags,
                times: (hit.before.exptime, hit.exptime),
                marks: marks.map(|(_, letter)| letter).collect(),
                wins: hit.won,
            };
            (said, Some(hit.before.cas))
        }
        Outcome::Miss => (Said::Missing, None),
        Outcome::Stored { cas, len } => (Said::Stored { len }, Some(cas)),
        Outcome::NotStored => (Said::NotStored, None),
        Outcome::Exists => (Said::Exists, None),
        Outcome::NotFound => (Said::NotFound, None),
        Outcome::Deleted => (Said::Deleted, None),
        Outcome::Counted(counted) => {
            let times = (counted.exptime_before, counted.exptime);
            (Said::Counted { number: counted.number, times }, Some(counted.cas))
        }
        Outcome::NotANumber => (Said::NotANumber, None),
        other => panic!("no engine is full here: {other:?}"),
    }
}

/// The cas uniques told, by key: when equal ones were told must be the same for everyone.
#[derive(Default)]
struct Told(HashMap<usize, Vec<u64>>);

impl Told {
    fn of(&self, key: usize) -> &[u64] {
        self.0.get(&key).map_or(&[], Vec::as_slice)
    }

    /// When this one was told first.
    fn note(&mut self, key: usize, cas: Option<u64>) -> Option<usize> {
        let cas = cas?;
        let told = self.0.entry(key).or_default();
        let index = told.iter().position(|known| *known == cas);
        Some(index.unwrap_or_else(|| {
            told.push(cas);
            told.len() - 1
        }))
    }
}

/// Does every step with the model and an engine.
fn follow(engine: &mut dyn Engine, steps: &[Step]) {
    let mut model = Model::default();
    let (mut model_told, mut engine_told) = (Told::default(), Told::default());
    let mut now = START;
    for (index, step) in steps.iter().enumerate() {
        match step {
            Step::Wait(secs) => now += secs,
            Step::Flush(delay) => {
                let at = if *delay == 0 { 0 } else { now + delay };
                model.flush_all(at, now);
                engine.flush_all(at, now);
            }
            Step::Do { key, ask } => {
                let (mut right, cas) = model.execute(KEYS[*key], &ask.op(model_told.of(*key)), now);
                let right_index = model_told.note(*key, cas);
                let outcome = engine.execute(KEYS[*key], &ask.op(engine_told.of(*key)), now);
                let (mut answer, cas) = said(outcome);
                let answer_index = engine_told.note(*key, cas);
                if !engine.keeps_use() {
                    for said in [&mut right, &mut answer] {
                        if let Said::Found { marks, .. } = said {
                            marks.remove(&'h');
                        }
                    }
                }
                assert_eq!(answer, right, "step {index} at {now}: {step:?}");
                assert_eq!(answer_index, right_index, "cas unique, step {index}: {step:?}");
            }
        }
    }
}

fn exptime() -> impl Strategy<Value = Exptime> {
    let dates = [i64::from(START) + 5, i64::from(START) + 40, 2_592_001];
    prop_oneof![
        3 => Just(Exptime::NEVER),
        3 => (1_i64..12).prop_map(Exptime),
        1 => Just(Exptime(-1)),
        1 => proptest::sample::select(dates.to_vec()).prop_map(Exptime),
        1 => Just(Exptime(2_592_000)),
    ]
}

fn compare() -> impl Strategy<Value = Option<Cas>> {
    weighted(
        0.3,
        prop_oneof![
            6 => (0_usize..3).prop_map(Cas::Told),
            1 => Just(Cas::Zero),
            2 => (0_u64..4).prop_map(|n| Cas::Given(GIVEN + n)),
        ],
    )
}

fn given() -> impl Strategy<Value = Option<u64>> {
    weighted(0.15, (0_u64..4).prop_map(|n| GIVEN + n))
}

fn number() -> impl Strategy<Value = u64> {
    proptest::sample::select(vec![0, 1, 5, 9, 90, 99, 1000, u64::MAX - 1, u64::MAX])
}

prop_compose! {
    fn fetch()(
        ttl in weighted(0.2, exptime()),
        vivify in weighted(0.2, exptime()),
        recache in weighted(0.3, (0_i64..15).prop_map(Exptime)),
        ttl_before_recache in any::<bool>(),
        new_cas in given(),
        binary_key in any::<bool>(),
        bump in any::<bool>(),
        may_win in any::<bool>(),
    ) -> Ask {
        let op = Fetch {
            ttl, vivify, recache, ttl_before_recache, new_cas, binary_key, bump, may_win,
        };
        Ask::Fetch(op)
    }
}

prop_compose! {
    fn store()(
        mode in proptest::sample::select(
            vec![Mode::Set, Mode::Set, Mode::Add, Mode::Replace, Mode::Append, Mode::Prepend]
        ),
        value in proptest::sample::select(VALUES.to_vec()),
        client_flags in 0_u32..3,
        exptime in exptime(),
        compare in compare(),
        invalidate in any::<bool>(),
        new_cas in given(),
        vivify in weighted(0.3, exptime()),
        binary_key in any::<bool>(),
    ) -> Ask {
        let op = Store {
            mode, client_flags, exptime, invalidate, new_cas, vivify, binary_key, ..Store::SET
        };
        Ask::Store { op, value, compare }
    }
}

prop_compose! {
    fn delete()(
        compare in compare(),
        invalidate in any::<bool>(),
        clear in weighted(0.3, Just(())),
        ttl in of(exptime()),
        client_flags in 0_u32..3,
        new_cas in given(),
    ) -> Ask {
        let op = Delete {
            compare: None, invalidate, clear: clear.is_some(), ttl, client_flags, new_cas,
        };
        Ask::Delete { op, compare }
    }
}

prop_compose! {
    fn count()(
        decrement in any::<bool>(),
        delta in number(),
        vivify in weighted(0.4, exptime()),
        initial in number(),
        compare in compare(),
        new_cas in given(),
        ttl in weighted(0.2, exptime()),
        binary_key in any::<bool>(),
    ) -> Ask {
        let op = Arithmetic {
            decrement, delta, vivify, initial, compare: None, new_cas, ttl, binary_key,
        };
        Ask::Count { op, compare }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let ask = prop_oneof![4 => fetch(), 5 => store(), 2 => delete(), 3 => count()];
    prop_oneof![
        30 => (0..KEYS.len(), ask).prop_map(|(key, ask)| Step::Do { key, ask }),
        3 => (1_u32..6).prop_map(Step::Wait),
        1 => (0_u32..4).prop_map(Step::Flush),
    ]
}

const START: u32 = 1_700_000_000;
const KEYS: [&[u8]; 3] = [b"a", b"b", b"foo"];
const VALUES: [&str; 10] =
    ["", "0", "9", "99", "100 ", " 7", "18446744073709551615", "x", "text", "1x"];

/// Larger than any cas unique an engine comes to by itself.
const GIVEN: u64 = 1 << 62;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2500))]

    #[test]
    fn rules_are_as_the_model(steps in vec(step(), 1..200)) {
        follow(&mut Plain::default(), &steps);
    }

    #[test]
    fn cache_is_as_the_model(steps in vec(step(), 1..200)) {
        follow(&mut Cache::new(&larder_cache::Options { shards: Some(2), ..Default::default() }), &steps);
    }
}

proptest! {
    // Each of its commands waits for the disk.
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn store_is_as_the_model(steps in vec(step(), 1..200)) {
        follow(&mut Durable::new(), &steps);
    }
}
