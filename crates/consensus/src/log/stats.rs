//! What a log counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a log counts, at one moment. Counters begin at 0 when it is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Batches made durable: one sync each.
    pub writes: u64,
    /// Entries in them.
    pub entries: u64,
    /// Time in writes, sync included, in microseconds.
    pub write_micros: u64,
    /// The longest of them, in microseconds.
    pub longest_write_micros: u64,
    /// Bytes of all files, those that are reserved included, as of the last second.
    pub disk_bytes: u64,
    /// Bytes of the files that hold something, as of the last second.
    pub used_bytes: u64,
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) writes: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) write_micros: AtomicU64,
    pub(crate) longest_write_micros: AtomicU64,
    pub(crate) disk_bytes: AtomicU64,
    pub(crate) used_bytes: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            writes: get(&self.writes),
            entries: get(&self.entries),
            write_micros: get(&self.write_micros),
            longest_write_micros: get(&self.longest_write_micros),
            disk_bytes: get(&self.disk_bytes),
            used_bytes: get(&self.used_bytes),
        }
    }
}
