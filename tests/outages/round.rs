//! A round: clients ask while things fail by a schedule; then all is well again, everything is read
//! back through every node, and judged.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::client::{self, Outcome, PATIENCE, Seen, ask_at_random};
use super::directory::Directory;
use super::failure::Failure;
use super::fault::Kind;
use super::keys::Keys;
use super::nodes::Nodes;
use super::operator::Operator;
use super::tally::{Counts, Tally};
use crate::connection::Connection;
use crate::linearizability::{Asked, Command, judge};

/// What is to be in a round.
#[derive(Clone, Debug)]
pub(super) struct Plan<'a> {
    pub(super) number: u64,
    pub(super) seed: u64,
    pub(super) duration: Duration,
    pub(super) clients: usize,
    pub(super) faults: &'a [Kind],
}

/// What was in a round.
#[derive(Clone, Debug)]
pub struct Round {
    number: u64,
    schedule: Schedule,
    pub(super) counts: Counts,
    keys: usize,
}

impl Round {
    /// What failed, and when, a line each.
    pub fn schedule(&self) -> impl fmt::Display {
        &self.schedule
    }

    pub(super) fn faults(&self) -> usize {
        self.schedule.0.iter().filter(|note| note.fault).count()
    }
}

/// What failed, and when, since the beginning.
#[derive(Clone, Debug, Default)]
struct Schedule(Vec<Note>);

#[derive(Clone, Debug)]
struct Note {
    at: Duration,
    what: String,
    /// Whether something fails from then on.
    fault: bool,
}

/// Goes through one.
pub(super) fn run(nodes: &mut Nodes, plan: &Plan<'_>) -> Result<Round, Failure> {
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let (keys, tally, stop) = (Keys::of(plan.number), Tally::new(), AtomicBool::new(false));
    let directory = Directory::default();
    nodes.all().into_iter().for_each(|node| directory.enter(node, nodes.clients(node)));
    let mut schedule = Schedule::default();
    let went = thread::scope(|scope| {
        let (directory, keys, tally, stop) = (&directory, &keys, &tally, &stop);
        let asking: Vec<_> = (0..plan.clients)
            .map(|client| {
                let seed = rng.random();
                scope.spawn(move || ask_at_random(client, directory, seed, keys, tally, stop))
            })
            .collect();
        let alone = plan.faults == [Kind::Members];
        let operator = Operator::new(directory, tally, rng.random(), alone);
        let mut course = Course { began: Instant::now(), nodes, operator, schedule: &mut schedule };
        let failed = course.go_wrong(plan, tally, &mut rng);
        drop(course);
        stop.store(true, Ordering::Relaxed);
        let mut histories = BTreeMap::<_, Vec<_>>::new();
        for asking in asking {
            let seen = asking.join().unwrap_or_else(|_| Err(Failure::new("a client panicked")))?;
            for (key, command) in seen {
                histories.entry(key).or_default().push(command);
            }
        }
        failed.map(|()| histories)
    });
    let with_schedule = |failure: Failure| {
        Failure::new(format_args!("round {}: {failure}\n{schedule}", plan.number))
    };
    let mut histories = went.map_err(with_schedule)?;
    for node in nodes.all() {
        let reader = plan.clients + usize::from(node);
        let seen = read_back(nodes, node, reader, histories.keys()).map_err(with_schedule)?;
        for (key, command) in seen {
            histories.entry(key).or_default().push(command);
        }
    }
    let judged = histories.len();
    for (key, history) in histories {
        judge(history)
            .map_err(|violation| with_schedule(Failure::new(format_args!("{key}: {violation}"))))?;
    }
    Ok(Round { number: plan.number, counts: tally.counts(), keys: judged, schedule })
}

/// What goes on while clients ask.
struct Course<'a> {
    began: Instant,
    nodes: &'a mut Nodes,
    operator: Operator<'a>,
    schedule: &'a mut Schedule,
}

