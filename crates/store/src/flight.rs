//! The unfinished commands of one session, and the order they must keep.
//!
//! Reads go to the reading threads, everything else to the writer, which keeps order by itself within
//! each group.
//! What must not overtake is held back here:
//!
//! - behind a write of the same key, a read goes to the writer too;
//! - behind a read of the same key, anything waits until the read is done;
//! - a flush waits for all reads, and what comes after it waits behind it.
//!
//! Keys are told apart by hash: two that collide only wait for each other needlessly.

use std::collections::VecDeque;
use std::sync::Arc;

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
    /// A flush that waits for reads, and everything behind it.
    held: VecDeque<Command>,
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
    pub(crate) fn submit(self: &Arc<Self>, mut command: Command, ways: &Ways) {
        let lines = &mut *self.0.lock();
        if !lines.held.is_empty() || (command.is_flush() && lines.reading > 0) {
            lines.held.push_back(command);
            return;
        }
        match lines.keys.get_mut(&command.hash) {
            Some(Line::Reading(waiting)) => waiting.push_back(command),
            None if lines.flushes == 0 && command.reads_only() => {
                let hash = command.hash;
                command.flight = Some(Arc::clone(self));
                match ways.read(command) {
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
        lines.flushes == 0 && lines.held.is_empty() && !lines.keys.contains_key(&hash)
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

    /// Gives what waits for a read of this key that hangs, and what waits for all reads. The read
    /// itself stays where it is.
    pub(crate) fn abandon(&self, hash: u64) -> Vec<Command> {
        let lines = &mut *self.0.lock();
        let mut waiting = match lines.keys.get_mut(&hash) {
            Some(Line::Reading(waiting)) => std::mem::take(waiting),
            _ => VecDeque::new(),
        };
        waiting.append(&mut lines.held);
        waiting.into()
    }

    /// The writer is done with a command of this key, or with a flush.
    pub(crate) fn write_done(&self, command: &Command) {
        let lines = &mut *self.0.lock();
        if command.is_flush() {
            lines.flushes = lines.flushes.saturating_sub(1);
        } else {
            lines.leave(command.hash);
        }
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
        if lines.reading == 0 {
            for command in std::mem::take(&mut lines.held) {
                self.write(lines, command, ways);
            }
        }
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
