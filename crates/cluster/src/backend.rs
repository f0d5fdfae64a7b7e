//! A cluster, as a server knows it.

use std::sync::Arc;

use larder_protocol::Seconds;
use larder_server::{Backend, Discovery, StatsGroup};

use crate::cluster::Cluster;
use crate::engine::Engine;
use crate::session::Session;
use crate::worker::Worker;

/// A node's own backend, and behind it those of all the others.
#[derive(Debug)]
pub struct Clustered<B> {
    cluster: Arc<Cluster<B>>,
}

impl<B: Backend + Engine> Clustered<B> {
    /// One of a node that is of this cluster, whose engine is also its backend.
    pub fn new(cluster: Arc<Cluster<B>>) -> Self {
        Self { cluster }
    }

    fn local(&self) -> &B {
        self.cluster.engine()
    }
}

/// What a worker thread holds: its node's part, and its connections to the others.
#[derive(Debug)]
pub struct Part<W, E> {
    local: W,
    worker: Arc<Worker<E>>,
}

impl<B: Backend + Engine> Backend for Clustered<B> {
    type Worker = Part<B::Worker, B>;
    type Session = Session<B::Session, B>;

    const LISTS: bool = B::LISTS;

    fn worker(&self) -> Self::Worker {
        Part { local: self.local().worker(), worker: self.cluster.worker() }
    }

    fn session(&self, part: &Self::Worker) -> Self::Session {
        Session::new(self.local().session(&part.local), Arc::clone(&part.worker))
    }

    fn stats(&self, group: StatsGroup, now: Seconds, emit: &mut dyn FnMut(&str, &str)) {
        match group {
            StatsGroup::Cluster => self.cluster.report(emit),
            group => self.local().stats(group, now, emit),
        }
    }

    fn discovery(&self) -> Option<Discovery> {
        Some(self.cluster.discovery())
    }

    fn list(&self, most: usize, now: Seconds, emit: &mut dyn FnMut(&[u8], usize, Seconds)) {
        self.local().list(most, now, emit);
    }

    fn lend(&self, change: i64, now: Seconds) {
        self.local().lend(change, now);
    }

    fn reset_stats(&self) {
        self.local().reset_stats();
        self.cluster.reset_stats();
    }

    fn set_memory_limit(&self, bytes: u64, now: Seconds) -> Result<(), &'static str> {
        self.local().set_memory_limit(bytes, now)
    }
}
