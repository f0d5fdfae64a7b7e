//! Random streams of commands, valid and malformed, said to two servers at once: what they answer
//! must be the same, but for what the protocol leaves open (`replies`) and the differences that
//! are known (`differences`).
//!
//! Streams are made from a seed. `LARDER_SEED` and `LARDER_ROUNDS` repeat or extend a run;
//! `LARDER_BESIDE=<path>` compares another memcached with the one the tests use, instead of Larder.

mod commands;
mod replies;

use std::collections::HashMap;
use std::env;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::conversations::{forget, show};
use crate::differences::{Difference, Differences, Exchange};
use crate::node::Node;
use crate::process::Memcached;
use crate::wire::{Silence, Wire};

use commands::{Command, Generator, Part};
use replies::{CasPairs, same};

/// How commands are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Each is answered before the next is sent.
    Lockstep,
    /// Many are sent before the first answer is read.
    Pipelined,
}

/// The two servers.
struct Pair {
    left: SocketAddr,
    right: SocketAddr,
    differences: Differences,
}

/// One connection to each of them, and another to ask whether it is only slow.
struct Connections {
    left: Wire,
    right: Wire,
    beside: [Wire; 2],
    cas: CasPairs,
    /// How many ends of answers were asked for.
    ended: u64,
    /// No more use: closed, or waiting for a value that will not come.
    spent: bool,
}

/// Where two servers parted.
struct Parting {
    sent: Vec<u8>,
    left: Vec<u8>,
    right: Vec<u8>,
}

impl Pair {
    /// Empties both servers and connects to them.
    fn connect(&self) -> Connections {
        forget(self.left);
        forget(self.right);
        Connections {
            left: Wire::connect(self.left),
            right: Wire::connect(self.right),
            beside: [self.left, self.right].map(Wire::connect),
            cas: CasPairs::default(),
            ended: 0,
            spent: false,
        }
    }

    /// Says a stream to both servers and finds where they part, for no known reason.
    fn say(&self, stream: &[Command], mode: Mode) -> Option<Parting> {
        let parting = self.follow(stream, mode, &mut Vec::new())?;
        // An answer to many commands cannot be laid to one of them; said singly, it can.
        let mut met = Vec::new();
        if mode == Mode::Pipelined {
            self.follow(stream, Mode::Lockstep, &mut met);
        }
        met.is_empty().then_some(parting)
    }

    /// Where the servers part on a stream; adds the known differences met on the way.
    fn follow(
        &self,
        stream: &[Command],
        mode: Mode,
        met: &mut Vec<&'static Difference>,
    ) -> Option<Parting> {
        let mut connections = self.connect();
        let batches: Vec<&[Command]> = match mode {
            Mode::Lockstep => stream.chunks(1).collect(),
            // Fetching and counting do not go together, see `differences`.
            Mode::Pipelined => stream.chunk_by(|a, b| a.batch == b.batch).collect(),
        };
        let mut last = None;
        for batch in batches {
            // What a batch tells can be used by the next.
            let number = batch.first().map(|command| command.batch);
            if number != last || number == Some(0) {
                connections.cas.settle();
            }
            last = number;
            let exchange = connections.exchange(batch);
            let key = match batch {
                [command] if command.batch == 0 => Some(command.key()),
                _ => None,
            };
            if connections.agree(&exchange, key.as_deref()) {
                if connections.spent || connections.left.is_closed() {
                    connections = self.connect();
                }
                continue;
            }
            let known = self.differences.explain(&exchange).filter(|_| mode == Mode::Lockstep);
            let Some(known) = known else {
                let Exchange { sent, left, right } = exchange;
                return Some(Parting { sent, left, right });
            };
            met.push(known);
            // What they hold may differ now as well.
            connections = self.connect();
        }
        None
    }

    /// The shortest stream found, by leaving out commands, that still parts them.
    fn minimise(&self, mut stream: Vec<Command>, mode: Mode) -> Vec<Command> {
        let deadline = Instant::now() + MINIMISED_WITHIN;
        let mut size = stream.len().div_ceil(2);
        while size > 0 {
            let mut start = 0;
            while start < stream.len() && Instant::now() < deadline {
                let mut shorter = stream.clone();
                shorter.drain(start..(start + size).min(stream.len()));
                if self.say(&shorter, mode).is_some() {
                    stream = shorter;
                } else {
                    start += size;
                }
            }
            size /= 2;
        }
        stream
    }

    /// A report of how they part on a stream.
    fn report(&self, seed: u64, mode: Mode, stream: Vec<Command>, parting: Parting) -> String {
        let stream = self.minimise(stream, mode);
        let parting = self.say(&stream, mode).unwrap_or(parting);
        let mut report = format!("{mode:?}, repeat with LARDER_SEED={seed} LARDER_ROUNDS=1\n");
        for command in &stream {
            writeln!(report, "    {}", show(&command.text())).unwrap();
        }
        let mut met = Vec::new();
        self.follow(&stream, Mode::Lockstep, &mut met);
        for Difference { what, why, .. } in met {
            writeln!(report, "  met   {what} ({why})").unwrap();
        }
        writeln!(report, "  sent  {}", show(&parting.sent)).unwrap();
        let same = parting.left.iter().zip(&parting.right).take_while(|(a, b)| a == b).count();
        let from = same.saturating_sub(SHOWN_BEFORE);
        writeln!(report, "  left  {}", show(&parting.left[from..])).unwrap();
        writeln!(report, "  right {}", show(&parting.right[from..])).unwrap();
        report
    }
}

