//! What is due when.

use std::collections::BTreeMap;
use std::time::Duration;

use foca::{Incarnation, Timer};

use super::identity::Identity;

/// A delay that is the machine's everyday business. What is late by more stood still.
const EVERYDAY: Duration = Duration::from_millis(100);

/// Something to do at some time.
#[derive(Debug)]
pub(super) enum Task {
    Foca(Timer<Identity>),
    /// Tell those that are lost that this node is here.
    CallTheLost,
    /// Tell one that this node suspects that it does, in its life of that number.
    AskSuspect(Identity, Incarnation),
}

/// What is due when. If this process stood still, so did its time: whoever was asked something before
/// has as long to answer as if nothing had been, and is not taken for lost for this node's own fault.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// By when they are due in this node's own time, then in the order in which they were set.
    tasks: BTreeMap<(Duration, u64), Task>,
    set: u64,
    /// How long this node stood still.
    stood: Duration,
}

impl Timers {
    pub(super) fn set(&mut self, task: Task, due: Duration) {
        self.set += 1;
        self.tasks.insert((due.saturating_sub(self.stood), self.set), task);
    }

    /// When something is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.tasks.keys().next().map(|(due, _)| *due + self.stood)
    }

    /// To be told what time it is before anything is taken out.
    pub(super) fn notice_stall(&mut self, now: Duration) {
        let late = self.next_due().map_or(Duration::ZERO, |due| now.saturating_sub(due));
        if late > EVERYDAY {
            self.stood += late;
        }
    }

    /// The next task that is due.
    pub(super) fn take(&mut self, now: Duration) -> Option<Task> {
        let next = self.tasks.first_entry()?;
        (next.key().0 + self.stood <= now).then(|| next.remove())
    }

    /// Nothing is due any more.
    pub(super) fn clear(&mut self) {
        self.tasks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn due(timers: &mut Timers, now: Duration) -> usize {
        timers.notice_stall(now);
        std::iter::from_fn(|| timers.take(now)).count()
    }

    #[test]
    fn what_is_due_after_a_stall_comes_one_after_another_as_without() {
        let mut timers = Timers::default();
        for at in [1000, 1200, 1500] {
            timers.set(Task::CallTheLost, MS(at));
        }
        assert_eq!(due(&mut timers, MS(999)), 0);
        assert_eq!(due(&mut timers, MS(9000)), 1, "and the others are as far away as they were");
        assert_eq!(timers.next_due(), Some(MS(9200)));
        timers.set(Task::CallTheLost, MS(9300));
        assert_eq!(due(&mut timers, MS(9299)), 1, "the usual delay is no stall");
        assert_eq!(due(&mut timers, MS(9300)), 1);
        assert_eq!(due(&mut timers, MS(9500)), 1);
        assert_eq!(timers.next_due(), None);
    }
}