impl Course<'_> {
    /// Has things fail, one or two at a time, and be well again, until it is time.
    fn go_wrong(
        &mut self,
        plan: &Plan<'_>,
        tally: &Tally,
        rng: &mut StdRng,
    ) -> Result<(), Failure> {
        while self.began.elapsed() < plan.duration {
            self.wait(rng.random_range(QUIET_MILLIS))?;
            // Drawn before any begins: of a cluster that fails it takes long to hear who leads.
            let count = rng.random_range(1..=2);
            let kinds: Vec<_> = plan.faults.sample(rng, count).collect();
            let faults: Vec<_> =
                kinds.into_iter().map(|kind| (kind, kind.draw(self.nodes, rng))).collect();
            tally.fails();
            for (kind, fault) in faults {
                self.note(format!("{}: {fault}", kind.name()), true);
                fault.begin(self.nodes, &mut self.operator)?;
            }
            self.wait(rng.random_range(FAILING_MILLIS))?;
            self.note(HEALED.to_owned(), false);
            self.nodes.heal()?;
            tally.healed();
        }
        while !self.operator.is_done() {
            // The operator waits for all, also for one that wants to be opened anew.
            self.nodes.reopen()?;
            self.wait(REOPEN_MILLIS)?;
        }
        self.nodes.until_settled()
    }

    /// Waits, and looks that no node ends by itself.
    fn wait(&mut self, millis: u64) -> Result<(), Failure> {
        let until = Instant::now() + Duration::from_millis(millis);
        loop {
            self.nodes.check()?;
            if let Some(done) = self.operator.go_on(self.nodes)? {
                self.note(done, false);
            }
            if Instant::now() >= until {
                return Ok(());
            }
            thread::sleep(until.saturating_duration_since(Instant::now()).min(LOOK_EVERY));
        }
    }

    fn note(&mut self, what: String, fault: bool) {
        let at = self.began.elapsed();
        self.schedule.0.push(Note { at, what, fault });
    }
}

/// Reads all through one node, however often it takes.
fn read_back<'a>(
    nodes: &Nodes,
    node: u16,
    client: usize,
    keys: impl Iterator<Item = &'a String>,
) -> Result<Seen, Failure> {
    let deadline = Instant::now() + READ_WITHIN;
    let mut connection = None;
    let mut seen = Seen::new();
    for key in keys {
        let (sent, answered) = loop {
            if Instant::now() > deadline {
                return Err(Failure::new(format_args!(
                    "nothing fails any more, and db{node} does not give {key}"
                )));
            }
            let sent = Instant::now();
            let Some(open) = &mut connection else {
                connection = Connection::patient(nodes.clients(node), PATIENCE).ok();
                continue;
            };
            match client::ask(open, key, &Asked::Get, 0)? {
                Outcome::Answered(answered) => break (sent, answered),
                Outcome::Refused => thread::sleep(LOOK_EVERY),
                Outcome::Unknown(_) => connection = None,
            }
        };
        let answered = Some((answered, Instant::now()));
        seen.push((key.clone(), Command { client, asked: Asked::Get, sent, answered }));
    }
    Ok(seen)
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what failed, by seconds:")?;
        let mut notes = self.0.iter();
        notes.try_for_each(|Note { at, what, .. }| write!(f, "\n{:8.3} {what}", at.as_secs_f64()))
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, counts, keys, .. } = self;
        write!(f, "round {number}: {} faults, {counts}", self.faults())?;
        let recovered = counts.recovered.as_secs_f64();
        write!(f, ", and for {recovered:.1} s where nothing failed any more, {keys} keys judged")
    }
}

const HEALED: &str = "healed";

/// How long nothing fails, and how long something does.
const QUIET_MILLIS: std::ops::Range<u64> = 300..4000;
const FAILING_MILLIS: std::ops::Range<u64> = 100..7000;

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// So often it is looked, once nothing fails any more, whether a node wants to be opened anew.
const REOPEN_MILLIS: u64 = 500;

/// How long it may take to read all keys of a round through one node.
const READ_WITHIN: Duration = Duration::from_mins(1);
