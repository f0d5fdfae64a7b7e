//! Random commands.

use larder_protocol::encode::Wishes;
use larder_protocol::{Arithmetic, Delete, Exptime, Fetch, Mode, Store};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::command::{Ask, Command, Spelling};
use super::ledger::Ledger;
use super::value::Value;

/// Makes the commands of one connection.
#[derive(Debug)]
pub(super) struct Mix {
    pub(super) rng: StdRng,
    keys: usize,
    lengths: Lengths,
    /// Whether stores may go without an answer.
    quiet_stores: bool,
}

/// How long values are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    /// The longest value to be stored.
    pub(super) most: usize,
    /// Longer than any that the server takes.
    pub(super) too_long: usize,
    pub(super) season: Season,
}

/// What kind of values is set for some time, so that a cache is full of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Season {
    Mixed,
    Small,
    Large,
}

impl Mix {
    pub(super) fn new(seed: u64, keys: usize, lengths: Lengths, quiet_stores: bool) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), keys, lengths, quiet_stores }
    }

    pub(super) fn begin(&mut self, season: Season) {
        self.lengths.season = season;
    }

    /// The next command, or all parts of a `get` of many keys.
    pub(super) fn next(&mut self, ledger: &mut Ledger) -> Vec<Command> {
        if self.rng.random_ratio(1, 30) {
            return self.get_many();
        }
        let key = self.key();
        let counts = key % 8 == 7;
        let (ask, spelling) = match self.rng.random_range(0..100) {
            0..35 => self.fetch(),
            35..45 => self.delete(ledger.last_cas(key)),
            45..70 if counts => self.count(),
            70..72 => self.misplaced_count(),
            _ => self.store(key, counts, ledger),
        };
        let wishes = self.wishes(&ask, spelling);
        vec![Command { key, ask, wishes, spelling }]
    }

    /// A key's number; low ones far more often.
    fn key(&mut self) -> usize {
        let part = self.rng.random::<f64>().powi(4);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "any key will do"
        )]
        let key = (part * self.keys as f64) as usize;
        key.min(self.keys - 1)
    }

    fn get_many(&mut self) -> Vec<Command> {
        let count = self.rng.random_range(2..20);
        let wishes =
            if self.rng.random() { Wishes::VALUE.with(Wishes::CAS) } else { Wishes::VALUE };
        let spelling =
            |number| if number + 1 < count { Spelling::Joined } else { Spelling::Classic };
        (0..count)
            .map(|number| Command {
                key: self.key(),
                ask: Ask::Fetch(Fetch::GET),
                wishes,
                spelling: spelling(number),
            })
            .collect()
    }

    fn fetch(&mut self) -> (Ask, Spelling) {
        let spelling = self.spelling();
        let ttl = self.rng.random_ratio(1, 6).then(|| self.exptime());
        let mut fetch = Fetch { ttl, ..Fetch::GET };
        if spelling == Spelling::Meta {
            fetch.may_win = true;
            fetch.bump = self.rng.random_ratio(9, 10);
            fetch.vivify = self.rng.random_ratio(1, 30).then(|| self.exptime());
        }
        (Ask::Fetch(fetch), spelling)
    }

    fn delete(&mut self, last_cas: u64) -> (Ask, Spelling) {
        let spelling = self.spelling();
        let mut delete = Delete::default();
        if spelling == Spelling::Meta {
            delete.compare = self.rng.random_ratio(1, 5).then_some(last_cas);
            delete.invalidate = self.rng.random_ratio(1, 4);
            let expires = delete.invalidate && self.rng.random_ratio(1, 4);
            delete.ttl = expires.then(|| self.exptime());
        }
        (Ask::Delete(delete), spelling)
    }

    fn count(&mut self) -> (Ask, Spelling) {
        let spelling = self.spelling();
        let decrement = self.rng.random();
        let delta = *[0, 1, 1, 1, 10, 12_345, u64::MAX].choose(&mut self.rng).unwrap_or(&1);
        let mut count = Arithmetic { decrement, delta, ..Arithmetic::INCR };
        if spelling == Spelling::Meta {
            count.initial = self.rng.random_range(1..1 << 40);
            count.vivify = self.rng.random_ratio(1, 3).then(|| self.exptime());
            count.ttl = self.rng.random_ratio(1, 10).then(|| self.exptime());
        }
        (Ask::Count(count), spelling)
    }

    /// A count of what may be anything, creating nothing.
    fn misplaced_count(&mut self) -> (Ask, Spelling) {
        (Ask::Count(Arithmetic::INCR), self.spelling())
    }

    fn store(&mut self, key: usize, counts: bool, ledger: &mut Ledger) -> (Ask, Spelling) {
        if self.rng.random_ratio(1, 10_000) {
            let value = Value::piece(ledger.piece(key, self.lengths.too_long));
            return (Ask::Store(Store::SET, value), Spelling::Classic);
        }
        let spelling = self.spelling();
        let mut mode = match self.rng.random_range(0..100) {
            0..10 => Mode::Add,
            10..20 => Mode::Replace,
            20..30 if !counts => Mode::Append,
            30..37 if !counts => Mode::Prepend,
            _ => Mode::Set,
        };
        let value = if counts {
            Value::number(self.rng.random::<u64>() >> self.rng.random_range(0..64))
        } else {
            let len = self.len();
            Value::piece(ledger.piece(key, len))
        };
        let joins = matches!(mode, Mode::Append | Mode::Prepend);
        // Others may be on their way that make the value longer.
        if joins && ledger.held(key) + value.len() + IN_FLIGHT > self.lengths.most {
            mode = Mode::Set;
        }
        let client_flags = *[0, 0, 1, u32::MAX].choose(&mut self.rng).unwrap_or(&0);
        let exptime = self.exptime();
        let mut store = Store { mode, client_flags, exptime, ..Store::SET };
        if mode == Mode::Set && self.rng.random_ratio(1, 6) {
            let wrong = self.rng.random_ratio(1, 10);
            store.compare = Some(if wrong { u64::MAX } else { ledger.last_cas(key) });
        }
        (Ask::Store(store, value), spelling)
    }

    fn spelling(&mut self) -> Spelling {
        if self.rng.random() { Spelling::Meta } else { Spelling::Classic }
    }

    /// What the answer is to tell.
    fn wishes(&mut self, ask: &Ask, spelling: Spelling) -> Wishes {
        let of_meta = [Wishes::CLIENT_FLAGS, Wishes::TTL, Wishes::SIZE, Wishes::KEY, Wishes::IDLE];
        let mut wishes = Wishes::NONE;
        for wish in of_meta.into_iter().chain([Wishes::CAS]) {
            if self.rng.random_ratio(1, 3) {
                wishes = wishes.with(wish);
            }
        }
        // Whether a count has created its number shows in the number; a touch needs no value.
        if matches!(ask, Ask::Count(_)) || self.rng.random_ratio(4, 5) {
            wishes = wishes.with(Wishes::VALUE);
        }
        // Only where silence tells all: of a touch it does not tell whether there was an item.
        let may_be_quiet = match ask {
            Ask::Fetch(fetch) => spelling == Spelling::Meta && fetch.vivify.is_none(),
            Ask::Store(store, value) => {
                let plain = store.mode == Mode::Set && store.compare.is_none();
                plain && self.quiet_stores && value.len() <= self.lengths.most
            }
            Ask::Delete(_) => true,
            Ask::Count(_) => false,
        };
        if may_be_quiet && self.rng.random_ratio(1, 6) {
            wishes = wishes.with(Wishes::QUIET);
        }
        wishes
    }

    fn exptime(&mut self) -> Exptime {
        Exptime(match self.rng.random_range(0..100) {
            0..60 => 0,
            60..75 => self.rng.random_range(1..4),
            75..88 => self.rng.random_range(4..60),
            88..98 => self.rng.random_range(3_600..86_400),
            _ => -1,
        })
    }

    /// A value's length in bytes: most are short, few are as long as may be.
    fn len(&mut self) -> usize {
        let steps: &[(usize, u32)] = match self.lengths.season {
            Season::Small => &[(64, 40), (512, 50), (2 << 10, 10)],
            Season::Mixed => &[
                (64, 300),
                (512, 350),
                (2 << 10, 180),
                (8 << 10, 100),
                (64 << 10, 50),
                (256 << 10, 15),
                (usize::MAX, 5),
            ],
            Season::Large => &[(16 << 10, 60), (64 << 10, 30), (256 << 10, 8), (usize::MAX, 2)],
        };
        let step = steps.choose_weighted(&mut self.rng, |(_, weight)| *weight);
        let most = step.map_or(0, |(most, _)| *most).min(self.lengths.most);
        let least = if self.lengths.season == Season::Large { most / 4 } else { 0 };
        self.rng.random_range(least..=most)
    }
}

/// More bytes than what one batch appends besides its last command.
const IN_FLIGHT: usize = 128 << 10;
