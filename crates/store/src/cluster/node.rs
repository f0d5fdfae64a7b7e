//! A node, as its configuration has it.

use larder_peer::Secret;

use crate::placement;

/// A node, as its configuration has it.
#[derive(Clone, Debug)]
pub struct Node {
    /// The name of the cluster. Nodes of another are refused.
    pub cluster: String,
    /// What all its nodes know, and nobody else does.
    pub secret: Secret,
    /// By which this node is known there, wherever it is.
    pub name: String,
    /// What it shares its fate with: a rack, a power supply, a building. Replicas of a group are in as
    /// many zones as can be.
    pub zone: String,
    /// Where other nodes reach it: `host:port`.
    pub peer_address: String,
    /// Where clients reach it: `host:port`.
    pub client_address: String,
    /// How it comes into the cluster. Once it belongs to it, this counts no more.
    pub entrance: Entrance,
}

/// How a node comes into a cluster.
#[derive(Clone, Debug)]
pub enum Entrance {
    /// It founds the cluster.
    Found {
        /// Into how many groups keys are divided, for good: each is led by one node at a time.
        groups: usize,
        /// How many replicas each group is to have once there are as many nodes.
        replicas: usize,
        /// Where nodes may be that have founded it already: nothing is done if one of them answers
        /// that it has.
        unless: Vec<String>,
    },
    /// It asks nodes of the cluster, at these addresses, to be let in.
    Join(Vec<String>),
}

impl Node {
    /// As others are to know it.
    pub(crate) fn member(&self, identity: u64) -> placement::Member {
        placement::Member {
            name: self.name.clone(),
            identity,
            peer_address: self.peer_address.clone(),
            client_address: self.client_address.clone(),
            zone: self.zone.clone(),
            drains: false,
        }
    }
}
