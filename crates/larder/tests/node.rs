//! A node as a process: how it starts, whom it tells, and how it stops.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

mod support;

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use support::{
    PATIENCE, Running, Stray, Stream, ask, converse, ended, is_gone, larder, until, version,
};

/// What errors of the system end with, as memcached's do.
const SYSTEM: i32 = 71;

/// Starts a node on a free port of 127.0.0.1, and answers its address.
fn started(line: &str) -> (Running, String) {
    let running = Running::start(&mut larder(&format!("{line} -l 127.0.0.1 -p -1")));
    let said = running.line(Stream::Err, "listening on ");
    let address = said.rsplit(' ').next().unwrap().to_owned();
    (running, address)
}

#[test]
fn a_node_serves_until_it_is_told_to_stop() {
    let data = tempfile::tempdir().unwrap();
    for line in ["cache".to_owned(), format!("store -H {}", data.path().display())] {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let (mut node, address) = started(&line);
            assert!(version(&address).unwrap().starts_with("VERSION "));
            node.signal(signal);
            assert!(node.wait().success(), "{line} {signal}");
            assert!(version(&address).is_err());
            let log = node.all(Stream::Err);
            assert!(log.contains("stopped"), "{log}");
        }
    }
}

#[test]
fn options_reach_the_server() {
    let (_node, address) = started("cache -F -I 2k -m 100 -t 3 -c 50 -R 7 -o no_maxconns_fast");
    assert!(converse(&address, "flush_all\r\n").starts_with("CLIENT_ERROR"));
    let large = format!("set a 0 0 3000\r\n{}\r\n", "x".repeat(3000));
    assert!(converse(&address, &large).starts_with("SERVER_ERROR object too large"));
    let settings = converse(&address, "stats settings\r\n");
    for wanted in [
        "maxbytes 104857600",
        "maxconns 50",
        "num_threads 3",
        "reqs_per_event 7",
        "item_size_max 2048",
        "maxconns_fast no",
        "flush_enabled no",
    ] {
        assert!(settings.contains(&format!("STAT {wanted}\r\n")), "{wanted}: {settings}");
    }
}

#[test]
fn a_full_cache_without_evictions_says_so() {
    let (_node, address) = started("cache -M -m 2 -I 512k");
    let value = "x".repeat(400 << 10);
    let sets = (0..10).map(|key| format!("set {key} 0 0 {}\r\n{value}\r\n", value.len()));
    let answer = converse(&address, &sets.collect::<String>());
    assert!(answer.starts_with("STORED"), "{answer}");
    assert!(answer.contains("SERVER_ERROR out of memory"), "{answer}");
}

#[test]
fn a_cache_tells_what_its_memory_is_used_for() {
    let (_node, address) = started("cache -m 32");
    for (key, len) in [("short", 100), ("long", 100_000), ("again", 200), ("again", 300)] {
        let set = format!("set {key} 0 0 {len}\r\n{}\r\n", "x".repeat(len));
        assert_eq!(converse(&address, &set), "STORED\r\n");
    }
    let answer = converse(&address, "stats engine\r\n");
    let lines = answer.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
    let stats: HashMap<_, u64> = lines.map(|(name, is)| (name, is.parse().unwrap())).collect();
    let parts = stats.iter().filter(|(name, _)| name.starts_with("memory_"));
    let sum: u64 = parts.map(|(_, bytes)| bytes).sum();
    // The limit is one of them.
    assert_eq!((sum, stats["memory_limit"], stats["memory_over"]), (64 << 20, 32 << 20, 0));
    assert!(stats["memory_records"] > 400 && stats["memory_dead"] > 200, "{answer}");
    assert_eq!((stats["memory_pages"], stats["memory_passing"]), (98_304, 0));
    let logs = ["small:items", "medium:items", "large:items", "main:items"];
    assert_eq!(logs.map(|log| stats[log]).iter().sum::<u64>(), 3);
    assert_eq!((stats["sampled_items"], stats["shards"], stats["main:uses_3"]), (3, 4, 0));
    assert!(answer.ends_with("END\r\n"), "{answer}");
}

