//! An item, as far as its connection knows.

use larder_protocol::Arithmetic;

use super::moment::{Expiry, Moment};
use super::value::Value;

/// An item, as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) value: Value,
    pub(super) client_flags: u32,
    /// Unless it was not told yet.
    pub(super) cas: Option<u64>,
    pub(super) expiry: Expiry,
    pub(super) stale: bool,
    /// Whether some client was told to recache it.
    pub(super) won: bool,
    pub(super) stored: Moment,
}

/// Whether there is an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Never,
    Maybe,
    /// Unless it was evicted.
    Surely,
}

impl Item {
    pub(super) fn presence(&self, moment: &Moment) -> Presence {
        if self.is_flushed(moment) || self.expiry.is_surely_past(moment) {
            Presence::Never
        } else if moment.flushing > self.stored.flushed || self.expiry.may_be_past(moment) {
            Presence::Maybe
        } else {
            Presence::Surely
        }
    }

    /// Whether a flush that was asked for after it was stored has come to pass.
    pub(super) fn is_flushed(&self, moment: &Moment) -> bool {
        moment.flushed > self.stored.flushing
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self.value, Value::Number { .. })
    }

    /// The number that comes next.
    pub(super) fn counted(&self, op: &Arithmetic) -> Option<u64> {
        match self.value {
            Value::Number { number, .. } if op.decrement => Some(number.saturating_sub(op.delta)),
            Value::Number { number, .. } => Some(number.wrapping_add(op.delta)),
            Value::Text(_) => None,
        }
    }
}
