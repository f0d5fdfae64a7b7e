//! A soak: for as long as one likes, several connections ask a server for everything at random, and
//! every answer is judged by what it can be.
//!
//! Each connection has keys of its own, so it knows what they hold. A get may miss, as a cache may
//! evict; but what it finds must be the latest value and its flags, and nothing is found that was
//! deleted, flushed or has expired, with a second of slack. A cas unique changes with the value
//! and not without it. Between rounds, while nothing is asked for, what the server counts must be
//! what was sent, items must be gone for a reason, and the process must hold no more memory than it
//! was given.
//!
//! - `mix`: random commands
//! - `command`: one of them
//! - `answer`: what it is answered
//! - `value`: values that say what they are
//! - `moment`: when something happened, as far as a client can know
//! - `item`: what is known of an item
//! - `ledger`: what a connection knows of its keys
//! - `judge`: whether an answer can be
//! - `walker`: a connection
//! - `attendant`: one that flushes and changes the limit
//! - `tally`: what was sent
//! - `books`: what the server says of that
//! - `violation`: what must never be

mod answer;
mod attendant;
mod books;
mod command;
mod item;
mod judge;
mod ledger;
mod mix;
mod moment;
mod tally;
mod value;
mod violation;
mod walker;

use std::fmt;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use larder_protocol::response::Response;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::connection::Connection;
use attendant::Attendant;
use books::{Books, Expected, Page, Stats};
use ledger::Ledger;
use mix::{Lengths, Mix, Season};
use moment::Flushes;
use tally::Tally;
pub use violation::Violation;
use walker::Walker;

/// What a soak is told.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The server, which nobody else uses. It is flushed first.
    pub server: SocketAddr,
    /// Its process, if its memory is to be watched.
    pub process: Option<u32>,
    /// What all randomness comes from. It repeats what is asked for, not when.
    pub seed: u64,
    /// How long.
    pub duration: Duration,
    /// Connections that ask at once. Their buffers count against the server's memory, with some
    /// three megabytes each.
    pub connections: usize,
    /// The longest value to be stored, in bytes, if the server takes that.
    pub max_value: usize,
    /// Whether the server may be out of memory. Else that is a violation.
    pub may_refuse: bool,
}

/// How far a soak is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    elapsed: Duration,
    tally: Tally,
    page: Page,
}

/// Soaks a server, and tells `listener` after each round how far it is.
///
/// # Errors
///
/// The first violation.
pub fn soak(plan: &Plan, listener: impl FnMut(&Progress)) -> Result<Progress, Violation> {
    let started = Instant::now();
    rounds(plan, started, listener).map_err(|violation| {
        let state = Connection::new(plan.server)
            .and_then(|mut connection| Stats::ask(&mut connection, ""))
            .map_or_else(|error| error.to_string(), |stats| stats.to_string());
        let elapsed = started.elapsed().as_secs();
        Violation::new(format_args!("{violation}\n  after    {elapsed} s\n  stats    {state}"))
    })
}

fn rounds(
    plan: &Plan,
    started: Instant,
    mut listener: impl FnMut(&Progress),
) -> Result<Progress, Violation> {
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let mut connection = Connection::new(plan.server)?;
    connection.send(b"flush_all\r\n")?;
    connection.next(|response| *response == Response::Ok)?;
    let item_limit = Stats::ask(&mut connection, "settings")?.number("item_size_max")?;
    let mut books = Books::open(&mut connection, plan.process, plan.connections)?;
    let mut attendant = Attendant::new(connection, StdRng::seed_from_u64(rng.random()))?;
    let mut walkers = walkers(plan, item_limit, attendant.limit_bytes(), &mut rng)?;

    let flushes = Flushes::default();
    let mut season = Season::Mixed;
    loop {
        if rng.random_ratio(1, 10) {
            season = *SEASONS.choose(&mut rng).unwrap_or(&season);
        }
        round(season, &mut walkers, &mut attendant, &flushes)?;
        let expected = expected(&walkers, &attendant, &flushes);
        let page = books.check(&mut attendant.connection, &expected)?;
        let progress = Progress { elapsed: started.elapsed(), tally: expected.tally, page };
        if progress.elapsed >= plan.duration {
            books.check_growth()?;
            return Ok(progress);
        }
        listener(&progress);
    }
}

fn walkers(
    plan: &Plan,
    item_limit: u64,
    memory: u64,
    rng: &mut StdRng,
) -> Result<Vec<Walker>, Violation> {
    let item_limit = usize::try_from(item_limit).unwrap_or(usize::MAX);
    let lengths = Lengths {
        most: plan.max_value.min(item_limit.saturating_sub(OF_AN_ITEM)),
        too_long: item_limit + 1,
        season: Season::Mixed,
    };
    let keys = usize::try_from(memory / BYTES_PER_KEY).unwrap_or(usize::MAX) / plan.connections;
    (0..plan.connections)
        .map(|number| {
            let mix = Mix::new(rng.random(), keys, lengths, !plan.may_refuse);
            let ledger = Ledger::new((number * keys) as u64, keys, lengths.most);
            Ok(Walker::new(plan.server, mix, ledger, plan.may_refuse)?)
        })
        .collect()
}

/// Everybody does something for a while.
fn round(
    season: Season,
    walkers: &mut [Walker],
    attendant: &mut Attendant,
    flushes: &Flushes,
) -> Result<(), Violation> {
    let end = Instant::now() + ROUND;
    thread::scope(|scope| {
        let walks: Vec<_> = walkers
            .iter_mut()
            .map(|walker| scope.spawn(move || walker.walk(season, end, flushes)))
            .collect();
        let disturbed = attendant.disturb(ROUND, flushes);
        walks
            .into_iter()
            .map(|walk| walk.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .fold(disturbed, Result::and)
    })
}

/// What should be in the books now that nobody asks for anything.
fn expected(walkers: &[Walker], attendant: &Attendant, flushes: &Flushes) -> Expected {
    let moment = flushes.now();
    let counts = walkers.iter().map(|walker| walker.ledger.count(&moment));
    let (most_items, least_items) =
        counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    Expected {
        tally: walkers.iter().map(|walker| walker.tally).sum(),
        flushes: attendant.flushes,
        limit: attendant.limit_held_bytes(),
        lost: walkers.iter().map(|walker| walker.ledger.lost).sum(),
        most_items,
        least_items,
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { elapsed, tally, page } = self;
        let megabytes = |bytes: u64| bytes >> 20;
        write!(
            f,
            "{:>6} s  {} commands, {} hits, {} misses, {} evictions, {} items, {} of {} MiB",
            elapsed.as_secs(),
            tally.commands,
            tally.get_hits,
            tally.get_misses,
            page.evictions,
            page.items,
            megabytes(page.bytes),
            megabytes(page.limit),
        )?;
        match page.resident {
            Some(resident) => write!(f, ", RSS {} MiB", megabytes(resident)),
            None => Ok(()),
        }
    }
}

const SEASONS: [Season; 4] = [Season::Mixed, Season::Mixed, Season::Small, Season::Large];

const ROUND: Duration = Duration::from_secs(1);

/// So few bytes of the server's memory for each key that it is full of the shortest values, too.
const BYTES_PER_KEY: u64 = 400;

/// More than what memcached takes of an item's largest size for its key and its own.
const OF_AN_ITEM: usize = 512;

#[cfg(test)]
mod tests;
