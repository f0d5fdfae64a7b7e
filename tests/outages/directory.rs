//! Which nodes clients may ask: an operator changes it while they do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

/// The nodes of the moment.
#[derive(Debug, Default)]
pub(super) struct Directory(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    listed: Vec<Arc<Entry>>,
    /// No longer listed.
    left: Vec<Arc<Entry>>,
}

/// A node, as a client found it.
#[derive(Debug)]
pub(super) struct Entry {
    node: u16,
    pub(super) address: SocketAddr,
}

impl Directory {
    pub(super) fn enter(&self, node: u16, address: SocketAddr) {
        self.lock().listed.push(Arc::new(Entry { node, address }));
    }

    /// Has clients go to other nodes, each with the next that it asks.
    pub(super) fn strike(&self, node: u16) {
        let mut entries = self.lock();
        let Entries { listed, left } = &mut *entries;
        left.extend(listed.extract_if(.., |entry| entry.node == node));
    }

    /// Any. Who holds it is a client of that node.
    pub(super) fn draw(&self, rng: &mut StdRng) -> Option<Arc<Entry>> {
        self.lock().listed.choose(rng).cloned()
    }

    pub(super) fn lists(&self, entry: &Arc<Entry>) -> bool {
        self.lock().listed.iter().any(|listed| Arc::ptr_eq(listed, entry))
    }

    /// Whether a node that is no longer listed has clients.
    pub(super) fn has_clients(&self, node: u16) -> bool {
        let mut entries = self.lock();
        entries.left.retain(|entry| Arc::strong_count(entry) > 1);
        entries.left.iter().any(|entry| entry.node == node)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
