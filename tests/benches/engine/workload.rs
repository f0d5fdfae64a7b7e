//! What is asked for: keys, drawn ahead of time.

use std::iter;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// Bytes of each key.
pub(crate) const KEY_BYTES: usize = 32;

/// Bytes of each value.
pub(crate) const VALUE_BYTES: usize = 100;

/// What an item is reckoned to take beside its key and value. It is about what Larder takes, and
/// the others are given as many bytes, so that all hold about as many items.
pub(crate) const OVERHEAD_BYTES: usize = 24;

/// One key, so that keys that follow each other are beside each other in memory.
pub(crate) type Key = [u8; KEY_BYTES];

/// A limit in bytes, and keys of which a fifth does not fit.
pub(crate) struct Workload {
    /// What its results are called.
    pub(crate) name: &'static str,
    /// The limit of each cache.
    pub(crate) memory_limit: u64,
    /// How often which key is asked for.
    pub(crate) popularity: Popularity,
    /// How many keys are drawn: so many that they do not stay in the processor's cache where
    /// the items do not.
    draws: usize,
}

/// How often which key is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Popularity {
    /// The first twice as often as the second, three times as often as the third, and so on.
    Zipf,
    /// All alike.
    Uniform,
}

/// The workloads that are measured. The last is larger than any processor's cache here.
pub(crate) const WORKLOADS: [Workload; 3] = [
    Workload {
        name: "zipf 64 MiB",
        memory_limit: 64 << 20,
        popularity: Popularity::Zipf,
        draws: 1 << 20,
    },
    Workload {
        name: "uniform 64 MiB",
        memory_limit: 64 << 20,
        popularity: Popularity::Uniform,
        draws: 1 << 20,
    },
    Workload {
        name: "uniform 512 MiB",
        memory_limit: 512 << 20,
        popularity: Popularity::Uniform,
        draws: 1 << 22,
    },
];

impl Workload {
    /// How many items fit, as they are reckoned.
    pub(crate) fn items(&self) -> usize {
        let item = KEY_BYTES + VALUE_BYTES + OVERHEAD_BYTES;
        usize::try_from(self.memory_limit).unwrap_or(usize::MAX) / item
    }

    /// How many keys there are: a fifth of them does not fit.
    pub(crate) fn keys(&self) -> usize {
        self.items() / 4 * 5
    }

    /// How many keys fit with room to spare, whatever a cache thinks of them.
    pub(crate) fn fitting(&self) -> usize {
        self.items() / 5 * 4
    }

    /// Keys in the order in which they are asked for: `among` of them, from the number `first` on.
    pub(crate) fn draw(&self, first: usize, among: usize) -> Vec<Key> {
        let mut random = SmallRng::seed_from_u64(0x1a2d_e200);
        match self.popularity {
            Popularity::Uniform => {
                let mut draw = || key(first + random.random_range(0..among));
                (0..self.draws).map(|_| draw()).collect()
            }
            Popularity::Zipf => {
                let (mut rank, mut sum) = (0.0, 0.0);
                let next = || {
                    rank += 1.0;
                    sum += 1.0 / rank;
                    sum
                };
                let sums: Vec<f64> = iter::repeat_with(next).take(among).collect();
                let mut draw = || {
                    let at = random.random_range(0.0..sum);
                    let rank = sums.partition_point(|&sum| sum <= at);
                    key(first + rank * SCATTER % among)
                };
                (0..self.draws).map(|_| draw()).collect()
            }
        }
    }
}

/// A prime, so that popular keys are not those stored first.
const SCATTER: usize = 2_654_435_761;

/// The key of a number.
pub(crate) fn key(number: usize) -> Key {
    let mut key = *b"larder:benches:item:000000000000";
    let mut left = number;
    for digit in key.iter_mut().rev().take(12) {
        *digit = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
    }
    key
}
