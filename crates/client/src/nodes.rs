//! A key's node: the one place where that is decided.

use std::sync::Arc;

use larder_ring::Ring;

use crate::builder::Options;
use crate::endpoint::Endpoint;
use crate::pool::Pool;

/// The nodes of one moment, their ring and their connections.
#[derive(Debug)]
pub(crate) struct Nodes {
    ring: Ring,
    pools: Vec<Arc<Pool>>,
}

impl Nodes {
    /// Nodes at these places. Those that were among `before` keep their connections.
    pub(crate) fn new(endpoints: Vec<Endpoint>, before: &[Arc<Pool>], options: Options) -> Self {
        let pools: Vec<_> = endpoints
            .into_iter()
            .map(|endpoint| match before.iter().find(|pool| *pool.endpoint() == endpoint) {
                Some(pool) => Arc::clone(pool),
                None => Arc::new(Pool::new(endpoint, options)),
            })
            .collect();
        let servers = pools.iter().map(|pool| &pool.endpoint().server);
        let names: Vec<_> = servers.map(|server| (server.ring_name(), server.weight)).collect();
        let ring = Ring::new(names.iter().map(|(name, weight)| (name.as_str(), *weight)));
        Self { ring, pools }
    }

    /// The indices of the nodes to ask for `key`: its owner, then those that stand in for it.
    pub(crate) fn candidates(&self, key: &[u8]) -> impl Iterator<Item = usize> {
        self.ring.candidates(key)
    }

    /// The node at this index.
    pub(crate) fn pool(&self, index: usize) -> Option<&Arc<Pool>> {
        self.pools.get(index)
    }

    /// The nodes' connections, by index.
    pub(crate) fn pools(&self) -> &[Arc<Pool>] {
        &self.pools
    }
}
