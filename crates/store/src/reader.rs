//! A thread that answers fetches from what is durable.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

use larder_protocol::Outcome;

use crate::apply::fetch;
use crate::command::{Command, Request};
use crate::error::Error;
use crate::failure;
use crate::shared::Shared;

/// Answers fetches until the queue is closed and empty.
pub(crate) fn run(shared: &Shared) {
    let threads = shared.options.read_threads.max(1);
    let (mut taken, mut wakers) = (Vec::new(), Vec::new());
    while shared.ways.reads.take(&mut taken, |waiting, taken| {
        let share = waiting.len().div_ceil(threads).min(MAX_TAKEN);
        taken.extend(waiting.drain(..share));
    }) {
        let mut answered = 0;
        for command in taken.drain(..) {
            answered += serve(shared, command, &mut wakers);
        }
        shared.counters.reads.add(answered);
        // Only now, so that a thread that is woken finds all its answers.
        wakers.drain(..).for_each(Waker::wake);
    }
}

/// Answers a fetch and those of the same key that wait behind it.
fn serve(shared: &Shared, command: Command, wakers: &mut Vec<Waker>) -> u64 {
    let mut answered = 0;
    let mut next = Some(command);
    while let Some(mut command) = next.take() {
        // A panic is the answer to this command alone; what waits behind it goes on.
        let outcome = catch_unwind(AssertUnwindSafe(|| look(shared, &command)));
        let outcome = outcome.unwrap_or_else(|_| {
            let source = std::io::Error::other("the reading thread panicked");
            shared.health.unread(Error::io("read", &shared.path)(source));
            shared.counters.failures.add(1);
            Some(Outcome::Failed(failure::UNREAD))
        });
        let flight = command.flight.take();
        match (outcome, flight) {
            (Some(outcome), flight) => {
                next = flight.and_then(|flight| {
                    let mut next = flight.read_done(command.hash, &shared.ways)?;
                    next.flight = Some(Arc::clone(&flight));
                    Some(next)
                });
                wakers.extend(command.answer(outcome));
                answered += 1;
            }
            (None, Some(flight)) => flight.read_writes(command, &shared.ways),
            (None, None) => {}
        }
    }
    answered
}

/// The answer, unless it takes a write.
fn look(shared: &Shared, command: &Command) -> Option<Outcome<'static>> {
    let Request::Op(op) = command.request() else { return None };
    // The state before the record: a flush that comes between the two then shows in neither.
    let state = shared.published.state();
    match shared.record(command.key()) {
        Ok(record) => fetch(record, state, &op, command.now),
        Err(why) => {
            shared.counters.failures.add(1);
            Some(Outcome::Failed(why))
        }
    }
}

/// A thread that waits for the disk keeps no more than this from the others.
const MAX_TAKEN: usize = 16;
