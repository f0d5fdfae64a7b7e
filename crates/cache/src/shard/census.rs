//! What a shard adds to a census.

use larder_protocol::Seconds;

use super::Shard;
use crate::census::Census;
use crate::index::Span;
use crate::policy::Queue;

impl Shard {
    /// Adds what is known at once, and how many items there are of which kind, by those of so many
    /// buckets of the index: as hashes have nothing to do with use, some stand for all.
    pub(crate) fn count(&self, buckets: u32, census: &mut Census) {
        let stats = self.stats();
        let memory = &mut census.memory;
        memory.index += stats.index_bytes;
        memory.ghosts += self.ghosts.bytes() as u64;
        memory.bookkeeping += self.longs.overhead() + self.logs.overhead() as u64;
        memory.slack += self.spare.as_ref().map_or(0, |spare| spare.len() as u64);
        census.probation_permille.add(self.policy.permille());
        census.shard_items.add(stats.items);
        census.shard_bytes.add(stats.bytes);
        census.shard_evictions.add(stats.evictions);

        let (mut sampled, mut by_log, mut by_uses) = (0, [0; 4], [0; 4]);
        self.index.visit(self.index.beginning(Span::ALL, buckets), |place, uses| {
            let Some(segment) = self.logs.segment(self.logs.segment_of(place)) else { return };
            sampled += 1;
            if let Some(number) = by_log.get_mut(segment.queue.number()) {
                *number += 1;
            }
            if segment.queue == Queue::Main
                && let Some(number) = by_uses.get_mut(usize::from(uses))
            {
                *number += 1;
            }
        });
        let all = |number: u64| (number * stats.items + sampled / 2) / sampled.max(1);
        census.sampled += sampled;
        for (queue, number) in Queue::ALL.into_iter().zip(by_log) {
            census.log_mut(queue).items += all(number);
            census.log_mut(queue).bytes += self.logs.bytes(queue);
        }
        for (sum, number) in census.main_uses.iter_mut().zip(by_uses) {
            *sum += all(number);
        }
    }

    /// Adds some segments, from a number on. Where to go on; `None` if these were the last.
    pub(crate) fn count_segments(
        &self,
        from: u32,
        now: Seconds,
        census: &mut Census,
    ) -> Option<u32> {
        let to = self.logs.numbers().min(from + SEGMENTS_AT_ONCE);
        for segment in (from..to).filter_map(|number| self.logs.segment(number)) {
            let (dead, _) = segment.dead(now);
            let memory = &mut census.memory;
            memory.records += u64::from(segment.written() - dead);
            memory.dead += u64::from(dead);
            memory.pages += segment.paged;
            memory.slack += segment.memory.len() as u64 - u64::from(segment.written());
            census.log_mut(segment.queue).add_segment(now.saturating_sub(segment.begun_at));
        }
        (to < self.logs.numbers()).then_some(to)
    }
}

/// So many are a matter of microseconds.
const SEGMENTS_AT_ONCE: u32 = 512;
