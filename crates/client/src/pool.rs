//! A node's connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use larder_ring::Server;

use crate::builder::Options;
use crate::connection::{Connection, Request, Ticket};
use crate::error::Error;

/// The connections to one node, used in turn.
#[derive(Debug)]
pub(crate) struct Pool {
    server: Server,
    node: Arc<str>,
    options: Options,
    slots: Vec<Mutex<Option<Arc<Connection>>>>,
    turn: AtomicUsize,
}

impl Pool {
    pub(crate) fn new(server: Server, options: Options) -> Self {
        let slots = (0..options.connections_per_node).map(|_| Mutex::new(None)).collect();
        let node = server.to_string().into();
        Self { server, node, options, slots, turn: AtomicUsize::new(0) }
    }

    /// The node's address, as errors show it.
    pub(crate) fn node(&self) -> &Arc<str> {
        &self.node
    }

    /// Sends `requests` over one connection, opening it if it is not there or has been closed.
    ///
    /// Must be called within a tokio runtime, where the connection will live.
    pub(crate) fn send(&self, requests: &[Request<'_>]) -> Result<Ticket, Error> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let slot = self.slots.get(turn % self.slots.len().max(1)).ok_or(Error::NoNode)?;
        let connection = self.connection(slot);
        match connection.send(requests) {
            // It was closed after it was picked: nothing has been sent on it.
            Err(_) if connection.is_closed() => self.connection(slot).send(requests),
            sent => sent,
        }
    }

    fn connection(&self, slot: &Mutex<Option<Arc<Connection>>>) -> Arc<Connection> {
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some(open) if !open.is_closed() => Arc::clone(open),
            _ => {
                let new = Connection::open(&self.server, &self.node, self.options);
                Arc::clone(slot.insert(Arc::new(new)))
            }
        }
    }
}
