//! A node killed with SIGKILL at random moments under load. Every write that a store acknowledged is
//! read back after each restart, no value is ever torn, and what was not acknowledged has either
//! happened whole or not at all. A cache in a file may lose what it was just writing, and nothing
//! else, and never has an older value than the last.
//!
//! `LARDER_SEED` repeats a run, `LARDER_ROUNDS` makes it longer than its 50 rounds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{PATIENCE, Running, Stream, larder};

/// Connections that write at once, each to keys of its own.
const WRITERS: u64 = 8;
/// Keys of each.
const KEYS: usize = 40;
/// Seconds after which some items expire: the test is over by then.
const TTL: u32 = 100_000;
/// Commands that a writer has sent before it reads the first answer.
const PIPELINE: usize = 6;

#[test]
fn every_acknowledged_write_survives_kill_9() {
    let lost = kill_again_and_again(&|place| {
        let mut command = larder("store -l 127.0.0.1 -p -1");
        command.arg("-H").arg(place.join("store"));
        command
    });
    assert_eq!(lost, 0);
}

#[test]
fn a_cache_in_a_file_survives_kill_9() {
    let lost = kill_again_and_again(&|place| {
        let mut command = larder("cache -l 127.0.0.1 -p -1 -m 8");
        command.arg("-e").arg(place.join("memory"));
        command
    });
    // A worker that is killed in the middle of a write leaves one torn.
    println!("{lost} items were lost");
    assert!(lost <= rounds() / 2);
}

fn rounds() -> u64 {
    from_environment("LARDER_ROUNDS").unwrap_or(50)
}

