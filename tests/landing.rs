//! Large values, whose front is put where it will stay as it comes: whatever the pieces it comes in.

use std::time::Instant;

use larder_cache::Options;
use larder_server::Settings;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::filler::Filler;
use crate::node::Node;
use crate::wire::{PATIENCE, Wire};

/// A node with 16 MiB, of which connections may hold 4.
fn node() -> Node {
    let settings = Settings { workers: 1, buffer_memory: 4 << 20, ..Settings::default() };
    Node::cache_of(Options { memory_limit: 16 << 20, ..Options::default() }, settings)
}

/// Waits for as many bytes as are expected, and compares them.
fn expect(client: &mut Wire, expected: &[u8]) {
    while client.received().len() < expected.len() {
        client.receive(PATIENCE).unwrap();
    }
    let received = client.take(expected.len());
    let start = received.get(..200).unwrap_or(&received).escape_ascii();
    assert!(received == expected, "{start}");
}

fn value_of(len: usize) -> Vec<u8> {
    let mut value = Vec::new();
    Filler::default().put(len as u64, len, &mut value);
    value
}

/// A number of `stats`.
fn stat(client: &mut Wire, command: &str, name: &str) -> u64 {
    client.send(format!("{command}\r\n").as_bytes());
    while !client.received().ends_with(b"END\r\n") {
        client.receive(PATIENCE).unwrap();
    }
    let stats = String::from_utf8(client.take(client.received().len())).unwrap();
    let mut stats = stats.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
    stats.find(|(stat, _)| *stat == name).unwrap().1.parse().unwrap()
}

#[test]
fn a_value_that_comes_in_pieces_is_stored_as_it_was_sent() {
    let node = node();
    let mut client = Wire::connect(node.address());
    let mut rng = StdRng::seed_from_u64(1);
    for len in [65_535, 65_536, 65_537, 100_000, 131_072, 300_001, 1_000_000] {
        let value = value_of(len);
        for (line, reply) in [
            (format!("set k 5 0 {len}"), "STORED"),
            (format!("add k 0 0 {len}"), "NOT_STORED"),
            (format!("replace k 5 0 {len}"), "STORED"),
            (format!("cas k 0 0 {len} 1"), "EXISTS"),
            (format!("ms aw== {len} b F5 T0"), "HD"),
            (format!("append absent 0 0 {len}"), "NOT_STORED"),
        ] {
            let mut request = line.into_bytes();
            request.extend_from_slice(b"\r\n");
            request.extend_from_slice(&value);
            // What follows at once is a command of its own.
            request.extend_from_slice(b"\r\nmn\r\nget k\r\n");
            let mut rest = request.as_slice();
            while !rest.is_empty() {
                let most = if rng.random_bool(0.5) { 100 } else { 50_000 };
                let (piece, later) = rest.split_at(rng.random_range(1..=most).min(rest.len()));
                client.send(piece);
                rest = later;
            }
            let before = format!("{reply}\r\nMN\r\nVALUE k 5 {len}\r\n");
            expect(&mut client, &[before.as_bytes(), &value, b"\r\nEND\r\n"].concat());
        }
    }
}

#[test]
fn a_value_longer_than_announced_ends_the_connection_and_is_not_stored() {
    let node = node();
    let mut client = Wire::connect(node.address());
    client.send(&[b"set k 0 0 100000\r\n", &value_of(100_002)[..], b"\r\n"].concat());
    expect(&mut client, b"CLIENT_ERROR bad data chunk\r\n");
    while client.receive(PATIENCE).is_ok() {}
    assert!(client.is_closed());
    let mut other = Wire::connect(node.address());
    other.send(b"get k\r\n");
    expect(&mut other, b"END\r\n");
}

#[test]
fn what_has_landed_counts_among_what_connections_hold() {
    let node = node();
    let value = value_of(1_000_000);
    let request = [b"set k 0 0 1000000\r\n", &value[..], b"\r\n"].concat();
    let (most, rest) = request.split_at(900_000);
    let mut halves: Vec<_> = (0..4).map(|_| Wire::connect(node.address())).collect();
    for half in &mut halves {
        half.send(most);
    }
    let mut other = Wire::connect(node.address());
    let pages = 1_000_000 / 4096 * 4096;
    let deadline = Instant::now() + PATIENCE;
    while stat(&mut other, "stats engine", "memory_passing") < 4 * pages {
        assert!(Instant::now() < deadline, "all four land");
    }
    assert_eq!(stat(&mut other, "stats", "read_buf_bytes"), 4 * pages);
    // There is no room for a fifth, and it is still known where it ends.
    other.send(&request);
    other.send(b"mn\r\n");
    expect(&mut other, b"SERVER_ERROR out of memory storing object\r\nMN\r\n");
    for half in &mut halves {
        half.send(rest);
        expect(half, b"STORED\r\n");
    }
    assert_eq!(stat(&mut other, "stats", "read_buf_bytes"), 0);
    other.send(b"get k\r\n");
    expect(&mut other, &[b"VALUE k 0 1000000\r\n", &value[..], b"\r\nEND\r\n"].concat());
}

#[test]
fn a_value_for_which_memory_runs_out_on_its_way_is_refused() {
    let options = Options { memory_limit: 16 << 20, evict: false, ..Options::default() };
    let settings = Settings { workers: 1, ..Settings::default() };
    let node = Node::cache_of(options, settings);
    let mut client = Wire::connect(node.address());
    let value = value_of(1_000_000);
    let set = |key: &str, len: usize| {
        let line = format!("set {key} 0 0 {len}\r\n");
        [line.as_bytes(), value.get(..len).unwrap(), b"\r\n"].concat()
    };
    client.send(&set("k", 10));
    expect(&mut client, b"STORED\r\n");
    let mut stored = 0;
    loop {
        client.send(&set(&format!("other-{stored}"), 100_000));
        while !client.received().ends_with(b"\r\n") {
            client.receive(PATIENCE).unwrap();
        }
        if client.take(client.received().len()) != b"STORED\r\n" {
            break;
        }
        stored += 1;
    }
    assert!(stored > 100);
    // There is room for a part, and not for all.
    for number in 0..5 {
        client.send(format!("delete other-{number}\r\n").as_bytes());
        expect(&mut client, b"DELETED\r\n");
    }
    client.send(&[&set("k", 1_000_000)[..], b"mn\r\nget k\r\n"].concat());
    expect(&mut client, b"SERVER_ERROR out of memory storing object\r\nMN\r\nEND\r\n");
    client.send(&set("k", 400_000));
    expect(&mut client, b"STORED\r\n");
    client.send(b"get k\r\n");
    expect(&mut client, &[b"VALUE k 0 400000\r\n", &value[..400_000], b"\r\nEND\r\n"].concat());
}