#[test]
fn clients_stop_a_node_only_when_they_may() {
    let (_node, address) = started("cache");
    assert!(converse(&address, "shutdown\r\n").starts_with("SERVER_ERROR: shutdown not enabled"));
    let (mut node, address) = started("cache -A");
    converse(&address, "shutdown\r\n");
    assert!(node.wait().success());
}

#[test]
fn idle_connections_are_closed() {
    let (_node, address) = started("cache -o idle_timeout=1");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn what_a_store_acknowledged_survives_its_end() {
    let data = tempfile::tempdir().unwrap();
    let line = format!("store -H {}", data.path().join("store").display());
    for (at, signal) in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGKILL].into_iter().enumerate()
    {
        let (mut node, address) = started(&line);
        for earlier in 0..at {
            let answer = converse(&address, &format!("get key-{earlier}\r\n"));
            assert_eq!(answer, format!("VALUE key-{earlier} 0 5\r\nvalue\r\nEND\r\n"));
        }
        let answer = converse(&address, &format!("set key-{at} 0 0 5\r\nvalue\r\n"));
        assert_eq!(answer, "STORED\r\n");
        node.signal(signal);
        node.wait();
    }
}

#[test]
fn a_store_is_open_once() {
    let data = tempfile::tempdir().unwrap();
    let line = format!("store -H {}", data.path().join("store").display());
    let (_node, _) = started(&line);
    let output = ended(&mut larder(&format!("{line} -l 127.0.0.1 -p -1")));
    assert_eq!(output.status.code(), Some(SYSTEM), "{output:?}");
    let said = output.err.lines().last().unwrap();
    assert!(said.starts_with("larder: store: --data-dir: "), "{said}");
}

#[test]
fn the_end_of_a_terminal_does_not_stop_a_node() {
    let (mut node, address) = started("cache");
    node.signal(Signal::SIGHUP);
    node.line(Stream::Err, "SIGHUP");
    assert!(version(&address).unwrap().starts_with("VERSION "));
    node.signal(Signal::SIGTERM);
    assert!(node.wait().success());
}

#[test]
fn a_node_ends_with_whoever_holds_its_input() {
    let mut command = larder("cache -l 127.0.0.1 -p -1 --stop-on-stdin-eof");
    let mut node = Running::start(command.stdin(Stdio::piped()));
    let input = node.input();
    node.line(Stream::Err, "listening on ");
    drop(input);
    assert!(node.wait().success());
}

#[test]
fn ports_are_told_to_who_asks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ports");
    let mut command = larder("cache -p -1 -U 0");
    let mut node = Running::start(command.env("MEMCACHED_PORT_FILENAME", &path));
    // It is renamed into place: where it is, it is whole.
    let text = until("the file of ports is there", || fs::read_to_string(&path).ok());
    let mut lines = text.lines();
    let port = lines.next().unwrap().strip_prefix("TCP INET: ").unwrap().to_owned();
    assert!(version(&format!("127.0.0.1:{port}")).unwrap().starts_with("VERSION "));
    // Where there is IPv6, localhost is there too, at the same port if that is free.
    if let Some(line) = lines.next() {
        let port = line.strip_prefix("TCP INET6: ").unwrap();
        assert!(version(&format!("[::1]:{port}")).unwrap().starts_with("VERSION "));
    }
    node.signal(Signal::SIGTERM);
    node.wait();
    assert!(!dir.path().join("ports.lck").exists());
}

