//! What a cache holds, and in what state.

use larder_protocol::Seconds;

use crate::memory::Memory;
use crate::policy::Queue;
use crate::spread::Spread;

/// What a cache holds, and in what state: all of it as it is now, but for the evictions.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// What the memory is used for.
    pub memory: Memory,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// The logs of new items: of up to half the mean size, of up to twice, and larger.
    pub probation: [LogCensus; 3],
    /// The log of items that proved useful.
    pub main: LogCensus,
    /// Items of the main log by the uses they have left, none to three. When its turn comes, an
    /// item without any leaves; one that stays pays with one or, if it is large, with more.
    pub main_uses: [u64; 4],
    /// How many items the numbers of items by log and by uses are estimated from. If it is all, they
    /// are exact.
    pub sampled: u64,
    /// How much of its memory each shard is about to give to new items, in thousandths.
    pub probation_permille: Spread,
    /// Items of each shard.
    pub shard_items: Spread,
    /// Bytes of each shard's items, their pages included.
    pub shard_bytes: Spread,
    /// Evictions of each shard since the counters began.
    pub shard_evictions: Spread,
}

/// One kind of logs, of all shards.
#[derive(Clone, Debug, Default)]
pub struct LogCensus {
    /// Items, about.
    pub items: u64,
    /// Bytes of their records and pages.
    pub bytes: u64,
    /// Of each segment the seconds since it came to the end of its log, ascending.
    ages: Vec<Seconds>,
}

impl Census {
    pub(crate) fn log_mut(&mut self, queue: Queue) -> &mut LogCensus {
        let [small, medium, large] = &mut self.probation;
        match queue {
            Queue::Probation(0) => small,
            Queue::Probation(1) => medium,
            Queue::Probation(_) => large,
            Queue::Main => &mut self.main,
        }
    }
}

impl LogCensus {
    /// Counts a segment that came to the end of its log so many seconds ago.
    pub(crate) fn add_segment(&mut self, age: Seconds) {
        self.ages.push(age);
    }

    /// All segments were counted.
    pub(crate) fn sort(&mut self) {
        self.ages.sort_unstable();
    }

    /// How many segments there are.
    pub fn segments(&self) -> usize {
        self.ages.len()
    }

    /// Seconds since the newest segment was begun; 0 if there is none.
    pub fn newest(&self) -> Seconds {
        self.ages.first().copied().unwrap_or_default()
    }

    /// Seconds since half of the segments were begun, or, in the main log, since it was decided
    /// last what of them stays; 0 if there are none.
    pub fn median(&self) -> Seconds {
        self.ages.get(self.ages.len() / 2).copied().unwrap_or_default()
    }

    /// The same of the oldest segment: so long an item has to be used before its turn comes.
    pub fn oldest(&self) -> Seconds {
        self.ages.last().copied().unwrap_or_default()
    }
}
