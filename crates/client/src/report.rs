//! How the nodes of a client are doing.

use std::sync::Arc;

/// How one node is doing, of what was asked by [`Client::forward`](crate::Client::forward).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// The node, as `host:port`.
    pub node: Arc<str>,
    /// Its weight beside the others'.
    pub weight: u32,
    /// Whether it does not answer, so that others are asked instead.
    pub is_down: bool,
    /// Open connections.
    pub connections: usize,
    /// Requests that wait for an answer.
    pub outstanding: usize,
    /// Requests that it was sent.
    pub requests: u64,
    /// Requests of these that failed, with no other node to ask.
    pub failures: u64,
}
