//! What a thread has in hand, so that those who wait for it can be told when it hangs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use larder_protocol::Outcome;
use parking_lot::{RwLock, RwLockReadGuard};

use crate::command::Command;

/// What a thread has in hand, and how long it has been waiting for the engine.
///
/// The thread alone changes what is in it, and works on it under a lock that others may share: they
/// can answer a command at any time until the thread takes it out.
#[derive(Debug)]
pub(crate) struct Hand {
    epoch: Instant,
    /// When the call began that has not returned, in microseconds since the epoch and one; 0 if none.
    since: AtomicU64,
    commands: RwLock<Vec<Command>>,
}

impl Hand {
    pub(crate) fn new() -> Self {
        Self { epoch: Instant::now(), since: AtomicU64::new(0), commands: RwLock::default() }
    }

    /// From now on the thread waits for the engine, anew if it did before.
    pub(crate) fn wait(&self) {
        let elapsed = self.epoch.elapsed().as_micros();
        self.since.store(u64::try_from(elapsed).unwrap_or(u64::MAX - 1) + 1, Ordering::Relaxed);
    }

    /// The engine has answered.
    pub(crate) fn go_on(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    /// How long the thread has been waiting at `now`.
    pub(crate) fn waited(&self, now: Instant) -> Option<Duration> {
        let since = self.since.load(Ordering::Relaxed).checked_sub(1)?;
        let since = self.epoch.checked_add(Duration::from_micros(since))?;
        Some(now.saturating_duration_since(since))
    }

    pub(crate) fn commands(&self) -> RwLockReadGuard<'_, Vec<Command>> {
        self.commands.read()
    }

    /// Takes `commands` in hand, behind what is there.
    pub(crate) fn fill(&self, commands: &mut Vec<Command>) {
        self.commands.write().append(commands);
    }

    /// Takes `command` in hand before what is there.
    pub(crate) fn put_first(&self, command: Command) {
        self.commands.write().insert(0, command);
    }

    /// Takes the first command out of the hand: from now on only who has it can answer it.
    pub(crate) fn take_first(&self) -> Option<Command> {
        let mut commands = self.commands.write();
        if commands.is_empty() { None } else { Some(commands.remove(0)) }
    }

    /// Takes the first `count` commands out of the hand, at most all.
    pub(crate) fn take(&self, count: usize, taken: &mut Vec<Command>) {
        let mut commands = self.commands.write();
        let count = count.min(commands.len());
        taken.extend(commands.drain(..count));
    }

    /// Answers all commands, which stay in hand. What the thread makes of them reaches nobody.
    pub(crate) fn give_up(&self, why: &'static str, wakers: &mut Vec<Waker>) -> u64 {
        let commands = self.commands.read();
        let mut answered = 0;
        for command in commands.iter().filter(|command| !command.is_answered()) {
            wakers.extend(command.answer_early(Outcome::Failed(why)));
            answered += 1;
        }
        answered
    }
}
