//! What a shard shows of its items in one step of a walk over all, and what goes then.

use ahash::RandomState;
use larder_protocol::Header;

use super::{Hashed, Shard};
use crate::index::{Place, Span};
use crate::record::{Extent, Head};

/// A record as it is.
pub(super) struct Sight<'a> {
    pub(super) place: Place,
    pub(super) uses: u8,
    /// From its first byte on.
    pub(super) record: &'a [u8],
    pub(super) head: Head,
    pub(super) extent: Extent,
}

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
        self.look(
            step,
            hashing,
            |_, _| true,
            |key, sight| {
                show(key, sight.head.header, key.len() + sight.head.value_len as usize);
            },
        );
        step.rest()
    }

    /// Shows those items of a span that are `wanted` by their places and uses.
    pub(super) fn look(
        &self,
        span: Span,
        hashing: &RandomState,
        wanted: impl Fn(Place, u8) -> bool,
        mut show: impl FnMut(&[u8], Sight<'_>),
    ) {
        // The processor fetches the records together.
        self.index.visit(span, |place, uses| {
            if wanted(place, uses) {
                self.fetch_at(place);
            }
        });
        self.index.visit(span, |place, uses| {
            if !wanted(place, uses) {
                return;
            }
            let Some(record) = self.logs.at(place) else { return };
            let Some((head, extent)) = Head::read(record) else { return };
            let Some(key) = record.get(extent.key..extent.value) else { return };
            if span.has(hashing.hash_one(key)) {
                show(key, Sight { place, uses, record, head, extent });
            }
        });
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
