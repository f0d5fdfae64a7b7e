//! Reads that need no thread but the one that asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use larder_protocol::{Op, Outcome, Seconds};

use crate::apply::fetch;
use crate::record::Record;
use crate::stats::Counter;
use crate::storage::Rows;
use crate::ways::Ways;

/// Answers to reads, from rows in memory: of a node alone, which need not ask whether it still leads, or
/// of one among others that may answer stale.
#[derive(Debug)]
pub(crate) struct AtHand {
    rows: Arc<Rows>,
    ways: Arc<Ways>,
    closed: AtomicBool,
    /// How many it gave.
    pub(crate) answers: Counter,
}

impl AtHand {
    pub(crate) fn new(rows: Arc<Rows>, ways: Arc<Ways>) -> Self {
        Self { rows, ways, closed: AtomicBool::new(false), answers: Counter::default() }
    }

    /// The answer, if it takes neither the disk nor a write. It sees what was acknowledged before what
    /// `after` says.
    pub(crate) fn fetch(
        &self,
        key: &[u8],
        op: &Op<'_>,
        now: Seconds,
        after: impl FnOnce() -> Option<Instant>,
    ) -> Option<Outcome<'static>> {
        if !op.reads_only() || self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let partition = self.ways.partition(self.ways.group_of(key))?;
        let tenure =
            if self.ways.is_among_others() { Some(partition.stale_tenure(after)?) } else { None };
        // The state before the record, as every reader does.
        let state = partition.published.state();
        let record = self.rows.get(partition.group, key)?.map(Record::decode).transpose().ok()?;
        let outcome = fetch(record, state, op, now)?;
        if tenure.is_some_and(|tenure| tenure != partition.freshness.tenure()) {
            return None;
        }
        self.answers.add(1);
        Some(outcome)
    }

    /// From now on it answers nothing.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.rows.clear();
    }
}
