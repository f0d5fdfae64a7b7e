//! What one worker thread has of a proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use larder_client::BuildError;
use parking_lot::Mutex;

use crate::pool::{Pool, PoolSettings};
use crate::prefixes::Prefixes;
use crate::table::Table;

/// What one worker thread has of a proxy: connections of its own to each node, so that nothing that its
/// clients ask goes over another thread.
#[derive(Debug)]
pub struct Worker {
    switch: Mutex<Arc<Switch>>,
    sessions: AtomicUsize,
}

/// A table with the connections that it leads to.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    prefixes: Prefixes,
    pub(crate) pools: Vec<Arc<Pool>>,
}

impl Switch {
    /// Of `table`; pools that were in `before` and are the same keep their connections.
    pub(crate) fn new(table: &Table, before: Option<&Self>) -> Result<Self, BuildError> {
        let known = before.map_or(&[][..], |before| &before.pools);
        let pool =
            |settings: &PoolSettings| match known.iter().find(|pool| pool.settings == *settings) {
                Some(pool) => Ok(Arc::clone(pool)),
                None => Pool::new(settings).map(Arc::new),
            };
        let pools = table.pools.iter().map(pool).collect::<Result<_, _>>()?;
        Ok(Self { prefixes: table.prefixes.clone(), pools })
    }

    /// Where a key goes.
    pub(crate) fn route(&self, key: &[u8]) -> Option<&Pool> {
        self.pools.get(self.prefixes.find(key)?).map(|pool| &**pool)
    }
}

impl Worker {
    pub(crate) fn new(switch: Switch) -> Self {
        Self { switch: Mutex::new(Arc::new(switch)), sessions: AtomicUsize::new(0) }
    }

    pub(crate) fn switch(&self) -> Arc<Switch> {
        Arc::clone(&self.switch.lock())
    }

    /// Has commands that come go by another table. Those that were sent are answered all the same.
    pub(crate) fn set(&self, switch: Switch) {
        *self.switch.lock() = Arc::new(switch);
    }

    /// A number for a connection: what it sends keeps its order.
    pub(crate) fn lane(&self) -> usize {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }
}
