//! The nodes of a cluster as processes, and what can be done to them.

mod files;
mod members;
mod times;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use larder_protocol::response::Response;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Plan;
use super::client::PATIENCE;
use super::clocks::Clocks;
use super::failure::Failure;
use super::fault::Kind;
use super::status::Status;
use crate::connection::Connection;
use crate::network::{self, Network, address};

/// Nodes `db1`, `db2` …, of which the first founds the cluster. Dropping them ends them.
#[derive(Debug)]
pub(super) struct Nodes {
    running: BTreeMap<u16, Child>,
    paused: BTreeSet<u16>,
    cut: BTreeSet<(u16, u16)>,
    throttled: BTreeSet<u16>,
    bent: BTreeSet<u16>,
    /// By how many seconds the clock of a node was ahead when it took its time from it.
    ahead: BTreeMap<u16, i64>,
    /// The node whose data is on a small volume of its own.
    confined: Option<u16>,
    /// Who is to run.
    members: BTreeSet<u16>,
    /// The number that was given last. None is given twice.
    last: u16,
    place: PathBuf,
    prefix: [u8; 3],
    interrupted: Arc<AtomicBool>,
    clocks: Option<Clocks>,
    // Removed when nothing runs in it any more.
    network: Option<Network>,
}

impl Nodes {
    /// Starts those of a plan and waits until they are one cluster.
    pub(super) fn start(plan: &Plan) -> Result<Self, Failure> {
        let place = &plan.place;
        let clocks = plan.faults.contains(&Kind::Clock).then(|| Clocks::find(place)).transpose()?;
        let wants_network = plan.faults.iter().any(|kind| kind.wants_network());
        let network = wants_network.then(Network::build).transpose()?;
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let mut nodes = Self {
            running: BTreeMap::new(),
            paused: BTreeSet::new(),
            cut: BTreeSet::new(),
            throttled: BTreeSet::new(),
            bent: BTreeSet::new(),
            ahead: BTreeMap::new(),
            confined: None,
            members: BTreeSet::new(),
            last: 0,
            place: place.clone(),
            prefix: network.as_ref().map_or([127, 64 | high, low], Network::prefix),
            interrupted: Arc::clone(&plan.interrupted),
            clocks,
            network,
        };
        // By this name a program that can be several knows which it is to be.
        symlink(&plan.program, nodes.program()).map_err(nodes.making())?;
        fs::write(nodes.secret(), "of this run and no other").map_err(nodes.making())?;
        for _ in 0..plan.nodes {
            nodes.add()?;
        }
        if plan.faults.contains(&Kind::Fill) {
            let folder = nodes.folder(plan.nodes).display().to_string();
            network::run("mount", &format!("-t tmpfs -o size={VOLUME} larder {folder}"))?;
            nodes.confined = Some(plan.nodes);
        }
        nodes.open()?;
        nodes.until_settled()?;
        Ok(nodes)
    }

    /// Where clients reach a node.
    pub(super) fn clients(&self, node: u16) -> SocketAddr {
        (address(self.prefix, node), 21_201).into()
    }

    fn peers(&self, node: u16) -> SocketAddr {
        (address(self.prefix, node), 31_201).into()
    }

    fn folder(&self, node: u16) -> PathBuf {
        self.place.join(format!("db{node}"))
    }

    fn program(&self) -> PathBuf {
        self.place.join(NODE)
    }

    fn secret(&self) -> PathBuf {
        self.place.join("secret")
    }

    fn ballast(&self, node: u16) -> PathBuf {
        self.folder(node).join("ballast")
    }

    /// Has all run that do not.
    fn open(&mut self) -> Result<(), Failure> {
        self.all().into_iter().try_for_each(|node| self.open_one(node))
    }

    fn open_one(&mut self, node: u16) -> Result<(), Failure> {
        if !self.running.contains_key(&node) {
            let child = self.spawn(node).map_err(Failure::io(format_args!("start db{node}")))?;
            self.running.insert(node, child);
            self.ahead.insert(node, 0);
        }
        Ok(())
    }

