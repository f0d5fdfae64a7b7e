//! Which nodes a client talks to, and within which limits.

use std::time::Duration;
use std::{error, fmt};

use larder_ring::{BadAddress, Server};

use crate::client::Client;
use crate::hedge::SOONEST;
use crate::roster::Roster;
use crate::route::Failover;

/// What every connection needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) connections_per_node: usize,
    /// How many sends of one connection may wait for answers at a time.
    pub(crate) max_outstanding: usize,
    pub(crate) max_value: usize,
    pub(crate) failover: Failover,
    pub(crate) poll_interval: Duration,
    pub(crate) lease_secs: u32,
    pub(crate) fill_wait: Duration,
    /// After how long a read is asked of a second node too.
    pub(crate) hedge_after: Option<Duration>,
    /// The shortest typed value that is compressed, in bytes.
    pub(crate) compress_from: usize,
}

/// Makes a [`Client`]: [`Client::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    servers: Vec<Server>,
    seeds: Vec<Server>,
    bad: Option<BuildError>,
    options: Options,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            servers: Vec::new(),
            seeds: Vec::new(),
            bad: None,
            options: Options {
                timeout: Duration::from_secs(1),
                connect_timeout: Duration::from_millis(500),
                connections_per_node: 1,
                max_outstanding: 4096,
                max_value: 16 << 20,
                failover: Failover::Brief { secs: 10 },
                poll_interval: Duration::from_secs(5),
                lease_secs: 30,
                fill_wait: Duration::from_secs(5),
                hedge_after: None,
                compress_from: 2000,
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

    /// Has the nodes be those that the cluster of this node tells of: `host:port`, or `host` at port
    /// 11211. Of several, any is asked that answers. A client has this or [`node`](Self::node).
    ///
    /// Larder's cache nodes with `--peer-listen` tell of their cluster, and so does ElastiCache's
    /// configuration endpoint: `config get cluster`. The list is asked for with the first request,
    /// then every [`poll_interval`](Self::poll_interval), and at once when a node does not answer; a
    /// node that stays keeps its connections. All nodes count as of weight 1, since the list has no
    /// weights: where a cluster's differ, its nodes send on what belongs to another.
    #[must_use]
    pub fn discover(mut self, address: impl AsRef<str>) -> Self {
        match address.as_ref().parse() {
            Ok(server) => self.seeds.push(server),
            Err(bad) => self.bad = self.bad.or(Some(BuildError::Address(bad))),
        }
        self
    }

    /// How often a cluster is asked which nodes it has. Default: 5 s.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.options.poll_interval = interval;
        self
    }

    /// How long the next node of the ring keeps what it is given for one that is down, at most; in
    /// whole seconds, rounded up. Zero has no node stand in for another. Default: 10 s.
    ///
    /// A node is down if it cannot be connected to, or has not answered three requests in a row in
    /// time. What it owns is then asked of the next one, at once; it is itself tried again after
    /// 100 ms, and then less and less often, up to 5 s. Any node of a Larder cluster serves every
    /// key. Other memcached servers know nothing of each other: what they had when they were lost
    /// they have when they are back, though it may have been overwritten or deleted at another
    /// meanwhile. It is what libmemcached does with `MEMCACHED_BEHAVIOR_REMOVE_FAILED_SERVERS`.
    #[must_use]
    pub fn failover(mut self, ttl: Duration) -> Self {
        self.options.failover = match secs(ttl) {
            0 => Failover::None,
            secs => Failover::Brief { secs },
        };
        self
    }

    /// The nodes are of one `larder store`, where any node has all items: what is given to another
    /// than usual is kept for as long as it is to be. In place of [`failover`](Self::failover).
    ///
    /// A set or a delete whose outcome is unknown is not done again: it might undo what another
    /// client wrote in between.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.options.failover = Failover::Lasting;
        self
    }

    /// How long a client may take to fill a key that it was the first to miss, before another may
    /// ([`Client::get_or_fill`]); in whole seconds, rounded up, and at least one. Default: 30 s.
    ///
    /// A client that dies while it fills delays others by [`fill_wait`](Self::fill_wait) until then.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.options.lease_secs = secs(lease).max(1);
        self
    }

    /// How long to wait for a value that another client fills, before filling it oneself
    /// ([`Client::get_or_fill`]). Default: 5 s.
    #[must_use]
    pub fn fill_wait(mut self, wait: Duration) -> Self {
        self.options.fill_wait = wait;
        self
    }

    /// Asks the next node of the ring too when a `get` has no answer after so long, and takes what comes
    /// first; a miss counts only if it is the owner's. Default: never.
    ///
    /// It is for nodes that serve every key: a store, or cache nodes that are one cluster and have
    /// copies. A good value is what one read of a hundred takes. No more than one read of twenty is
    /// asked twice, so that a cluster that is slow as a whole has not twice the load for it. Batches
    /// are not.
    #[must_use]
    pub fn hedge_reads(mut self, after: Duration) -> Self {
        self.options.hedge_after = Some(after.max(SOONEST));
        self
    }

    /// From how many bytes on typed values are compressed ([`Client::set_as`]); `usize::MAX` for never.
    /// Default: 2000, as in php-memcached.
    #[must_use]
    pub fn compress_from(mut self, bytes: usize) -> Self {
        self.options.compress_from = bytes;
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

    /// How many requests of one connection may wait for answers at a time; further ones fail at once
    /// ([`Error::Overloaded`](crate::Error::Overloaded)). A batch counts as one. Default: 4096.
    #[must_use]
    pub fn max_outstanding(mut self, requests: usize) -> Self {
        self.options.max_outstanding = requests;
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

    #[cfg(test)]
    pub(crate) fn options(&self) -> Options {
        self.options
    }

    /// The client. Nothing connects before the first request.
    pub fn build(self) -> Result<Client, BuildError> {
        if let Some(bad) = self.bad {
            return Err(bad);
        }
        if self.servers.is_empty() && self.seeds.is_empty() {
            return Err(BuildError::NoNodes);
        }
        if !self.servers.is_empty() && !self.seeds.is_empty() {
            return Err(BuildError::NodesAndDiscovery);
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
        Ok(Client::new(if self.seeds.is_empty() {
            Roster::fixed(self.servers, self.options)
        } else {
            Roster::discovered(self.seeds, self.options)
        }))
    }
}

/// In whole seconds, rounded up.
fn secs(duration: Duration) -> u32 {
    let secs = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    u32::try_from(secs).unwrap_or(MAX_SECS).min(MAX_SECS)
}

/// 30 days: servers take more for a date.
const MAX_SECS: u32 = 60 * 60 * 24 * 30;

/// Why a client cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no node.
    NoNodes,
    /// Nodes are both given and to be discovered.
    NodesAndDiscovery,
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
            Self::NodesAndDiscovery => f.write_str(
                "nodes are both given and to be discovered; give them, or whom to ask, but not both",
            ),
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
        assert!(refused(one().discover("b")).starts_with("nodes are both given and to be"));
        assert!(Builder::new().discover("a").discover("b:1").build().is_ok());
        assert!(one().node_weighted("b:2", 3).build().is_ok());
    }
}
