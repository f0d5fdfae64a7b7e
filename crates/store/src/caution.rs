//! Whether the time that is told may be acted upon for good.

use std::path::Path;
use std::time::{Duration, Instant};

use larder_protocol::Seconds;
use tracing::warn;

use crate::command::SLACK;

/// Whether the time that is told may be acted upon for good: a machine that starts with a wrong
/// clock must not have what is alive taken for dead.
///
/// A time much later than the one the store was last in use at is either right, after a long rest,
/// or wrong, and nobody can tell. So it is not acted upon for a while, in which the clock can be set.
/// And at no time is it acted upon beyond the machine's own clock, which may have been set since the
/// node took its time from it.
#[derive(Debug)]
pub(crate) struct Caution {
    /// When the store was last in use, as it was noted.
    noted: Option<Seconds>,
    stage: Stage,
    /// Whether the log was told that the node's clock is ahead of the machine's.
    told_ahead: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No time was told yet.
    Untold,
    /// Since this moment a time is told that may be wrong.
    Doubting(Instant),
    /// It is right as far as can be known.
    Trusting,
}

impl Caution {
    /// For a store that has records, and was last in use at `noted`.
    pub(crate) fn new(noted: Option<Seconds>) -> Self {
        Self { noted, stage: Stage::Untold, told_ahead: false }
    }

    /// For a store that is new: it has nothing to lose.
    pub(crate) fn none() -> Self {
        Self { stage: Stage::Trusting, ..Self::new(None) }
    }

    /// What time it is at least; `None` while that is not known. `told` is what the callers say, 0
    /// for nothing yet, `machine` is what the machine's clock says now, and `at` is when that is.
    pub(crate) fn surely(
        &mut self,
        told: Seconds,
        machine: Seconds,
        at: Instant,
        path: &Path,
    ) -> Option<Seconds> {
        if told == 0 {
            return None;
        }
        self.stage = match self.stage {
            Stage::Untold if self.is_plausible(told) => Stage::Trusting,
            Stage::Untold => {
                let path = path.display();
                let since = match self.noted {
                    Some(noted) => format!("{} minutes after", told.saturating_sub(noted) / 60),
                    None => "and it is not known".to_owned(),
                };
                warn!(
                    "{path}: it is {told}, {since} when this store was last in use: expired items \
                     are hidden, but kept on disk for an hour, so that a wrong clock can be set \
                     and the node restarted"
                );
                Stage::Doubting(at)
            }
            Stage::Doubting(since) if at.saturating_duration_since(since) >= DOUBT => {
                Stage::Trusting
            }
            stage => stage,
        };
        if self.stage != Stage::Trusting {
            return None;
        }
        let ahead = told.saturating_sub(machine);
        if ahead > SLACK && !self.told_ahead {
            self.told_ahead = true;
            warn!(
                "{}: the node's clock is {ahead} seconds ahead of the machine's, which was set \
                 since: items expire too early, but are kept on disk; restart the node",
                path.display()
            );
        }
        Some(told.min(machine))
    }

    fn is_plausible(&self, told: Seconds) -> bool {
        self.noted.is_some_and(|noted| told <= noted.saturating_add(REST))
    }
}

/// A store that has rested no longer than this, in seconds, is trusted at once. A clock that is wrong
/// by its time zone is wrong by an hour or more, to which the rest adds.
const REST: Seconds = 3600;
/// How long a time is doubted.
const DOUBT: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Seconds = 1_700_000_000;

    fn surely(caution: &mut Caution, told: Seconds, at: Instant) -> Option<Seconds> {
        caution.surely(told, told, at, Path::new("/store"))
    }

    #[test]
    fn a_short_rest_is_trusted_at_once() {
        let at = Instant::now();
        for told in [NOW - 86_400, NOW - 1, NOW, NOW + REST] {
            let mut caution = Caution::new(Some(NOW));
            assert_eq!(surely(&mut caution, 0, at), None, "nothing was told");
            assert_eq!(surely(&mut caution, told, at), Some(told));
            assert_eq!(surely(&mut caution, told + 86_400, at), Some(told + 86_400));
        }
        assert_eq!(surely(&mut Caution::none(), NOW, at), Some(NOW));
    }

    #[test]
    fn a_jump_is_doubted_for_an_hour() {
        let at = Instant::now();
        for (noted, told) in [(Some(NOW), NOW + REST + 1), (Some(NOW), Seconds::MAX), (None, NOW)] {
            let mut caution = Caution::new(noted);
            assert_eq!(surely(&mut caution, told, at), None);
            // Whatever is told then.
            assert_eq!(surely(&mut caution, NOW, at + DOUBT / 2), None);
            assert_eq!(surely(&mut caution, told, at + DOUBT), Some(told));
        }
    }

    #[test]
    fn a_machine_whose_clock_was_set_is_believed() {
        let at = Instant::now();
        let mut caution = Caution::new(Some(NOW));
        let mut surely = |told, machine| caution.surely(told, machine, at, Path::new("/store"));
        assert_eq!(surely(NOW, NOW), Some(NOW));
        assert_eq!(surely(NOW + 9000, NOW), Some(NOW));
        assert_eq!(surely(NOW, NOW + 9000), Some(NOW));
    }
}
