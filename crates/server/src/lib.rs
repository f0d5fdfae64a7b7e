//! A memcache-protocol server: sockets, connections, limits and stats.
//!
//! [`run`] serves a [`Backend`], of which it knows nothing but that trait: not whether items are
//! in memory, on disk or elsewhere.
//!
//! One thread accepts; worker threads serve the connections dealt to them, each with an event
//! queue of its own. A command whose answer is at hand is carried out where it is read, and all
//! replies of one wake-up leave in one write.
//!
//! - `backend`: what is served
//! - `settings`: what a server is told
//! - `listener`: sockets to listen on
//! - `server`: acceptor, workers, and their end
//! - `connection`: one client: read, carry out, write
//! - `dispatch`: from requests to the backend
//! - `outbox`, `unsent`: replies on their way, in order
//! - `bell`: how other threads have connections go on
//! - `buffers`: memory that connections of a worker share
//! - `budget`: what the buffers of all connections may hold
//! - `registry`: the connections there are
//! - `counters`, `report`: what is counted, and `stats`
//! - `sampler`, `sketch`, `heat`, `hotkeys`: the keys that are asked for most
//! - `discovery`: the nodes that clients may ask
//! - `shared`: what the threads have in common
//! - `clock`: the only one
mod backend;
mod bell;
mod budget;
mod buffers;
mod clock;
mod connection;
mod counters;
mod discovery;
mod dispatch;
mod heat;
mod hotkeys;
mod listener;
mod outbox;
mod registry;
mod report;
mod sampler;
mod server;
mod settings;
mod shared;
mod sketch;
mod unsent;

pub use backend::{Backend, Session, StatsGroup};
pub use clock::now;
pub use discovery::{Discovery, Endpoint};
pub use listener::Listener;
pub use server::run;
pub use settings::{Overflow, Settings};
