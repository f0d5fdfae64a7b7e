//! Outages: stores as processes of their own, in networks of their own, that are killed, stopped, cut
//! off from each other, slowed, filled, given wrong clocks, added and removed by a schedule, while
//! clients of all of them ask at random. What the clients saw must have been one item for each key.
//!
//! An answer that says that nothing was done is believed: if it was done all the same, that is seen.
//! What a client cannot know may have been at any moment, or never.
//!
//! A clock is bent by ten minutes at most. So what is given an exptime an hour away must be there for as
//! long as it is asked for, and what is touched with one that was twelve minutes ago must be gone,
//! whichever nodes are asked.
//!
//! - `nodes`: the processes, and what can be done to them
//! - `clocks`: what time each believes it is
//! - `status`: what they say of themselves
//! - `operator`: who has nodes come and go
//! - `fault`: what can fail, and where
//! - `round`: a schedule, and the judgement
//! - `client`: who asks
//! - `directory`: of whom
//! - `keys`: what for
//! - `tally`: what was answered, in numbers
//! - `failure`: why a run ends early

mod client;
mod clocks;
mod directory;
mod failure;
mod fault;
mod keys;
mod nodes;
mod operator;
mod round;
mod status;
mod tally;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

pub use failure::Failure;
pub use fault::Kind;
use nodes::Nodes;
pub use round::Round;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program that nodes are. It is started by the name `larder`.
    pub program: PathBuf,
    /// An empty directory for all they write.
    pub place: PathBuf,
    /// Of what is asked for, and what fails when.
    pub seed: u64,
    /// When the last round begins, at the latest.
    pub duration: Duration,
    /// How long things fail in each round.
    pub round: Duration,
    /// How many nodes, 1 to 9.
    pub nodes: u16,
    /// How many clients.
    pub clients: usize,
    /// What is to fail.
    pub faults: Vec<Kind>,
    /// Once set, the run fails as soon as it can, and leaves nothing behind outside of `place`.
    pub interrupted: Arc<AtomicBool>,
}

/// What was done in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rounds that ended.
    pub rounds: u64,
    /// Things that failed.
    pub faults: usize,
    /// Commands that were answered.
    pub answered: u64,
    /// Commands that were surely not done.
    pub refused: u64,
    /// Commands whose outcome is unknown.
    pub unknown: u64,
    /// The longest time in which no write succeeded.
    pub stood: Duration,
    /// The longest time without where nothing failed any more.
    pub recovered: Duration,
}

/// Does all of a plan, and tells of each round.
///
/// # Errors
///
/// What clients saw cannot have been, or a node ends by itself or does not come back: with the
/// schedule of the round. Or the system does not let us, or it was interrupted.
pub fn run(plan: &Plan, mut tell: impl FnMut(&Round)) -> Result<Summary, Failure> {
    let began = Instant::now();
    let mut nodes = Nodes::start(plan)?;
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let mut summary = Summary::default();
    while summary.rounds == 0 || began.elapsed() < plan.duration {
        summary.rounds += 1;
        let round = round::Plan {
            number: summary.rounds,
            seed: rng.random(),
            duration: plan.round,
            clients: plan.clients,
            faults: &plan.faults,
        };
        let round = round::run(&mut nodes, &round)?;
        summary.faults += round.faults();
        summary.answered += round.counts.answered;
        summary.refused += round.counts.refused;
        summary.unknown += round.counts.unknown;
        summary.stood = summary.stood.max(round.counts.stood);
        summary.recovered = summary.recovered.max(round.counts.recovered);
        tell(&round);
    }
    Ok(summary)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, faults, answered, refused, unknown, stood, recovered } = self;
        let (stood, recovered) = (stood.as_secs_f64(), recovered.as_secs_f64());
        write!(f, "{rounds} rounds, {faults} faults, {answered} answered, {refused} refused, ")?;
        write!(f, "{unknown} unknown, no write for {stood:.1} s, and for {recovered:.1} s where ")?;
        write!(f, "nothing failed any more")
    }
}
