//! A thread that answers fetches from what is durable.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use larder_protocol::Outcome;

use crate::apply::fetch;
use crate::command::{Command, Request};
use crate::error::Error;
use crate::failure;
use crate::hand::Hand;
use crate::shared::Shared;

/// Answers fetches until the queue is closed and empty.
pub(crate) fn run(shared: &Shared, hand: &Hand) {
    let threads = shared.reading.len().max(1);
    let (mut taken, mut done, mut wakers) = (Vec::new(), Vec::new(), Vec::new());
    while shared.ways.reads.take(&mut taken, |waiting, taken| {
        let share = waiting.len().div_ceil(threads).min(MAX_TAKEN);
        taken.extend(waiting.drain(..share));
    }) {
        hand.fill(&mut taken);
        let mut answered = 0;
        while let Some((command, outcome)) = serve(shared, hand, &mut done) {
            answered += finish(shared, hand, command, outcome, &mut wakers);
        }
        shared.counters.reads.add(answered);
        // Only now, so that a thread that is woken finds all its answers.
        wakers.drain(..).for_each(Waker::wake);
    }
}

/// Begins the next command in hand, and takes it out once its answer is known, unless it takes a
/// write.
fn serve(
    shared: &Shared,
    hand: &Hand,
    done: &mut Vec<Command>,
) -> Option<(Command, Option<Outcome<'static>>)> {
    if !hand.begin_next() {
        return None;
    }
    let begun = hand.begun();
    let command = begun.first()?;
    hand.wait();
    // A panic is the answer to this command alone; what waits behind it goes on.
    let outcome = catch_unwind(AssertUnwindSafe(|| look(shared, command)));
    hand.go_on();
    let outcome = outcome.unwrap_or_else(|_| {
        let source = std::io::Error::other("the reading thread panicked");
        shared.health.unread(Error::io("read", &shared.path)(source));
        Some(Outcome::Failed(failure::UNREAD))
    });
    drop(begun);
    hand.take(1, done);
    Some((done.pop()?, outcome))
}

/// Answers a fetch, and takes in hand the one of the same key that waits behind it.
fn finish(
    shared: &Shared,
    hand: &Hand,
    mut command: Command,
    outcome: Option<Outcome<'static>>,
    wakers: &mut Vec<Waker>,
) -> u64 {
    // Who was told that it hangs was told that nothing is done.
    let outcome = match outcome {
        None if command.is_answered() => Some(Outcome::Failed(failure::UNANSWERED)),
        outcome => outcome,
    };
    match (outcome, command.flight.take()) {
        (Some(outcome), flight) => {
            if let Some(next) =
                flight.and_then(|flight| flight.read_done(command.hash, &shared.ways))
            {
                hand.put_next(next);
            }
            // One that was given up was counted then.
            if matches!(outcome, Outcome::Failed(_)) && !command.is_answered() {
                shared.counters.failures.add(1);
            }
            wakers.extend(command.answer(outcome));
            1
        }
        (None, Some(flight)) => {
            flight.read_writes(command, &shared.ways);
            0
        }
        (None, None) => 0,
    }
}

/// The answer, unless it takes a write.
fn look(shared: &Shared, command: &Command) -> Option<Outcome<'static>> {
    let Request::Op(op) = command.request() else { return None };
    // The state before the record: a flush that comes between the two then shows in neither.
    let state = shared.published.state();
    match shared.record(command.key()) {
        Ok(record) => fetch(record, state, &op, command.now),
        Err(why) => Some(Outcome::Failed(why)),
    }
}

/// A thread that waits for the disk keeps no more than this from the others.
const MAX_TAKEN: usize = 16;
