//! What clients were answered, in numbers.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::client::Outcome;

/// Counts, for all clients.
#[derive(Debug)]
pub(super) struct Tally(Mutex<Tallied>);

#[derive(Debug)]
struct Tallied {
    all: Counts,
    /// Since the last lap.
    lap: Counts,
    /// Why what is unknown of it is.
    whys: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) answered: u64,
    pub(super) refused: u64,
    pub(super) unknown: u64,
    last_write: Instant,
    /// The longest time in which no write succeeded.
    pub(super) stood: Duration,
    /// Since when nothing fails, if no write has succeeded since.
    healed: Option<Instant>,
    /// The longest time from then to the first write that did.
    pub(super) recovered: Duration,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Tallied { all: Counts::new(), lap: Counts::new(), whys: BTreeSet::new() }))
    }

    pub(super) fn count(&self, outcome: &Outcome, writes: bool, at: Instant) {
        let Tallied { all, lap, whys } = &mut *self.lock();
        if let Outcome::Unknown(why) = outcome {
            whys.insert(why.clone());
        }
        all.count(outcome, writes, at);
        lap.count(outcome, writes, at);
    }

    /// From now on something fails.
    pub(super) fn fails(&self) {
        self.lock().all.healed = None;
    }

    /// From now on nothing does.
    pub(super) fn healed(&self) {
        self.lock().all.healed = Some(Instant::now());
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().all
    }

    /// Those since the last lap, of which this is the end, and why what is unknown of them is.
    pub(super) fn lap(&self) -> (Counts, BTreeSet<String>) {
        let Tallied { lap, whys, .. } = &mut *self.lock();
        let last_write = lap.last_write;
        let lap = std::mem::replace(lap, Counts { last_write, ..Counts::new() });
        (lap, std::mem::take(whys))
    }

    fn lock(&self) -> MutexGuard<'_, Tallied> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn new() -> Self {
        Self {
            answered: 0,
            refused: 0,
            unknown: 0,
            last_write: Instant::now(),
            stood: Duration::ZERO,
            healed: None,
            recovered: Duration::ZERO,
        }
    }

    fn count(&mut self, outcome: &Outcome, writes: bool, at: Instant) {
        match outcome {
            Outcome::Refused => self.refused += 1,
            Outcome::Unknown(_) => self.unknown += 1,
            Outcome::Answered(_) => self.answered += 1,
        }
        if writes && matches!(outcome, Outcome::Answered(_)) {
            self.stood = self.stood.max(at.saturating_duration_since(self.last_write));
            self.last_write = at;
            if let Some(healed) = self.healed.take() {
                self.recovered = self.recovered.max(at.saturating_duration_since(healed));
            }
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, refused, unknown, stood, .. } = self;
        write!(f, "{answered} answered, {refused} refused, {unknown} unknown, no write for ")?;
        write!(f, "{:.1} s", stood.as_secs_f64())
    }
}
