//! What the threads of one server share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::bell::Bell;
use crate::budget::Budget;
use crate::clock;
use crate::counters::{Counters, Totals};
use crate::heat::Heat;
use crate::registry::Registry;
use crate::settings::Settings;

/// What the threads of one server share.
pub(crate) struct Shared<B> {
    pub(crate) backend: Arc<B>,
    pub(crate) settings: Settings,
    pub(crate) registry: Arc<Registry>,
    pub(crate) budget: Budget,
    /// One for each worker.
    pub(crate) workers: Box<[Arc<Worker>]>,
    pub(crate) started: u32,
    pub(crate) verbosity: AtomicU32,
    /// Connections refused because there were too many.
    pub(crate) rejected: AtomicU64,
    /// Connections closed because they asked for nothing for too long.
    pub(crate) idle_kicks: AtomicU64,
    /// How often accepting was stopped because there were too many.
    pub(crate) listen_disabled: AtomicU64,
    pub(crate) accepting: AtomicBool,
    /// Told when a client or a signal ends the server.
    pub(crate) stop: Notify,
    pub(crate) addresses: Vec<String>,
}

/// What is known of a worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) counters: Counters,
    pub(crate) heat: Heat,
    pub(crate) bell: Arc<Bell>,
    /// Connections it serves.
    pub(crate) connections: AtomicUsize,
}

impl Worker {
    fn new(number: usize) -> Self {
        Self {
            counters: Counters::default(),
            heat: Heat::new(number as u64, clock::precisely()),
            bell: Arc::default(),
            connections: AtomicUsize::new(0),
        }
    }
}

impl<B> Shared<B> {
    pub(crate) fn new(backend: Arc<B>, settings: Settings, addresses: Vec<String>) -> Self {
        Self {
            backend,
            registry: Arc::default(),
            budget: Budget::default(),
            workers: (0..settings.workers.max(1))
                .map(|number| Arc::new(Worker::new(number)))
                .collect(),
            started: clock::now(),
            verbosity: AtomicU32::new(settings.verbosity),
            rejected: AtomicU64::new(0),
            idle_kicks: AtomicU64::new(0),
            listen_disabled: AtomicU64::new(0),
            accepting: AtomicBool::new(true),
            stop: Notify::new(),
            addresses,
            settings,
        }
    }

    /// What all workers have counted.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for worker in &self.workers {
            totals.add(&worker.counters);
        }
        totals
    }

    /// All counters begin again at 0.
    pub(crate) fn reset_counters(&self) {
        for worker in &self.workers {
            worker.counters.reset();
            worker.heat.reset(clock::precisely());
        }
        self.registry.reset();
        let budget = [&self.budget.refused, &self.budget.cut_off];
        let others = [&self.rejected, &self.idle_kicks, &self.listen_disabled];
        for counter in budget.into_iter().chain(others) {
            counter.store(0, Ordering::Relaxed);
        }
    }
}
