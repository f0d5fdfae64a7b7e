//! One connection's commands.

use std::fmt;
use std::sync::Arc;

use ahash::RandomState;
use larder_protocol::{Interval, Op, Outcome, Seconds};

use crate::at_hand::AtHand;
use crate::command::Command;
use crate::failure;
use crate::flight::Flight;
use crate::listing::Listing;
use crate::pending::{Pending, Ticket};
use crate::shared::Clock;
use crate::turn::Turn;
use crate::ways::Ways;

/// One connection's commands. Those on one key take effect in the order they are given, whether or
/// not the earlier ones have been answered; a flush and a range are in order with all of them.
pub struct Session {
    ways: Arc<Ways>,
    clock: Arc<Clock>,
    flight: Arc<Flight>,
    at_hand: Option<Arc<AtHand>>,
    hasher: RandomState,
}

impl Session {
    pub(crate) fn new(ways: Arc<Ways>, clock: Arc<Clock>, at_hand: Option<Arc<AtHand>>) -> Self {
        Self { ways, clock, flight: Arc::default(), at_hand, hasher: RandomState::new() }
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
        if key.is_empty() || key.len() > MAX_KEY_LEN {
            return Pending::at_hand(Outcome::Failed(failure::NO_KEY));
        }
        self.clock.tell(now);
        let hash = self.hasher.hash_one(key);
        if let Some(at_hand) = &self.at_hand
            && self.flight.is_clear(hash)
            && let Some(outcome) = at_hand.fetch(key, op, now, || self.flight.written_elsewhere())
        {
            return Pending::at_hand(outcome);
        }
        let (ticket, pending) = Ticket::new();
        let command = Command::op(key, hash, op, now, ticket).of_group(self.ways.group_of(key));
        self.flight.submit(command, &self.ways);
        pending
    }

    /// Everything stored before the second `at` is gone from then on; 0 or the past means now. It
    /// replaces an earlier flush that has not come to pass, and survives a restart.
    ///
    /// Each group does so at a moment of its own before the answer, [`Outcome::Deleted`], which comes
    /// when it is durable in all of them. If some failed, the answer says what is known of all.
    pub fn flush_all(&mut self, at: Seconds, now: Seconds) -> Pending {
        let (ticket, pending) = Ticket::new();
        self.clock.tell(now);
        self.flight.submit(Command::flush_all(at, now, ticket), &self.ways);
        pending
    }

    /// The items of an interval of keys, those of all groups in one order, as pages: each but the last
    /// says where it goes on, and what this gives is then polled again. It looks no further until it is,
    /// and what this session is asked meanwhile waits, until the last page is there or this is dropped.
    ///
    /// Each item is as it was at some moment since this was asked; all of them together may never have
    /// been there at one. Keys that a line of text cannot have in it are left out.
    ///
    /// # Errors
    ///
    /// [`Outcome::Failed`] with the reason, also behind some pages: those of a fetch.
    pub fn range(&mut self, interval: &Interval<'_>, now: Seconds) -> Pending {
        if [interval.start, interval.end].iter().any(|key| key.len() > MAX_KEY_LEN) {
            return Pending::at_hand(Outcome::Failed(failure::NO_KEY));
        }
        self.clock.tell(now);
        let turn = Turn::ask(&self.flight, &self.ways);
        Pending::listing(Listing::new(interval, now, Arc::clone(&self.ways), turn))
    }

    /// Has the engine make durable what was acknowledged here, so that the log need not keep it:
    /// [`Outcome::Done`]. It does so by itself too, every few seconds.
    ///
    /// # Errors
    ///
    /// [`Outcome::Failed`] with the reason: the disk failed, the store is closing.
    pub fn checkpoint(&mut self) -> Pending {
        let (ticket, pending) = Ticket::new();
        if let Err(ticket) = self.ways.checkpoints.push(ticket) {
            // Nobody waits for it yet.
            let _ = ticket.answer(Outcome::Failed(failure::CLOSED));
        }
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
