//! A node of the cluster, as the others know it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A node of the cluster, as the others know it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Member {
    /// What keys are placed by: clients that place keys themselves write the node like this in their
    /// lists, [`larder_ring::Server::ring_name`]. No other node has it, and it may outlive an address.
    pub name: Arc<str>,
    /// Drawn at each start, greater than at any before: this run of the node.
    pub run: u64,
    /// Where clients reach it, `host:port`.
    pub client_address: Arc<str>,
    /// Where other nodes reach it, `host:port`.
    pub peer_address: Arc<str>,
    /// How much of the keys it takes, beside the others' weights.
    pub weight: u32,
    /// What it shares its fate with, such as a rack. Empty: nothing that is known.
    pub zone: Arc<str>,
    /// It is about to go, and owns no key any more.
    pub leaving: bool,
}
