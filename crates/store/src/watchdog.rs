//! The thread that notices when the engine hangs, and tells those who wait for it. It waits for
//! nothing itself: the engine's locks and the disk are what may hang.

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use larder_protocol::Outcome;
use tracing::{error, warn};

use crate::command::Command;
use crate::error::Error;
use crate::failure;
use crate::hand::Hand;
use crate::shared::Shared;
use crate::stop::Stop;

/// The thread that notices when the engine hangs.
///
/// What hangs may still come to its end, and is then as good as if it had been quick: a sync that
/// reports success late has synced. So nothing is undone or ended for good. Those who wait are
/// answered, and so are those who come while it hangs.
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    limit: Duration,
    writes: Alarm,
    reads: Alarm,
}

/// Whether the log was told that something hangs, and how long it did when it was seen last.
#[derive(Debug, Default)]
struct Alarm(Option<Duration>);

impl Watchdog {
    /// One that calls longer than `limit` hanging.
    pub(crate) fn new(shared: Arc<Shared>, limit: Duration) -> Self {
        Self { shared, limit, writes: Alarm::default(), reads: Alarm::default() }
    }

    pub(crate) fn run(mut self, stop: &Stop) {
        while !stop.wait(TICK) {
            self.look(Instant::now());
        }
    }

    /// Tells whom it concerns what hangs at `now`.
    pub(crate) fn look(&mut self, now: Instant) {
        let shared = Arc::clone(&self.shared);
        let hangs = |hand: &Hand| hand.waited(now).filter(|waited| *waited >= self.limit);
        let writing = hangs(&shared.writing);
        let reading: Vec<_> =
            shared.reading.iter().filter_map(|hand| Some((hand, hangs(hand)?))).collect();
        // First of all, so that who is answered finds it so.
        shared.health.hang(writing.is_some() || !reading.is_empty());
        self.writes.note(writing, &shared, "write to", "writes are refused until it does");
        let longest = reading.iter().map(|(_, waited)| *waited).max();
        self.reads.note(longest, &shared, "read", "reads that wait for it are refused");

        let mut wakers = Vec::new();
        let mut answered = 0;
        if writing.is_some() {
            answered += shared.writing.give_up(failure::HANGS, &mut wakers);
            for command in shared.ways.writes.drain() {
                if let Some(flight) = &command.flight {
                    flight.write_done(&command);
                    answered += refuse(command, failure::NOT_BEGUN, &mut wakers);
                }
            }
        }
        for (hand, _) in &reading {
            answered += hand.give_up(failure::UNANSWERED, &mut wakers);
            for command in waiting_behind(hand) {
                answered += refuse(command, failure::NOT_BEGUN, &mut wakers);
            }
        }
        if reading.len() == shared.reading.len() {
            for command in shared.ways.reads.drain() {
                let mut next = Some(command);
                while let Some(mut command) = next.take() {
                    let flight = command.flight.take();
                    next = flight.and_then(|flight| flight.read_done(command.hash, &shared.ways));
                    answered += refuse(command, failure::UNANSWERED, &mut wakers);
                }
            }
        }
        shared.counters.failures.add(answered);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Alarm {
    /// Tells the log when something begins to hang, and when it no longer does.
    fn note(&mut self, waited: Option<Duration>, shared: &Shared, action: &'static str, so: &str) {
        match (waited, self.0) {
            (Some(waited), None) => {
                let detail = format!("no answer for {} seconds", waited.as_secs());
                let source = std::io::Error::new(std::io::ErrorKind::TimedOut, detail);
                let hangs = Error::io(action, &shared.path)(source);
                error!("the disk hangs, {so}: {hangs}");
                shared.health.unanswered(hangs);
            }
            (None, Some(waited)) => {
                let path = shared.path.display();
                let waited = waited.as_secs();
                warn!("{path}: the disk answers again, after {waited} seconds or more");
            }
            _ => {}
        }
        self.0 = waited;
    }
}

/// What waits for the first command in hand to be done: nothing of it has begun.
fn waiting_behind(hand: &Hand) -> Vec<Command> {
    let commands = hand.commands();
    let first = commands.first().and_then(|first| Some((first.flight.as_ref()?, first.hash)));
    first.map(|(flight, hash)| flight.abandon(hash)).unwrap_or_default()
}

fn refuse(command: Command, why: &'static str, wakers: &mut Vec<Waker>) -> u64 {
    wakers.extend(command.answer(Outcome::Failed(why)));
    1
}

const TICK: Duration = Duration::from_millis(100);
