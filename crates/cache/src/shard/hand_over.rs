//! What another cache is given of the items, and what it gives.

use ahash::RandomState;
use larder_protocol::{Header, Item, Marks, NewValue, Op, Outcome, Seconds, Store};

use super::walk::Sight;
use super::{Hashed, Lack, Preparation, Shard, value_of};
use crate::index::{Place, Span};
use crate::policy::{Policy, Queue};

/// Which items are shown, of all that are not expired.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Those that are so hot.
    pub(crate) heat: u8,
    /// Beside them, those that were used in this second or later.
    pub(crate) used_since: Option<Seconds>,
}

impl Shard {
    /// Shows the first of those items of a span that are `wanted`. What of the span is left.
    pub(crate) fn hand_over(
        &self,
        span: Span,
        wanted: Wanted,
        hashing: &RandomState,
        now: Seconds,
        mut show: impl FnMut(&[u8], Item<'_>),
    ) -> Option<Span> {
        let is_hot = |place, uses| Policy::heat(self.queue_at(place), uses) == wanted.heat;
        let mut rest = Some(span);
        let mut bytes = 0;
        for _ in 0..BUCKETS {
            let Some(span) = rest.filter(|_| bytes < ENOUGH_BYTES) else { break };
            let step = self.index.beginning(span, 1);
            let may_be = |place, uses| wanted.used_since.is_some() || is_hot(place, uses);
            self.look(step, hashing, may_be, |key, Sight { place, uses, record, head, extent }| {
                let header = head.header;
                let is_used = wanted.used_since.is_some_and(|since| header.last_access >= since);
                if header.expired(now) || !(is_used || is_hot(place, uses)) {
                    return;
                }
                if let Some(value) = value_of(record, &head, &extent, &self.longs) {
                    show(key, Item { header, value });
                    bytes += extent.map - extent.value;
                }
            });
            rest = step.rest();
        }
        rest
    }

    /// The log that a record is of. What is in a segment that was taken out of its log to be judged,
    /// and was not yet, is of that log.
    pub(super) fn queue_at(&self, place: Place) -> Queue {
        let number = self.logs.segment_of(place);
        let ahead = self.job.and_then(|job| job.queue_ahead(number, self.logs.offset_of(place)));
        let of_segment = || self.logs.segment(number).map(|segment| segment.queue);
        ahead.or_else(of_segment).unwrap_or(Queue::Main)
    }

    /// Stores an item as it was elsewhere, with a cas unique of its own, if there is none. `op` is the
    /// `add` that does the same but for the header.
    pub(crate) fn adopt<R: FnOnce(Outcome<'_>)>(
        &mut self,
        key: Hashed<'_>,
        header: Header,
        op: &Store<'_>,
        now: Seconds,
        prepared: &mut Preparation,
        respond: R,
    ) -> Result<(), (Lack, R)> {
        match self.look_up(key) {
            Some(found) if !found.head.header.expired(now) => {
                respond(Outcome::NotStored);
                return Ok(());
            }
            Some(found) => self.take_out(key, &found),
            None => {}
        }
        if self.lacks_pages(None, &Op::Store(*op), now, prepared) {
            return Err((Lack::Pages, respond));
        }
        let header = Header { cas: self.next_cas(), ..header };
        let value = NewValue::Whole(op.value);
        if let Err(lack) = self.put(key, None, header, &value, prepared, now) {
            return Err((lack, respond));
        }
        // As at a restart. Else the hottest, which come first, would be the first to leave.
        if header.marks.has(Marks::FETCHED)
            && let Some(found) = self.look_up(key)
        {
            self.index.put_uses(found.slot, 1);
        }
        respond(Outcome::Stored { cas: header.cas, len: op.value.len() });
        Ok(())
    }
}

/// Buckets of the index in a step: some eighty items, if none is large.
const BUCKETS: u32 = 8;

/// A step ends with the bucket in which it has copied so many bytes. That may be 100 KiB more, as what is
/// copied of an item is less than 8 KiB.
const ENOUGH_BYTES: usize = 32 << 10;
