//! Whether a node is worth asking.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What is known of a node's health from the requests that it was sent.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Whether there is anything in `trouble`: most requests look no further.
    troubled: AtomicBool,
    trouble: Mutex<Trouble>,
}

#[derive(Debug, Default)]
struct Trouble {
    /// How many requests in a row were not answered in time.
    timeouts: u32,
    down: Option<Down>,
}

#[derive(Debug)]
struct Down {
    backoff: Duration,
    /// When it may be tried again.
    retry_at: Instant,
}

/// What to do about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It may be asked.
    Up,
    /// It is to be skipped.
    Down,
    /// It is to be skipped, and whoever is told this is to try it.
    Due,
}

impl Health {
    /// Whether the node may be asked at `now`. A try that is due takes up to `patience`.
    pub(crate) fn standing(&self, now: Instant, patience: Duration) -> Standing {
        if !self.troubled.load(Ordering::Acquire) {
            return Standing::Up;
        }
        match &mut self.trouble().down {
            None => Standing::Up,
            Some(down) if now < down.retry_at => Standing::Down,
            Some(down) => {
                // For the others, and in case this one never says how it went.
                down.retry_at = now + patience + down.backoff;
                Standing::Due
            }
        }
    }

    /// Whether the node is skipped.
    pub(crate) fn is_down(&self) -> bool {
        self.troubled.load(Ordering::Acquire) && self.trouble().down.is_some()
    }

    /// It has answered.
    pub(crate) fn answered(&self) {
        if self.troubled.load(Ordering::Acquire) {
            *self.trouble() = Trouble::default();
            self.troubled.store(false, Ordering::Release);
        }
    }

    /// It has not answered a request in time; tells whether it is to be skipped from now on.
    pub(crate) fn timed_out(&self, now: Instant) -> bool {
        let mut trouble = self.trouble();
        trouble.timeouts = trouble.timeouts.saturating_add(1);
        self.troubled.store(true, Ordering::Release);
        let enough = trouble.timeouts >= MAX_TIMEOUTS;
        drop(trouble);
        if enough {
            self.unreachable(now);
        }
        enough
    }

    /// There is no connection to it.
    pub(crate) fn unreachable(&self, now: Instant) {
        let mut trouble = self.trouble();
        // Many are told at once when a connection fails.
        trouble.down.get_or_insert(Down { backoff: MIN_BACKOFF, retry_at: now + MIN_BACKOFF });
        self.troubled.store(true, Ordering::Release);
    }

    /// It was tried, and there is no connection to it yet.
    pub(crate) fn still_unreachable(&self, now: Instant) {
        if let Some(down) = &mut self.trouble().down {
            down.backoff = (down.backoff * 2).min(MAX_BACKOFF);
            // Clients that lost it at once do not all come back at once.
            down.retry_at = now + down.backoff.mul_f64(rand::random_range(0.5..1.0));
        }
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So many requests in a row without an answer are no accident.
const MAX_TIMEOUTS: u32 = 3;

/// The least and the longest time between two tries of a node that is down.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(500);

    #[test]
    fn an_unreachable_node_is_skipped_and_tried_by_one_at_a_time() {
        let health = Health::default();
        let start = Instant::now();
        assert_eq!(health.standing(start, PATIENCE), Standing::Up);
        for _ in 0..100 {
            health.unreachable(start);
        }
        assert_eq!(health.standing(start, PATIENCE), Standing::Down);
        let due = start + MIN_BACKOFF;
        assert_eq!(health.standing(due, PATIENCE), Standing::Due);
        assert_eq!(health.standing(due, PATIENCE), Standing::Down);
        // Nobody says how the try went.
        assert_eq!(health.standing(due + PATIENCE + MIN_BACKOFF, PATIENCE), Standing::Due);
        health.still_unreachable(due);
        assert_eq!(health.standing(due + MIN_BACKOFF / 2, PATIENCE), Standing::Down);
        assert_eq!(health.standing(due + 2 * MIN_BACKOFF, PATIENCE), Standing::Due);
        health.answered();
        assert_eq!(health.standing(start, PATIENCE), Standing::Up);
    }

    #[test]
    fn tries_are_never_further_apart_than_the_longest_backoff() {
        let health = Health::default();
        let now = Instant::now();
        health.unreachable(now);
        for _ in 0..100 {
            health.still_unreachable(now);
        }
        assert_eq!(health.standing(now + MAX_BACKOFF / 2 - MIN_BACKOFF, PATIENCE), Standing::Down);
        assert_eq!(health.standing(now + MAX_BACKOFF, PATIENCE), Standing::Due);
    }

    #[test]
    fn timeouts_count_in_a_row() {
        let health = Health::default();
        let now = Instant::now();
        for _ in 0..3 {
            assert!(!health.timed_out(now) && !health.timed_out(now));
            assert_eq!(health.standing(now, PATIENCE), Standing::Up);
            health.answered();
        }
        assert!(!health.timed_out(now) && !health.timed_out(now) && health.timed_out(now));
        assert_eq!(health.standing(now, PATIENCE), Standing::Down);
    }
}
