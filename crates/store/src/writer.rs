//! The one thread that changes anything: it gathers commands into batches, and each batch is
//! durable before any of its answers leaves.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use larder_protocol::Outcome;

use crate::apply::{Admission, Answer, Applied, apply};
use crate::command::Command;
use crate::error::Error;
use crate::failure;
use crate::options::Options;
use crate::shared::Shared;
use crate::state::State;
use crate::stats::micros;
use crate::storage::Uncommitted;

/// The one thread that changes anything.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    state: State,
    wakers: Vec<Waker>,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, state: State) -> Self {
        Self { shared, state, wakers: Vec::new() }
    }

    /// Writes until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut commands = Vec::new();
        while shared.ways.writes.take(&mut commands, |waiting, taken| {
            gather(waiting, taken, &shared.options);
        }) {
            let now = shared.clock.now();
            for command in &mut commands {
                command.judge_anew(now);
            }
            shared.writing.begin(&mut commands);
            loop {
                self.wait_for_background(&mut commands);
                let in_hand = shared.writing.begun();
                if in_hand.is_empty() {
                    break;
                }
                let answers = catch_unwind(AssertUnwindSafe(|| self.write(&in_hand)));
                let answers = answers.unwrap_or_else(|_| self.give_up(&in_hand));
                drop(in_hand);
                shared.writing.go_on();
                shared.writing.take(answers.len(), &mut commands);
                self.answer(&mut commands, answers);
            }
        }
    }

    /// Waits until a commit would not, or none will be made. What is given up meanwhile is not done.
    fn wait_for_background(&self, given_up: &mut Vec<Command>) {
        let shared = &*self.shared;
        if !shared.storage.is_behind() {
            return;
        }
        shared.writing.wait_for_background();
        // The keeper notices an engine that will not catch up.
        while shared.storage.is_behind() && !shared.health.is_poisoned() {
            std::thread::sleep(BACKGROUND_PAUSE);
        }
        shared.writing.start_over(given_up);
        for command in given_up.drain(..) {
            if let Some(flight) = &command.flight {
                flight.write_done(&command);
            }
        }
    }

    /// Answers for the first commands, at least one, of which there are some.
    fn write(&mut self, commands: &[Command]) -> Vec<Answer> {
        let shared = &*self.shared;
        // A batch may read for long, and is not hanging while it does.
        let read = |key: &[u8]| {
            shared.writing.wait();
            shared.record(key)
        };
        shared.writing.wait();
        let admission = shared.health.admission(shared.storage.room().ok());
        let began = Instant::now();
        let max_bytes = shared.options.batch_bytes;
        let Applied { answers, changes, state } =
            apply(self.state, commands, admission, max_bytes, &read);
        let commands = commands.get(..answers.len()).unwrap_or(commands);
        let decided = Instant::now();
        shared.counters.decide_micros.add(micros(decided - began));
        if changes.is_empty() && state == self.state {
            return answers;
        }
        shared.writing.wait();
        match shared.storage.commit(&changes, state) {
            Ok(()) => {
                let took = micros(decided.elapsed());
                let counters = &shared.counters;
                counters.commits.add(1);
                counters.changes.add(changes.len() as u64);
                counters.commit_micros.add(took);
                counters.longest_commit_micros.raise(took);
                counters.largest_batch.raise(commands.len() as u64);
                shared.published.publish(state);
                self.state = state;
                answers
            }
            Err(Uncommitted { error, unknown }) => {
                shared.health.poison(error);
                let admission = Admission::Nothing(failure::POISONED);
                let mut instead = apply(self.state, commands, admission, max_bytes, &read).answers;
                for (answer, instead) in answers.iter().zip(&mut instead) {
                    if answer.wrote && unknown {
                        instead.outcome = Outcome::Failed(failure::UNKNOWN);
                    }
                }
                instead
            }
        }
    }

    /// What the batch came to is not known. The thread goes on, so that nobody waits in vain.
    fn give_up(&self, commands: &[Command]) -> Vec<Answer> {
        let source = std::io::Error::other("the writing thread panicked");
        self.shared.health.poison(Error::io("write to", &self.shared.path)(source));
        let unknown = || Answer { outcome: Outcome::Failed(failure::UNKNOWN), wrote: false };
        commands.iter().map(|_| unknown()).collect()
    }

    fn answer(&mut self, commands: &mut Vec<Command>, answers: Vec<Answer>) {
        let counters = &self.shared.counters;
        counters.writes.add(answers.len() as u64);
        for (command, answer) in commands.drain(..).zip(answers) {
            match &command.flight {
                Some(flight) => flight.write_done(&command),
                None => counters.reclaimed.add(answer.wrote.into()),
            }
            // One that was given up was counted then.
            if matches!(answer.outcome, Outcome::Failed(_)) && !command.is_given_up() {
                counters.failures.add(1);
            }
            self.wakers.extend(command.answer(answer.outcome));
        }
        // Only now, so that a thread that is woken finds all its answers.
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

/// Takes what may share one fsync. A flush comes last in its batch: it is published after the batch
/// is durable, and until then none may see what was written after it.
fn gather(waiting: &mut VecDeque<Command>, taken: &mut Vec<Command>, options: &Options) {
    let mut bytes = 0_usize;
    while let Some(command) = waiting.front() {
        bytes = bytes.saturating_add(command.bytes());
        let full = taken.len() >= options.batch_commands || bytes > options.batch_bytes;
        if full && !taken.is_empty() {
            break;
        }
        let last = command.is_flush();
        taken.extend(waiting.pop_front());
        if last {
            break;
        }
    }
}

const BACKGROUND_PAUSE: Duration = Duration::from_millis(2);
