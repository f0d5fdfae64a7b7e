//! A client for memcached servers: Larder's nodes, and stock memcached from 1.6.10 on.
//!
//! It picks a key's node as libmemcached's weighted ketama does, so that it shares a cache with
//! the clients built on that; it pipelines what many callers ask over a few connections per node;
//! and it never gives one request the answer to another, whatever times out, is dropped or breaks.
//!
//! A cluster of Larder's nodes, or of ElastiCache's, tells it which nodes there are
//! ([`Builder::discover`]); of one that cannot be reached, the keys are kept by the next ones on
//! the ring, briefly ([`Builder::failover`]).
//!
//! A missing value is made by one caller of all ([`Client::get_or_fill`]); values may be of any type
//! that serde knows ([`Client::set_as`]), and keys of any length.
//!
//! It is not a cache, and a request whose outcome is unknown is done again only if it is a get, a
//! set, a delete or a touch, for which twice is as good as once; else it is an error that says so
//! ([`Error::outcome_unknown`]). It needs a tokio runtime of either kind, with I/O and
//! time enabled.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use larder_client::Client;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder().node("127.0.0.1:11211").node("127.0.0.1:11212").build()?;
//! client.set("greeting", "hello", Duration::from_mins(1)).await?;
//! if let Some(item) = client.get("greeting").await? {
//!     println!("{}", item.value.escape_ascii());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - `client`: the operations, on one key
//! - `ask`: what is sent for each, and how its answer is read
//! - `batch`: the same on many keys, each node asked at once
//! - `fill`, `flights`: a missing value is made once, in this process and in all
//! - `typed`, `encoding`: values of any type; how they lie in the cache
//! - `tiers`, `local`: a cache before a store, and copies in this process
//! - `counters`, `sharded`: counting with few writes; counting in several parts
//! - `hedge`: reads that are asked of a second node when the first takes long
//! - `forward`: commands of another's clients, as a proxy has them
//! - `wording`, `outcome`: how they are put to a node, and what its answers come to
//! - `long_key`: keys that are longer than servers take
//! - `builder`: which nodes, which limits
//! - `item`: what is stored and what is found
//! - `expiry`: how long it is kept
//! - `error`: what went wrong, by who must act
//! - `roster`: which nodes there are now
//! - `discovery`: what a cluster tells of them
//! - `nodes`: a key's node, the one place where that is decided
//! - `route`: who is asked for it when that node does not answer
//! - `endpoint`, `health`, `pool`: where a node is, whether it is worth asking, its connections
//! - `connection`: one of them, pipelined
//! - `report`: how nodes are doing
mod ask;
mod batch;
mod builder;
mod client;
mod connection;
mod counters;
mod discovery;
mod encoding;
mod endpoint;
mod error;
mod expiry;
mod fill;
mod flights;
mod forward;
mod health;
mod hedge;
mod item;
mod local;
mod long_key;
mod nodes;
mod outcome;
mod pool;
mod report;
mod roster;
mod route;
mod sharded;
mod tiers;
mod typed;
mod wording;

#[cfg(test)]
mod fake;

pub use builder::{BuildError, Builder};
pub use client::{Cas, Client};
pub use counters::Counters;
pub use error::{Error, Violation};
pub use expiry::Expiry;
pub use forward::{Flushing, Forwarded};
pub use item::{Item, Value};
pub use larder_protocol::encode::Refused;
pub use larder_protocol::response::Desync;
pub use larder_ring::{BadAddress, Server};
pub use report::NodeReport;
pub use sharded::ShardedCounter;
pub use tiers::Tiers;
