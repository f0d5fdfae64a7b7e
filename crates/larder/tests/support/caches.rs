//! Cache nodes that are one cache, on loopback or in networks of their own.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use larder_ring::Ring;
use larder_tests::network::Network;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::stores::Client;
use super::{Running, Stream, converse, free_ports, larder, until};

/// Caches 1, 2 …, which are called as clients write their addresses.
pub(crate) struct Caches {
    pub(crate) place: TempDir,
    first: u16,
    count: u16,
    /// What all are given besides.
    flags: String,
    pub(crate) running: BTreeMap<u16, Running>,
    /// Where they are, if not all on loopback. It can be removed once none of them runs.
    network: Option<Network>,
}

impl Caches {
    /// Has so many started with these flags besides, and waits until each knows all.
    pub(crate) fn start(count: u16, flags: &str) -> Self {
        let caches = Self::plan(count, flags);
        caches.opened()
    }

    /// Those that are to be started, one by one.
    pub(crate) fn plan(count: u16, flags: &str) -> Self {
        let place = TempDir::new().unwrap();
        fs::write(place.path().join("secret"), "0123456789abcdef0123456789abcdef").unwrap();
        let (flags, running) = (flags.to_owned(), BTreeMap::new());
        Self { place, first: free_ports(2 * count), count, flags, running, network: None }
    }

    /// So many started, each with a network of its own, whose ways can be [cut](Self::part).
    pub(crate) fn start_apart(count: u16, flags: &str) -> Self {
        let mut network = Network::build().unwrap();
        (1..=count).for_each(|node| network.add(node).unwrap());
        let caches = Self { network: Some(network), ..Self::plan(count, flags) };
        caches.opened()
    }

    /// Nothing that some send arrives at the others any more, and the other way round.
    pub(crate) fn part(&self, some: &[u16], others: &[u16]) {
        self.ways(some, others, |network, from, to| network.cut(from, to).unwrap());
    }

    /// It does again.
    pub(crate) fn join(&self, some: &[u16], others: &[u16]) {
        self.ways(some, others, |network, from, to| network.mend(from, to).unwrap());
    }

    fn ways(&self, some: &[u16], others: &[u16], change: impl Fn(&Network, u16, u16)) {
        let network = self.network.as_ref().expect("they have networks");
        for one in some {
            for other in others {
                change(network, *one, *other);
                change(network, *other, *one);
            }
        }
    }

