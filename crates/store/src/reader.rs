//! A thread that answers fetches from what was applied, which is durable in the log.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use larder_protocol::Outcome;

use crate::apply::fetch;
use crate::command::{Command, Request};
use crate::confirmer;
use crate::error::Error;
use crate::failure;
use crate::hand::Hand;
use crate::shared::Shared;

/// Answers fetches until the queue is closed and empty. By the time they are there, all that was
/// acknowledged before they were asked has been applied.
pub(crate) fn run(shared: &Shared, hand: &Hand) {
    let threads = shared.reading.len().max(1);
    let (mut taken, mut done, mut wakers) = (Vec::new(), Vec::new(), Vec::new());
    while shared.ways.reads.take(&mut taken, |waiting, taken| {
        let share = waiting.len().div_ceil(threads).min(MAX_TAKEN);
        taken.extend(waiting.drain(..share));
    }) {
        hand.fill(&mut taken);
        let mut answered = 0;
        while let Some((mut command, outcome)) = serve(shared, hand, &mut done) {
            let failed = matches!(outcome, Some(Outcome::Failed(_)));
            // Who leads may be able to read what is stale and cannot be read here.
            if !is_current(shared, &command) || command.is_stale && failed {
                command.is_stale = false;
                confirmer::ask_again(shared, vec![command]);
                continue;
            }
            if let Some(Outcome::Failed(failure::UNREAD)) = outcome
                && is_left(shared, &command)
            {
                // Nobody was answered: it goes to who leads next.
                confirmer::pass_on(shared, command, &mut wakers);
                continue;
            }
            if shared.is_among_others() {
                shared.counters.stale_reads.add((command.is_stale && outcome.is_some()).into());
                // What waits behind it may have been asked since.
                confirmer::end(shared, command, outcome, &mut wakers);
                continue;
            }
            let (done, next) = finish(shared, command, outcome, &mut wakers);
            answered += done;
            if let Some(next) = next {
                hand.put_next(next);
            }
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

/// Whether the items that a read has seen are those that it may be answered from. Of a node alone they
/// always are.
fn is_current(shared: &Shared, read: &Command) -> bool {
    let partition = shared.ways.partition(read.group);
    !shared.is_among_others() || partition.is_some_and(|of| of.freshness.tenure() == read.tenure)
}

/// Whether another node is to lead from now on, which may be able to read what this one cannot.
fn is_left(shared: &Shared, read: &Command) -> bool {
    let partition = shared.ways.partition(read.group);
    shared.is_among_others() && partition.is_some_and(|of| of.leave())
}

/// Answers a fetch, or sends it where writes go: how many were answered, and the one of the same key that waits behind it.
pub(crate) fn finish(
    shared: &Shared,
    mut command: Command,
    outcome: Option<Outcome<'static>>,
    wakers: &mut Vec<Waker>,
) -> (u64, Option<Command>) {
    // Who was told that it hangs was told that nothing is done.
    let outcome = match outcome {
        None if command.is_answered() => Some(Outcome::Failed(failure::UNANSWERED)),
        outcome => outcome,
    };
    match (outcome, command.flight.take()) {
        (Some(outcome), flight) => {
            let next = flight.and_then(|flight| flight.read_done(command.hash, &shared.ways));
            // One that was given up was counted then.
            if matches!(outcome, Outcome::Failed(_)) && !command.is_answered() {
                shared.counters.failures.add(1);
            }
            wakers.extend(command.answer(outcome));
            (1, next)
        }
        (None, Some(flight)) => {
            flight.read_writes(command, &shared.ways);
            (0, None)
        }
        // Another node's, which is to send it there.
        (None, None) => {
            wakers.extend(command.answer(Outcome::Failed(failure::WRITES)));
            (1, None)
        }
    }
}

/// The answer, unless it takes a write.
fn look(shared: &Shared, command: &Command) -> Option<Outcome<'static>> {
    let partition = shared.ways.partition(command.group)?;
    // The state before the record: a flush that comes between the two then shows in neither.
    let state = partition.published.state();
    let op = match command.request() {
        Request::Op(op) => op,
        Request::Range(span) => {
            let page = span.look(shared, command.group, command.key(), state, command.now);
            return Some(page.map_or_else(Outcome::Failed, Outcome::Listed));
        }
        Request::FlushAll(_) | Request::Reclaim(_) => return None,
    };
    match shared.record(command.group, command.key()) {
        Ok(record) => fetch(record, state, &op, command.now),
        Err(why) => Some(Outcome::Failed(why)),
    }
}

/// A thread that waits for the disk keeps no more than this from the others.
const MAX_TAKEN: usize = 16;
