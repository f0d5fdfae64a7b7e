//! Answers to come, to commands that are gathered for one node.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use larder_protocol::Outcome;
use parking_lot::Mutex;

use crate::failure;

/// The answers to commands that are gathered for one node, in one piece of memory.
#[derive(Debug, Default)]
pub(crate) struct Answers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    outcomes: Vec<Option<Outcome<'static>>>,
    /// Who waits for which of them: for each client the first that it has no answer to.
    waiting: Vec<(usize, Waker)>,
}

/// The duty to give one of them. Dropped without an answer it says that the outcome is unknown, so that
/// nobody waits for ever.
#[derive(Debug)]
pub(crate) struct Ticket {
    answers: Option<Arc<Answers>>,
    place: usize,
}

/// An answer to come from another node. Dropping it does not take the command back.
#[derive(Debug)]
pub struct Awaited {
    answers: Arc<Answers>,
    place: usize,
}

impl Answers {
    /// Both ends of one more.
    pub(crate) fn expect(self: &Arc<Self>) -> (Ticket, Awaited) {
        let mut state = self.0.lock();
        let place = state.outcomes.len();
        state.outcomes.push(None);
        drop(state);
        let answers = Some(Arc::clone(self));
        (Ticket { answers, place }, Awaited { answers: Arc::clone(self), place })
    }
}

impl Ticket {
    /// Gives the answer.
    pub(crate) fn answer(mut self, outcome: Outcome<'static>) {
        self.fill(outcome);
    }

    fn fill(&mut self, outcome: Outcome<'static>) {
        let Some(answers) = self.answers.take() else { return };
        let mut state = answers.0.lock();
        if let Some(place) = state.outcomes.get_mut(self.place) {
            *place = Some(outcome);
        }
        let waiting = state.waiting.iter().position(|(place, _)| *place == self.place);
        let waker = waiting.map(|at| state.waiting.swap_remove(at).1);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.fill(Outcome::Failed(failure::UNKNOWN));
    }
}

impl Future for Awaited {
    type Output = Outcome<'static>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.answers.0.lock();
        if let Some(outcome) = state.outcomes.get_mut(self.place).and_then(Option::take) {
            return Poll::Ready(outcome);
        }
        match state.waiting.iter_mut().find(|(place, _)| *place == self.place) {
            Some((_, waker)) => waker.clone_from(context.waker()),
            None => state.waiting.push((self.place, context.waker().clone())),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_has_its_own_answer_and_wakes_who_waits_for_it_only() {
        let answers = Arc::<Answers>::default();
        let (one, mut first) = answers.expect();
        let (two, mut second) = answers.expect();
        let counts: [Arc<Count>; 2] = Default::default();
        let wakers = counts.clone().map(Waker::from);
        let poll = |awaited: &mut Awaited, at: usize| {
            pin!(awaited).poll(&mut Context::from_waker(&wakers[at]))
        };
        assert!(poll(&mut first, 0).is_pending() && poll(&mut second, 1).is_pending());
        assert!(poll(&mut second, 1).is_pending());
        two.answer(Outcome::Miss);
        assert_eq!(counts.each_ref().map(|count| count.0.load(Ordering::Relaxed)), [0, 1]);
        assert!(matches!(poll(&mut second, 1), Poll::Ready(Outcome::Miss)));
        assert!(poll(&mut first, 0).is_pending());
        drop(one);
        assert_eq!(counts.each_ref().map(|count| count.0.load(Ordering::Relaxed)), [1, 1]);
        assert!(matches!(poll(&mut first, 0), Poll::Ready(Outcome::Failed(failure::UNKNOWN))));
    }
}
