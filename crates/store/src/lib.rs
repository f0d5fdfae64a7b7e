//! Larder's durable engine: nothing is evicted, and what was acknowledged survives a crash of the
//! process, the system or the power.
//!
//! Many sessions' writes share one fsync, and no answer leaves before it. Reads see only what is
//! durable. Results are linearizable, and one session's commands on a key keep their order even
//! when it does not wait for answers. Time is told by the caller with each command.
//!
//! It is not replicated (that will sit between sessions and `apply`), not a cache (nothing is
//! dropped to make room: writes are refused), and not a server. A fetch does not write, so `h` and
//! `l` of the meta commands tell about the last write of an item, not its last use.
//!
//! - `store`: the directory, the threads, and the handle to them
//! - `session`, `flight`, `pending`: a connection's commands, their order, their answers
//! - `queue`, `command`, `hand`: how commands reach threads, and who knows what these have in hand
//! - `apply`, `state`, `record`: what commands do; no clock, no disk, no thread
//! - `writer`, `reader`, `keeper`, `watchdog`, `stop`: the threads
//! - `sweep`, `caution`: how dead records are taken back, and when the clock is believed
//! - `storage`: the seam to the engine on disk, which is fjall
//! - `directory`: whose the directory is, who has it open
//! - `options`, `stats`, `health`, `error`, `failure`: what goes in and what comes out
//!
//! # What is on disk
//!
//! The engine keeps keys in order: `0x00` holds the state, `0x01` and an item's key hold its record.
//! Integers are little-endian. An unknown version is refused. The engine checksums the items of each
//! batch in its journal and each block of its files, so a record has no checksum of its own. That the
//! last journal was cut short shows by the watermark, which is at most a second behind, and that an
//! older one was by the writes after it.
//!
//! | record | bytes | |
//! |---|---|---|
//! | version | 1 | 1 |
//! | shape | 1 | bits 0-3 the marks; 4, 5, 6: client flags, exptime, cas are there; 7 is 0 |
//! | sequence | 8 | place in the order of writes: what a flush compares |
//! | last write | 4 | seconds since 1970 |
//! | client flags | 0 or 4 | absent if 0 |
//! | exptime | 0 or 4 | absolute, seconds since 1970; absent if never |
//! | cas | 0 or 8 | absent if it is the sequence, which it is unless a client chose it |
//! | value | rest | |
//!
//! | state | bytes | |
//! |---|---|---|
//! | version | 1 | 1 |
//! | sequence | 8 | the last place given out, in the same batch as what has it |
//! | flushed | 8 | records up to this place are gone |
//! | flush at | 4 | from this second on all records before it are gone; 0 for none |
//!
//! Always: flushed <= sequence; sequence of any record <= sequence; watermark <= sequence.

mod apply;
mod caution;
mod command;
mod directory;
mod error;
mod failure;
mod flight;
mod hand;
mod health;
mod keeper;
mod options;
mod pending;
mod published;
mod queue;
mod reader;
mod record;
mod session;
mod shared;
mod state;
mod stats;
mod stop;
mod storage;
mod store;
mod sweep;
mod watchdog;
mod writer;

pub use error::Error;
pub use options::Options;
pub use pending::Pending;
pub use session::Session;
pub use stats::{Condition, Stats};
pub use store::Store;

#[cfg(test)]
mod tests;