    fn opened(mut self) -> Self {
        for node in 1..=self.count {
            self.open(node);
        }
        self.until_all_know(usize::from(self.count));
        self
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = u16> + use<> {
        1..=self.count
    }

    pub(crate) fn secret(&self) -> PathBuf {
        self.place.path().join("secret")
    }

    pub(crate) fn port(&self, node: u16) -> u16 {
        self.first + 2 * (node - 1)
    }

    fn host(&self, node: u16) -> Ipv4Addr {
        self.network.as_ref().map_or(Ipv4Addr::LOCALHOST, |network| network.address(node))
    }

    pub(crate) fn address(&self, node: u16) -> String {
        format!("{}:{}", self.host(node), self.port(node))
    }

    pub(crate) fn peer(&self, node: u16) -> String {
        format!("{}:{}", self.host(node), self.port(node) + 1)
    }

    /// A node that is given these flags besides those of all.
    pub(crate) fn command(&self, node: u16, flags: &str) -> Command {
        let mut command = larder(&format!(
            "cache -l {} -p {} -t 1 -m 128 --peer-listen {} {} {flags}",
            self.host(node),
            self.port(node),
            self.peer(node),
            self.flags,
        ));
        if !flags.contains("--cluster-secret-file") {
            command.arg("--cluster-secret-file").arg(self.secret());
        }
        if !flags.contains("--seed") {
            let seeds: Vec<_> = self.nodes().map(|other| self.peer(other)).collect();
            command.arg("--seed").arg(seeds.join(","));
        }
        command
    }

    pub(crate) fn open(&mut self, node: u16) {
        self.open_with(node, "");
    }

    pub(crate) fn open_with(&mut self, node: u16, flags: &str) {
        let mut command = self.command(node, flags);
        if let Some(network) = &self.network {
            let [entering, words @ ..] = network.entering(node);
            let mut inside = Command::new(entering);
            inside.args(words).arg(command.get_program()).args(command.get_args());
            for (variable, _) in command.get_envs().filter(|(_, value)| value.is_none()) {
                inside.env_remove(variable);
            }
            inside.stdin(Stdio::null());
            command = inside;
        }
        let running = Running::start(&mut command);
        running.line(Stream::Err, "listening on ");
        self.running.insert(node, running);
    }

    pub(crate) fn signal(&self, node: u16, signal: Signal) {
        self.running[&node].signal(signal);
    }

    pub(crate) fn kill(&mut self, node: u16) {
        self.end(node, Signal::SIGKILL);
    }

    /// Has a node end as it should, so that it tells the others.
    pub(crate) fn stop(&mut self, node: u16) {
        self.end(node, Signal::SIGTERM);
    }

    fn end(&mut self, node: u16, signal: Signal) {
        let mut running = self.running.remove(&node).unwrap();
        running.signal(signal);
        running.wait();
    }

    /// `stats cluster` of a node.
    pub(crate) fn stats(&self, node: u16) -> Stats {
        let answer = converse(&self.address(node), "stats cluster\r\n");
        let lines = answer.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
        Stats(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Waits until each that runs knows so many members that own keys, and owes nobody anything.
    pub(crate) fn until_all_know(&self, members: usize) {
        self.until_each("it knows all", |stats| {
            let owed = stats.number("hints_owed") + stats.number("hints_owed_all");
            stats.owners() == members && owed == 0
        });
    }

    /// The same, but for what it owes to who is gone.
    pub(crate) fn until_all_see(&self, members: usize) {
        self.until_each("it sees all", |stats| stats.owners() == members);
    }

    fn until_each(&self, what: &str, is_so: impl Fn(&Stats) -> bool) {
        for node in self.running.keys() {
            until(what, || is_so(&self.stats(*node)).then_some(()));
        }
    }

    pub(crate) fn client(&self, node: u16) -> Client {
        Client::connect_to(&self.address(node))
    }

    /// Who has which key while all are there.
    pub(crate) fn owners(&self) -> Owners {
        let names: Vec<_> = self.nodes().map(|node| self.address(node)).collect();
        let mut order: Vec<_> = self.nodes().collect();
        order.sort_by_key(|node| self.address(*node));
        let mut sorted = names;
        sorted.sort();
        Owners { ring: Ring::new(sorted.iter().map(|name| (&**name, 1))), order }
    }
}

/// What `stats cluster` says, by name.
#[derive(Debug)]
pub(crate) struct Stats(pub(crate) BTreeMap<String, String>);

impl Stats {
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.0[name].parse().unwrap()
    }

    /// How many members have keys.
    pub(crate) fn owners(&self) -> usize {
        let shares = self.0.iter().filter(|(name, _)| name.ends_with(":keys_percent"));
        shares.filter(|(_, share)| *share != "0.00").count()
    }

    /// The state of the node that is called so, if it is known.
    pub(crate) fn state(&self, name: &str) -> Option<&str> {
        let (key, _) =
            self.0.iter().find(|(key, value)| key.ends_with(":name") && *value == name)?;
        self.0.get(&key.replace(":name", ":state")).map(|state| &**state)
    }
}

/// Who has which key.
pub(crate) struct Owners {
    ring: Ring,
    /// The nodes, by their places in the ring.
    order: Vec<u16>,
}

impl Owners {
    pub(crate) fn of(&self, key: &[u8]) -> u16 {
        self.order[self.ring.owner(key).unwrap()]
    }

    /// The first key of that beginning and a number that is a node's.
    pub(crate) fn key(&self, beginning: &str, node: u16) -> String {
        let mut keys = (0..).map(|number| format!("{beginning}{number}"));
        keys.find(|key| self.of(key.as_bytes()) == node).unwrap()
    }
}
