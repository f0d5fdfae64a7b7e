//! A network of namespaces on a bridge, one for each node, in which any way from one node to another
//! can be cut by itself.
//!
//! A way is cut by telling who sends a hardware address that nobody has: the packets leave and arrive
//! nowhere, and nobody is told. That takes no packet filter.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Command;

use crate::outages::Failure;

/// A bridge of this machine with the nodes' namespaces on it. Dropping it removes them.
#[derive(Debug)]
pub struct Network {
    name: String,
    prefix: [u8; 3],
    nodes: BTreeSet<u16>,
}

impl Network {
    /// Has none at first.
    ///
    /// # Errors
    ///
    /// The system does not let us: most often it wants root.
    pub fn build() -> Result<Self, Failure> {
        let process = std::process::id();
        let [_, _, high, low] = process.to_be_bytes();
        let (name, nodes) = (format!("ldr{process}"), BTreeSet::new());
        let network = Self { name, prefix: [10, 64 | high, low], nodes };
        let bridge = network.bridge();
        ip(&format!("link add {bridge} type bridge"))?;
        let [a, b, c] = network.prefix;
        ip(&format!("address add {a}.{b}.{c}.{OUR_OWN}/24 dev {bridge}"))?;
        ip(&format!("link set {bridge} up"))?;
        Ok(network)
    }

    /// Has a namespace for a node, which is known by its number, from 1.
    ///
    /// # Errors
    ///
    /// The system does not let us.
    pub fn add(&mut self, node: u16) -> Result<(), Failure> {
        // What is made only in part is removed too.
        self.nodes.insert(node);
        let (space, outside) = (self.space(node), self.outside(node));
        ip(&format!("netns add {space}"))?;
        ip(&format!("link add {outside} type veth peer name {INSIDE} netns {space}"))?;
        ip(&format!("link set {outside} master {} up", self.bridge()))?;
        ip(&format!("-n {space} link set lo up"))?;
        ip(&format!("-n {space} link set {INSIDE} address {} up", hardware(node)))?;
        ip(&format!("-n {space} address add {}/24 dev {INSIDE}", self.address(node)))
    }

    /// Removes the namespace of a node that runs no more.
    ///
    /// # Errors
    ///
    /// The system does not let us.
    pub fn remove(&mut self, node: u16) -> Result<(), Failure> {
        self.nodes.remove(&node);
        // First the way, which else is there for as long as the kernel takes over the namespace.
        let way = ip(&format!("link delete {}", self.outside(node)));
        ip(&format!("netns delete {}", self.space(node))).and(way)
    }

    /// The network of a node's address; the last byte is the node's.
    pub(crate) fn prefix(&self) -> [u8; 3] {
        self.prefix
    }

    /// The words before a command that is to run where a node is.
    pub fn entering(&self, node: u16) -> [String; 4] {
        ["ip", "netns", "exec", &self.space(node)].map(ToOwned::to_owned)
    }

    /// From now on nothing that `from` sends arrives at `to`.
    ///
    /// # Errors
    ///
    /// The system does not let us.
    pub fn cut(&self, from: u16, to: u16) -> Result<(), Failure> {
        self.lead(from, to, NOBODY)
    }

    /// From now on it does again.
    ///
    /// # Errors
    ///
    /// The system does not let us.
    pub fn mend(&self, from: u16, to: u16) -> Result<(), Failure> {
        self.lead(from, to, &hardware(to))
    }

    fn lead(&self, from: u16, to: u16, hardware: &str) -> Result<(), Failure> {
        let (space, address) = (self.space(from), self.address(to));
        ip(&format!(
            "-n {space} neighbour replace {address} lladdr {hardware} dev {INSIDE} nud permanent"
        ))
    }

    /// From now on a node sends 50 KB a second: what is more waits up to half a second, or is lost.
    pub(crate) fn throttle(&self, node: u16) -> Result<(), Failure> {
        let space = self.space(node);
        let limits = "tbf rate 400kbit burst 4kb latency 500ms";
        run("tc", &format!("-n {space} qdisc replace dev {INSIDE} root {limits}"))
    }

    pub(crate) fn unthrottle(&self, node: u16) -> Result<(), Failure> {
        run("tc", &format!("-n {} qdisc delete dev {INSIDE} root", self.space(node)))
    }

    /// A node's address. The machine itself reaches it too.
    pub fn address(&self, node: u16) -> Ipv4Addr {
        address(self.prefix, node)
    }

    fn bridge(&self) -> String {
        format!("{}b", self.name)
    }

    fn space(&self, node: u16) -> String {
        format!("{}n{node}", self.name)
    }

    fn outside(&self, node: u16) -> String {
        format!("{}v{node}", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What was never made cannot be removed, and nothing is to be done about it.
        for node in std::mem::take(&mut self.nodes) {
            let _ = self.remove(node);
        }
        let _ = ip(&format!("link delete {}", self.bridge()));
    }
}

/// A node's address in a network. Those that went leave theirs to others.
pub(crate) fn address([a, b, c]: [u8; 3], node: u16) -> Ipv4Addr {
    let last = u8::try_from(node.saturating_sub(1) % ADDRESSES).unwrap_or(0) + 1;
    Ipv4Addr::new(a, b, c, last)
}

fn hardware(node: u16) -> String {
    let [.., last] = address([0; 3], node).octets();
    format!("02:00:00:00:00:{last:02x}")
}

fn ip(line: &str) -> Result<(), Failure> {
    run("ip", line)
}

/// Runs a program of the system to its end.
pub(crate) fn run(program: &str, line: &str) -> Result<(), Failure> {
    let ended = Command::new(program).args(line.split_whitespace()).output();
    let ended = ended.map_err(Failure::io(format_args!("run {program}")))?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    Err(Failure::new(format_args!("{program} {line}: {}", said.trim())))
}

/// A node's own end of its way to the bridge.
const INSIDE: &str = "eth0";

/// The last byte of our own address, which is no node's.
const OUR_OWN: u8 = 254;

const ADDRESSES: u16 = 250;

const NOBODY: &str = "02:00:00:00:ff:ff";
