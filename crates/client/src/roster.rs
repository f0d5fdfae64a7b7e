//! Which nodes there are now: those that were given, or those that a cluster tells of.
//!
//! A list is taken as a whole. What was sent by the one before is answered all the same: a
//! connection is there for as long as anybody waits on it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use larder_ring::Server;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout_at};

use crate::builder::Options;
use crate::discovery::{self, List};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::nodes::Nodes;

/// The nodes there are now.
#[derive(Debug)]
pub(crate) struct Roster {
    known: watch::Sender<Known>,
    /// Whom to ask while no node is known; nobody if the nodes were given.
    seeds: Vec<Server>,
    /// Whether a task asks for the list.
    polling: AtomicBool,
    /// The list may have changed, or nobody is interested any more.
    hurry: Arc<Notify>,
    pub(crate) options: Options,
}

#[derive(Debug, Default)]
struct Known {
    nodes: Option<Arc<Nodes>>,
    /// Why there is no list, from the last time that all were asked.
    failure: Option<Error>,
}

impl Roster {
    /// One of these nodes, for ever.
    pub(crate) fn fixed(servers: Vec<Server>, options: Options) -> Self {
        let endpoints = servers.into_iter().map(Endpoint::from).collect();
        let nodes = Some(Arc::new(Nodes::new(endpoints, &[], options)));
        Self::new(Known { nodes, failure: None }, Vec::new(), options)
    }

    /// One of the nodes that any of these tells of.
    pub(crate) fn discovered(seeds: Vec<Server>, options: Options) -> Self {
        Self::new(Known::default(), seeds, options)
    }

    fn new(known: Known, seeds: Vec<Server>, options: Options) -> Self {
        let polling = AtomicBool::new(false);
        Self { known: watch::Sender::new(known), seeds, polling, hurry: Arc::default(), options }
    }

    /// The nodes there are now; waits until some are known.
    pub(crate) async fn nodes(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Nodes>, Error> {
        if let Some(nodes) = self.current() {
            return Ok(nodes);
        }
        let mut known = self.known.subscribe();
        self.hurry.notify_one();
        let told = known.wait_for(|known| known.nodes.is_some() || known.failure.is_some());
        let Ok(Ok(known)) = timeout_at(deadline, told).await else {
            let why = format!("nobody has told it within {:?}", self.options.timeout);
            return Err(Error::Undiscovered { why: why.into() });
        };
        match &*known {
            Known { nodes: Some(nodes), .. } => Ok(Arc::clone(nodes)),
            Known { failure, .. } => Err(failure.clone().unwrap_or(Error::NoNode)),
        }
    }

    /// The nodes there are now, if any are known; has them asked for if nobody does.
    pub(crate) fn current(self: &Arc<Self>) -> Option<Arc<Nodes>> {
        if !self.seeds.is_empty() && !self.polling.load(Ordering::Relaxed) {
            self.poll();
        }
        self.now()
    }

    /// The nodes there are now, if any are known.
    pub(crate) fn now(&self) -> Option<Arc<Nodes>> {
        self.known.borrow().nodes.clone()
    }

    /// A node does not answer: the list may have changed.
    pub(crate) fn doubt(&self) {
        self.hurry.notify_one();
    }

    /// Has a task ask for the list for as long as this is there, unless one does already.
    fn poll(self: &Arc<Self>) {
        if !self.polling.swap(true, Ordering::Relaxed) {
            let polling = Polling(Arc::downgrade(self));
            tokio::spawn(poll(polling, Arc::clone(&self.hurry)));
        }
    }

    /// Asks for the list once. Gives when to do so again.
    async fn ask(&self, source: &mut Source) -> Duration {
        let before = self.now();
        let pools = before.as_ref().map(|nodes| nodes.pools()).unwrap_or_default();
        let mut nodes: Vec<_> = pools.iter().map(|pool| pool.endpoint().clone()).collect();
        // Each client begins elsewhere, and stays with whom it has: versions are by a node's clock.
        if !nodes.is_empty() {
            let first = rand::random_range(0..nodes.len());
            nodes.rotate_left(first);
        }
        nodes.sort_by_key(|node| source.node.as_ref() != Some(&node.server));
        for seed in &self.seeds {
            if !nodes.iter().any(|node| node.server == *seed) {
                nodes.push(seed.clone().into());
            }
        }
        match discovery::ask_any(nodes, self.options.connect_timeout).await {
            Ok((from, list)) => {
                if source.accepts(&from, &list, Instant::now()) {
                    let nodes = Some(Arc::new(Nodes::new(list.nodes, pools, self.options)));
                    self.known.send_replace(Known { nodes, failure: None });
                }
            }
            Err(why) if before.is_none() => {
                let failure = Some(Error::Undiscovered { why: why.into() });
                self.known.send_replace(Known { nodes: None, failure });
            }
            Err(_) => {}
        }
        let all_up = before.is_some_and(|nodes| !nodes.pools().iter().any(|pool| pool.is_down()));
        let pause = self.options.poll_interval;
        if all_up { pause } else { pause.min(HASTY) }
    }
}

impl Drop for Roster {
    fn drop(&mut self) {
        self.hurry.notify_one();
    }
}

/// Whose list there is.
#[derive(Debug, Default)]
struct Source {
    node: Option<Server>,
    list: Option<List>,
    /// Since when others were quicker to answer.
    silent_since: Option<Instant>,
}

impl Source {
    /// Whether `list` is the one to go by.
    ///
    /// Versions are seconds on the clock of the node that tells them. So a list with a smaller one
    /// may be newer all the same, which counts once the node with the greater one is long silent.
    fn accepts(&mut self, from: &Server, list: &List, now: Instant) -> bool {
        if self.node.as_ref() == Some(from) {
            self.silent_since = None;
        }
        if let Some(had) = &self.list
            && list.version <= had.version
        {
            let others = self.node.as_ref() != Some(from) && list.nodes != had.nodes;
            let since = *self.silent_since.get_or_insert(now);
            if !others || now.duration_since(since) < SILENCE {
                return false;
            }
        }
        *self = Self { node: Some(from.clone()), list: Some(list.clone()), silent_since: None };
        true
    }
}

/// That a task asks for the list.
struct Polling(Weak<Roster>);

impl Drop for Polling {
    fn drop(&mut self) {
        if let Some(roster) = self.0.upgrade() {
            roster.polling.store(false, Ordering::Relaxed);
        }
    }
}

async fn poll(polling: Polling, hurry: Arc<Notify>) {
    let mut source = Source::default();
    loop {
        let pause = {
            let Some(roster) = polling.0.upgrade() else { return };
            roster.ask(&mut source).await
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = hurry.notified() => sleep(BREATH).await,
        }
    }
}

/// The longest time between two questions while a node is down: its cluster is about to notice.
const HASTY: Duration = Duration::from_secs(1);

/// The least time between two questions.
const BREATH: Duration = Duration::from_millis(50);

/// How long the node whose list there is may be silent until another's older one is believed.
const SILENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
