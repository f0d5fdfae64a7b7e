//! The bounded memory engine.
//!
//! A [`Cache`] holds items up to a limit in bytes and evicts to stay below it. It does what
//! [`larder_protocol::decide`] says and nothing else: it opens no socket, starts no thread and
//! reads no clock; the time is an argument of every call.
//!
//! It is not durable, and it promises no item a place: only that what it returns is the latest
//! value, unexpired.
//!
//! - `options`: the limits
//! - `cache`: the shards as one cache, and the memory they share
//! - `shard`: one lock, one index, one clock of items
//! - `slot`: one item
//! - `stats`: what is counted
mod cache;
mod options;
mod shard;
mod slot;
mod stats;

pub use cache::Cache;
pub use options::Options;
pub use stats::Stats;
