//! One connection's commands.

use std::fmt;
use std::sync::Arc;

use ahash::RandomState;
use larder_protocol::{Op, Outcome, Seconds};

use crate::command::Command;
use crate::failure;
use crate::flight::{Flight, Ways};
use crate::pending::{Pending, Ticket};
use crate::shared::Clock;

/// One connection's commands. Those on one key take effect in the order they are given, whether or
/// not the earlier ones have been answered; a flush is in order with all of them.
pub struct Session {
    ways: Arc<Ways>,
    clock: Arc<Clock>,
    flight: Arc<Flight>,
    hasher: RandomState,
}

impl Session {
    pub(crate) fn new(ways: Arc<Ways>, clock: Arc<Clock>) -> Self {
        Self { ways, clock, flight: Arc::default(), hasher: RandomState::new() }
    }

    /// Does `op` to `key`, which is 1 to 250 bytes, at `now`.
    ///
    /// An answer that says a change was made comes when the change is durable. A fetch does not
    /// write: what `h` and `l` tell is about the last write of the item.
    ///
    /// # Errors
    ///
    /// [`Outcome::Failed`] with the reason: the disk failed or is full, the store is closing, the
    /// key is no key.
    pub fn execute(&mut self, key: &[u8], op: &Op<'_>, now: Seconds) -> Pending {
        let (ticket, pending) = Ticket::new();
        if key.is_empty() || key.len() > MAX_KEY_LEN {
            ticket.answer(Outcome::Failed(failure::NO_KEY));
            return pending;
        }
        self.clock.tell(now);
        let hash = self.hasher.hash_one(key);
        self.flight.submit(Command::op(key, hash, op, now, ticket), &self.ways);
        pending
    }

    /// Everything stored before the second `at` is gone from then on; 0 or the past means now. It
    /// replaces an earlier flush that has not come to pass, and survives a restart.
    ///
    /// Answers [`Outcome::Deleted`] when it is durable.
    pub fn flush_all(&mut self, at: Seconds, now: Seconds) -> Pending {
        let (ticket, pending) = Ticket::new();
        self.clock.tell(now);
        self.flight.submit(Command::flush_all(at, now, ticket), &self.ways);
        pending
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// The longest key, in bytes.
pub(crate) const MAX_KEY_LEN: usize = 250;
