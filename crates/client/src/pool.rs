//! A node's connections.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use larder_protocol::encode::Refused;
use tokio::time::{Instant, timeout};

use crate::builder::Options;
use crate::connection::{Connection, Expected, Promise, Request, Ticket, connect};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::health::{Health, Standing};
use crate::report::NodeReport;

/// The connections to one node, used in turn.
#[derive(Debug)]
pub(crate) struct Pool {
    endpoint: Endpoint,
    node: Arc<str>,
    options: Options,
    slots: Vec<Mutex<Option<Arc<Connection>>>>,
    turn: AtomicUsize,
    health: Health,
    /// Requests of [`Client::forward`](crate::Client::forward), and how many of them failed.
    forwarded: AtomicU64,
    failed: AtomicU64,
}

impl Pool {
    pub(crate) fn new(endpoint: Endpoint, options: Options) -> Self {
        let slots = (0..options.connections_per_node).map(|_| Mutex::new(None)).collect();
        let node = endpoint.server.to_string().into();
        let (turn, health) = (AtomicUsize::new(0), Health::default());
        let (forwarded, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { endpoint, node, options, slots, turn, health, forwarded, failed }
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
        self.over(turn, |connection| connection.send(requests))
    }

    /// Sends one request over the connection of this lane: what goes over one lane keeps its order.
    pub(crate) fn send_one(
        &self,
        lane: usize,
        expected: Expected,
        write: impl Fn(&mut Vec<u8>, u64) -> Result<(), Refused>,
    ) -> Result<Promise, Error> {
        self.forwarded.fetch_add(1, Ordering::Relaxed);
        self.over(lane, |connection| connection.send_one(expected, &write))
    }

    /// Counts a request that failed for good.
    pub(crate) fn count_failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    fn over<T>(
        &self,
        turn: usize,
        send: impl Fn(&Arc<Connection>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let slot = self.slots.get(turn % self.slots.len().max(1)).ok_or(Error::NoNode)?;
        let connection = self.connection(slot);
        match send(&connection) {
            // It was closed after it was picked: nothing has been sent on it.
            Err(_) if connection.is_closed() => send(&self.connection(slot)),
            went => went,
        }
    }

    /// How it is doing.
    pub(crate) fn report(&self) -> NodeReport {
        let open = self.slots.iter().filter_map(|slot| {
            let slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            slot.as_ref().filter(|connection| !connection.is_closed()).map(Arc::clone)
        });
        let outstanding: Vec<_> = open.map(|connection| connection.outstanding()).collect();
        NodeReport {
            node: Arc::clone(&self.node),
            weight: self.endpoint.server.weight,
            is_down: self.is_down(),
            connections: outstanding.len(),
            outstanding: outstanding.iter().sum(),
            requests: self.forwarded.load(Ordering::Relaxed),
            failures: self.failed.load(Ordering::Relaxed),
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
