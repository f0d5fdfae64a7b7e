//! The ring against libmemcached itself: every key must have the same owner.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use larder_client::Server;
use larder_ring::Ring;
use tempfile::TempDir;

const KEYS: usize = 10_000;

#[test]
fn every_key_has_the_owner_that_libmemcached_gives_it() {
    let folder = TempDir::new().unwrap();
    let oracle = build_oracle(folder.path());
    let keys: Vec<String> = (0..KEYS).map(key).collect();
    for servers in node_sets() {
        let expected = ask_oracle(&oracle, &servers, &keys);
        let names: Vec<_> = servers.iter().map(|s| (s.ring_name(), s.weight)).collect();
        let ring = Ring::new(names.iter().map(|(name, weight)| (name.as_str(), *weight)));
        for (key, expected) in keys.iter().zip(expected) {
            assert_eq!(ring.owner(key.as_bytes()), Some(expected), "{key:?} on {servers:?}");
        }
    }
}

fn node_sets() -> Vec<Vec<Server>> {
    let server = |host: &str, port, weight| Server { host: host.to_owned(), port, weight };
    let mut sets = vec![
        vec![server("127.0.0.1", 11211, 1)],
        // As `larder up` has them: one at the port that ring names leave out.
        (11211..11214).map(|port| server("127.0.0.1", port, 1)).collect(),
        (1..=3).map(|n| server(&format!("10.0.0.{n}"), 11211, n)).collect(),
        (1..=5).map(|n| server(&format!("cache-{n}.example.com"), 11212, n * n)).collect(),
        vec![server("heavy", 11211, 1000), server("light", 11211, 1), server("mid", 7, 70)],
        vec![server("::1", 11211, 1), server("::1", 11212, 2)],
    ];
    // With some of these numbers of equal nodes, single precision rounds a node's points down.
    sets.extend([2, 3, 6, 7, 10, 13, 25, 47, 61, 100].map(|count| {
        (0..count).map(|n| server(&format!("10.1.0.{n}"), 11211 + n % 2, 1)).collect()
    }));
    sets.push((0..32).map(|n| server(&format!("10.2.0.{n}"), 11300, 1 + n * 7 % 13)).collect());
    sets
}

/// Keys of several shapes: short and long ones, bytes beyond ASCII.
fn key(n: usize) -> String {
    match n % 4 {
        0 => n.to_string(),
        1 => format!("user:{n}:profile"),
        2 => format!("{n}:{}", "x".repeat(n % 200)),
        _ => format!("ключ-{n}"),
    }
}

fn build_oracle(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("ketama/oracle.c");
    let program = folder.join("oracle");
    let built = Command::new("cc")
        .args(["-O1", "-o"])
        .args([&program, &source])
        .arg("-lmemcached")
        .output()
        .unwrap_or_else(|error| panic!("cannot run cc: {error}. {NEEDS}"));
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "cc failed. {NEEDS}\n{said}");
    program
}

const NEEDS: &str = "This test compares with libmemcached: install Debian's packages `gcc`, \
                     `libc6-dev` and `libmemcached-dev`";

fn ask_oracle(program: &Path, servers: &[Server], keys: &[String]) -> Vec<usize> {
    let mut questions = String::new();
    for Server { host, port, weight } in servers {
        writeln!(questions, "server {host} {port} {weight}").unwrap();
    }
    for key in keys {
        writeln!(questions, "key {key}").unwrap();
    }
    let mut oracle =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = oracle.stdin.take().unwrap();
    // Beside reading, or both sides could wait for the other to empty a pipe.
    let asking = thread::spawn(move || stdin.write_all(questions.as_bytes()).unwrap());
    let answered = oracle.wait_with_output().unwrap();
    asking.join().unwrap();
    assert!(answered.status.success(), "the oracle failed: {}", answered.status);
    let owners = String::from_utf8(answered.stdout).unwrap();
    let owners: Vec<usize> = owners.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(owners.len(), keys.len());
    owners
}
