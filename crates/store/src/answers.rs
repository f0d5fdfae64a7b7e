//! Answers on their way to who waits.

use std::task::Waker;

use crate::apply::Answer;
use crate::command::Command;
use crate::shared::Shared;
use larder_protocol::Outcome;

/// Answers that are given, to those who are not woken yet: a thread that is woken finds all of its
/// answers there.
#[derive(Debug, Default)]
pub(crate) struct Answers(Vec<Waker>);

impl Answers {
    /// Answers a command, and lets go what waits behind it.
    pub(crate) fn give(&mut self, command: Command, answer: Answer, shared: &Shared) {
        let counters = &shared.counters;
        counters.writes.add(1);
        if let Some(flight) = &command.flight {
            flight.write_done(&command, &shared.ways);
        }
        if command.is_own() {
            counters.reclaimed.add(answer.wrote.into());
        }
        // One that was given up was counted then.
        if matches!(answer.outcome, Outcome::Failed(_)) && !command.is_given_up() {
            counters.failures.add(1);
        }
        self.0.extend(command.answer(answer.outcome));
    }

    /// Wakes all who were answered.
    pub(crate) fn wake(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}
