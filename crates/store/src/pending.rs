//! An answer to come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use larder_protocol::Outcome;
use parking_lot::Mutex;

use crate::failure;

/// An answer to come. Dropping it does not take the command back.
///
/// Once it has given its answer it must not be polled again; it would stay pending.
#[derive(Debug)]
pub struct Pending(Arc<Mutex<Slot>>);

impl Future for Pending {
    type Output = Outcome<'static>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.0.lock();
        match std::mem::replace(&mut *slot, Slot::Taken) {
            Slot::Answered(outcome) => Poll::Ready(outcome),
            Slot::Waiting(waker) => {
                let waker = match waker {
                    Some(waker) if waker.will_wake(context.waker()) => waker,
                    _ => context.waker().clone(),
                };
                *slot = Slot::Waiting(Some(waker));
                Poll::Pending
            }
            Slot::Taken => Poll::Pending,
        }
    }
}

/// The duty to answer. Dropped without an answer it says that the outcome is unknown, so that
/// nobody waits for ever.
#[derive(Debug)]
pub(crate) struct Ticket(Option<Arc<Mutex<Slot>>>);

impl Ticket {
    /// Both ends.
    pub(crate) fn new() -> (Self, Pending) {
        let slot = Arc::new(Mutex::new(Slot::Waiting(None)));
        (Self(Some(Arc::clone(&slot))), Pending(slot))
    }

    /// Gives the answer; the waker, if any, is to be woken, best after other answers are given.
    pub(crate) fn answer(mut self, outcome: Outcome<'static>) -> Option<Waker> {
        self.fill(outcome)
    }

    /// Gives an answer while another may still be on its way: that one comes too late.
    pub(crate) fn answer_early(&self, outcome: Outcome<'static>) -> Option<Waker> {
        self.0.as_ref().and_then(|slot| fill(slot, outcome))
    }

    /// Whether an answer was given.
    pub(crate) fn is_answered(&self) -> bool {
        self.0.as_ref().is_none_or(|slot| !matches!(*slot.lock(), Slot::Waiting(_)))
    }

    fn fill(&mut self, outcome: Outcome<'static>) -> Option<Waker> {
        self.0.take().and_then(|slot| fill(&slot, outcome))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(waker) = self.fill(Outcome::Failed(failure::UNKNOWN)) {
            waker.wake();
        }
    }
}

#[derive(Debug)]
enum Slot {
    Waiting(Option<Waker>),
    Answered(Outcome<'static>),
    Taken,
}

/// The first answer counts.
fn fill(slot: &Mutex<Slot>, outcome: Outcome<'static>) -> Option<Waker> {
    let mut slot = slot.lock();
    match &mut *slot {
        Slot::Waiting(waker) => {
            let waker = waker.take();
            *slot = Slot::Answered(outcome);
            waker
        }
        Slot::Answered(_) | Slot::Taken => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::block_on;

    #[test]
    fn an_answer_reaches_who_waits() {
        let (ticket, pending) = Ticket::new();
        let thread = std::thread::spawn(move || block_on(pending));
        if let Some(waker) = ticket.answer(Outcome::Deleted) {
            waker.wake();
        }
        assert!(matches!(thread.join().unwrap(), Outcome::Deleted));
    }

    #[test]
    fn the_first_answer_counts() {
        let (ticket, pending) = Ticket::new();
        assert!(!ticket.is_answered());
        assert!(ticket.answer_early(Outcome::Failed(failure::HANGS)).is_none());
        assert!(ticket.is_answered());
        assert!(ticket.answer(Outcome::Deleted).is_none());
        assert!(matches!(block_on(pending), Outcome::Failed(failure::HANGS)));
    }

    #[test]
    fn a_lost_ticket_does_not_leave_anyone_waiting() {
        let (ticket, pending) = Ticket::new();
        drop(ticket);
        assert!(matches!(block_on(pending), Outcome::Failed(failure::UNKNOWN)));
    }
}
