//! What clients were answered, in numbers.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::client::Outcome;

/// Counts, for all clients.
#[derive(Debug)]
pub(super) struct Tally(Mutex<Counts>);

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
        Self(Mutex::new(Counts {
            answered: 0,
            refused: 0,
            unknown: 0,
            last_write: Instant::now(),
            stood: Duration::ZERO,
            healed: None,
            recovered: Duration::ZERO,
        }))
    }

    pub(super) fn count(&self, outcome: &Outcome, writes: bool, at: Instant) {
        let mut counts = self.lock();
        match outcome {
            Outcome::Refused => counts.refused += 1,
            Outcome::Unknown => counts.unknown += 1,
            Outcome::Answered(_) => counts.answered += 1,
        }
        if writes && matches!(outcome, Outcome::Answered(_)) {
            counts.stood = counts.stood.max(at.saturating_duration_since(counts.last_write));
            counts.last_write = at;
            if let Some(healed) = counts.healed.take() {
                counts.recovered = counts.recovered.max(at.saturating_duration_since(healed));
            }
        }
    }

    /// From now on something fails.
    pub(super) fn fails(&self) {
        self.lock().healed = None;
    }

    /// From now on nothing does.
    pub(super) fn healed(&self) {
        self.lock().healed = Some(Instant::now());
    }

    pub(super) fn counts(&self) -> Counts {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, refused, unknown, stood, recovered, .. } = self;
        let (stood, recovered) = (stood.as_secs_f64(), recovered.as_secs_f64());
        write!(f, "{answered} answered, {refused} refused, {unknown} unknown, no write for ")?;
        write!(f, "{stood:.1} s, and for {recovered:.1} s where nothing failed any more")
    }
}
