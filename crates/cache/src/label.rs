//! What a segment in a file says of itself to the next process.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | the file's secret, which nobody knows who could make it part of a value |
//! | 8 | number in the order in which segments of its shard were begun |
//! | 2 | shard |
//! | 1 | log: 0 to 2 are probation, 3 is the main log |
//! | 1 | 0 |
//! | 4 | where the next record goes |
//! | 4, 4 | while a job is at work on it: up to where records were looked at, and where the next that stays goes; else 0 |
//!
//! Numbers are little-endian. Each is written by itself, and after every write the label is true of
//! the segment: a process may be killed between any two.

use crate::field::{get, put};
use crate::policy::Queue;

/// A label as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) number: u64,
    pub(crate) shard: u16,
    pub(crate) queue: Queue,
    /// Where the next record goes.
    pub(crate) used: u32,
    /// How far a job has come: what was read, and what of that was written to the front.
    pub(crate) job: Option<(u32, u32)>,
}

impl Label {
    /// Writes it to the front of a segment.
    pub(crate) fn write(&self, memory: &mut [u8], secret: u64) {
        let [shard_low, shard_high] = self.shard.to_le_bytes();
        let queue = u8::try_from(self.queue.number()).unwrap_or(0);
        let (read, write) = self.job.unwrap_or((0, 0));
        // Meanwhile it is none.
        erase(memory);
        put(memory, NUMBER, &self.number.to_le_bytes());
        put(memory, SHARD, &[shard_low, shard_high, queue, 0]);
        put_used(memory, self.used);
        put_job(memory, read, write);
        put(memory, 0, &secret.to_le_bytes());
    }

    /// The label of a segment; `None` if it has none of this file.
    pub(crate) fn read(memory: &[u8], secret: u64) -> Option<Self> {
        let is_ours = u64::from_le_bytes(get(memory, 0)?) == secret;
        let [shard_low, shard_high, queue, 0] = get(memory, SHARD)? else { return None };
        let (used, read) = (get(memory, USED)?, get(memory, READ)?);
        let (used, read) = (u32::from_le_bytes(used), u32::from_le_bytes(read));
        let write = u32::from_le_bytes(get(memory, WRITE)?);
        let in_order = BYTES <= used
            && used as usize <= memory.len()
            && (read == 0 || (BYTES <= write && write <= read && read as usize <= memory.len()));
        (is_ours && in_order).then_some(())?;
        Some(Self {
            number: u64::from_le_bytes(get(memory, NUMBER)?),
            shard: u16::from_le_bytes([shard_low, shard_high]),
            queue: Queue::ALL.get(usize::from(queue)).copied()?,
            used,
            job: (read != 0).then_some((read, write)),
        })
    }
}

/// Nothing that is in the segment is wanted any more.
pub(crate) fn erase(memory: &mut [u8]) {
    put(memory, 0, &[0; 8]);
}

pub(crate) fn put_queue(memory: &mut [u8], queue: Queue) {
    put(memory, QUEUE, &[u8::try_from(queue.number()).unwrap_or(0)]);
}

pub(crate) fn put_used(memory: &mut [u8], used: u32) {
    put(memory, USED, &used.to_le_bytes());
}

/// Notes how far a job has come, both at once; 0 and 0 if none is at work.
pub(crate) fn put_job(memory: &mut [u8], read: u32, write: u32) {
    put(memory, READ, &(u64::from(write) << 32 | u64::from(read)).to_le_bytes());
}

const NUMBER: usize = 8;
const SHARD: usize = 16;
const QUEUE: usize = 18;
const USED: usize = 20;
const READ: usize = 24;
const WRITE: usize = 28;

/// Bytes of a label.
pub(crate) const BYTES: u32 = 32;
