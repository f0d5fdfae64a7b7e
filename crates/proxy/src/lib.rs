//! A server that holds nothing: it passes commands on, by the beginning of their keys, to pools of caches and
//! stores.
//!
//! - `table`: which pools there are, and which keys go to which
//! - `file`: the same as its operator writes it
//! - `prefixes`: the longest of them that a key begins with
//! - `pool`: the nodes of one pool, and a worker's connections to them
//! - `proxy`: the proxy as a server knows it, and its table taken up anew
//! - `worker`, `session`: what one thread has of it; one connection's commands
//! - `report`: `stats`
//! - `failure`: what clients are told when a pool cannot do what they ask
mod failure;
mod file;
mod pool;
mod prefixes;
mod proxy;
mod report;
mod session;
mod table;
mod worker;

pub use file::{BadTable, read};
pub use pool::{Limits, PoolSettings, Tier};
pub use proxy::{Changes, Proxy};
pub use session::{Pending, Session};
pub use table::Table;
pub use worker::Worker;
