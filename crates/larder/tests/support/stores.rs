//! Durable clusters on loopback, and their clients.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{Ended, PATIENCE, Running, Stream, ended, free_ports, larder, until};

/// Stores `db1`, `db2` … on loopback, of which the first founds the cluster.
pub(crate) struct Stores {
    pub(crate) place: TempDir,
    first: u16,
    count: u16,
    /// What the first is given besides.
    founds: String,
    pub(crate) running: BTreeMap<u16, Running>,
}

impl Stores {
    /// Has so many started, and waits until all are copies of each other.
    pub(crate) fn start(count: u16) -> Self {
        Self::founded(count, "")
    }

    /// The same, of which the first is given these flags besides.
    pub(crate) fn founded(count: u16, flags: &str) -> Self {
        let place = TempDir::new().unwrap();
        fs::write(place.path().join("secret"), "0123456789abcdef0123456789abcdef").unwrap();
        let (founds, running) = (flags.to_owned(), BTreeMap::new());
        let mut stores = Self { place, first: free_ports(2 * count), count, founds, running };
        for node in 1..=count {
            stores.open(node);
        }
        stores.until_settled(usize::from(count));
        stores
    }

    pub(crate) fn secret(&self) -> PathBuf {
        self.place.path().join("secret")
    }

    pub(crate) fn client_port(&self, node: u16) -> u16 {
        self.first + 2 * (node - 1)
    }

    pub(crate) fn peer(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.client_port(node) + 1)
    }

    pub(crate) fn command(&self, node: u16) -> Command {
        let others = (1..=self.count).filter(|other| *other != node);
        let others: Vec<_> = others.map(|other| self.peer(other)).collect();
        let mut command = larder(&format!(
            "store -l 127.0.0.1 -p {} --node-name db{node} --peer-listen {} --reserve 0",
            self.client_port(node),
            self.peer(node),
        ));
        command.arg("-H").arg(self.place.path().join(format!("db{node}")));
        command.arg("--cluster-secret-file").arg(self.secret());
        if !others.is_empty() {
            command.arg("--join").arg(others.join(","));
        }
        if node == 1 {
            command.arg("--found").args(self.founds.split_whitespace());
        }
        command
    }

    pub(crate) fn open(&mut self, node: u16) {
        let running = Running::start(&mut self.command(node));
        running.line(Stream::Err, "listening on ");
        self.running.insert(node, running);
    }

    pub(crate) fn kill(&mut self, node: u16) {
        let mut running = self.running.remove(&node).unwrap();
        running.signal(Signal::SIGKILL);
        running.wait();
    }

    pub(crate) fn ctl(&self, line: &str) -> Ended {
        ended(&mut self.ctl_command(line))
    }

    pub(crate) fn ctl_command(&self, line: &str) -> Command {
        let nodes: Vec<_> = (1..=self.count).map(|node| self.peer(node)).collect();
        let mut command = larder(&format!("ctl store {line} --nodes {}", nodes.join(",")));
        command.arg("--cluster-secret-file").arg(self.secret());
        command
    }

    pub(crate) fn status(&self) -> Option<Value> {
        let told = self.ctl("status --json");
        told.status.success().then(|| serde_json::from_str(&told.out).unwrap())
    }

    /// Waits until there are so many nodes, and all groups are where they are to be.
    pub(crate) fn until_settled(&self, nodes: usize) -> Value {
        until("all groups are where they are to be", || {
            let status = self.status()?;
            let count = status["nodes"].as_array().unwrap().len();
            (count == nodes && status["holds"] == true).then_some(status)
        })
    }

    pub(crate) fn client(&self, node: u16) -> Client {
        Client::connect(self.client_port(node))
    }
}

pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        Self::connect_to(&format!("127.0.0.1:{port}"))
    }

    pub(crate) fn connect_to(address: &str) -> Self {
        let stream = until("it accepts", || TcpStream::connect(address).ok());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Another way to write to the same connection.
    pub(crate) fn sender(&self) -> TcpStream {
        self.0.get_ref().try_clone().unwrap()
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn ask(&mut self, text: &str) -> String {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
        self.line()
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) -> String {
        self.ask(&format!("set {key} 0 0 {}\r\n{value}\r\n", value.len()))
    }

    /// Sets it, however often that takes while nobody leads.
    pub(crate) fn set_at_last(&mut self, key: &str, value: &str) {
        until("it is stored", || (self.set(key, value) == "STORED").then_some(()));
    }

    /// Its value, however often it is asked for while nobody leads.
    pub(crate) fn get(&mut self, key: &str) -> Option<String> {
        let first = until("it is answered", || {
            let first = self.ask(&format!("get {key}\r\n"));
            (!first.starts_with("SERVER_ERROR not read")).then_some(first)
        });
        if first == "END" {
            return None;
        }
        assert!(first.starts_with("VALUE "), "{key}: {first}");
        let value = self.line();
        assert_eq!(self.line(), "END");
        Some(value)
    }
}