/// Kills the node of a command many times under load. How many items were lost.
fn kill_again_and_again(command: &dyn Fn(&Path) -> Command) -> u64 {
    let seed = from_environment("LARDER_SEED").unwrap_or_else(rand::random);
    let rounds = rounds();
    println!("LARDER_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let place = tempfile::tempdir().unwrap();
    let mut ledgers: Vec<_> = (0..WRITERS).map(Ledger::new).collect();
    let (mut acknowledged, mut lost) = (0, 0);
    for round in 0..rounds {
        if round % 10 == 9 {
            // A node that dies while it recovers must recover from that, too.
            let node = Running::start(&mut command(place.path()));
            std::thread::sleep(Duration::from_millis(random.random_range(0..300)));
            node.signal(Signal::SIGKILL);
        }
        let (node, address) = start(&mut command(place.path()));
        for ledger in &mut ledgers {
            lost += ledger.check(&address, round);
        }
        // From a node's first writes to thousands of them.
        let enough = 1 << random.random_range(0..13);
        let answers = AtomicU64::new(0);
        // All of them before the first writes: the node may be killed as soon as one has.
        let streams: Vec<_> =
            ledgers.iter().map(|_| TcpStream::connect(&address).unwrap()).collect();
        std::thread::scope(|scope| {
            for (ledger, stream) in ledgers.iter_mut().zip(streams) {
                let mut random = StdRng::seed_from_u64(random.random());
                let answers = &answers;
                scope.spawn(move || ledger.write(stream, &mut random, answers));
            }
            support::until("enough is acknowledged", || {
                (answers.load(Ordering::Relaxed) >= enough).then_some(())
            });
            node.signal(Signal::SIGKILL);
        });
        acknowledged += answers.into_inner();
    }
    let (_node, address) = start(&mut command(place.path()));
    for ledger in &mut ledgers {
        lost += ledger.check(&address, rounds);
    }
    assert!(acknowledged > rounds * 20, "only {acknowledged} writes were acknowledged");
    println!("{acknowledged} acknowledged writes over {rounds} kills");
    lost
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

fn start(command: &mut Command) -> (Running, String) {
    let node = Running::start(command);
    let said = node.line(Stream::Err, "listening on ");
    let address = said.rsplit(' ').next().unwrap().to_owned();
    (node, address)
}

/// What one writer knows of its keys.
struct Ledger {
    writer: u64,
    keys: Vec<Entry>,
    counter: u64,
    /// Increments sent and not yet answered.
    counting: u64,
    /// The number of the last value that was set.
    last_set: u64,
}

/// What there is of a key, or `None` for no item.
type State = Option<Version>;

/// A value that was set, and what was done to it since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    set: u64,
    /// How often something was appended.
    appended: u64,
    /// Whether it will expire, long after this test.
    expires: bool,
}

#[derive(Clone, Default)]
struct Entry {
    acknowledged: State,
    /// What was asked for since, in order, and not yet answered.
    asked: Vec<State>,
}

/// A command that was sent, and the number of its key.
enum Sent {
    Set(usize),
    Append(usize),
    Touch(usize),
    Delete(usize),
    Count,
}

impl Ledger {
    fn new(writer: u64) -> Self {
        let keys = vec![Entry::default(); KEYS];
        Self { writer, keys, counter: 0, counting: 0, last_set: 0 }
    }

    fn key(&self, number: usize) -> String {
        format!("w{}-{number}", self.writer)
    }

    fn counter_key(&self) -> String {
        format!("n{}", self.writer)
    }

    /// The value of a version, which tells a torn or foreign one at once.
    fn value(&self, number: usize, version: Version) -> Vec<u8> {
        let mut value = self.part(number, version.set, 0);
        for part in 1..=version.appended {
            value.extend(self.part(number, version.set, part));
        }
        value
    }

    /// What was set, or appended to that.
    fn part(&self, number: usize, set: u64, part: u64) -> Vec<u8> {
        let seed = set << 24 | part << 16 | self.writer << 8 | number as u64;
        let mut random = StdRng::seed_from_u64(seed);
        // Now and then it grows beyond what is kept in one piece.
        let len = match part {
            0 if random.random_ratio(1, 20) => 60_000,
            0 => random.random_range(0..900),
            _ => random.random_range(0..5000),
        };
        let mut value = format!("{} {set} {part} ", self.key(number)).into_bytes();
        value.extend((0..len).map(|_| random.random::<u8>()));
        value
    }

    /// Writes until the node is gone.
    fn write(&mut self, stream: TcpStream, random: &mut StdRng, answers: &AtomicU64) {
        let mut output = stream.try_clone().unwrap();
        let mut input = BufReader::new(stream);
        let counter = self.counter_key();
        if output.write_all(format!("add {counter} 0 0 1\r\n0\r\n").as_bytes()).is_err()
            || input.read_line(&mut String::new()).unwrap_or(0) == 0
        {
            return;
        }
        loop {
            let mut bytes = Vec::new();
            let sent: Vec<_> = (0..PIPELINE).map(|_| self.next(random, &mut bytes)).collect();
            if output.write_all(&bytes).is_err() {
                return;
            }
            for command in sent {
                let mut line = String::new();
                match input.read_line(&mut line) {
                    Ok(read) if read > 0 && line.ends_with("\r\n") => {}
                    _ => return,
                }
                self.acknowledge(&command, line.trim_end());
                answers.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn next(&mut self, random: &mut StdRng, bytes: &mut Vec<u8>) -> Sent {
        if random.random_ratio(1, 6) {
            self.counting += 1;
            let key = self.counter_key();
            bytes.extend(format!("incr {key} 1\r\n").bytes());
            return Sent::Count;
        }
        let number = random.random_range(0..KEYS);
        let key = self.key(number);
        let entry = &self.keys[number];
        let before = *entry.asked.last().unwrap_or(&entry.acknowledged);
        let appended = before.map_or(1, |version| version.appended + 1);
        let (sent, after) = match random.random_range(0..10) {
            0..2 => {
                bytes.extend(format!("delete {key}\r\n").bytes());
                (Sent::Delete(number), None)
            }
            2..4 => {
                let expires = random.random();
                let ttl = if expires { TTL } else { 0 };
                bytes.extend(format!("touch {key} {ttl}\r\n").bytes());
                (Sent::Touch(number), before.map(|version| Version { expires, ..version }))
            }
            4..6 if appended < 8 => {
                let set = before.map_or(0, |version| version.set);
                put(bytes, &format!("append {key} 0 0"), &self.part(number, set, appended));
                (Sent::Append(number), before.map(|version| Version { appended, ..version }))
            }
            _ => {
                self.last_set += 1;
                let expires = random.random();
                let ttl = if expires { TTL } else { 0 };
                let version = Version { set: self.last_set, appended: 0, expires };
                put(bytes, &format!("set {key} 0 {ttl}"), &self.value(number, version));
                (Sent::Set(number), Some(version))
            }
        };
        self.keys[number].asked.push(after);
        sent
    }

    fn acknowledge(&mut self, command: &Sent, line: &str) {
        match command {
            Sent::Set(number)
            | Sent::Append(number)
            | Sent::Touch(number)
            | Sent::Delete(number) => {
                let entry = &mut self.keys[*number];
                let expected = match (command, entry.acknowledged) {
                    (Sent::Append(_), None) => "NOT_STORED",
                    (Sent::Touch(_), Some(_)) => "TOUCHED",
                    (Sent::Delete(_), Some(_)) => "DELETED",
                    (Sent::Touch(_) | Sent::Delete(_), None) => "NOT_FOUND",
                    _ => "STORED",
                };
                assert_eq!(line, expected);
                entry.acknowledged = entry.asked.remove(0);
            }
            Sent::Count => {
                self.counter += 1;
                self.counting -= 1;
                assert_eq!(line, self.counter.to_string());
            }
        }
    }

    /// Reads everything back, and goes on from what is there. How many items are lost.
    fn check(&mut self, address: &str, round: u64) -> u64 {
        let mut lost = 0;
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        for number in 0..KEYS {
            let key = self.key(number);
            let found = get(&mut stream, &key);
            let entry = std::mem::take(&mut self.keys[number]);
            let possible = std::iter::once(entry.acknowledged).chain(entry.asked);
            let state = possible
                .clone()
                .find(|state| state.map(|it| (self.value(number, it), it.expires)) == found);
            if found.is_none() && state.is_none() {
                lost += 1;
                continue;
            }
            assert!(
                state.is_some(),
                "round {round}: {key} is {:?}, expected one of {:?}",
                found.map(|(value, expires)| {
                    let start = value[..value.len().min(24)].escape_ascii().to_string();
                    (start, value.len(), expires)
                }),
                possible.collect::<Vec<_>>(),
            );
            self.keys[number].acknowledged = state.unwrap();
        }
        let found = get(&mut stream, &self.counter_key());
        let possible = self.counter..=self.counter + self.counting;
        lost += u64::from(found.is_none() && !possible.contains(&0));
        let number = found.map(|(value, _)| String::from_utf8(value).unwrap().parse().unwrap());
        assert!(
            number.is_none_or(|number| possible.contains(&number)),
            "round {round}: counted {number:?}, not {possible:?}"
        );
        (self.counter, self.counting) = (number.unwrap_or(0), 0);
        lost
    }
}

fn put(bytes: &mut Vec<u8>, command: &str, value: &[u8]) {
    bytes.extend(format!("{command} {}\r\n", value.len()).bytes());
    bytes.extend(value);
    bytes.extend(b"\r\n");
}

/// The value of a key, and whether it will expire.
fn get(stream: &mut TcpStream, key: &str) -> Option<(Vec<u8>, bool)> {
    stream.write_all(format!("mg {key} v t\r\n").as_bytes()).unwrap();
    let mut input = BufReader::new(stream);
    let mut line = String::new();
    input.read_line(&mut line).unwrap();
    if line == "EN\r\n" {
        return None;
    }
    let (len, ttl) = line
        .trim_end()
        .strip_prefix("VA ")
        .and_then(|line| line.split_once(" t"))
        .unwrap_or_else(|| panic!("{line}"));
    let mut value = vec![0; len.parse().unwrap()];
    input.read_exact(&mut value).unwrap();
    let mut end = String::new();
    input.read_line(&mut end).unwrap();
    assert_eq!(end, "\r\n");
    Some((value, ttl != "-1"))
}
