//! A time at which a session does one thing alone.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::flight::Flight;
use crate::ways::Ways;

/// A time at which a session does one thing alone: it comes when all that was asked before is done, and
/// what was asked since waits until this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    flight: Arc<Flight>,
    ways: Arc<Ways>,
    number: u64,
}

impl Turn {
    /// To come behind all that was submitted before.
    pub(crate) fn ask(flight: &Arc<Flight>, ways: &Arc<Ways>) -> Self {
        let number = flight.ask_turn(ways);
        Self { flight: Arc::clone(flight), ways: Arc::clone(ways), number }
    }

    /// Whether it has come; `false` if it never will, because what was asked before hangs.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<bool> {
        self.flight.poll_turn(self.number, context)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.flight.end_turn(self.number, &self.ways);
    }
}
