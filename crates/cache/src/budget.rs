//! What of the limit is for segments and pages: all that others leave.
//!
//! Any thread may change its numbers at any time, and then has the arena told how many segments they
//! leave. The numbers are read under the arena's lock when it is told, not before: of several who
//! tell it at once, the last has seen what the others changed before they had the lock, and so the
//! last word is right. That is all the order there has to be, and the lock makes it; the numbers
//! themselves are `Relaxed`. The same goes for a shard that is told its part, under its own lock.
//!
//! Only the limit that is in force follows another number, without a lock. Whoever changes it has
//! seen the limit that the one before it was made for, or a later one: so it ends where the last
//! limit is.

#[cfg(all(loom, test))]
use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed},
};
#[cfg(not(all(loom, test)))]
use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed};

use std::sync::Arc;

use larder_protocol::Seconds;
#[cfg(not(all(loom, test)))]
use parking_lot::{Mutex, MutexGuard};

use crate::loans::Loans;

/// The limit, and what of it is not for segments.
#[derive(Debug)]
pub(crate) struct Budget {
    segment_bytes: u64,
    limit: AtomicU64,
    /// The limit that holds, on its way to a lower one; else the same.
    in_force: AtomicU64,
    /// What of the limit is lent to others.
    loans: Mutex<Loans>,
    /// Bytes of pages for values that are coming, which segments and pages count too.
    landing: Arc<AtomicU64>,
    /// Bytes that shards use beside segments and pages.
    overhead: AtomicU64,
}

impl Budget {
    /// All of `limit` bytes is for segments of so many.
    pub(crate) fn new(limit: u64, segment_bytes: usize) -> Self {
        Self {
            segment_bytes: segment_bytes as u64,
            limit: AtomicU64::new(limit),
            in_force: AtomicU64::new(limit),
            loans: Mutex::default(),
            landing: Arc::default(),
            overhead: AtomicU64::new(0),
        }
    }

    /// The limit, in bytes.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// A higher limit is in force at once, a lower one has to be approached.
    pub(crate) fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Relaxed);
        self.in_force.fetch_max(bytes, AcqRel);
    }

    /// Takes what is in force a step nearer to the limit. `false` if it is there.
    pub(crate) fn approach_limit(&self) -> bool {
        let step = |now: u64| {
            let limit = self.limit();
            (now != limit).then(|| now.saturating_sub(STEP_BYTES).max(limit))
        };
        self.in_force.fetch_update(AcqRel, Acquire, step).is_ok()
    }

    /// So many bytes more are lent, or fewer. `true` if that changes what is left for segments.
    pub(crate) fn lend(&self, change: i64, now: Seconds) -> bool {
        let mut loans = self.loans();
        let before = loans.set_aside();
        loans.lend(change, now);
        loans.set_aside() != before
    }

    /// Lends so many bytes of pages for a value that is coming; `None` if that and what is set aside
    /// were more than half of the limit.
    pub(crate) fn land(&self, bytes: u64) -> Option<Loan> {
        let most = (self.limit() / 2).checked_sub(self.loans().set_aside())?;
        let add = |landing: u64| landing.checked_add(bytes).filter(|landing| *landing <= most);
        self.landing.fetch_update(Relaxed, Relaxed, add).ok()?;
        Some(Loan { bytes, landing: Arc::clone(&self.landing) })
    }

    /// A shard uses so many bytes more beside segments and pages, or fewer.
    pub(crate) fn settle(&self, change: i64) {
        self.overhead.fetch_add(change.cast_unsigned(), Relaxed);
    }

    /// How many segments the numbers leave, for the arena: to be asked under its lock. Half of the
    /// limit stays with the items, however much is lent.
    pub(crate) fn segments(&self) -> usize {
        let limit = self.in_force.load(Relaxed);
        let bytes = limit.saturating_sub(self.lent(limit) + self.overhead.load(Relaxed));
        usize::try_from(bytes / self.segment_bytes).unwrap_or(usize::MAX)
    }

    /// What of a limit is set aside for loans, as far as that counts.
    pub(crate) fn lent(&self, limit: u64) -> u64 {
        self.loans().set_aside().min(limit / 2)
    }

    /// One of so many equal parts of the limit, for a shard: to be asked under its lock.
    pub(crate) fn part(&self, shards: usize) -> u64 {
        self.limit() / shards as u64
    }

    #[cfg(not(all(loom, test)))]
    fn loans(&self) -> MutexGuard<'_, Loans> {
        self.loans.lock()
    }

    #[cfg(all(loom, test))]
    fn loans(&self) -> MutexGuard<'_, Loans> {
        self.loans.lock().unwrap()
    }

    #[cfg(test)]
    pub(crate) fn overhead(&self) -> u64 {
        self.overhead.load(Relaxed)
    }
}

/// Bytes lent for a value that is coming, until this is dropped.
#[derive(Debug)]
pub(crate) struct Loan {
    bytes: u64,
    landing: Arc<AtomicU64>,
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.landing.fetch_sub(self.bytes, Relaxed);
    }
}

/// A lower limit is approached by so much at a time: a millisecond's or two of small items.
const STEP_BYTES: u64 = 1 << 20;

#[cfg(test)]
#[cfg(loom)]
mod models;
