//! The bounded memory engine.
//!
//! A [`Cache`] holds items up to a limit in bytes and evicts to stay below it. It does what
//! [`larder_protocol::decide`] says and nothing else: it opens no socket, starts no thread and
//! reads no clock; the time is an argument of every call.
//!
//! It is not durable, and it promises no item a place: only that what it returns is the latest
//! value, unexpired.
//!
//! # What an item takes
//!
//! Beside its key and value, in bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 12 | the head of its record: marks, lengths, last access, cas unique |
//! | 0 to 13 | in the head: 1 for a value of 128 bytes or more, 4 for an exptime, 4 for client flags, 3 for a cas unique from 2^40 on |
//! | 6.1 to 6.9 | a slot of the index, of which twelve share a line of 64 and 77 to 88 of 100 are taken |
//! | 1 | ghosts: four bytes for one item in four |
//! | 1 of 100 | what is left at the end of a segment, and of those that are not full |
//! | 4 | in a file only: its seal; and 32 for the label of each segment |
//!
//! # The map
//!
//! - `options`: the limits
//! - `cache`: the shards as one cache, and the memory they share
//! - `budget`: what of the limit is for segments and pages
//! - `loans`: what of it is for the buffers of connections
//! - `flush`: all items that go at one moment
//! - `shard`: one lock: what a command does, and how room is made
//! - `policy`: which items stay
//! - `ghosts`: what was lately evicted
//! - `index`: where items are
//! - `log`: segments of records, in the order they were written
//! - `record`: one item, byte by byte
//! - `long`: values in pages that connections share
//! - `runway`: pages for a value that is still coming
//! - `arena`: the memory of segments and pages, or the file
//! - `image`: what a file says of the cache, for the next process
//! - `label`: what a segment in a file says of itself
//! - `field`: how parts of both are read, and written in order
//! - `restored`: what of a file was of use
//! - `stats`: what is counted
//! - `census`: what is held, and in what state
//! - `memory`: what the memory is used for
//! - `spread`: how far the shards are apart
mod arena;
mod budget;
mod cache;
mod census;
mod field;
mod flush;
mod ghosts;
mod image;
mod index;
mod label;
mod loans;
mod log;
mod long;
mod memory;
mod options;
mod policy;
mod record;
mod restored;
mod runway;
mod shard;
mod spread;
mod stats;

pub use cache::{Cache, HandOver, Walk};
pub use census::{Census, LogCensus};
pub use memory::Memory;
pub use options::Options;
pub use restored::Restored;
pub use runway::Runway;
pub use spread::Spread;
pub use stats::Stats;
