//! What a store counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a store counts, at one moment. Counters begin at 0 when it is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Whether writes are taken.
    pub condition: Condition,
    /// Items: those alive that the last complete sweep saw; `None` until the first one ends or if
    /// there are none to be.
    pub items: Option<u64>,
    /// Their keys, values and headers, in bytes, likewise.
    pub item_bytes: Option<u64>,
    /// Records of all kinds, older versions included: at least the number of items.
    pub records: u64,
    /// Bytes of all files.
    pub disk_bytes: u64,
    /// Bytes of journals among them.
    pub journal_bytes: u64,
    /// Commands that reading threads have answered.
    pub reads: u64,
    /// Those among them that were answered from this node's replica though nobody was asked for them.
    pub stale_reads: u64,
    /// Commands that went through the log, answered.
    pub writes: u64,
    /// Changes of items: commands that changed none, and all but the last of those that changed the
    /// same item in one batch, do not count.
    pub changes: u64,
    /// Batches of changes given to the engine. No sync: that is the log's.
    pub commits: u64,
    /// The most commands proposed as one entry of the log.
    pub largest_batch: u64,
    /// Time in commits, in microseconds: until readers see them, and until the engine has what was done
    /// before where too much has gathered.
    pub commit_micros: u64,
    /// The longest of them, in microseconds.
    pub longest_commit_micros: u64,
    /// Time deciding what batches do, in microseconds.
    pub decide_micros: u64,
    /// What the log counts: its writes are the syncs that answers wait for.
    pub log: larder_consensus::Stats,
    /// Commands refused or failed because of the disk.
    pub failures: u64,
    /// Dead records taken back.
    pub reclaimed: u64,
    /// Commands waiting to be proposed.
    pub waiting_writes: u64,
    /// Commands waiting for a reading thread.
    pub waiting_reads: u64,
    /// The places given out in the order of writes, of all groups together.
    pub sequence: u64,
    /// The groups, in their order.
    pub groups: Vec<GroupStats>,
    /// Free bytes on the volume; `None` if it does not tell.
    pub room: Option<u64>,
    /// Free bytes on the volume below which writes are refused.
    pub reserve: u64,
}

/// How a group stands, as this node knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupStats {
    /// Its number.
    pub group: u64,
    /// The node that leads it; `None` if that is not known.
    pub leader: Option<u64>,
    /// The term in which it does.
    pub term: Option<u64>,
    /// Whether that is this node.
    pub leads: bool,
    /// The last entry of its log that this node's replica has done; `None` if it has no replica, or
    /// that has done none.
    pub applied: Option<u64>,
    /// The last place given out in the order of its writes, as far as this node's replica is.
    pub sequence: u64,
    /// How long ago all that had been acknowledged is known to be in this node's replica; `None` if that
    /// is not known, or the node answers no stale reads.
    pub staleness: Option<Duration>,
}

/// Whether writes are taken. Reads always are, as far as the disk answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// They are.
    #[default]
    Serving,
    /// The volume has less room than the reserve: they are refused until it has more.
    OutOfSpace,
    /// The disk has not answered a command for long, or compaction has been behind for as long: what
    /// would wait for it, which is all writes if that was one, is refused until it does.
    /// [`Store::failure`](crate::Store::failure) says which.
    Hanging,
    /// A disk write failed: they are refused until the store is opened anew.
    Poisoned,
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) reads: Counter,
    pub(crate) stale_reads: Counter,
    pub(crate) writes: Counter,
    pub(crate) changes: Counter,
    pub(crate) commits: Counter,
    pub(crate) largest_batch: Counter,
    pub(crate) commit_micros: Counter,
    pub(crate) longest_commit_micros: Counter,
    pub(crate) decide_micros: Counter,
    /// Bytes of entries of the log that were done.
    pub(crate) logged_bytes: Counter,
    pub(crate) failures: Counter,
    pub(crate) reclaimed: Counter,
    /// Dead records that were found but not taken back, because writes hung.
    pub(crate) forgotten: Counter,
    /// Complete sweeps.
    pub(crate) sweeps: Counter,
    pub(crate) items: Counter,
    pub(crate) item_bytes: Counter,
}

/// A number that several threads may change.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(crate) fn raise(&self, number: u64) {
        self.0.fetch_max(number, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// In whole microseconds.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
