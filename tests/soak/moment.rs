//! When something happened: no earlier than it was asked for, no later than it was answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The flushes of all connections' items, numbered from 1.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    begun: AtomicU64,
    done: AtomicU64,
}

impl Flushes {
    /// A flush is about to be asked for. Its number.
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// A flush has come to pass.
    pub(super) fn finish(&self, number: u64) {
        self.done.store(number, Ordering::SeqCst);
    }

    /// Now, for what is about to be sent.
    pub(super) fn now(&self) -> Moment {
        let flushed = self.done.load(Ordering::SeqCst);
        let flushing = self.begun.load(Ordering::SeqCst);
        let now = Instant::now();
        Moment { sent: now, received: now, flushed, flushing }
    }
}

/// Some time between two moments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) sent: Instant,
    pub(super) received: Instant,
    /// Flushes that had come to pass when it was sent.
    pub(super) flushed: u64,
    /// Flushes that were asked for when it was answered.
    pub(super) flushing: u64,
}

impl Moment {
    /// What was sent is answered.
    pub(super) fn extend(&mut self, flushes: &Flushes) {
        (self.received, self.flushing) = (Instant::now(), flushes.begun.load(Ordering::SeqCst));
    }
}

/// When an item expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    Never,
    Already,
    /// Not before the first, and not after the second: servers count whole seconds.
    Between(Instant, Instant),
}

impl Expiry {
    /// Of an exptime in seconds that was given at `moment`.
    pub(super) fn new(exptime: i64, moment: &Moment) -> Self {
        match u64::try_from(exptime).map(Duration::from_secs) {
            Err(_) => Self::Already,
            Ok(Duration::ZERO) => Self::Never,
            Ok(ttl) => {
                let earliest = moment.sent + ttl.saturating_sub(SECOND + TICK);
                Self::Between(earliest, moment.received + ttl)
            }
        }
    }

    pub(super) fn is_surely_past(&self, moment: &Moment) -> bool {
        match self {
            Self::Never => false,
            Self::Already => true,
            Self::Between(_, latest) => moment.sent > *latest + SECOND,
        }
    }

    pub(super) fn may_be_past(&self, moment: &Moment) -> bool {
        match self {
            Self::Never => false,
            Self::Already => true,
            Self::Between(earliest, _) => moment.received >= *earliest,
        }
    }

    /// Whether so much may be left, with a second to spare.
    pub(super) fn allows(&self, left: Left, moment: &Moment) -> bool {
        match (self, left) {
            (Self::Never, Left::Ever) | (Self::Already, Left::Secs(_)) => true,
            (Self::Between(earliest, latest), Left::Secs(secs)) => {
                let left = Duration::from_secs(secs.into());
                moment.received + left + SECOND >= *earliest
                    && moment.sent + left <= *latest + 2 * SECOND
            }
            _ => false,
        }
    }
}

/// How long an item has still to live, as it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Ever,
    Secs(u32),
}

const SECOND: Duration = Duration::from_secs(1);

/// So late a server's clock may be, and on time after: the longest tick that Linux has.
const TICK: Duration = Duration::from_millis(10);
