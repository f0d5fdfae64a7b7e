//! The program `larder`: every command of it, composed of the other crates.
//!
//! It holds no cache, store or protocol of its own.
//!
//! - `flags`: the command line as written
//! - `config`: what a command runs on: command line, environment and file, resolved and checked
//! - `cache`, `store`: an engine and a server, composed
//! - `proxy`: routes and a server, composed
//! - `backend`: the engines as a server knows them
//! - `node`: sockets, limits, user, files and signals of either
//! - `peers`: where a node of a cluster meets the others
//! - `bench`: a load generator
//! - `ctl`: those who look after a cluster
//! - `up`: a local cluster, each node a process of its own
//! - `logging`: the log
//! - `program`: from the command line to the command
//! - `failure`: what went wrong, in one line

mod backend;
mod bench;
mod cache;
mod config;
mod ctl;
mod failure;
mod flags;
mod logging;
mod node;
mod peers;
mod program;
mod proxy;
mod store;
mod up;

pub use backend::{CacheBackend, StoreBackend};
pub use program::main;
