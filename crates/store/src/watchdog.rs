//! The thread that notices when the engine hangs, and tells those who wait for it. It waits for
//! nothing itself: the engine's locks and the disk are what may hang.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use larder_protocol::Outcome;
use tracing::{error, warn};

use crate::command::Command;
use crate::error::Error;
use crate::failure;
use crate::flight::Flight;
use crate::hand::Sight;
use crate::partition::Partition;
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
    compaction: Alarm,
    reads: Alarm,
}

/// Whether the log was told of a trouble, and how long it took when it was seen last.
#[derive(Debug)]
struct Alarm {
    trouble: Trouble,
    waited: Option<Duration>,
}

/// How the log tells it.
#[derive(Debug)]
struct Trouble {
    begins: &'static str,
    cannot: &'static str,
    because: &'static str,
    ends: &'static str,
}

impl Watchdog {
    /// One that calls longer than `limit` hanging.
    pub(crate) fn new(shared: Arc<Shared>, limit: Duration) -> Self {
        let [writes, compaction, reads] = [
            Trouble {
                begins: "the disk hangs, writes are refused until it does not",
                cannot: "write to",
                because: "no answer",
                ends: "the disk answers writes again",
            },
            Trouble {
                begins: "compaction is behind, writes are refused until it has caught up",
                cannot: "write to",
                because: "waiting for compaction",
                ends: "compaction has caught up, writes are taken again",
            },
            Trouble {
                begins: "the disk hangs, reads that wait for it are refused",
                cannot: "read",
                because: "no answer",
                ends: "the disk answers reads again",
            },
        ]
        .map(|trouble| Alarm { trouble, waited: None });
        Self { shared, limit, writes, compaction, reads }
    }

    pub(crate) fn run(mut self, stop: &Stop) {
        let mut looked = Instant::now();
        while !stop.wait(TICK) {
            let now = Instant::now();
            self.wake(now, now.saturating_duration_since(looked));
            looked = Instant::now();
        }
    }

    /// Looks at `now`, having slept for so long. If that is too long, the whole process was stopped,
    /// or the machine: then nobody has waited for the disk meanwhile.
    pub(crate) fn wake(&mut self, now: Instant, slept: Duration) {
        if slept < OVERSLEPT {
            return self.look(now);
        }
        for hand in &self.shared.reading {
            hand.forgive(slept, now);
        }
        for partition in self.shared.ways.partitions() {
            partition.proposing.forgive(slept, now);
            partition.proposals.forgive(slept, now);
        }
    }

    /// Tells whom it concerns what hangs at `now`.
    pub(crate) fn look(&mut self, now: Instant) {
        let shared = Arc::clone(&self.shared);
        let partitions = shared.ways.partitions().iter();
        let troubles: Vec<_> = partitions
            .filter_map(|partition| {
                let proposing = partition.proposing.sight(now, self.limit);
                let proposed = partition.proposals.late(now, self.limit);
                (proposing.is_some() || proposed.is_some())
                    .then_some((partition, proposing, proposed))
            })
            .collect();
        let reading = shared.reading.iter();
        let reading: Vec<_> =
            reading.filter_map(|hand| Some((hand, hand.sight(now, self.limit)?))).collect();
        // First of all, so that who is answered finds it so.
        shared.health.hang(!troubles.is_empty() || !reading.is_empty());
        let waited = |behind| {
            let sights = troubles.iter().filter_map(|(_, proposing, _)| *proposing);
            sights.filter(|sight| sight.is_behind() == behind).map(|sight| sight.waited).max()
        };
        let proposed = troubles.iter().filter_map(|(_, _, proposed)| *proposed).max();
        self.writes.note(waited(false).max(proposed), &shared);
        self.compaction.note(waited(true), &shared);
        self.reads.note(reading.iter().map(|(_, sight)| sight.waited).max(), &shared);

        let mut refusals = Refusals::default();
        for (partition, proposing, proposed) in troubles {
            if let Some(sight) = proposing {
                refuse_in_hand(&shared, partition, sight, &mut refusals);
            }
            if proposed.is_some() {
                let mut flights = Vec::new();
                partition.proposals.if_late(now, self.limit, |command| {
                    refusals.early(command, failure::HANGS);
                    flights.extend(command.flight.clone());
                });
                // By now without the lock that those who send commands on take.
                for flight in flights {
                    refusals.behind(&flight, None);
                }
                refuse_waiting(&shared, partition, failure::NOT_BEGUN, &mut refusals);
            }
        }
        // What is not begun is for other threads, if there are any.
        let mut unbegun = VecDeque::new();
        let mut hanging = 0;
        for (hand, sight) in reading {
            // It may have gone on while the log was written.
            let Some(begun) = hand.still(sight) else { continue };
            hanging += 1;
            unbegun.append(&mut hand.take_next());
            for command in &*begun {
                refusals.early(command, failure::UNANSWERED);
                if let Some(flight) = &command.flight {
                    refusals.behind(flight, Some(command.hash));
                }
            }
        }
        let mut refused = VecDeque::new();
        if hanging == shared.reading.len() {
            refused = unbegun;
            refused.append(&mut shared.ways.reads.drain());
        } else if !unbegun.is_empty()
            && let Err(unbegun) = shared.ways.reads.put_back(unbegun)
        {
            // The store is being closed, and the other threads may have ended.
            refused = unbegun;
        }
        for command in refused {
            let mut next = Some(command);
            while let Some(mut command) = next.take() {
                let flight = command.flight.take();
                next = flight.and_then(|flight| flight.read_done(command.hash, &shared.ways));
                refusals.last(command, failure::UNANSWERED);
            }
        }
        shared.counters.failures.add(refusals.count);
        refusals.wakers.into_iter().for_each(Waker::wake);
    }
}

