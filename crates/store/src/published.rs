//! What readers may know of the state: that of the last batch that was applied.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::state::State;

/// The state as of the last batch that was applied.
#[derive(Debug, Default)]
pub(crate) struct Published {
    sequence: AtomicU64,
    flushed: AtomicU64,
    flush_at: AtomicU32,
}

impl Published {
    pub(crate) fn publish(&self, state: State) {
        self.sequence.store(state.sequence, Ordering::Release);
        // In this order, and read in the other: who sees that a delayed flush is no longer to come
        // sees the mark it became.
        self.flushed.store(state.flushed, Ordering::Release);
        self.flush_at.store(state.flush_at, Ordering::Release);
    }

    /// To be called before the record it is to judge is read.
    pub(crate) fn state(&self) -> State {
        let flush_at = self.flush_at.load(Ordering::Acquire);
        let flushed = self.flushed.load(Ordering::Acquire);
        State { sequence: self.sequence.load(Ordering::Acquire), flushed, flush_at, done: 0 }
    }
}