impl Connections {
    /// Sends commands to both and reads what each answers.
    fn exchange(&mut self, batch: &[Command]) -> Exchange {
        let (mut sent_left, mut sent_right) = (Vec::new(), Vec::new());
        for part in batch.iter().flat_map(|command| &command.parts) {
            match part {
                Part::Bytes(bytes) => {
                    sent_left.extend_from_slice(bytes);
                    sent_right.extend_from_slice(bytes);
                }
                Part::Cas { key, back } => {
                    let none = (commands::LARGE_CAS, commands::LARGE_CAS);
                    let (left, right) = self.cas.recent(key, *back).unwrap_or(none);
                    write!(sent_left, "{left}").unwrap();
                    write!(sent_right, "{right}").unwrap();
                }
            }
        }
        let sent = sent_left.clone();
        for fill in 0.. {
            self.ended += 1;
            let end = format!("mg ~{} k\r\n", self.ended);
            sent_left.extend_from_slice(end.as_bytes());
            sent_right.extend_from_slice(end.as_bytes());
            self.left.send(&sent_left);
            self.right.send(&sent_right);
            let last = format!("EN k~{}\r\n", self.ended).into_bytes();
            // Only what is said alone may announce more than it brings: then both are silent.
            let patience = if batch.len() == 1 { FILLED_AFTER } else { PATIENCE };
            let mut left = await_line(&mut self.left, &last, patience);
            let mut right = await_line(&mut self.right, &last, patience);
            if left.is_none() || right.is_none() {
                self.let_slow_ones_answer();
                left = await_line(&mut self.left, &last, AT_ONCE);
                right = await_line(&mut self.right, &last, AT_ONCE);
            }
            if let (Some(left), Some(right)) = (left, right) {
                let (left, right) = (self.left.take(left), self.right.take(right));
                return Exchange { sent, left, right };
            }
            if fill == FILLS {
                // They want a great deal more, both of them or only one.
                self.spent = true;
                let left = left.map_or_else(Vec::new, |len| self.left.take(len));
                let right = right.map_or_else(Vec::new, |len| self.right.take(len));
                return Exchange { sent, left, right };
            }
            // A command announced more than it brought: bring more, to both.
            sent_left = FILLER.to_vec();
            sent_right = FILLER.to_vec();
        }
        unreachable!("the last fill returns")
    }

    /// Returns when each server has seen what it was sent: both have one thread, which comes to the
    /// other connection later.
    fn let_slow_ones_answer(&mut self) {
        for wire in &mut self.beside {
            wire.send(b"mn\r\n");
        }
        for wire in &mut self.beside {
            assert_eq!(wire.line().as_deref(), Ok(&b"MN\r\n"[..]));
        }
    }

    fn agree(&mut self, exchange: &Exchange, key: Option<&[u8]>) -> bool {
        same(&exchange.left, &exchange.right, key, &mut self.cas)
            && self.left.is_closed() == self.right.is_closed()
    }
}

/// The length of what came up to a last line, or up to the end of the connection; `None` if the
/// server waits for more.
fn await_line(wire: &mut Wire, last: &[u8], patience: Duration) -> Option<usize> {
    loop {
        if let Some(len) = replies::up_to(last, wire.received()) {
            return Some(len);
        }
        match wire.receive(patience) {
            Ok(()) => {}
            Err(Silence::TimedOut) => return None,
            Err(Silence::Closed) => return Some(wire.received().len()),
        }
    }
}

/// Compares two servers on `rounds` streams from `seed` on.
fn compare(pair: &Pair, seed: u64, rounds: u64) {
    let mut count = 0;
    let mut kinds: HashMap<&str, u64> = HashMap::new();
    for seed in seed..seed + rounds {
        let mode = if seed % 3 == 0 { Mode::Lockstep } else { Mode::Pipelined };
        let mut generator = Generator::new(seed, mode == Mode::Pipelined);
        let stream = generator.stream(&pair.differences);
        count += stream.len();
        for command in &stream {
            *kinds.entry(command.kind).or_default() += 1;
        }
        if let Some(parting) = pair.say(&stream, mode) {
            panic!("the servers part. {}", pair.report(seed, mode, stream, parting));
        }
    }
    let _ = writeln!(std::io::stderr(), "{count} commands compared, of {} kinds", kinds.len());
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Lines that are no command, to be taken for missing data.
const FILLER: &[u8] = b"\r\nfill\r\nfill\r\nfill\r\nfill\r\nfill\r\nfill\r\n";
const FILLS: u32 = 1;
const FILLED_AFTER: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(1);
/// For what has been sent.
const AT_ONCE: Duration = Duration::from_millis(1);
/// Bytes of the answers shown before they differ.
const SHOWN_BEFORE: usize = 60;
const MINIMISED_WITHIN: Duration = Duration::from_mins(1);

/// Room for all a sequence stores: which items are evicted is not compared.
const OPTIONS: [&str; 2] = ["-m", "1024"];

#[test]
fn cache_node_beside_memcached() {
    let left = Node::cache();
    let right = Memcached::start(&OPTIONS);
    let differences = Differences::of_larder(right.version());
    let pair = Pair { left: left.address(), right: right.address(), differences };
    compare(&pair, number("LARDER_SEED", 1), number("LARDER_ROUNDS", 600));
}

#[test]
fn two_memcacheds() {
    let Some(other) = env::var_os("LARDER_BESIDE") else {
        return;
    };
    let left = Memcached::start_program(&other, &OPTIONS);
    let right = Memcached::start(&OPTIONS);
    let differences = Differences::between_memcacheds(left.version(), right.version());
    let pair = Pair { left: left.address(), right: right.address(), differences };
    compare(&pair, number("LARDER_SEED", 1), number("LARDER_ROUNDS", 600));
}
