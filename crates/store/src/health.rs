//! Whether writes are taken, and what went wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{error, warn};

use crate::apply::Admission;
use crate::error::Error;
use crate::failure;
use crate::options::Options;
use crate::stats::Condition;

/// Whether writes are taken, and what went wrong.
#[derive(Debug)]
pub(crate) struct Health {
    poisoned: AtomicBool,
    hanging: AtomicBool,
    full: AtomicBool,
    /// Free bytes on the volume as of last, [`UNTOLD`] if that is not known.
    room: AtomicU64,
    /// Free bytes on the volume below which writes are refused.
    reserve: AtomicU64,
    failure: Mutex<Option<Arc<Error>>>,
    /// Whether files may not be what was written.
    suspect: AtomicBool,
    /// Which is not, and where.
    damage: Mutex<Option<Arc<Error>>>,
    unread: Mutex<Unread>,
}

/// Failures to read, for the log.
#[derive(Debug, Default)]
struct Unread {
    told_at: Option<Instant>,
    /// How many there were since then.
    more: u64,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            poisoned: AtomicBool::default(),
            hanging: AtomicBool::default(),
            full: AtomicBool::default(),
            room: AtomicU64::new(UNTOLD),
            reserve: AtomicU64::default(),
            failure: Mutex::default(),
            suspect: AtomicBool::default(),
            damage: Mutex::default(),
            unread: Mutex::default(),
        }
    }
}

impl Health {
    /// No more writes, for good. After a failed sync the system may have forgotten what it could
    /// not write, so that trying again would seem to succeed.
    pub(crate) fn poison(&self, error: Error) {
        let mut failure = self.failure.lock();
        if !self.poisoned.swap(true, Ordering::AcqRel) {
            error!("writes are refused until the store is opened anew: {error}");
            // The engine gives up where it cannot read what it compacts.
            self.suspect.store(true, Ordering::Release);
            *failure = Some(Arc::new(error));
        }
    }

    /// A record could not be read.
    pub(crate) fn unread(&self, error: Error) {
        let mut unread = self.unread.lock();
        if unread.told_at.is_none_or(|told| told.elapsed() >= BETWEEN_TOLD) {
            match unread.more {
                0 => warn!("a read failed: {error}"),
                more => warn!("a read failed, as did {more} before: {error}"),
            }
            *unread = Unread { told_at: Some(Instant::now()), more: 0 };
        } else {
            unread.more += 1;
        }
        drop(unread);
        self.suspect.store(true, Ordering::Release);
        self.unanswered(error);
    }

    /// Whether files may not be what was written.
    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    /// What is wrong for good, until it is opened anew, and whether writes are refused for it.
    pub(crate) fn trouble(&self) -> Option<(bool, Arc<Error>)> {
        let poisoned = self.is_poisoned();
        (poisoned || self.is_suspect()).then(|| self.failure()).flatten().map(|why| (poisoned, why))
    }

    /// It is known what is damaged: whatever fails from now on, that is what there is to be done about.
    pub(crate) fn damaged(&self, error: Error) {
        error!("{error}");
        *self.damage.lock() = Some(Arc::new(error));
    }

    /// Something failed that may go better another time.
    pub(crate) fn unanswered(&self, error: Error) {
        let mut failure = self.failure.lock();
        if !self.is_poisoned() {
            *failure = Some(Arc::new(error));
        }
    }

    /// Whether the engine hangs.
    pub(crate) fn hang(&self, hanging: bool) {
        self.hanging.store(hanging, Ordering::Release);
    }

    /// Sets and gives what must stay free for a store with sorted files of so many bytes.
    pub(crate) fn reserve(&self, sorted_bytes: u64, options: &Options) -> u64 {
        let reserve = reserve(sorted_bytes, options);
        self.reserve.store(reserve, Ordering::Relaxed);
        reserve
    }

    /// What may be written, with `room` bytes free on the volume, if it tells. One that does not
    /// shows by a failing write soon enough.
    pub(crate) fn admission(&self, room: Option<u64>) -> Admission {
        let room = room.unwrap_or(UNTOLD);
        self.room.store(room, Ordering::Relaxed);
        let reserve = self.reserve.load(Ordering::Relaxed);
        self.full.store(room < reserve, Ordering::Release);
        if let Some(why) = self.poisoned() {
            Admission::Nothing(why)
        } else if room < reserve - reserve / 4 {
            Admission::Nothing(failure::FULL)
        } else if room < reserve {
            Admission::Removals(failure::FULL)
        } else {
            Admission::All
        }
    }

    /// What is told to who would write, if nothing is written any more.
    pub(crate) fn poisoned(&self) -> Option<&'static str> {
        self.is_poisoned().then(|| match self.failure.lock().as_deref() {
            Some(Error::Member { .. }) => failure::REMOVED,
            _ => failure::POISONED,
        })
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub(crate) fn condition(&self) -> Condition {
        if self.is_poisoned() {
            Condition::Poisoned
        } else if self.hanging.load(Ordering::Acquire) {
            Condition::Hanging
        } else if self.full.load(Ordering::Acquire) {
            Condition::OutOfSpace
        } else {
            Condition::Serving
        }
    }

    /// Free bytes on the volume, if it tells, and below what writes are refused.
    pub(crate) fn space(&self) -> (Option<u64>, u64) {
        let room = Some(self.room.load(Ordering::Relaxed)).filter(|room| *room != UNTOLD);
        (room, self.reserve.load(Ordering::Relaxed))
    }

    pub(crate) fn failure(&self) -> Option<Arc<Error>> {
        let damage = self.damage.lock().clone();
        damage.or_else(|| self.failure.lock().clone())
    }
}

/// What must stay free for a store with sorted files of so many bytes. What was asked for is kept as
/// it is.
///
/// A compaction writes its input anew, which can be all of a small store, and the engine is in no
/// hurry to remove what is no longer needed. The log begins a file before it removes one.
pub(crate) fn reserve(sorted_bytes: u64, options: &Options) -> u64 {
    let buffers = options.write_buffer_bytes.saturating_mul(4);
    let log = LOG_FILES.saturating_mul(options.log_file_bytes);
    let given = buffers.saturating_add(options.backlog_bytes);
    let needed = sorted_bytes.saturating_mul(2).saturating_add(given).saturating_add(log);
    options.reserve_bytes.unwrap_or_else(|| needed.min(ENOUGH))
}

const UNTOLD: u64 = u64::MAX;
/// Bytes of reserve that are enough for a store of any size.
const ENOUGH: u64 = 2 << 30;
/// Files that the log may begin after writes are refused: with what is on its way then, and with what
/// it copies before it removes others.
const LOG_FILES: u64 = 2;
/// A disk that cannot be read does not fill the log.
const BETWEEN_TOLD: Duration = Duration::from_secs(10);
