//! Whether the time that is told may be acted upon for good.

use std::path::Path;
use std::time::{Duration, Instant};

use larder_protocol::Seconds;
use tracing::{info, warn};

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
    /// What an earlier opening has noted of its doubt.
    earlier: Option<Doubt>,
    /// What was told last.
    told: Seconds,
    stage: Stage,
    /// Whether the log was told that the node's clock is ahead of the machine's.
    told_ahead: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No time was told yet.
    Untold,
    /// Since this moment a time is told that may be wrong, and earlier for so long.
    Doubting(Instant, Duration),
    /// It is right as far as can be known.
    Trusting,
}

/// A doubt as it is noted, so that it adds up over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// When the store was last in use, as it was noted while this was doubted.
    pub(crate) noted: Option<Seconds>,
    /// The time that was doubted, as it was told last.
    pub(crate) told: Seconds,
    /// For how many seconds it was, in all.
    pub(crate) secs: u64,
}

impl Caution {
    /// For a store that has records, and was last in use at `noted`, with what was noted of a doubt.
    pub(crate) fn new(noted: Option<Seconds>, earlier: Option<Doubt>) -> Self {
        // One that is about another note has come to its end.
        let earlier = earlier.filter(|doubt| doubt.noted == noted);
        Self { noted, earlier, told: 0, stage: Stage::Untold, told_ahead: false }
    }

    /// For a store that is new: it has nothing to lose.
    pub(crate) fn none() -> Self {
        Self { stage: Stage::Trusting, ..Self::new(None, None) }
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
        self.told = told;
        if self.stage == Stage::Untold {
            self.stage = if self.is_plausible(told) {
                Stage::Trusting
            } else {
                let before = self.doubted_before(told);
                self.tell_doubt(told, DOUBT.saturating_sub(before), path);
                Stage::Doubting(at, before)
            };
        }
        if let Stage::Doubting(since, before) = self.stage
            && at.saturating_duration_since(since).saturating_add(before) >= DOUBT
        {
            self.stage = Stage::Trusting;
        }
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

    /// What is to be noted of a doubt at the moment `at`, if there is one.
    pub(crate) fn doubt(&self, at: Instant) -> Option<Doubt> {
        let Stage::Doubting(since, before) = self.stage else { return None };
        let secs = at.saturating_duration_since(since).saturating_add(before).as_secs();
        Some(Doubt { noted: self.noted, told: self.told, secs })
    }

    /// For how long this time was doubted already; another time is another doubt.
    fn doubted_before(&self, told: Seconds) -> Duration {
        let earlier = self.earlier.filter(|doubt| doubt.told.abs_diff(told) <= REST);
        Duration::from_secs(earlier.map_or(0, |doubt| doubt.secs))
    }

    fn tell_doubt(&self, told: Seconds, left: Duration, path: &Path) {
        let (path, now, minutes) = (path.display(), utc(told), left.as_secs().div_ceil(60));
        if let Some(noted) = self.noted {
            warn!(
                "{path}: the clock says {now}, and this store was last in use on {}: in case the \
                 clock is wrong, expired items are kept on disk, hidden, for {minutes} more \
                 minutes. If it is wrong, set it and restart the node; if it is right, do nothing",
                utc(noted)
            );
        } else {
            info!(
                "{path}: it was never noted when this store was last in use, so the clock, which \
                 says {now}, cannot be checked: expired items are kept on disk, hidden, for \
                 {minutes} more minutes"
            );
        }
    }

    fn is_plausible(&self, told: Seconds) -> bool {
        self.noted.is_some_and(|noted| told <= noted.saturating_add(REST))
    }
}

/// A moment as people read it, to the minute.
fn utc(at: Seconds) -> String {
    let (mut days, minutes) = (at / 86_400, at % 86_400 / 60);
    let mut year = 1970;
    let leaps = |year: u32| year.is_multiple_of(4) && !year.is_multiple_of(100);
    // Up to 2106, of which only 2000 is divisible by 400.
    let is_leap = |year| leaps(year) || year == 2000;
    while days >= 365 + u32::from(is_leap(year)) {
        days -= 365 + u32::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u32::from(is_leap(year));
    let mut month = 1;
    for len in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < len {
            break;
        }
        days -= len;
        month += 1;
    }
    let (day, hour, minute) = (days + 1, minutes / 60, minutes % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
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
            let mut caution = Caution::new(Some(NOW), None);
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
            let mut caution = Caution::new(noted, None);
            assert_eq!(surely(&mut caution, told, at), None);
            // Whatever is told then.
            assert_eq!(surely(&mut caution, NOW, at + DOUBT / 2), None);
            assert_eq!(surely(&mut caution, told, at + DOUBT), Some(told));
        }
    }

    #[test]
    fn a_doubt_adds_up_over_restarts() {
        let at = Instant::now();
        for noted in [Some(NOW), None] {
            let late = NOW + 86_400;
            let mut earlier = None;
            for restart in 0..4 {
                let mut caution = Caution::new(noted, earlier);
                assert_eq!(caution.doubt(at), None, "nothing was told");
                let told = late + restart * 1000;
                assert_eq!(surely(&mut caution, told, at), None);
                assert_eq!(surely(&mut caution, told + 899, at + DOUBT / 5), None);
                earlier = caution.doubt(at + DOUBT / 4);
                let secs = u64::from(restart + 1) * 900;
                assert_eq!(earlier, Some(Doubt { noted, told: told + 899, secs }));
            }
            let told = late + 4000;
            let mut caution = Caution::new(noted, earlier);
            assert_eq!(surely(&mut caution, told, at), Some(told));
            assert_eq!(caution.doubt(at), None);
            // Not that of another time, nor one that came to its end.
            for told in [told + 86_400, told - 86_400 / 2] {
                assert_eq!(surely(&mut Caution::new(noted, earlier), told, at), None);
            }
            let mut caution = Caution::new(Some(NOW + 1), earlier);
            assert_eq!(surely(&mut caution, told, at), None);
        }
    }

    #[test]
    fn moments_are_told_as_people_read_them() {
        for (at, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_700_000_000, "2023-11-14 22:13 UTC"),
            (1_735_689_599, "2024-12-31 23:59 UTC"),
            (1_735_689_600, "2025-01-01 00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
            (Seconds::MAX, "2106-02-07 06:28 UTC"),
        ] {
            assert_eq!(utc(at), text);
        }
    }

    #[test]
    fn a_machine_whose_clock_was_set_is_believed() {
        let at = Instant::now();
        let mut caution = Caution::new(Some(NOW), None);
        let mut surely = |told, machine| caution.surely(told, machine, at, Path::new("/store"));
        assert_eq!(surely(NOW, NOW), Some(NOW));
        assert_eq!(surely(NOW + 9000, NOW), Some(NOW));
        assert_eq!(surely(NOW, NOW + 9000), Some(NOW));
    }
}
