//! The proxy as a server knows it, and its table taken up anew.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_client::BuildError;
use larder_protocol::Seconds;
use larder_server::{Backend, StatsGroup};
use parking_lot::Mutex;

use crate::report;
use crate::session::Session;
use crate::table::Table;
use crate::worker::{Switch, Worker};

/// Passes on what clients ask, by a table that can be replaced.
#[derive(Debug)]
pub struct Proxy {
    state: Mutex<State>,
    pub(crate) reloads: AtomicU64,
    pub(crate) refused: AtomicU64,
}

#[derive(Debug)]
struct State {
    table: Arc<Table>,
    since: Seconds,
    workers: Vec<Arc<Worker>>,
}

/// What another table has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Pools that were not there, or not the same.
    pub new: usize,
    /// Pools that are not there any more, or not the same.
    pub gone: usize,
    /// Pools that keep their connections.
    pub kept: usize,
    /// Routes there are.
    pub routes: usize,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { new, gone, kept, routes } = self;
        write!(f, "pools: {new} new, {gone} gone, {kept} kept; routes: {routes}")
    }
}

impl Proxy {
    /// One that goes by this table.
    pub fn new(table: Table) -> Self {
        let state =
            State { table: Arc::new(table), since: larder_server::now(), workers: Vec::new() };
        let (reloads, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { state: Mutex::new(state), reloads, refused }
    }

    /// Goes by this table from now on. What was sent by the one before is answered all the same, and pools
    /// that are in both as they were keep their connections.
    ///
    /// # Errors
    ///
    /// It cannot be, and the one before stays.
    pub fn reload(&self, table: Table) -> Result<Changes, BuildError> {
        let mut state = self.state.lock();
        let switch = |worker: &Arc<Worker>| Switch::new(&table, Some(&worker.switch()));
        let switches = state.workers.iter().map(switch).collect::<Result<Vec<_>, _>>()?;
        for (worker, switch) in state.workers.iter().zip(switches) {
            worker.set(switch);
        }
        let before = &state.table.pools;
        let kept = table.pools.iter().filter(|pool| before.contains(pool)).count();
        let (new, gone) = (table.pools.len() - kept, before.len() - kept);
        let changes = Changes { new, gone, kept, routes: table.routes };
        (state.table, state.since) = (Arc::new(table), larder_server::now());
        self.reloads.fetch_add(1, Ordering::Relaxed);
        Ok(changes)
    }

    /// Counts a table that was refused.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// What it goes by, since when, and what its workers have of it.
    pub(crate) fn state(&self) -> (Arc<Table>, Seconds, Vec<Arc<Switch>>) {
        let state = self.state.lock();
        let switches = state.workers.iter().map(|worker| worker.switch()).collect();
        (Arc::clone(&state.table), state.since, switches)
    }
}

impl Backend for Proxy {
    type Worker = Arc<Worker>;
    type Session = Session;

    fn worker(&self) -> Arc<Worker> {
        let mut state = self.state.lock();
        // Its pools were made before, to see that they can be.
        let empty = Switch::default();
        let switch = Switch::new(&state.table, None).unwrap_or(empty);
        let worker = Arc::new(Worker::new(switch));
        state.workers.push(Arc::clone(&worker));
        worker
    }

    fn session(&self, worker: &Arc<Worker>) -> Session {
        Session::new(worker)
    }

    fn stats(&self, group: StatsGroup, now: Seconds, emit: &mut dyn FnMut(&str, &str)) {
        match group {
            StatsGroup::General => report::general(self, now, emit),
            StatsGroup::Cluster => report::pools(self, emit),
            _ => {}
        }
    }

    fn list(&self, _most: usize, _now: Seconds, _emit: &mut dyn FnMut(&[u8], usize, Seconds)) {}

    fn lend(&self, _change: i64, _now: Seconds) {}

    fn reset_stats(&self) {
        self.reloads.store(0, Ordering::Relaxed);
        self.refused.store(0, Ordering::Relaxed);
    }

    fn set_memory_limit(&self, _bytes: u64, _now: Seconds) -> Result<(), &'static str> {
        Err("MEMLIMIT_ADJUST_FAILED a proxy holds no items")
    }
}
