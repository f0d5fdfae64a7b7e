//! One segment, and what is known of its records.

use larder_protocol::Seconds;

use super::expiry::Expiry;
use crate::arena::Segment as Memory;
use crate::policy::Queue;

/// Memory that records are appended to, and what is known of them.
#[repr(C)]
pub(crate) struct Segment {
    pub(crate) memory: Memory,
    /// How many bytes had arrived on probation when it was begun.
    pub(crate) begun: u64,
    pub(crate) queue: Queue,
    /// Where its records begin: behind the label that it has in a file.
    start: u32,
    /// Where the next record goes.
    pub(crate) used: u32,
    /// Bytes of records that are still wanted, as far as is known.
    pub(crate) live: u32,
    /// When it came to the end of its log.
    pub(crate) begun_at: Seconds,
    /// Bytes of pages that belong to its records.
    pub(crate) paged: u64,
    /// When those expire that do. Most segments have none that do.
    pub(super) expiry: Option<Box<Expiry>>,
}

impl Segment {
    pub(super) fn new(
        memory: Memory,
        queue: Queue,
        begun: u64,
        begun_at: Seconds,
        start: u32,
    ) -> Self {
        let used = start;
        Self { memory, begun, queue, start, used, live: 0, begun_at, paged: 0, expiry: None }
    }

    /// Bytes of its records, wanted or not.
    pub(crate) fn written(&self) -> u32 {
        self.used - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.written() == 0
    }

    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.memory.len() - self.used as usize
    }

    /// Whether a record of `len` bytes can be appended.
    #[inline]
    pub(crate) fn fits(&self, len: u32) -> bool {
        self.room() >= len as usize
    }

    /// Whether it is about time to make room for the next: enough is left for that to be done before
    /// it is full, so little that what is freed does not lie idle for long.
    #[inline]
    pub(crate) fn is_nearly_full(&self) -> bool {
        self.room() < self.memory.len() / 8
    }

    /// Bytes that hold nothing wanted at `now`, as near as is known: of its records, and of their
    /// pages.
    pub(crate) fn dead(&self, now: Seconds) -> (u32, u64) {
        let (records, paged) = self.expiry.as_ref().map_or((0, 0), |expiry| expiry.before(now));
        (self.written() - self.live + records.min(self.live), paged.min(self.paged))
    }

    /// Bytes of its records and their pages.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.live) + self.paged
    }
}

/// What a record means to the segment it is in, or what some mean together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weight {
    /// Bytes of the record.
    pub(crate) len: u32,
    pub(crate) exptime: Seconds,
    /// Bytes in pages.
    pub(crate) paged: u64,
}

impl Weight {
    /// Bytes in all.
    #[inline]
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.len) + self.paged
    }

    pub(super) fn add(&mut self, other: Self) {
        self.len += other.len;
        self.paged += other.paged;
    }
}