    fn spawn(&self, node: u16) -> io::Result<Child> {
        let log = self.place.join(format!("db{node}.log"));
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = match &self.network {
            None => Command::new(self.program()),
            Some(network) => {
                let [entering, words @ ..] = network.entering(node);
                let mut command = Command::new(entering);
                command.args(words).arg(self.program());
                command
            }
        };
        let others = self.all().into_iter().filter(|other| *other != node);
        let others: Vec<_> = others.map(|other| self.peers(other).to_string()).collect();
        command
            .args(["store", "-l", &self.clients(node).ip().to_string(), "-p", "21201"])
            .args(["--node-name", &format!("db{node}")])
            .args(["--peer-listen", &self.peers(node).to_string(), "--join", &others.join(",")])
            .args(["--reserve", if self.confined == Some(node) { RESERVE } else { "0" }])
            .arg("--cluster-secret-file")
            .arg(self.secret())
            .arg("-H")
            .arg(self.folder(node).join("data"))
            // Should we be killed, it stops all the same.
            .arg("--stop-on-stdin-eof");
        if node == 1 {
            command.arg("--found");
        }
        without_settings(&mut command);
        if let Some(clocks) = &self.clocks {
            clocks.lead(&mut command, node);
        }
        // Who interrupts us from a terminal is not to interrupt them: they are ended by us.
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn()
    }

    /// Kills them at once, as far as they run.
    pub(super) fn kill(&mut self, nodes: &[u16]) -> Result<(), Failure> {
        let failed = Failure::io(format!("kill {nodes:?}"));
        let mut ending = Vec::new();
        for node in nodes {
            self.paused.remove(node);
            ending.extend(self.running.remove(node));
        }
        let killed: io::Result<()> = ending.iter_mut().try_for_each(Child::kill);
        let ended: io::Result<()> = ending.iter_mut().try_for_each(|child| child.wait().map(drop));
        for child in &ending {
            Clocks::forget(child.id());
        }
        killed.and(ended).map_err(failed)
    }

    pub(super) fn pause(&mut self, node: u16) -> Result<(), Failure> {
        self.paused.insert(node);
        self.signal(node, Signal::SIGSTOP)
    }

    fn resume(&mut self, node: u16) -> Result<(), Failure> {
        self.paused.remove(&node);
        self.signal(node, Signal::SIGCONT)
    }

    fn signal(&self, node: u16, signal: Signal) -> Result<(), Failure> {
        let Some(child) = self.running.get(&node) else { return Ok(()) };
        let process = i32::try_from(child.id()).map_err(Failure::new)?;
        let sent = kill(Pid::from_raw(process), signal).map_err(io::Error::from);
        sent.map_err(Failure::io(format_args!("send {signal} to db{node}")))
    }

    pub(super) fn cut(&mut self, from: u16, to: u16) -> Result<(), Failure> {
        self.cut.insert((from, to));
        self.network.as_ref().map_or(Ok(()), |network| network.cut(from, to))
    }

    pub(super) fn throttle(&mut self, node: u16) -> Result<(), Failure> {
        self.throttled.insert(node);
        self.network.as_ref().map_or(Ok(()), |network| network.throttle(node))
    }

