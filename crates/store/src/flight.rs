//! The unfinished commands of one session, and the order they must keep.
//!
//! Reads go to the reading threads, everything else to the writer, which keeps order by itself within
//! each group.
//! What must not overtake is held back here:
//!
//! - behind a write of the same key, a read goes to the writer too;
//! - behind a read of the same key, anything waits until the read is done;
//! - a flush waits for all reads, and what comes after it waits behind it;
//! - a range waits until all before it is done, and what comes after it until the range is.
//!
//! Keys are told apart by hash: two that collide only wait for each other needlessly.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use ahash::AHashMap;
use larder_protocol::Outcome;
use parking_lot::Mutex;

use crate::command::Command;
use crate::failure;
use crate::ways::Ways;

/// The unfinished commands of one session.
#[derive(Debug, Default)]
pub(crate) struct Flight(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    keys: AHashMap<u64, Line>,
    /// How many lines are reading.
    reading: usize,
    /// How many flushes the writer has to do, those of each group counted.
    flushes: usize,
    /// Who has a turn, during which nothing else is done.
    turn: Option<u64>,
    /// How many turns were asked for.
    turns: u64,
    /// When the last write was acknowledged that another node has done.
    written_elsewhere: Option<Instant>,
    /// A flush that waits for reads, a turn that waits for all, and everything behind them.
    held: VecDeque<Held>,
}

#[derive(Debug)]
enum Held {
    Command(Command),
    /// By number, and who waits for it.
    Turn(u64, Option<Waker>),
}

#[derive(Debug)]
enum Line {
    /// One read is with the reading threads, the others wait for it.
    Reading(VecDeque<Command>),
    /// So many are with the writer.
    Writing(usize),
}

impl Flight {
    /// Sends a command as soon as it may go.
    pub(crate) fn submit(self: &Arc<Self>, command: Command, ways: &Ways) {
        let lines = &mut *self.0.lock();
        if lines.held.is_empty() && lines.may_send(&command) {
            self.send(lines, command, ways);
        } else {
            lines.held.push_back(Held::Command(command));
        }
    }

    /// Asks for a turn behind all that was submitted before. Its number: it goes on until
    /// [`end_turn`](Self::end_turn).
    pub(crate) fn ask_turn(self: &Arc<Self>, ways: &Ways) -> u64 {
        let lines = &mut *self.0.lock();
        lines.turns += 1;
        let number = lines.turns;
        lines.held.push_back(Held::Turn(number, None));
        self.release(lines, ways);
        number
    }

