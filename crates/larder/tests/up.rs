//! A local cluster: it runs, it says what happens, and it leaves nothing behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{
    Running, Stray, Stream, converse, ended, free_ports, is_gone, larder, until, version,
};

struct Up {
    running: Running,
    nodes: Vec<Node>,
    _data: tempfile::TempDir,
}

struct Node {
    name: String,
    address: String,
    process: i32,
    /// It must not outlive the test, even if that is what the test finds.
    _stray: Stray,
}

fn command(data: &Path, caches: u16, stores: u16) -> Command {
    let first = free_ports(2 * (caches + stores));
    let store = first + 2 * caches;
    larder(&format!(
        "up --nodes {caches} --cache-port {first} --cache-peer-port {} --store-nodes {stores} \
         --store-port {store} --peer-port {} --data {}",
        first + caches,
        store + stores,
        data.display()
    ))
}

impl Up {
    fn start(caches: u16) -> Self {
        Self::with(caches, 1)
    }

    fn with(caches: u16, stores: u16) -> Self {
        let data = tempfile::tempdir().unwrap();
        let running = Running::start(&mut command(data.path(), caches, stores));
        running.line(Stream::Out, &format!("{} nodes serve", caches + stores));
        let mut nodes = Vec::new();
        while nodes.len() < usize::from(caches + stores) {
            let line = running.line(Stream::Out, "process");
            let words: Vec<_> = line.split_whitespace().collect();
            let process = words[3].parse().unwrap();
            nodes.push(Node {
                name: words[0].to_owned(),
                address: words[1].to_owned(),
                process,
                _stray: Stray(process),
            });
        }
        Self { running, nodes, _data: data }
    }

    fn all_gone(&self) {
        for node in &self.nodes {
            until(&format!("{} is gone", node.name), || is_gone(node.process).then_some(()));
        }
    }
}

#[test]
fn every_node_answers_and_goes_when_asked() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut up = Up::with(3, 3);
        let names: Vec<_> = up.nodes.iter().map(|node| node.name.as_str()).collect();
        let expected = ["cache-1", "cache-2", "cache-3", "store-1", "store-2", "store-3"];
        assert_eq!(names, expected);
        for node in &up.nodes {
            assert!(version(&node.address).unwrap().starts_with("VERSION "), "{}", node.name);
        }
        up.running.signal(signal);
        assert!(up.running.wait().success());
        assert!(up.nodes.iter().all(|node| is_gone(node.process)));
    }
}

#[test]
fn what_it_says_to_try_works() {
    let up = Up::start(1);
    let line = up.running.line(Stream::Out, "try: ");
    let line = line.split_once("try: ").unwrap().1;
    let tried = ended(Command::new("sh").arg("-c").arg(line));
    // A terminal's idea of a line has no carriage return.
    assert_eq!(tried.out.replace('\r', ""), "STORED\nVALUE hello 0 5\nworld\nEND\n", "{tried:?}");
}

#[test]
fn any_cache_node_serves_every_key() {
    let up = Up::start(3);
    let caches = &up.nodes[..3];
    for cache in caches {
        until(&format!("{} tells of all", cache.name), || {
            let told = converse(&cache.address, "config get cluster\r\n");
            caches
                .iter()
                .all(|of| told.contains(&of.address.replace(':', "|127.0.0.1|")))
                .then_some(())
        });
    }
    for key in 0..60 {
        let by = &caches[key % 3].address;
        assert_eq!(converse(by, &format!("set k{key} 0 0 2\r\n{key:02}\r\n")), "STORED\r\n");
        for cache in caches {
            let wanted = format!("VALUE k{key} 0 2\r\n{key:02}\r\nEND\r\n");
            assert_eq!(
                converse(&cache.address, &format!("get k{key}\r\n")),
                wanted,
                "{}",
                cache.name
            );
        }
    }
}