#[test]
fn a_pid_file_is_there_while_the_node_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pid");
    let (mut node, _) = started(&format!("cache -P {}", path.display()));
    let text = until("the pid file is there", || fs::read_to_string(&path).ok());
    assert_eq!(text, format!("{}\n", node.id()));
    node.signal(Signal::SIGTERM);
    node.wait();
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_has_its_mask_and_goes_with_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let line = format!("cache -s {} -a 0750", path.display());
    // One that a killed node left there is replaced.
    let first = Running::start(&mut larder(&line));
    first.line(Stream::Err, "listening on ");
    drop(first);
    assert!(path.exists());

    let mut node = Running::start(&mut larder(&line));
    node.line(Stream::Err, "listening on ");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o750);
    assert!(ask(UnixStream::connect(&path).unwrap()).unwrap().starts_with("VERSION "));
    node.signal(Signal::SIGTERM);
    node.wait();
    assert!(!path.exists());
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    for line in [format!("cache -p {port}"), format!("cache -d -l 127.0.0.1 -p {port}")] {
        let output = ended(&mut larder(&line));
        let said = output.err;
        assert_eq!(output.status.code(), Some(SYSTEM), "{line}: {said}");
        let line = said.lines().last().unwrap();
        assert!(
            line.starts_with(&format!("larder: cache: cannot listen on 127.0.0.1:{port}")),
            "{said}"
        );
        assert!(line.contains("choose another -p"), "{said}");
        assert_eq!(output.out, "");
    }
}

#[test]
fn a_daemon_serves_when_its_starter_ends_and_has_no_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let (pid_file, ports) = (dir.path().join("pid"), dir.path().join("ports"));
    let mut command = larder("cache -d -l 127.0.0.1 -p -1 -P pid");
    command.current_dir(dir.path()).env("MEMCACHED_PORT_FILENAME", &ports);
    let output = ended(&mut command);
    assert!(output.status.success(), "{output:?}");
    // Nothing to wait for: it was ready before its starter ended.
    let process = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    let _stray = Stray(process);
    let text = fs::read_to_string(&ports).unwrap();
    let port = text.trim().strip_prefix("TCP INET: ").unwrap();
    assert!(version(&format!("127.0.0.1:{port}")).unwrap().starts_with("VERSION "));

    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let session = stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap();
    assert_eq!(session, process.to_string());
    for file in 0..3 {
        let target = fs::read_link(format!("/proc/{process}/fd/{file}")).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"));
    }
    assert_eq!(fs::read_link(format!("/proc/{process}/cwd")).unwrap().to_str(), Some("/"));

    kill(Pid::from_raw(process), Signal::SIGTERM).unwrap();
    until("the daemon is gone", || is_gone(process).then_some(()));
    assert!(!pid_file.exists());
}

#[test]
fn root_is_left_for_another_user() {
    if !geteuid().is_root() {
        eprintln!("not run: only root can change user");
        return;
    }
    let (node, address) = started("cache -u nobody");
    assert!(version(&address).unwrap().starts_with("VERSION "));
    let status = fs::read_to_string(format!("/proc/{}/status", node.id())).unwrap();
    for kind in ["Uid:", "Gid:"] {
        let line = status.lines().find(|line| line.starts_with(kind)).unwrap();
        assert!(line.split_whitespace().skip(1).all(|id| id != "0"), "{line}");
    }
    let output = ended(&mut larder("cache -p -1 -u no-such-user"));
    let said = output.err;
    assert!(!output.status.success());
    assert!(said.contains("-u no-such-user: there is no such user"), "{said}");
}

#[test]
fn what_is_ignored_is_logged_once() {
    let (mut node, _) = started("cache -f 1.5 -o hashpower=20,modern -U 0 -u root");
    node.signal(Signal::SIGTERM);
    assert!(node.wait().success());
    let log = node.all(Stream::Err);
    let count = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(count("-f: Larder has no slab classes; ignored"), 1, "{log}");
    assert_eq!(count("-o hashpower: "), 1, "{log}");
    assert_eq!(count("ignored"), 2, "{log}");
}

#[test]
fn connections_that_do_not_fit_the_machine_are_said() {
    let most: u64 = fs::read_to_string("/proc/sys/fs/nr_open").unwrap().trim().parse().unwrap();
    if most > 9_000_000 {
        eprintln!("not run: this machine opens more files than may be asked for");
        return;
    }
    let mut node = Running::start(&mut larder("cache -l 127.0.0.1 -p -1 -c 9000000"));
    let line = node.line(Stream::Err, "-c 9000000");
    assert!(line.contains("connections fit the limit of"), "{line}");
    node.line(Stream::Err, "listening on ");
    node.signal(Signal::SIGTERM);
    assert!(node.wait().success());
}
