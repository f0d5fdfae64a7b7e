//! Which nodes a client talks to, and within which limits.

use std::time::Duration;
use std::{error, fmt};

use larder_ring::{BadAddress, Server};

use crate::client::Client;
use crate::nodes::Nodes;

/// What every connection needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) connections_per_node: usize,
    pub(crate) max_value: usize,
}

/// Makes a [`Client`]: [`Client::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    servers: Vec<Server>,
    bad: Option<BuildError>,
    options: Options,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            servers: Vec::new(),
            bad: None,
            options: Options {
                timeout: Duration::from_secs(1),
                connect_timeout: Duration::from_millis(500),
                connections_per_node: 1,
                max_value: 16 << 20,
            },
        }
    }

    /// Adds a node of weight 1: `host:port`, or `host` at port 11211.
    ///
    /// Every client of a cache must spell its nodes the same way, name or address: the spelling
    /// decides which keys a node gets. The order does not matter.
    #[must_use]
    pub fn node(self, address: impl AsRef<str>) -> Self {
        self.node_weighted(address, 1)
    }

    /// Adds a node that gets keys in proportion to its weight.
    #[must_use]
    pub fn node_weighted(mut self, address: impl AsRef<str>, weight: u32) -> Self {
        match address.as_ref().parse() {
            Ok(server) => self.servers.push(Server { weight, ..server }),
            // `build` has the one result there is.
            Err(bad) => self.bad = self.bad.or(Some(BuildError::Address(bad))),
        }
        self
    }

    /// How long a request may take in all, connecting included. Default: 1 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// How long connecting may take. Default: 500 ms.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// How many connections each node gets, opened when first needed. Default: 1.
    ///
    /// Requests are pipelined, so one goes far; more keep a large value from delaying the small
    /// ones behind it, and spread the load over a server's threads.
    #[must_use]
    pub fn connections_per_node(mut self, connections: usize) -> Self {
        self.options.connections_per_node = connections;
        self
    }

    /// The longest value sent or taken, in bytes. Default: 16 MiB.
    ///
    /// It bounds what a server can make the client hold. Servers have a limit of their own
    /// (memcached's `-I`, 1 MiB unless set).
    #[must_use]
    pub fn max_value(mut self, bytes: usize) -> Self {
        self.options.max_value = bytes;
        self
    }

    /// The client. Nothing connects before the first request.
    pub fn build(self) -> Result<Client, BuildError> {
        if let Some(bad) = self.bad {
            return Err(bad);
        }
        if self.servers.is_empty() {
            return Err(BuildError::NoNodes);
        }
        if self.options.connections_per_node == 0 {
            return Err(BuildError::NoConnections);
        }
        for (index, server) in self.servers.iter().enumerate() {
            if server.weight == 0 {
                return Err(BuildError::NoWeight(server.to_string()));
            }
            let same = |other: &Server| (&other.host, other.port) == (&server.host, server.port);
            if self.servers.iter().take(index).any(same) {
                return Err(BuildError::Twice(server.to_string()));
            }
        }
        Ok(Client::new(Nodes::new(self.servers, self.options)))
    }
}

/// Why a client cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no node.
    NoNodes,
    /// An address cannot be read.
    Address(BadAddress),
    /// This node is there twice.
    Twice(String),
    /// This node has weight 0.
    NoWeight(String),
    /// Nodes get no connections.
    NoConnections,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNodes => f.write_str("a client needs at least one node"),
            Self::Address(bad) => bad.fmt(f),
            Self::Twice(node) => write!(f, "node {node} is there twice"),
            Self::NoWeight(node) => write!(f, "node {node} has weight 0; leave it out instead"),
            Self::NoConnections => f.write_str("a node needs at least one connection"),
        }
    }
}

impl error::Error for BuildError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Address(bad) => Some(bad),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_built_says_why() {
        let refused = |builder: Builder| builder.build().err().unwrap().to_string();
        let one = || Builder::new().node("a");
        assert_eq!(refused(Builder::new()), "a client needs at least one node");
        assert_eq!(refused(one().node("a:11211")), "node a:11211 is there twice");
        assert_eq!(
            refused(one().node_weighted("b:1", 0)),
            "node b:1 has weight 0; leave it out instead"
        );
        assert_eq!(
            refused(one().node("b:x").node(":")),
            "\"b:x\" is not an address: write host:port, or [ipv6]:port"
        );
        assert_eq!(refused(one().connections_per_node(0)), "a node needs at least one connection");
        assert!(one().node_weighted("b:2", 3).build().is_ok());
    }
}
