//! The nodes of one pool, and a worker's connections to them.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use larder_client::{BuildError, Client, Server};
use larder_protocol::Seconds;

/// What the nodes of a pool are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Caches: for one that is down the next one keeps what it is given, for a while.
    #[default]
    Cache,
    /// Nodes of one durable store: any of them has all items.
    Store,
}

impl Tier {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Store => "store",
        }
    }
}

/// How patient a proxy is with a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a request may take in all. Default: 1 s.
    pub timeout: Duration,
    /// How long connecting may take. Default: 500 ms.
    pub connect_timeout: Duration,
    /// Connections to each node, of each worker thread. Default: 1.
    pub connections: usize,
    /// For how many seconds what is stored at a stand-in lives; 0 for no stand-ins. Default: 10.
    pub gutter_ttl: Seconds,
    /// Requests that may wait for an answer on one connection. Default: 16384.
    pub max_waiting: usize,
}

impl Limits {
    /// What a timeout of a request or of connecting may be, in milliseconds.
    pub const TIMEOUT_MS: RangeInclusive<u64> = 1..=60_000;
    /// How many connections there may be.
    pub const CONNECTIONS: RangeInclusive<u64> = 1..=64;
    /// What the time at a stand-in may be, in seconds.
    pub const GUTTER_TTL: RangeInclusive<u64> = 0..=3600;
    /// How many requests may be allowed to wait.
    pub const MAX_WAITING: RangeInclusive<u64> = 1..=1 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_millis(500),
            connections: 1,
            gutter_ttl: 10,
            max_waiting: 16 << 10,
        }
    }
}

/// A pool as a table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// What `stats` and errors call it.
    pub name: String,
    /// What its nodes are.
    pub tier: Tier,
    /// Its nodes, if they are given.
    pub nodes: Vec<Server>,
    /// Whom to ask for them, if they are not.
    pub discover: Vec<Server>,
    /// How patient the proxy is.
    pub limits: Limits,
}

impl PoolSettings {
    fn client(&self) -> Result<Client, BuildError> {
        let Limits { timeout, connect_timeout, connections, gutter_ttl, max_waiting } = self.limits;
        let mut builder = Client::builder()
            .timeout(timeout)
            .connect_timeout(connect_timeout)
            .connections_per_node(connections)
            .max_outstanding(max_waiting)
            // Clients' values were measured when they came; what nodes have is theirs to bound.
            .max_value(MAX_VALUE);
        for node in &self.nodes {
            builder = builder.node_weighted(node.to_string(), node.weight);
        }
        for node in &self.discover {
            builder = builder.discover(node.to_string());
        }
        match self.tier {
            Tier::Cache => builder.failover(Duration::from_secs(gutter_ttl.into())),
            Tier::Store => builder.durable(),
        }
        .build()
    }

    /// Whether there can be such a pool.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        self.client().map(drop)
    }
}

/// One worker's way to the nodes of a pool.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) settings: PoolSettings,
    /// Its name, for the errors of this worker's clients.
    pub(crate) name: Arc<str>,
    pub(crate) client: Client,
}

impl Pool {
    pub(crate) fn new(settings: &PoolSettings) -> Result<Self, BuildError> {
        let (client, name) = (settings.client()?, settings.name.as_str().into());
        Ok(Self { settings: settings.clone(), name, client })
    }
}

/// The largest value that a memcached can be told to take, in bytes: 1 GiB.
const MAX_VALUE: usize = 1 << 30;
