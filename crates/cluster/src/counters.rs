//! What is counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows, until it is reset.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// What is counted of commands that go from node to node.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Commands that were sent to who owns their keys.
    pub(crate) forwarded: Count,
    /// Commands that were done here, or sent, though another owns their keys that cannot be reached.
    pub(crate) stood_in: Count,
    /// Commands on others' keys that were answered from copies.
    pub(crate) near: Count,
    /// Commands that could not be done.
    pub(crate) failed: Count,
    /// Commands that were done for other nodes.
    pub(crate) answered: Count,
    /// Calls in which they came.
    pub(crate) calls: Count,
    /// Items that this node lacked and has from who had them before.
    pub(crate) fetched: Count,
    /// Keys that others were told to forget.
    pub(crate) hinted: Count,
    /// Items that were here and are others' now.
    pub(crate) given_up: Count,
    /// How often a worker found that a node does not answer.
    pub(crate) lost: Count,
}

impl Counters {
    pub(crate) fn reset(&self) {
        let Self {
            forwarded,
            stood_in,
            near,
            failed,
            answered,
            calls,
            fetched,
            hinted,
            given_up,
            lost,
        } = self;
        let all =
            [forwarded, stood_in, near, failed, answered, calls, fetched, hinted, given_up, lost];
        all.into_iter().for_each(Count::reset);
    }
}
