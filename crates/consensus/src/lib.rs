//! Larder's replication: groups of nodes that agree, each, on one history, so that what a majority has
//! on disk is lost to no crash.
//!
//! What the history says is bytes to it, and what it is done to is a [`Machine`]. How bytes travel to
//! other nodes is a [`Transport`]'s matter. All that names openraft is in here.
//!
//! - `group`: one group, as this node takes part in it
//! - `standing`: how a group stands: who leads, who takes part, who lacks what
//! - `holdings`: what members have of a history, so that what they lack is kept
//! - `machine`: what a history is applied to, and the thread that does it
//! - `log`: the histories of all groups of a node on disk, which share one sync
//! - `network`, `inbox`: what replicas ask each other, and what they answer
//! - `peers`: how that travels between nodes, by `larder-peer`
//! - `coming`, `spool`: all of another replica's machine, while it comes
//! - `types`: what openraft is told about us
//! - `error`: why a log cannot be opened

mod coming;
mod error;
mod group;
mod holdings;
mod inbox;
mod log;
mod machine;
mod network;
mod peers;
mod spool;
mod standing;
mod types;

pub use error::Error;
pub use group::{Group, Members, Place, Reign, Unproposed};
pub use log::{GroupLog, Log, Options, Stats};
pub use machine::{Committed, Machine, View};
pub use network::{Answer, Kind, Transport};
pub use peers::{Peers, Reception};
pub use spool::coming_mark;
pub use standing::{AsOf, Standing};

#[cfg(test)]
mod tests;
