//! How shards make room for each other, and for what is lent.

use std::sync::atomic::Ordering;

use larder_protocol::{Piecewise, Seconds};
use parking_lot::Mutex;

use super::Cache;
use crate::arena::{PAGE_BYTES, Pages, Segment};
use crate::long::Long;
use crate::shard::{Given, Shard, segments_left};

impl Cache {
    /// Gives up all that is above the limit: step by step, so that who stores meanwhile never has
    /// more to wait for than a step, and no shard is locked for more than some records. It takes a
    /// second for half a gigabyte of small items, and may run beside anything.
    pub fn shrink(&self, now: Seconds) {
        while self.shrink_a_step(now) {}
    }

    /// A step of [`shrink`](Self::shrink), of a few milliseconds. `false` if it was the last.
    pub fn shrink_a_step(&self, now: Seconds) -> bool {
        self.make_way_to_limit(now);
        let lower = self.budget.approach_limit();
        if lower {
            self.set_arena_limit();
        }
        lower
    }

    /// So many bytes more of the limit are used by others, or fewer: the items make do with the
    /// rest, and have back in a second or two what is no longer used. Half of the limit stays theirs.
    pub fn lend(&self, change: i64, now: Seconds) {
        if self.budget.lend(change, now) {
            self.set_arena_limit();
            self.make_way_to_limit(now);
        }
    }

    /// Takes a segment for a shard that lacks one, for which others make way. Where nothing is evicted
    /// they give what is dead: who found nothing has looked at all of them, so the next look is not
    /// before the next second, or what was set aside is needed no longer.
    pub(super) fn take_segment(&self, now: Seconds) -> Option<Segment> {
        if !self.evict && self.barren.load(Ordering::Relaxed) == now && !self.pass(now) {
            return None;
        }
        let found = self.make_way_until(|| self.arena.take_leaving(segments_left(self.evict)), now);
        if found.is_none() {
            self.barren.store(now, Ordering::Relaxed);
        }
        found
    }

    /// Takes pages, and makes room for them if there is none.
    pub(super) fn take_pages(&self, number: usize, now: Seconds) -> Option<Pages> {
        let segments = (number * PAGE_BYTES).div_ceil(self.arena.segment_bytes());
        if segments > self.arena.limit() {
            return None;
        }
        self.make_way_until(|| self.arena.take_pages(number), now)
    }

    /// Has shards give up memory in turn until something is to be had, or nothing more to give up.
    pub(super) fn make_way_until<T>(
        &self,
        wanted: impl Fn() -> Option<T>,
        now: Seconds,
    ) -> Option<T> {
        self.pass(now);
        let mut idle = 0;
        // Others may take what is given up for this, but not for ever.
        let patience = 64 + 16 * self.arena.in_use() * self.arena.segment_bytes() / PAGE_BYTES;
        for _ in 0..patience {
            if let Some(found) = wanted() {
                return Some(found);
            }
            if idle > 2 * self.shards.len() {
                break;
            }
            idle = if self.make_way(idle > 0, now) { 0 } else { idle + 1 };
        }
        None
    }

    /// Has shards give up memory until what is in use is within the limit.
    pub(super) fn make_way_to_limit(&self, now: Seconds) {
        self.make_way_until(|| (!self.arena.is_above_limit()).then_some(()), now);
    }

    /// Has one shard after another give up memory: of `any`, or of those that hold at least as much
    /// as others do on average. `false` if the one whose turn it was could not.
    fn make_way(&self, any: bool, now: Seconds) -> bool {
        let held = || self.held.iter().map(|held| held.load(Ordering::Relaxed));
        let mean = if any { 0 } else { held().sum::<u64>() / self.held.len() as u64 };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        let mut from_turn = held().enumerate().cycle().skip(turn).take(self.held.len());
        let chosen = from_turn.find(|(_, held)| *held >= mean).map_or(turn, |(number, _)| number);
        let Some(shard) = self.shards.get(chosen) else { return false };
        loop {
            // Locked for a short time only, and again.
            let mut shard = self.enter(&shard.0, now);
            let given = shard.give_up_some(&self.hashing, now);
            self.leave(shard, now);
            match given {
                Given::Not => {}
                Given::Something => return true,
                Given::Nothing => return false,
            }
        }
    }

    /// Moves long values of this shard to segments that are fuller than their own, so that those may
    /// become free: as many bytes as a segment has, if so much lies loose.
    pub(super) fn gather(&self, shard: &Mutex<Shard>, now: Seconds) {
        let mut moved = 0;
        while moved < self.arena.segment_bytes() && self.arena.is_scattered() {
            let mut locked = self.enter(shard, now);
            let found = locked.next_scattered();
            self.leave(locked, now);
            let Some((from, pages)) = found else { return };
            let pieces = (0..).map_while(|number| from.long.piece(number));
            let Some(copy) = self.fill(Long::default(), pages, pieces) else { return };
            moved += copy.len();
            let mut locked = self.enter(shard, now);
            locked.gather(&from, copy);
            self.leave(locked, now);
        }
    }
}
