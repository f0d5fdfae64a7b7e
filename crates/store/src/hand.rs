//! What a thread has in hand, so that those who wait for it can be told when it hangs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use crate::command::Command;

/// What a thread has in hand, and how long it has been waiting for the engine.
///
/// The thread alone changes what it has begun, and works on it under a lock that others may share:
/// they can answer a command at any time until the thread takes it out. What it has not begun others
/// may take, while it waits.
#[derive(Debug)]
pub(crate) struct Hand {
    epoch: Instant,
    /// When the wait began that has not ended, in microseconds since the epoch and one, and in the
    /// lowest bit whether it is for background work; 0 if none.
    ///
    /// Who finds the same again finds the same wait, or one that began in the same microsecond.
    waiting: AtomicU64,
    begun: RwLock<Vec<Command>>,
    next: Mutex<VecDeque<Command>>,
}

/// A wait that was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    waiting: u64,
    /// How long it took by then.
    pub(crate) waited: Duration,
}

impl Sight {
    /// Whether it is for the engine's background work, with nothing of what was begun done yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.waiting & BEHIND != 0
    }
}

impl Hand {
    pub(crate) fn new() -> Self {
        let (begun, next) = (RwLock::default(), Mutex::default());
        Self { epoch: Instant::now(), waiting: AtomicU64::new(0), begun, next }
    }

    /// From now on the thread waits for a call of the engine, anew if it did before.
    pub(crate) fn wait(&self) {
        self.waiting.store(since(self.epoch.elapsed()), Ordering::Relaxed);
    }

    /// From now on the thread waits until the engine's background work is no longer behind, to be
    /// ended by [`start_over`](Self::start_over).
    pub(crate) fn wait_for_background(&self) {
        self.waiting.store(since(self.epoch.elapsed()) | BEHIND, Ordering::Relaxed);
    }

    /// The engine has answered.
    pub(crate) fn go_on(&self) {
        self.waiting.store(0, Ordering::Relaxed);
    }

    /// The engine's background work is no longer behind. What was given up meanwhile is taken out of
    /// the hand, in one with the end of the wait: it is not to be done.
    pub(crate) fn start_over(&self, given_up: &mut Vec<Command>) {
        let mut begun = self.begun.write();
        self.go_on();
        given_up.extend(begun.extract_if(.., |command| command.is_given_up()));
    }

    /// The wait at `now`, if it takes `limit` or longer.
    pub(crate) fn sight(&self, now: Instant, limit: Duration) -> Option<Sight> {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let since = (waiting >> 1).checked_sub(1)?;
        let since = self.epoch.checked_add(Duration::from_micros(since))?;
        let waited = now.saturating_duration_since(since);
        (waited >= limit).then_some(Sight { waiting, waited })
    }

    /// What is begun, if the wait that was seen goes on. While this is held, the thread begins
    /// nothing else.
    pub(crate) fn still(&self, sight: Sight) -> Option<RwLockReadGuard<'_, Vec<Command>>> {
        let begun = self.begun.read();
        (self.waiting.load(Ordering::Relaxed) == sight.waiting).then_some(begun)
    }

    /// So much of the time until `now` has not passed for this thread either.
    pub(crate) fn forgive(&self, time: Duration, now: Instant) {
        let old = self.waiting.load(Ordering::Relaxed);
        let Some(began) = (old >> 1).checked_sub(1) else { return };
        let now = now.saturating_duration_since(self.epoch);
        let new = since(Duration::from_micros(began).saturating_add(time).min(now)) | old & BEHIND;
        // If it fails, that wait has ended.
        let _ = self.waiting.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// What the thread has begun.
    pub(crate) fn begun(&self) -> RwLockReadGuard<'_, Vec<Command>> {
        self.begun.read()
    }

    /// Begins `commands`, behind what is begun.
    pub(crate) fn begin(&self, commands: &mut Vec<Command>) {
        self.begun.write().append(commands);
    }

    /// Takes `commands` in hand, to be begun one by one.
    pub(crate) fn fill(&self, commands: &mut Vec<Command>) {
        self.next.lock().extend(commands.drain(..));
    }

    /// Takes `command` in hand, to be begun next.
    pub(crate) fn put_next(&self, command: Command) {
        self.next.lock().push_front(command);
    }

    /// Begins the next command in hand, if there is one.
    pub(crate) fn begin_next(&self) -> bool {
        let next = self.next.lock().pop_front();
        let some = next.is_some();
        self.begun.write().extend(next);
        some
    }

    /// How much is not begun.
    #[cfg(test)]
    pub(crate) fn unbegun(&self) -> usize {
        self.next.lock().len()
    }

    /// Takes what is not begun out of the hand.
    pub(crate) fn take_next(&self) -> VecDeque<Command> {
        std::mem::take(&mut self.next.lock())
    }

    /// Takes the first `count` that are begun out of the hand, at most all: from now on only who has
    /// them can answer them.
    pub(crate) fn take(&self, count: usize, taken: &mut Vec<Command>) {
        let mut begun = self.begun.write();
        let count = count.min(begun.len());
        taken.extend(begun.drain(..count));
    }
}

fn since(elapsed: Duration) -> u64 {
    (u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX >> 2) + 1) << 1
}

const BEHIND: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_wait_that_was_seen_is_acted_upon() {
        let hand = Hand::new();
        let limit = Duration::from_secs(30);
        let late = || Instant::now() + limit;
        assert!(hand.sight(late(), limit).is_none());
        hand.wait();
        let sight = hand.sight(late(), limit).unwrap();
        assert!(!sight.is_behind() && hand.still(sight).is_some());
        hand.go_on();
        assert!(hand.still(sight).is_none());
        // Another wait is not that one, for whatever it is.
        std::thread::sleep(Duration::from_millis(1));
        hand.wait();
        assert!(hand.still(sight).is_none());
        let sight = hand.sight(late(), limit).unwrap();
        hand.wait_for_background();
        assert!(hand.still(sight).is_none());
        assert!(hand.sight(late(), limit).unwrap().is_behind());
    }

    #[test]
    fn time_that_is_forgiven_has_not_passed() {
        let hand = Hand::new();
        let limit = Duration::from_secs(30);
        let paused = Duration::from_hours(1);
        hand.forgive(paused, Instant::now());
        assert!(hand.sight(Instant::now() + paused, limit).is_none(), "it waits for nothing");
        hand.wait_for_background();
        let now = Instant::now() + paused + limit;
        hand.forgive(paused, now);
        let sight = hand.sight(now, limit).unwrap();
        assert!(sight.is_behind() && sight.waited < limit * 2, "{sight:?}");
        // It may have begun while some of that passed.
        hand.forgive(paused, now);
        assert!(hand.sight(now, limit).is_none());
        assert!(hand.sight(now + limit, limit).is_some());
    }
}
