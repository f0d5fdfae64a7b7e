//! All items that go at one moment: the last flush that was asked for.
//!
//! It is carried out shard by shard, where it is due: when a shard is next entered, and under its
//! lock. A shard knows which one was carried out there.
//!
//! The order that this needs is made by locks. Once one was carried out in a shard, whoever enters
//! it after has seen that flush, or a later one, and cannot take an older one for news; so it is
//! enough that the number that tells them apart is `Relaxed`.

#[cfg(all(loom, test))]
use loom::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering::Relaxed},
};
#[cfg(not(all(loom, test)))]
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use larder_protocol::Seconds;
#[cfg(not(all(loom, test)))]
use parking_lot::Mutex;

/// A flush to come, or the last one.
#[derive(Debug, Default)]
pub(crate) struct Flush {
    /// Its number, of 16 bits and never 0, and the second from which it holds.
    last: AtomicU64,
    asking: Mutex<()>,
}

impl Flush {
    /// The last that another process was asked for.
    pub(crate) fn resumed(last: u64) -> Self {
        Self { last: AtomicU64::new(last), asking: Mutex::default() }
    }

    /// Asks for a flush from the second `at` on; 0 is now, whatever clocks do later. One that is
    /// still to come is forgotten.
    ///
    /// `note` is told of it, for the next process. `enter_all` enters every shard once, and so
    /// carries out there what is due.
    pub(crate) fn ask(&self, at: Seconds, note: impl FnOnce(u64), enter_all: impl FnOnce()) {
        // One at a time. Else one to come could take the place of one for now that has not been
        // carried out everywhere, and neither would be.
        let _asking = self.asking.lock();
        let number = (self.last.load(Relaxed) >> 32) % MOST_NUMBERS + 1;
        let flush = number << 32 | u64::from(at);
        if at == 0 {
            self.last.store(flush, Relaxed);
            note(flush);
            enter_all();
        } else {
            // One that is due must not be forgotten where it was not yet noticed.
            enter_all();
            self.last.store(flush, Relaxed);
            note(flush);
        }
    }

    /// The flush that holds at `now`, if there was ever one: a number unlike any before it. To be
    /// asked under the lock of a shard.
    #[inline]
    pub(crate) fn due(&self, now: Seconds) -> Option<u64> {
        let flush = self.last.load(Relaxed);
        let at = flush & u64::from(u32::MAX);
        (flush != 0 && at <= u64::from(now)).then_some(flush)
    }
}

/// How many numbers of flushes there are. None is told apart from one that long ago.
const MOST_NUMBERS: u64 = 0xffff;

#[cfg(test)]
#[cfg(loom)]
mod models;