/// Tells all who wait for who proposes, unless it has gone on. If it waits for the disk it
/// does so for all groups; if it waits until compaction has caught up it goes on with others meanwhile.
fn refuse_in_hand(shared: &Shared, partition: &Partition, sight: Sight, refusals: &mut Refusals) {
    let Some(begun) = partition.proposing.still(sight) else { return };
    let is_behind = sight.is_behind();
    for command in &*begun {
        refusals.early(command, if is_behind { failure::BEHIND } else { failure::HANGS });
        if let Some(flight) = &command.flight {
            refusals.behind(flight, None);
        }
    }
    if is_behind {
        return refuse_waiting(shared, partition, failure::BEHIND, refusals);
    }
    for partition in shared.ways.partitions() {
        refuse_waiting(shared, partition, failure::NOT_BEGUN, refusals);
    }
}

/// Tells all who wait for something to be proposed to a group that it will not be.
fn refuse_waiting(
    shared: &Shared,
    partition: &Partition,
    why: &'static str,
    refusals: &mut Refusals,
) {
    for command in partition.proposals.drain() {
        if command.is_own() {
            shared.counters.forgotten.add(1);
            continue;
        }
        if let Some(flight) = &command.flight {
            flight.write_done(&command, &shared.ways);
        }
        refusals.last(command, why);
    }
}

/// Who was told that something is not done.
#[derive(Default)]
struct Refusals {
    count: u64,
    /// To be woken when all are told.
    wakers: Vec<Waker>,
}

impl Refusals {
    /// Answers a command that stays with its thread. What that makes of it reaches nobody.
    fn early(&mut self, command: &Command, why: &'static str) {
        if !command.is_answered() {
            self.count += 1;
            self.wakers.extend(command.answer_early(Outcome::Failed(why)));
        }
    }

    /// Answers what waits behind the read of a key, and what waits for all that a session has asked.
    fn behind(&mut self, flight: &Flight, read: Option<u64>) {
        for command in flight.abandon(read) {
            self.last(command, failure::NOT_BEGUN);
        }
    }

    /// Answers a command that no thread has.
    fn last(&mut self, command: Command, why: &'static str) {
        self.count += 1;
        self.wakers.extend(command.answer(Outcome::Failed(why)));
    }
}

impl Alarm {
    /// Tells the log when the trouble begins, and when it is over.
    fn note(&mut self, waited: Option<Duration>, shared: &Shared) {
        let Trouble { begins, cannot, because, ends } = self.trouble;
        match (waited, self.waited) {
            (Some(waited), None) => {
                let detail = format!("{because} for {} seconds", waited.as_secs());
                let source = std::io::Error::new(std::io::ErrorKind::TimedOut, detail);
                let error = Error::io(cannot, &shared.path)(source);
                error!("{begins}: {error}");
                shared.health.unanswered(error);
            }
            (None, Some(waited)) => {
                let path = shared.path.display();
                warn!("{path}: {ends}, after {} seconds or more", waited.as_secs());
            }
            _ => {}
        }
        self.waited = waited;
    }
}

const TICK: Duration = Duration::from_millis(100);
/// More than a busy machine makes of a tick.
const OVERSLEPT: Duration = Duration::from_secs(1);
