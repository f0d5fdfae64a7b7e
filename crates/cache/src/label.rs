//! What a segment in a file says of itself to the next process.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | a checksum of the next eight, which nobody can make who does not know the file's secret |
//! | 8 | shard (2), and the number in the order in which its segments were begun (6) |
//! | 8 | where the next record goes (21 bits), log (3: 0 to 2 are probation, 3 is the main log), check |
//! | 8 | while a job is at work on it: up to where records were looked at, and where the next that stays goes (21 each), else 0; check |
//!
//! Numbers are little-endian, and the first is in the lowest bits. Checks are of the number beside
//! them, keyed with the secret and the eight bytes that tell the segment from any other. Each eight
//! bytes are written at once, and after every write the label is true of the segment, or there is none
//! and its items are gone: a process may be killed between any two.
#![expect(clippy::cast_possible_truncation, reason = "an offset has 21 bits")]

use crate::field::{check, get, get_checked, put, put_checked};
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
        let (read, write) = self.job.unwrap_or((0, 0));
        let identity = self.number << 16 | u64::from(self.shard);
        // Meanwhile it is none.
        erase(memory);
        put(memory, IDENTITY, &identity.to_le_bytes());
        put_end(memory, secret, self.queue, self.used);
        put_job(memory, secret, read, write);
        put(memory, 0, &check(identity, 0, secret).to_le_bytes());
    }

    /// The label of a segment; `None` if it has none of this file.
    pub(crate) fn read(memory: &[u8], secret: u64) -> Option<Self> {
        let identity = identity(memory);
        let is_ours = u64::from_le_bytes(get(memory, 0)?) == check(identity, 0, secret);
        let [used, queue] = offsets(get_checked(memory, END, END_BITS, secret ^ identity)?);
        let [read, write] = offsets(get_checked(memory, JOB, JOB_BITS, secret ^ identity)?);
        let in_order = BYTES <= used
            && used as usize <= memory.len()
            && (read == 0 || (BYTES <= write && write <= read && read as usize <= memory.len()));
        (is_ours && in_order).then_some(())?;
        let [shard_low, shard_high, ..] = identity.to_le_bytes();
        Some(Self {
            number: identity >> 16,
            shard: u16::from_le_bytes([shard_low, shard_high]),
            queue: Queue::ALL.get(queue as usize).copied()?,
            used,
            job: (read != 0).then_some((read, write)),
        })
    }
}

/// Nothing that is in the segment is wanted any more.
pub(crate) fn erase(memory: &mut [u8]) {
    put(memory, 0, &[0; 8]);
}

/// Notes the log of a segment, and where its next record goes.
pub(crate) fn put_end(memory: &mut [u8], secret: u64, queue: Queue, used: u32) {
    let end = (queue.number() as u64) << OFFSET_BITS | u64::from(used);
    put_checked(memory, END, end, END_BITS, secret ^ identity(memory));
}

/// Notes how far a job has come; 0 and 0 if none is at work.
pub(crate) fn put_job(memory: &mut [u8], secret: u64, read: u32, write: u32) {
    let job = u64::from(write) << OFFSET_BITS | u64::from(read);
    put_checked(memory, JOB, job, JOB_BITS, secret ^ identity(memory));
}

fn identity(memory: &[u8]) -> u64 {
    get(memory, IDENTITY).map_or(0, u64::from_le_bytes)
}

/// Numbers of as many bits as an offset has, from the lowest on.
fn offsets(number: u64) -> [u32; 2] {
    let mask = (1 << OFFSET_BITS) - 1;
    [0, 1].map(|place| (number >> (place * OFFSET_BITS) & mask) as u32)
}

const IDENTITY: usize = 8;
const END: usize = 16;
const JOB: usize = 24;

/// Offsets go up to the 1 MiB of the largest segment.
const OFFSET_BITS: u32 = 21;
const END_BITS: u32 = OFFSET_BITS + 3;
const JOB_BITS: u32 = 2 * OFFSET_BITS;

/// Bytes of a label.
pub(crate) const BYTES: u32 = 32;
