//! Clusters of cache nodes on loopback.

use std::collections::BTreeMap;
use std::fs;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{Running, Stream, converse, free_ports, larder, until};

/// Cache nodes 1, 2 …, as many as are started.
pub(crate) struct Caches {
    place: TempDir,
    first: u16,
    most: u16,
    running: BTreeMap<u16, Running>,
}

impl Caches {
    /// Room for `most` nodes, of which the first `count` are started, and know of each other.
    pub(crate) fn start(count: u16, most: u16) -> Self {
        let place = TempDir::new().unwrap();
        fs::write(place.path().join("secret"), "0123456789abcdef0123456789abcdef").unwrap();
        let (first, running) = (free_ports(2 * most), BTreeMap::new());
        let mut caches = Self { place, first, most, running };
        for node in 1..=count {
            caches.open(node);
        }
        caches.until_known();
        caches
    }

    /// Where clients reach a node.
    pub(crate) fn address(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.first + 2 * (node - 1))
    }

    fn peer(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.first + 2 * (node - 1) + 1)
    }

    pub(crate) fn open(&mut self, node: u16) {
        let seeds: Vec<_> =
            (1..=self.most).filter(|other| *other != node).map(|other| self.peer(other)).collect();
        let mut command = larder(&format!(
            "cache -l 127.0.0.1 -p {} -m 64 --peer-listen {} --seed {}",
            self.first + 2 * (node - 1),
            self.peer(node),
            seeds.join(",")
        ));
        command.arg("--cluster-secret-file").arg(self.place.path().join("secret"));
        let running = Running::start(&mut command);
        running.line(Stream::Err, "listening on ");
        self.running.insert(node, running);
    }

    pub(crate) fn kill(&mut self, node: u16) {
        let mut running = self.running.remove(&node).unwrap();
        running.signal(Signal::SIGKILL);
        running.wait();
    }

    /// Waits until each node that runs tells clients of all that do, and of no other.
    pub(crate) fn until_known(&self) {
        let all: Vec<_> = self.running.keys().map(|node| self.address(*node)).collect();
        for of in &all {
            until("all know of all", || {
                let told = converse(of, "config get cluster\r\n");
                let known = |node: &String| told.contains(&node.replace(':', "|127.0.0.1|"));
                (all.iter().all(known) && told.matches("|127.0.0.1|").count() == all.len())
                    .then_some(())
            });
        }
    }
}
