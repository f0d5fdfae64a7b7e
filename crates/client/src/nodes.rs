//! A key's node: the one place where that is decided.

use larder_ring::{Ring, Server};

use crate::builder::Options;
use crate::error::Error;
use crate::pool::Pool;

/// The nodes, their ring and their connections.
#[derive(Debug)]
pub(crate) struct Nodes {
    ring: Ring,
    pools: Vec<Pool>,
    pub(crate) options: Options,
}

impl Nodes {
    pub(crate) fn new(servers: Vec<Server>, options: Options) -> Self {
        let names: Vec<_> = servers.iter().map(|s| (s.ring_name(), s.weight)).collect();
        let ring = Ring::new(names.iter().map(|(name, weight)| (name.as_str(), *weight)));
        let pools = servers.into_iter().map(|server| Pool::new(server, options)).collect();
        Self { ring, pools, options }
    }

    /// The node to ask for `key`.
    pub(crate) fn of(&self, key: &[u8]) -> Result<&Pool, Error> {
        self.pools.get(self.index_of(key)?).ok_or(Error::NoNode)
    }

    /// The index of the node to ask for `key`.
    pub(crate) fn index_of(&self, key: &[u8]) -> Result<usize, Error> {
        self.ring.owner(key).ok_or(Error::NoNode)
    }

    /// The nodes' connections, by index.
    pub(crate) fn pools(&self) -> &[Pool] {
        &self.pools
    }
}
