//! The cluster that a node belongs to, as it knows it.

use std::time::Duration;

/// The cluster that a node belongs to, as it knows it. Nobody else is asked: what it has not heard of is
/// missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The number of this node.
    pub node: u64,
    /// All nodes, this one too, by their numbers.
    pub nodes: Vec<Peer>,
    /// For how long a write may wait for a majority.
    pub majority_within: Duration,
}

/// A node of a cluster, as another knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number.
    pub node: u64,
    /// Where other nodes reach it.
    pub address: String,
    /// How many groups it leads.
    pub leads: usize,
    /// Whether a link to it is open.
    pub connected: bool,
}
