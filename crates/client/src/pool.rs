//! A node's connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::{Instant, timeout};

use crate::builder::Options;
use crate::connection::{Connection, Request, Ticket, connect};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::health::{Health, Standing};

/// The connections to one node, used in turn.
#[derive(Debug)]
pub(crate) struct Pool {
    endpoint: Endpoint,
    node: Arc<str>,
    options: Options,
    slots: Vec<Mutex<Option<Arc<Connection>>>>,
    turn: AtomicUsize,
    health: Health,
}

impl Pool {
    pub(crate) fn new(endpoint: Endpoint, options: Options) -> Self {
        let slots = (0..options.connections_per_node).map(|_| Mutex::new(None)).collect();
        let node = endpoint.server.to_string().into();
        let (turn, health) = (AtomicUsize::new(0), Health::default());
        Self { endpoint, node, options, slots, turn, health }
    }

    /// The node's address, as errors show it.
    pub(crate) fn node(&self) -> &Arc<str> {
        &self.node
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether the node seems to be up. If it does not, and it is time to see, a task tries.
    pub(crate) fn may_be_asked(self: &Arc<Self>, now: Instant) -> bool {
        let standing = self.health.standing(now, self.options.connect_timeout);
        if standing == Standing::Due {
            let pool = Arc::clone(self);
            tokio::spawn(async move { pool.try_again().await });
        }
        standing == Standing::Up
    }

    /// Whether the node is skipped.
    pub(crate) fn is_down(&self) -> bool {
        self.health.is_down()
    }

    async fn try_again(&self) {
        let connected = connect(&self.node, &self.endpoint);
        match timeout(self.options.connect_timeout, connected).await {
            Ok(Ok(_)) => self.health.answered(),
            _ => self.health.still_unreachable(Instant::now()),
        }
    }

    /// Takes note of how a request went; tells whether the node is to be skipped because of it.
    pub(crate) fn learn<T>(&self, went: &Result<T, Error>) -> bool {
        match went {
            Ok(_) => {
                self.health.answered();
                false
            }
            Err(Error::Unreachable { .. }) => {
                self.health.unreachable(Instant::now());
                true
            }
            Err(Error::TimedOut { .. }) => self.health.timed_out(Instant::now()),
            Err(_) => false,
        }
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
                let new = Connection::open(&self.endpoint, &self.node, self.options);
                Arc::clone(slot.insert(Arc::new(new)))
            }
        }
    }
}