#[test]
fn a_killed_node_is_named_and_can_be_started_by_hand() {
    let mut up = Up::start(2);
    let killed = &up.nodes[1];
    kill(Pid::from_raw(killed.process), Signal::SIGKILL).unwrap();
    let said = up.running.line(Stream::Out, "SIGKILL");
    assert!(said.contains("cache-2"), "{said}");
    assert!(said.contains(&format!("process {}", killed.process)), "{said}");
    assert!(version(&killed.address).is_err());
    for other in [0, 2] {
        assert!(version(&up.nodes[other].address).unwrap().starts_with("VERSION "));
    }

    let by_hand = said.split("To start it again: ").nth(1).unwrap();
    let mut again = Running::start(Command::new("sh").arg("-c").arg(format!("exec {by_hand}")));
    again.line(Stream::Err, "listening on ");
    assert!(version(&killed.address).unwrap().starts_with("VERSION "));

    // It is not the cluster's: it stays when that goes.
    up.running.signal(Signal::SIGTERM);
    assert!(up.running.wait().success());
    up.all_gone();
    assert!(version(&killed.address).unwrap().starts_with("VERSION "));
    again.signal(Signal::SIGTERM);
    assert!(again.wait().success());
}

#[test]
fn nodes_do_not_outlive_a_cluster_that_is_killed() {
    let mut up = Up::start(2);
    up.running.signal(Signal::SIGKILL);
    up.running.wait();
    up.all_gone();
}

/// Asked twice, it does not wait for its nodes' time to be up.
#[test]
fn a_node_that_does_not_stop_is_killed_and_named() {
    let mut up = Up::start(1);
    let stuck = up.nodes[0].process;
    kill(Pid::from_raw(stuck), Signal::SIGSTOP).unwrap();
    up.running.signal(Signal::SIGTERM);
    up.running.line(Stream::Out, "stopping");
    up.running.signal(Signal::SIGTERM);
    let said = up.running.line(Stream::Out, "was killed");
    assert!(said.contains(&format!("cache-1 (process {stuck}, ")), "{said}");
    assert!(!up.running.wait().success());
    up.all_gone();
}

#[test]
fn the_port_of_the_store_has_an_option_of_its_own() {
    let data = tempfile::tempdir().unwrap();
    let first = free_ports(4);
    let _taken = TcpListener::bind(("127.0.0.1", first + 1)).unwrap();
    let output = ended(&mut larder(&format!(
        "up --nodes 1 --cache-port {first} --store-nodes 1 --store-port {} --peer-port {} \
         --cache-peer-port {} --data {}",
        first + 1,
        first + 2,
        first + 3,
        data.path().display()
    )));
    assert!(output.err.contains("store-1"), "{output:?}");
    assert!(output.err.ends_with("choose another --store-port\n"), "{output:?}");
}

#[test]
fn a_port_in_use_stops_what_was_started() {
    let data = tempfile::tempdir().unwrap();
    let first = free_ports(6);
    let taken = TcpListener::bind(("127.0.0.1", first + 1)).unwrap();
    let output = ended(&mut larder(&format!(
        "up --nodes 2 --cache-port {first} --store-nodes 1 --store-port {} --peer-port {} \
         --cache-peer-port {} --data {}",
        first + 2,
        first + 3,
        first + 4,
        data.path().display()
    )));
    let said = output.err;
    assert!(!output.status.success());
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("cache-2"), "{said}");
    let wanted = format!(": exit code 71: cannot listen on 127.0.0.1:{}", first + 1);
    assert!(said.contains(&wanted), "{said}");
    assert!(said.ends_with("choose another --cache-port\n"), "{said}");
    drop(taken);
    // Each can be listened on again: no node holds it. A process that another test is just starting
    // has our own listener open until it runs its program.
    for port in first..first + 6 {
        until(&format!("nothing listens on {port}"), || {
            TcpListener::bind(("127.0.0.1", port)).ok()
        });
    }
}

#[test]
fn two_clusters_do_not_share_data() {
    let data = tempfile::tempdir().unwrap();
    let first = Running::start(&mut command(data.path(), 1, 1));
    first.line(Stream::Out, "nodes serve");
    let output = ended(&mut command(data.path(), 1, 1));
    let said = output.err;
    assert!(!output.status.success());
    assert!(said.contains("another larder up runs there"), "{said}");
}
