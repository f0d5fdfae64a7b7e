//! A client for memcached servers: Larder's nodes, and stock memcached from 1.6.10 on.
//!
//! It picks a key's node as libmemcached's weighted ketama does, so that it shares a cache with
//! the clients built on that; it pipelines what many callers ask over a few connections per node;
//! and it never gives one request the answer to another, whatever times out, is dropped or breaks.
//!
//! It is not a cache, and it does not retry: a request whose outcome is unknown is an error that
//! says so ([`Error::outcome_unknown`]). It needs a tokio runtime of either kind, with I/O and
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
//! - `builder`: which nodes, which limits
//! - `item`: what is stored and what is found
//! - `expiry`: how long it is kept
//! - `error`: what went wrong, by who must act
//! - `nodes`: a key's node, the one place where that is decided
//! - `pool`: a node's connections
//! - `connection`: one of them, pipelined
mod ask;
mod batch;
mod builder;
mod client;
mod connection;
mod error;
mod expiry;
mod item;
mod nodes;
mod pool;

#[cfg(test)]
mod fake;

pub use builder::{BuildError, Builder};
pub use client::{Cas, Client};
pub use error::{Error, Violation};
pub use expiry::Expiry;
pub use item::{Item, Value};
pub use larder_protocol::encode::Refused;
pub use larder_protocol::response::Desync;
pub use larder_ring::{BadAddress, Server};
