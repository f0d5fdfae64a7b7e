//! Which key a client asks for next.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use super::zipf::Zipf;

/// How a client goes through the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Uniformly at random.
    Random,
    /// All keys in order, again and again; every client the same.
    Sequential,
    /// As [`Self::Sequential`], each client in its own part of the keys.
    Parallel,
    /// At random, those in the middle most often.
    Gaussian,
    /// At random, low numbers most often.
    Zipf,
}

/// The patterns of sets and of gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patterns {
    pub(super) set: Pattern,
    pub(super) get: Pattern,
}

/// All keys, and how they are gone through.
#[derive(Debug, Clone)]
pub(super) struct KeySpace {
    pub(super) low: u64,
    pub(super) high: u64,
    pub(super) patterns: Patterns,
    /// Of [`Pattern::Gaussian`], in keys. Default: a sixth of the range.
    pub(super) stddev: Option<f64>,
    /// Of [`Pattern::Gaussian`], a key. Default: the middle of the range.
    pub(super) median: Option<f64>,
    /// Of [`Pattern::Zipf`]. Default: 1.
    pub(super) zipf_exponent: f64,
}

impl KeySpace {
    /// The keys of client `client` of `clients`: all of them, or its part of [`Pattern::Parallel`].
    ///
    /// Parts are contiguous, as even as can be, and together hold every key once. With more clients
    /// than keys, clients share.
    pub(super) fn of_client(&self, client: u32, clients: u32) -> RangeInclusive<u64> {
        if self.patterns.set != Pattern::Parallel {
            return self.low..=self.high;
        }
        let keys = u128::from(self.high - self.low) + 1;
        let clients = u128::from(clients.max(1));
        let client = u128::from(client) % clients.min(keys);
        let cut = |part: u128| {
            let offset = keys * part / clients.min(keys);
            // Never above the number of keys, which fits but for the one at the very end.
            u64::try_from(offset).map_or(u64::MAX, |offset| self.low.saturating_add(offset))
        };
        let next = cut(client + 1);
        let high = if client + 1 == clients.min(keys) { self.high } else { next - 1 };
        cut(client)..=high
    }
}

/// A client's keys to come, and its source of chance.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) rng: Xoshiro256PlusPlus,
    set: Walk,
    get: Walk,
}

impl Keys {
    /// Two clients with equal `seed` and `range` draw the same keys.
    pub(super) fn new(space: &KeySpace, range: &RangeInclusive<u64>, seed: u64) -> Self {
        Self {
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            set: Walk::new(space.patterns.set, space, range),
            get: Walk::new(space.patterns.get, space, range),
        }
    }

    /// The key of the next set.
    pub(super) fn next_set(&mut self) -> u64 {
        self.set.step(&mut self.rng)
    }

    /// The next key of a get.
    pub(super) fn next_get(&mut self) -> u64 {
        self.get.step(&mut self.rng)
    }
}

/// One command's way through a range of keys.
#[derive(Debug, Clone)]
enum Walk {
    Uniform { low: u64, high: u64 },
    InOrder { low: u64, high: u64, next: u64 },
    Normal(Normal),
    Zipf(Zipf),
}

impl Walk {
    fn new(pattern: Pattern, space: &KeySpace, range: &RangeInclusive<u64>) -> Self {
        let (low, high) = (*range.start(), *range.end());
        match pattern {
            Pattern::Random => Self::Uniform { low, high },
            Pattern::Sequential | Pattern::Parallel => Self::InOrder { low, high, next: low },
            Pattern::Gaussian => Self::Normal(Normal::new(low, high, space.stddev, space.median)),
            Pattern::Zipf => Self::Zipf(Zipf::new(low, high, space.zipf_exponent)),
        }
    }

    fn step(&mut self, rng: &mut Xoshiro256PlusPlus) -> u64 {
        match self {
            Self::Uniform { low, high } => rng.random_range(*low..=*high),
            Self::InOrder { low, high, next } => {
                let key = *next;
                *next = if key >= *high { *low } else { key + 1 };
                key
            }
            Self::Normal(normal) => normal.draw(rng),
            Self::Zipf(zipf) => zipf.draw(rng),
        }
    }
}

/// Whole numbers from `low` to `high`, normally distributed; what falls outside is drawn again.
#[derive(Debug, Clone)]
struct Normal {
    low: f64,
    /// One above the highest.
    end: f64,
    stddev: f64,
    median: f64,
    /// The method makes two numbers at a time.
    spare: Option<f64>,
}

impl Normal {
    #[expect(clippy::cast_precision_loss, reason = "a key above 2^52 may be its neighbour")]
    fn new(low: u64, high: u64, stddev: Option<f64>, median: Option<f64>) -> Self {
        let length = (high - low) as f64;
        let (low, high) = (low as f64, high as f64);
        Self {
            low,
            end: high + 1.0,
            // Of a single key there is nothing to spread over.
            stddev: stddev.unwrap_or(length / 6.0).max(f64::MIN_POSITIVE),
            median: median.unwrap_or(low + length / 2.0 + 0.5),
            spare: None,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounds down to the key; checked to be in range"
    )]
    fn draw(&mut self, rng: &mut Xoshiro256PlusPlus) -> u64 {
        loop {
            let value = self.median + self.stddev * self.standard(rng);
            if (self.low..self.end).contains(&value) {
                return value as u64;
            }
        }
    }

    /// A standard normal number, by Marsaglia's polar method.
    fn standard(&mut self, rng: &mut Xoshiro256PlusPlus) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (u, v) = (rng.random_range(-1.0..1.0_f64), rng.random_range(-1.0..1.0_f64));
            let square = u * u + v * v;
            if square > 0.0 && square < 1.0 {
                let scale = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(v * scale);
                return u * scale;
            }
        }
    }
}

impl FromStr for Patterns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (set, get) = text.split_once(':').ok_or("two patterns, sets and gets, like R:R")?;
        let patterns = Self { set: set.parse()?, get: get.parse()? };
        if (patterns.set == Pattern::Parallel) != (patterns.get == Pattern::Parallel) {
            return Err("P is for both sets and gets: P:P".to_owned());
        }
        Ok(patterns)
    }
}

impl fmt::Display for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.set.letter(), self.get.letter())
    }
}

impl Pattern {
    fn letter(self) -> char {
        match self {
            Self::Random => 'R',
            Self::Sequential => 'S',
            Self::Parallel => 'P',
            Self::Gaussian => 'G',
            Self::Zipf => 'Z',
        }
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "R" => Self::Random,
            "S" => Self::Sequential,
            "P" => Self::Parallel,
            "G" => Self::Gaussian,
            "Z" => Self::Zipf,
            _ => return Err("a pattern is S, R, G, Z or P".to_owned()),
        })
    }
}

#[cfg(test)]
mod tests;
