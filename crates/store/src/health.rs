//! Whether writes are taken, and what went wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::apply::Admission;
use crate::error::Error;
use crate::failure;
use crate::options::Options;
use crate::stats::Condition;

/// Whether writes are taken, and what went wrong.
#[derive(Debug, Default)]
pub(crate) struct Health {
    poisoned: AtomicBool,
    full: AtomicBool,
    /// Free bytes on the volume below which writes are refused.
    reserve: AtomicU64,
    failure: Mutex<Option<Arc<Error>>>,
}

impl Health {
    /// No more writes, for good. After a failed sync the system may have forgotten what it could
    /// not write, so that trying again would seem to succeed.
    pub(crate) fn poison(&self, error: Error) {
        let mut failure = self.failure.lock();
        if !self.poisoned.swap(true, Ordering::AcqRel) {
            *failure = Some(Arc::new(error));
        }
    }

    /// A record could not be read.
    pub(crate) fn unread(&self, error: Error) {
        let mut failure = self.failure.lock();
        if !self.is_poisoned() {
            *failure = Some(Arc::new(error));
        }
    }

    /// Sets what must stay free for a store with sorted files of so many bytes.
    ///
    /// A compaction writes its input anew, which can be all of a small store, and the engine is in
    /// no hurry to remove what is no longer needed.
    pub(crate) fn reserve(&self, sorted_bytes: u64, options: &Options) {
        let buffers = options.write_buffer_bytes.saturating_mul(4);
        let needed = sorted_bytes.saturating_mul(2).saturating_add(buffers);
        self.reserve.store(needed.min(options.reserve_bytes), Ordering::Relaxed);
    }

    /// What may be written, with `room` bytes free on the volume.
    pub(crate) fn admission(&self, room: u64) -> Admission {
        let reserve = self.reserve.load(Ordering::Relaxed);
        self.full.store(room < reserve, Ordering::Release);
        if self.is_poisoned() {
            Admission::Nothing(failure::POISONED)
        } else if room < reserve - reserve / 4 {
            Admission::Nothing(failure::FULL)
        } else if room < reserve {
            Admission::Removals(failure::FULL)
        } else {
            Admission::All
        }
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub(crate) fn condition(&self) -> Condition {
        if self.is_poisoned() {
            Condition::Poisoned
        } else if self.full.load(Ordering::Acquire) {
            Condition::OutOfSpace
        } else {
            Condition::Serving
        }
    }

    pub(crate) fn failure(&self) -> Option<Arc<Error>> {
        self.failure.lock().clone()
    }
}
