//! How a census is taken.

use larder_protocol::Seconds;

use super::Cache;
use crate::census::{Census, LogCensus};

impl Cache {
    /// What the cache holds, and in what state. Shards are asked one after the other, each in steps
    /// of a few microseconds; it may be asked often.
    pub fn census(&self, now: Seconds) -> Census {
        let limit = self.budget.limit();
        let segment_bytes = self.arena.segment_bytes() as u64;
        let mut census = Census { segment_bytes, ..Census::default() };
        let shards = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        let buckets = (SAMPLED_BUCKETS / shards).min(MOST_AT_ONCE);
        for shard in &self.shards {
            self.enter(&shard.0, now).count(buckets, &mut census);
            let mut next = Some(0);
            while let Some(from) = next {
                next = self.enter(&shard.0, now).count_segments(from, now, &mut census);
            }
        }
        census.probation.iter_mut().for_each(LogCensus::sort);
        census.main.sort();

        let (segments, loose) = self.arena.taken();
        let memory = &mut census.memory;
        let known = memory.records + memory.dead + memory.slack + memory.pages + loose;
        memory.limit = limit;
        memory.slack += loose;
        memory.passing = (segments * segment_bytes).saturating_sub(known);
        memory.lent = self.budget.lent(limit);
        memory.free = limit.saturating_sub(memory.used());
        memory.over = memory.used().saturating_sub(limit);
        census
    }
}

/// So many buckets of all indexes are looked at, some ten to forty thousand items. What they are taken
/// to show is usually wrong by less than half a hundredth of all items.
const SAMPLED_BUCKETS: u32 = 4096;

/// So many of them under one lock.
const MOST_AT_ONCE: u32 = 256;
