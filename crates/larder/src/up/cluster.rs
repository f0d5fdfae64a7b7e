//! The nodes of a local cluster that are ours.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::child::{Child, Program};
use crate::failure::Failure;
use crate::node::is_ready;

/// What happens to a cluster. Nodes are meant by their place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// This node serves.
    Ready(usize),
    /// The process of this node has ended, and waits to be reaped.
    Ended(usize),
    /// The cluster is to stop.
    Stop,
}

/// Processes that are running, or have ended and are not reaped. Dropped, it kills them.
#[derive(Debug)]
pub(super) struct Cluster {
    children: BTreeMap<usize, Child>,
    started: usize,
    sender: Sender<Event>,
}

impl Cluster {
    pub(super) fn new(sender: Sender<Event>) -> Self {
        Self { children: BTreeMap::new(), started: 0, sender }
    }

    pub(super) fn start(&mut self, program: Program) -> Result<(), Failure> {
        let mut child = program.start()?;
        let at = self.started;
        self.started += 1;
        let (sender, process, output) = (self.sender.clone(), child.id(), child.output.take());
        self.children.insert(at, child);
        thread::spawn(move || {
            if output.is_some_and(is_ready) {
                sender.send(Event::Ready(at)).ok();
            }
            wait_for_end(process);
            sender.send(Event::Ended(at)).ok();
        });
        Ok(())
    }

    pub(super) fn children(&self) -> impl Iterator<Item = &Child> {
        self.children.values()
    }

    pub(super) fn ready(&mut self, at: usize) {
        if let Some(child) = self.children.get_mut(&at) {
            child.ready = true;
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.children().all(|child| child.ready)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// The names of those that do not serve yet.
    pub(super) fn late(&self) -> Vec<String> {
        self.children()
            .filter(|child| !child.ready)
            .map(|child| child.program.name.clone())
            .collect()
    }

    /// Takes a process that has ended out of the cluster, and says how it ended.
    pub(super) fn reap(&mut self, at: usize) -> Option<String> {
        self.children.remove(&at).map(Child::reap)
    }

    /// Asks every node to end, and makes those that have not when their time is up, or when asked
    /// to stop once more. `tell` hears of each that did not end well.
    pub(super) fn stop(&mut self, events: &Receiver<Event>, mut tell: impl FnMut(&str)) {
        self.signal(Signal::SIGTERM);
        let asked = Instant::now();
        while let Some(limit) = self.children().map(|child| child.program.stop_limit()).min() {
            let ended = match events.recv_timeout(limit.saturating_sub(asked.elapsed())) {
                Ok(Event::Ended(at)) => self.children.remove(&at).into_iter().collect(),
                Ok(Event::Ready(_)) => Vec::new(),
                Ok(Event::Stop) => self.kill(Duration::MAX),
                Err(_) => self.kill(limit),
            };
            for said in ended.into_iter().filter_map(Child::reap_stopped) {
                tell(&said);
            }
        }
    }

    /// Kills the nodes that may take no longer than `limit` to end, and hands them out.
    fn kill(&mut self, limit: Duration) -> Vec<Child> {
        let late = self.children.extract_if(.., |_, child| child.program.stop_limit() <= limit);
        let late: Vec<_> = late.map(|(_, child)| child).collect();
        for child in &late {
            child.signal(Signal::SIGKILL);
        }
        late
    }

    fn signal(&self, signal: Signal) {
        for child in self.children() {
            child.signal(signal);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        while let Some((_, child)) = self.children.pop_first() {
            child.reap();
        }
    }
}

/// Waits until a process has ended, and leaves it to be reaped, so that its id is not given to
/// another before the cluster knows.
fn wait_for_end(process: Pid) {
    while waitid(Id::Pid(process), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR)
    {
    }
}
