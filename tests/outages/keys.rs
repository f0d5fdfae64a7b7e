//! The keys of a round.

use std::sync::atomic::{AtomicU32, Ordering};

use rand::RngExt as _;
use rand::rngs::StdRng;

/// Some keys that all clients share. One of which too much is unknown is left for a new one: the more
/// can have been, the longer it takes to judge.
#[derive(Debug)]
pub(super) struct Keys {
    round: u64,
    /// For each, how many outcomes were unknown.
    lost: [AtomicU32; 12],
}

impl Keys {
    pub(super) fn of(round: u64) -> Self {
        Self { round, lost: Default::default() }
    }

    /// A key's number; low ones more often.
    pub(super) fn draw(&self, rng: &mut StdRng) -> usize {
        let slot = rng.random_range(0..self.lost.len());
        slot.min(rng.random_range(0..self.lost.len()))
    }

    pub(super) fn name(&self, slot: usize) -> String {
        let lost = self.lost.get(slot).map_or(0, |lost| lost.load(Ordering::Relaxed));
        format!("r{}-{slot}-{}", self.round, lost / MOST_LOST)
    }

    /// The outcome of a write to it is unknown.
    pub(super) fn lost(&self, slot: usize) {
        if let Some(lost) = self.lost.get(slot) {
            lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

const MOST_LOST: u32 = 6;
