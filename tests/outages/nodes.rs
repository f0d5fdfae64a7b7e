//! The nodes of a cluster as processes, and what can be done to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use larder_protocol::response::Response;
use nix::errno::Errno;
use nix::fcntl::posix_fallocate;
use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::statvfs;
use nix::unistd::Pid;
use serde_json::Value;

use super::client::PATIENCE;
use super::failure::Failure;
use super::network::{self, Network};
use crate::connection::Connection;

/// Nodes `db1`, `db2` …, of which the first founds the cluster. Dropping them ends them.
#[derive(Debug)]
pub(super) struct Nodes {
    running: BTreeMap<u16, Child>,
    paused: BTreeSet<u16>,
    cut: BTreeSet<(u16, u16)>,
    throttled: BTreeSet<u16>,
    /// The node whose data is on a small volume of its own.
    confined: Option<u16>,
    count: u16,
    place: PathBuf,
    prefix: [u8; 3],
    // Removed when nothing runs in it any more.
    network: Option<Network>,
}

impl Nodes {
    /// Starts so many, with all they write in `place`, and waits until they are one cluster.
    pub(super) fn start(
        program: &Path,
        place: &Path,
        count: u16,
        network: Option<Network>,
        confined: bool,
    ) -> Result<Self, Failure> {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let mut nodes = Self {
            running: BTreeMap::new(),
            paused: BTreeSet::new(),
            cut: BTreeSet::new(),
            throttled: BTreeSet::new(),
            confined: None,
            count,
            place: place.to_owned(),
            prefix: network.as_ref().map_or([127, 64 | high, low], Network::prefix),
            network,
        };
        let making = || Failure::io(format!("make what it takes in {}", place.display()));
        // By this name a program that can be several knows which it is to be.
        symlink(program, nodes.program()).map_err(making())?;
        fs::write(nodes.secret(), "of this run and no other").map_err(making())?;
        for node in 1..=count {
            fs::create_dir(nodes.folder(node)).map_err(making())?;
        }
        if confined {
            let folder = nodes.folder(count).display().to_string();
            network::run("mount", &format!("-t tmpfs -o size={VOLUME} larder {folder}"))?;
            nodes.confined = Some(count);
        }
        nodes.open()?;
        nodes.until_settled()?;
        Ok(nodes)
    }

    pub(super) fn all(&self) -> Vec<u16> {
        (1..=self.count).collect()
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
        for node in self.all() {
            if !self.running.contains_key(&node) {
                let child =
                    self.spawn(node).map_err(Failure::io(format_args!("start db{node}")))?;
                self.running.insert(node, child);
            }
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
        killed.and(ended).map_err(failed)
    }

    /// Puts bytes behind what was written to the newest file of the log of a node that does not run, as
    /// if it had been killed in the middle of a write. A full volume takes none.
    pub(super) fn tear(&self, node: u16, torn: &[u8]) -> Result<(), Failure> {
        let folder = self.folder(node).join("data/log/data");
        let failed = |error| Failure::io(format_args!("write to {}", folder.display()))(error);
        let mut newest = None;
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "raftlog") {
                newest = newest.max(Some(path));
            }
        }
        let newest = newest.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        // Files are made with zeros behind what is written.
        let written = fs::read(&newest).map_err(failed)?;
        let end = written.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        let file = OpenOptions::new().write(true).open(newest);
        match file.and_then(|file| file.write_all_at(torn, end)) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            other => other.map_err(failed),
        }
    }

    pub(super) fn pause(&mut self, node: u16) -> Result<(), Failure> {
        self.paused.insert(node);
        self.signal(node, Signal::SIGSTOP)
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

    /// Leaves so many bytes on the small volume.
    pub(super) fn fill(&self, left: u64) -> Result<(), Failure> {
        let Some(node) = self.confined else { return Ok(()) };
        let failed = Failure::io(format!("fill the volume of db{node}"));
        let filled = || -> io::Result<()> {
            let ballast = File::create(self.ballast(node))?;
            let volume = statvfs(&self.folder(node))?;
            let room = volume.blocks_available().saturating_mul(volume.fragment_size());
            match i64::try_from(room.saturating_sub(left)) {
                Ok(bytes @ 1..) => match posix_fallocate(ballast, 0, bytes) {
                    // The node has taken some of it meanwhile: it is full all the more.
                    Err(Errno::ENOSPC) => Ok(()),
                    filled => Ok(filled?),
                },
                _ => Ok(()),
            }
        };
        filled().map_err(failed)
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
        for node in std::mem::take(&mut self.paused) {
            self.signal(node, Signal::SIGCONT)?;
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
    fn reopen(&mut self) -> Result<(), Failure> {
        let Some(node) = self.confined else { return Ok(()) };
        if self.condition(node).is_ok_and(|condition| condition == b"poisoned") {
            self.kill(&[node])?;
        }
        self.open()
    }

    fn condition(&self, node: u16) -> io::Result<Vec<u8>> {
        let mut connection = Connection::patient(self.clients(node), PATIENCE)?;
        connection.send(b"stats\r\n")?;
        let condition = |response: &Response<'_>| match response {
            Response::Stat { name: b"store_condition", value } => Some(value.to_vec()),
            Response::Stat { .. } => None,
            _ => Some(Vec::new()),
        };
        loop {
            if let Some(condition) = connection.next(condition)? {
                return Ok(condition);
            }
        }
    }

    /// That none has ended by itself.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
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
            if status.as_ref().is_some_and(|status| self.is_settled(status)) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Failure::new(format_args!(
                    "nothing fails any more, and after {SETTLED_WITHIN:?} not all nodes answer and \
                     hold what they are to: {}",
                    status.unwrap_or_default()
                )));
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Who leads each group that is led, as far as anybody says.
    pub(super) fn leaders(&self) -> Vec<u16> {
        let Some(status) = self.status() else { return Vec::new() };
        let name = |number: &Value| {
            let mut nodes = list(&status, "nodes").iter();
            let node = nodes.find(|node| node.get("node") == Some(number))?;
            node.get("name")?.as_str()?.strip_prefix("db")?.parse().ok()
        };
        let groups = list(&status, "groups").iter();
        groups.filter_map(|group| name(group.get("leader")?)).collect()
    }

    fn is_settled(&self, status: &Value) -> bool {
        let nodes = list(status, "nodes");
        let is = |value: &Value, name| value.get(name) == Some(&Value::Bool(true));
        nodes.len() == usize::from(self.count)
            && nodes.iter().all(|node| is(node, "answers"))
            && is(status, "holds")
    }

    fn status(&self) -> Option<Value> {
        let peers: Vec<_> = self.all().iter().map(|node| self.peers(*node).to_string()).collect();
        let mut command = Command::new(self.program());
        command
            .args(["ctl", "store", "status", "--json", "--nodes", &peers.join(",")])
            .arg("--cluster-secret-file")
            .arg(self.secret())
            .stderr(Stdio::null());
        without_settings(&mut command);
        let ended = command.output().ok()?;
        serde_json::from_slice(&ended.stdout).ok()
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

/// A node's address in a network.
pub(super) fn address([a, b, c]: [u8; 3], node: u16) -> Ipv4Addr {
    let [_, last] = node.to_be_bytes();
    Ipv4Addr::new(a, b, c, last)
}

fn list<'a>(status: &'a Value, name: &str) -> &'a [Value] {
    status.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
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
