//! Nodes that come and go.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{LOOK_EVERY, Nodes};
use crate::outages::clocks::Clocks;
use crate::outages::failure::Failure;

impl Nodes {
    /// What it takes for one more, which does not run yet.
    pub(super) fn add(&mut self) -> Result<u16, Failure> {
        let taken =
            |node| self.members.iter().any(|member| self.clients(*member) == self.clients(node));
        let node = (self.last + 1..u16::MAX).find(|node| !taken(*node)).unwrap_or(u16::MAX);
        self.last = node;
        fs::create_dir(self.folder(node)).map_err(self.making())?;
        if let Some(network) = &mut self.network {
            network.add(node)?;
        }
        if let Some(clocks) = &self.clocks {
            clocks.bend(node, 0)?;
        }
        self.members.insert(node);
        Ok(node)
    }

    pub(super) fn making(&self) -> impl FnOnce(io::Error) -> Failure + use<> {
        Failure::io(format!("make what it takes in {}", self.place.display()))
    }

    /// Has one more run, that is to join the others.
    pub(in crate::outages) fn grow(&mut self) -> Result<u16, Failure> {
        let node = self.add()?;
        self.open_one(node)?;
        Ok(node)
    }

    /// Kills one, and does not have it run again.
    pub(in crate::outages) fn lose(&mut self, node: u16) -> Result<(), Failure> {
        self.kill(&[node])?;
        self.members.remove(&node);
        Ok(())
    }

    /// Asks one that the cluster has let go to end, waits for it, and does not have it run again.
    pub(in crate::outages) fn part(&mut self, node: u16) -> Result<(), Failure> {
        self.resume(node)?;
        self.signal(node, Signal::SIGTERM)?;
        self.members.remove(&node);
        let Some(mut child) = self.running.remove(&node) else { return Ok(()) };
        let deadline = Instant::now() + ENDED_WITHIN;
        while child.try_wait().map_err(Failure::io(format_args!("end db{node}")))?.is_none() {
            if Instant::now() >= deadline {
                self.running.insert(node, child);
                return Err(Failure::new(format_args!(
                    "db{node} was removed and asked to end, and runs after {ENDED_WITHIN:?}"
                )));
            }
            thread::sleep(LOOK_EVERY);
        }
        Clocks::forget(child.id());
        Ok(())
    }

    /// Removes all that there was for one that does not run again.
    pub(in crate::outages) fn clear(&mut self, node: u16) -> Result<(), Failure> {
        let is_its = |way: &(u16, u16)| way.0 == node || way.1 == node;
        let ways: Vec<_> = self.cut.extract_if(.., is_its).collect();
        self.throttled.remove(&node);
        self.bent.remove(&node);
        if let Some(network) = &mut self.network {
            ways.into_iter().try_for_each(|(from, to)| network.mend(from, to))?;
            network.remove(node)?;
        }
        let folder = self.folder(node);
        fs::remove_dir_all(&folder)
            .map_err(Failure::io(format_args!("remove {}", folder.display())))
    }

    /// Those that are to run.
    pub(in crate::outages) fn all(&self) -> Vec<u16> {
        self.members.iter().copied().collect()
    }

    /// Those whose volume never fills.
    pub(in crate::outages) fn roomy(&self) -> Vec<u16> {
        self.members.iter().copied().filter(|node| self.confined != Some(*node)).collect()
    }
}

/// How long a node may take to end.
const ENDED_WITHIN: Duration = Duration::from_secs(30);
