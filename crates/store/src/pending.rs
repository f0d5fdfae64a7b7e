//! An answer to come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use larder_protocol::Outcome;
use parking_lot::Mutex;

use crate::failure;
use crate::listing::Listing;

/// An answer to come. Dropping it does not take the command back.
///
/// Once it has given its answer it must not be polled again; it would stay pending. Of a range this is
/// the last page: after each other it is polled for the next.
#[derive(Debug)]
pub struct Pending(Answer);

#[derive(Debug)]
enum Answer {
    AtHand(Option<Outcome<'static>>),
    Coming(Arc<Mutex<Slot>>),
    Listing(Box<Listing>),
}

impl Pending {
    /// Of an answer that needs nobody else.
    pub(crate) fn at_hand(outcome: Outcome<'static>) -> Self {
        Self(Answer::AtHand(Some(outcome)))
    }

    /// Of the pages of a range.
    pub(crate) fn listing(listing: Listing) -> Self {
        Self(Answer::Listing(Box::new(listing)))
    }

    /// Takes the answer, if it needed nobody else: to be polled only if there is none.
    pub fn take(&mut self) -> Option<Outcome<'static>> {
        match &mut self.0 {
            Answer::AtHand(outcome) => outcome.take(),
            Answer::Coming(_) | Answer::Listing(_) => None,
        }
    }
}

impl Future for Pending {
    type Output = Outcome<'static>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let slot = match &mut self.0 {
            Answer::AtHand(outcome) => return outcome.take().map_or(Poll::Pending, Poll::Ready),
            Answer::Coming(slot) => slot,
            Answer::Listing(listing) => return listing.poll(context),
        };
        let mut slot = slot.lock();
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
            Slot::Part(_) | Slot::Taken => Poll::Pending,
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
        (Self(Some(Arc::clone(&slot))), Pending(Answer::Coming(slot)))
    }

    /// As many that have one answer together, see [`failure::PARTLY`]: it comes with the last of theirs.
    pub(crate) fn split(self, parts: usize) -> Vec<Self> {
        let joint = Arc::new(Mutex::new(Joint { left: parts, outcome: None, whole: self }));
        let part = |_| Self(Some(Arc::new(Mutex::new(Slot::Part(Arc::clone(&joint))))));
        (0..parts).map(part).collect()
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
        self.0.as_ref().is_none_or(|slot| !matches!(*slot.lock(), Slot::Waiting(_) | Slot::Part(_)))
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
    /// Whoever waits does so for others too.
    Part(Arc<Mutex<Joint>>),
    Answered(Outcome<'static>),
    Taken,
}

/// Tickets that have one answer together.
#[derive(Debug)]
struct Joint {
    /// How many have no answer yet.
    left: usize,
    /// That of those who have.
    outcome: Option<Outcome<'static>>,
    whole: Ticket,
}

impl Joint {
    fn add(&mut self, outcome: Outcome<'static>) -> Option<Waker> {
        let together = match (self.outcome.take(), outcome) {
            (None, outcome) => outcome,
            (Some(Outcome::Failed(one)), Outcome::Failed(other)) if one == other => {
                Outcome::Failed(one)
            }
            (Some(Outcome::Deleted), Outcome::Deleted) => Outcome::Deleted,
            _ => Outcome::Failed(failure::PARTLY),
        };
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return self.whole.answer_early(together);
        }
        self.outcome = Some(together);
        None
    }
}

/// The first answer counts.
fn fill(slot: &Mutex<Slot>, outcome: Outcome<'static>) -> Option<Waker> {
    let mut slot = slot.lock();
    let (now, waker) = match std::mem::replace(&mut *slot, Slot::Taken) {
        Slot::Waiting(waker) => (Slot::Answered(outcome), waker),
        Slot::Part(joint) => (Slot::Taken, joint.lock().add(outcome)),
        other => (other, None),
    };
    *slot = now;
    waker
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{block_on, ready};

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
    fn parts_are_answered_together_with_what_is_known_of_all() {
        let told = |outcomes: &[Outcome<'static>]| {
            let (ticket, mut pending) = Ticket::new();
            let mut parts = ticket.split(outcomes.len()).into_iter().zip(outcomes.to_vec());
            let last = parts.next().unwrap();
            for (part, outcome) in parts {
                assert!(part.answer_early(outcome).is_none() && part.is_answered());
                // What comes later of it does not count for another.
                assert!(part.answer(Outcome::Failed(failure::FULL)).is_none());
                assert!(!ready(&mut pending));
            }
            assert!(!last.0.is_answered());
            last.0.answer(last.1);
            format!("{:?}", block_on(pending))
        };
        let failed = |why| format!("{:?}", Outcome::Failed(why));
        let [done, full, hangs] =
            [Outcome::Deleted, Outcome::Failed(failure::FULL), Outcome::Failed(failure::HANGS)];
        assert_eq!(told(&[done.clone(), done.clone(), done.clone()]), "Deleted");
        assert_eq!(told(&[full.clone(), full.clone()]), failed(failure::FULL));
        for some in [&done, &hangs] {
            assert_eq!(told(&[full.clone(), some.clone(), done.clone()]), failed(failure::PARTLY));
            assert_eq!(told(&[some.clone(), full.clone()]), failed(failure::PARTLY));
        }
        let (ticket, pending) = Ticket::new();
        drop(ticket.split(3));
        assert!(matches!(block_on(pending), Outcome::Failed(failure::UNKNOWN)));
    }

    #[test]
    fn a_lost_ticket_does_not_leave_anyone_waiting() {
        let (ticket, pending) = Ticket::new();
        drop(ticket);
        assert!(matches!(block_on(pending), Outcome::Failed(failure::UNKNOWN)));
    }
}