    /// Whether a turn has come; `false` if it never will.
    pub(crate) fn poll_turn(&self, number: u64, context: &mut Context<'_>) -> Poll<bool> {
        let lines = &mut *self.0.lock();
        let waker = lines.held.iter_mut().find_map(|held| match held {
            Held::Turn(other, waker) if *other == number => Some(waker),
            _ => None,
        });
        match waker {
            Some(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(lines.turn == Some(number)),
        }
    }

    /// A turn is over, or is not wanted any more.
    pub(crate) fn end_turn(self: &Arc<Self>, number: u64, ways: &Ways) {
        let lines = &mut *self.0.lock();
        lines.turn.take_if(|turn| *turn == number);
        lines.held.retain(|held| !matches!(held, Held::Turn(other, _) if *other == number));
        self.release(lines, ways);
    }

    /// Sends what is held as far as it may go.
    fn release(self: &Arc<Self>, lines: &mut Lines, ways: &Ways) {
        while lines.may_go()
            && let Some(held) = lines.held.pop_front()
        {
            match held {
                Held::Command(mut command) => {
                    command.begin();
                    self.send(lines, command, ways);
                }
                Held::Turn(number, waker) => {
                    lines.turn = Some(number);
                    waker.into_iter().for_each(Waker::wake);
                }
            }
        }
    }

    fn send(self: &Arc<Self>, lines: &mut Lines, mut command: Command, ways: &Ways) {
        match lines.keys.get_mut(&command.hash) {
            Some(Line::Reading(waiting)) => waiting.push_back(command),
            None if lines.flushes == 0 && command.reads_only() => {
                let hash = command.hash;
                command.flight = Some(Arc::clone(self));
                match ways.read_stale(command, || lines.written_elsewhere) {
                    None => {
                        lines.keys.insert(hash, Line::Reading(VecDeque::new()));
                        lines.reading += 1;
                    }
                    Some(command) => refuse(command),
                }
            }
            _ => self.write(lines, command, ways),
        }
    }

    /// Whether nothing is unfinished that a read of the key of this hash has to wait for.
    pub(crate) fn is_clear(&self, hash: u64) -> bool {
        let lines = self.0.lock();
        let is_free = lines.flushes == 0 && lines.turn.is_none() && lines.held.is_empty();
        is_free && !lines.keys.contains_key(&hash)
    }

    /// When the last write was acknowledged that another node has done: the replica here may lack it.
    pub(crate) fn written_elsewhere(&self) -> Option<Instant> {
        self.0.lock().written_elsewhere
    }

    /// A write that another node has done is about to be acknowledged.
    pub(crate) fn write_elsewhere(&self) {
        self.0.lock().written_elsewhere = Some(Instant::now());
    }

    /// A read is done. Gives the next read of the same key, if that is next: it is to be done at
    /// once, by the same thread.
    pub(crate) fn read_done(self: &Arc<Self>, hash: u64, ways: &Ways) -> Option<Command> {
        let lines = &mut *self.0.lock();
        if let Some(Line::Reading(waiting)) = lines.keys.get_mut(&hash) {
            if waiting.front().is_some_and(Command::reads_only) {
                let mut next = waiting.pop_front()?;
                next.flight = Some(Arc::clone(self));
                return Some(next);
            }
            let waiting = std::mem::take(waiting);
            self.stop_reading(lines, hash, waiting, ways);
        }
        None
    }

    /// A read turned out to write: it goes to the writer, with what waits for it.
    pub(crate) fn read_writes(self: &Arc<Self>, command: Command, ways: &Ways) {
        let lines = &mut *self.0.lock();
        let hash = command.hash;
        if let Some(Line::Reading(waiting)) = lines.keys.get_mut(&hash) {
            let mut waiting = std::mem::take(waiting);
            waiting.push_front(command);
            self.stop_reading(lines, hash, waiting, ways);
        }
    }

    /// Gives what waits for a read of this key, if it is one that hangs, and what waits for all. What
    /// hangs itself stays where it is.
    pub(crate) fn abandon(&self, read: Option<u64>) -> Vec<Command> {
        let lines = &mut *self.0.lock();
        let mut waiting = match read.and_then(|hash| lines.keys.get_mut(&hash)) {
            Some(Line::Reading(waiting)) => std::mem::take(waiting),
            _ => VecDeque::new(),
        };
        for held in std::mem::take(&mut lines.held) {
            match held {
                Held::Command(command) => waiting.push_back(command),
                Held::Turn(_, waker) => waker.into_iter().for_each(Waker::wake),
            }
        }
        waiting.into()
    }

    /// The writer is done with a command of this key, or with a flush.
    pub(crate) fn write_done(self: &Arc<Self>, command: &Command, ways: &Ways) {
        let lines = &mut *self.0.lock();
        if command.is_flush() {
            lines.flushes = lines.flushes.saturating_sub(1);
        } else {
            lines.leave(command.hash);
        }
        self.release(lines, ways);
    }

    fn stop_reading(
        self: &Arc<Self>,
        lines: &mut Lines,
        hash: u64,
        waiting: VecDeque<Command>,
        ways: &Ways,
    ) {
        lines.keys.remove(&hash);
        lines.reading = lines.reading.saturating_sub(1);
        for command in waiting {
            self.write(lines, command, ways);
        }
        self.release(lines, ways);
    }

    fn write(self: &Arc<Self>, lines: &mut Lines, command: Command, ways: &Ways) {
        if command.is_flush() {
            for part in command.split(ways.groups()) {
                self.write_one(lines, part, ways);
            }
        } else {
            self.write_one(lines, command, ways);
        }
    }

    fn write_one(self: &Arc<Self>, lines: &mut Lines, mut command: Command, ways: &Ways) {
        let (is_flush, hash) = (command.is_flush(), command.hash);
        command.flight = Some(Arc::clone(self));
        match ways.write(command) {
            None if is_flush => lines.flushes += 1,
            None => lines.enter(hash),
            Some(command) => refuse(command),
        }
    }
}

impl Lines {
    /// Whether the first that is held may go.
    fn may_go(&self) -> bool {
        match self.held.front() {
            None => false,
            Some(Held::Command(command)) => self.may_send(command),
            Some(Held::Turn(..)) => {
                self.turn.is_none() && self.keys.is_empty() && self.flushes == 0
            }
        }
    }

    fn may_send(&self, command: &Command) -> bool {
        self.turn.is_none() && (!command.is_flush() || self.reading == 0)
    }

    fn enter(&mut self, hash: u64) {
        if let Line::Writing(count) = self.keys.entry(hash).or_insert(Line::Writing(0)) {
            *count += 1;
        }
    }

    fn leave(&mut self, hash: u64) {
        if let Some(Line::Writing(count)) = self.keys.get_mut(&hash) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.keys.remove(&hash);
            }
        }
    }
}

fn refuse(command: Command) {
    if let Some(waker) = command.answer(Outcome::Failed(failure::CLOSED)) {
        waker.wake();
    }
}