    /// Takes back all that was done to them.
    pub(super) fn heal(&mut self) -> Result<(), Failure> {
        if let Some(network) = &self.network {
            for (from, to) in std::mem::take(&mut self.cut) {
                network.mend(from, to)?;
            }
            for node in std::mem::take(&mut self.throttled) {
                network.unthrottle(node)?;
            }
        }
        for node in self.paused.clone() {
            self.resume(node)?;
        }
        if let Some(clocks) = &self.clocks {
            std::mem::take(&mut self.bent).into_iter().try_for_each(|node| clocks.bend(node, 0))?;
        }
        if let Some(node) = self.confined {
            match fs::remove_file(self.ballast(node)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Failure::io(format_args!("empty the volume of db{node}"))(error));
                }
                _ => {}
            }
        }
        self.open()
    }

    /// Opens the one on the small volume anew if it has said that it wants that: it was to write what
    /// there was no room for at all.
    pub(super) fn reopen(&mut self) -> Result<(), Failure> {
        let Some(node) = self.confined else { return Ok(()) };
        if self.stat(node, b"store_condition").is_ok_and(|condition| condition == b"poisoned") {
            self.kill(&[node])?;
        }
        self.open()
    }

    /// What it says in `stats` under this name; nothing if it does not.
    fn stat(&self, node: u16, wanted: &[u8]) -> io::Result<Vec<u8>> {
        let mut connection = Connection::patient(self.clients(node), PATIENCE)?;
        connection.send(b"stats\r\n")?;
        let understand = |response: &Response<'_>| match response {
            Response::Stat { name, value } if *name == wanted => Some(value.to_vec()),
            Response::Stat { .. } => None,
            _ => Some(Vec::new()),
        };
        loop {
            if let Some(value) = connection.next(understand)? {
                return Ok(value);
            }
        }
    }

    /// That none has ended by itself, and that nobody wants us to end.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new("interrupted"));
        }
        for (node, child) in &mut self.running {
            let ended = child.try_wait();
            if let Some(status) = ended.map_err(Failure::io(format_args!("look at db{node}")))? {
                return Err(Failure::new(format_args!("db{node} has ended by itself: {status}")));
            }
        }
        Ok(())
    }

    /// Waits until all answer and all groups are where they are to be.
    pub(super) fn until_settled(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + SETTLED_WITHIN;
        loop {
            self.check()?;
            self.reopen()?;
            let status = self.status();
            let count = self.members.len();
            if status.as_ref().is_some_and(|status| status.holds(count) && status.all_answer()) {
                return self.check_times();
            }
            if Instant::now() >= deadline {
                let status = status.map(|status| status.to_string()).unwrap_or_default();
                return Err(Failure::new(format_args!(
                    "nothing fails any more, and after {SETTLED_WITHIN:?} not all nodes answer and \
                     hold what they are to: {status}"
                )));
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Who leads each group that is led, as far as anybody says.
    pub(super) fn leaders(&self) -> Vec<u16> {
        self.status().map(|status| status.leaders()).unwrap_or_default()
    }

    fn status(&self) -> Option<Status> {
        let mut command = self.ctl("status --json");
        let ended = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        Status::parse(&ended.stdout)
    }

    /// What an operator does.
    pub(super) fn ctl(&self, action: &str) -> Command {
        let peers: Vec<_> = self.all().iter().map(|node| self.peers(*node).to_string()).collect();
        let mut command = Command::new(self.program());
        command
            .args(["ctl", "store"])
            .args(action.split_whitespace())
            .args(["--nodes", &peers.join(",")])
            .arg("--cluster-secret-file")
            .arg(self.secret());
        without_settings(&mut command);
        command.process_group(0);
        command
    }

    /// A file for what a command says.
    pub(super) fn said(&self) -> PathBuf {
        self.place.join("ctl.out")
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // What cannot be ended or unmounted has said so before.
        let _ = self.kill(&self.all());
        if let Some(node) = self.confined {
            let _ = network::run("umount", &self.folder(node).display().to_string());
        }
    }
}

/// Without what is set in our own environment for nodes.
fn without_settings(command: &mut Command) {
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("LARDER_") {
            command.env_remove(variable);
        }
    }
}

/// What the program is called as a node.
pub(super) const NODE: &str = "larder";

/// Bytes of the small volume, and of it what is to be kept free.
const VOLUME: &str = "256m";
const RESERVE: &str = "8m";

/// How long a cluster on which nothing fails may take to be whole again.
const SETTLED_WITHIN: Duration = Duration::from_mins(1);

const LOOK_EVERY: Duration = Duration::from_millis(100);
