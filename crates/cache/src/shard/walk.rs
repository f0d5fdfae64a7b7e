//! What a shard shows of its items in one step of a walk over all, and what goes then.

use ahash::RandomState;
use larder_protocol::Header;

use super::{Hashed, Shard};
use crate::index::Span;
use crate::record::Head;

impl Shard {
    /// Shows the first items of a span, expired or not: key, header, bytes of key and value. What
    /// of the span is left.
    pub(crate) fn walk(
        &self,
        span: Span,
        hashing: &RandomState,
        mut show: impl FnMut(&[u8], Header, usize),
    ) -> Option<Span> {
        let step = self.index.beginning(span, STEP);
        // The processor fetches the records together.
        self.index.visit(step, |place, _| self.fetch_at(place));
        self.index.visit(step, |place, _| {
            let Some(record) = self.logs.at(place) else { return };
            let Some((head, extent)) = Head::read(record) else { return };
            let Some(key) = record.get(extent.key..extent.value) else { return };
            if step.has(hashing.hash_one(key)) {
                show(key, head.header, key.len() + head.value_len as usize);
            }
        });
        step.rest()
    }

    /// Removes an item that a walk has found to be unwanted, if it is still there.
    pub(crate) fn drop_unwanted(&mut self, key: Hashed<'_>) {
        if let Some(found) = self.look_up(key) {
            self.take_out(key, &found);
            self.counters.dropped += 1;
        }
    }
}

/// Buckets of the index in a step: some hundred and fifty items, which take ten microseconds.
const STEP: u32 = 16;
