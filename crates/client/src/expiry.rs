//! How long an item is kept.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use larder_protocol::Exptime;

/// When an item expires.
///
/// Servers count in whole seconds, on their own clocks: an item may go up to a second early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// Never; a cache may still evict it.
    #[default]
    Never,
    /// After this long, rounded up to whole seconds; zero is at once.
    After(Duration),
    /// At this time, rounded up to whole seconds; one that has passed is at once.
    At(SystemTime),
}

impl Expiry {
    /// As it is said to a server at `now`.
    ///
    /// Servers take up to 30 days as counted from now and more as Unix time (memcached's
    /// `doc/protocol.txt`, "Expiration times"), so a longer time is sent as Unix time. What lies
    /// beyond January 2038 they cannot be told; it counts as never.
    pub(crate) fn exptime(self, now: SystemTime) -> Exptime {
        let after = match self {
            Self::Never => return Exptime::NEVER,
            Self::After(after) => after,
            Self::At(at) => at.duration_since(now).unwrap_or_default(),
        };
        if after.is_zero() {
            return AT_ONCE;
        }
        let secs = whole_secs(after);
        if secs <= MAX_RELATIVE_SECS {
            return Exptime(secs.cast_signed());
        }
        let unix = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_add(after);
        i32::try_from(whole_secs(unix)).map_or(Exptime::NEVER, |secs| Exptime(secs.into()))
    }
}

impl Expiry {
    /// No more than so many seconds from now.
    pub(crate) fn within(self, secs: Option<u32>) -> Self {
        let Some(bound) = secs.map(|secs| Duration::from_secs(secs.into())) else { return self };
        match self {
            Self::Never => Self::After(bound),
            Self::After(after) => Self::After(after.min(bound)),
            Self::At(at) => {
                Self::At(SystemTime::now().checked_add(bound).map_or(at, |bound| at.min(bound)))
            }
        }
    }

    /// Sooner by this part, from 0 to 1, if it is a duration.
    pub(crate) fn spread(self, part: f64) -> Self {
        match self {
            Self::After(after) => {
                let sooner = Duration::try_from_secs_f64(after.as_secs_f64() * part);
                Self::After(after.saturating_sub(sooner.unwrap_or_default()))
            }
            expiry => expiry,
        }
    }

    /// How many seconds before it a value is to be made anew, if that is worth it: a tenth of its
    /// time. A stand-in keeps values for ten seconds or so; they are not to be made anew each time.
    pub(crate) fn early(self, now: SystemTime) -> Option<u32> {
        let after = match self {
            Self::Never => return None,
            Self::After(after) => after,
            Self::At(at) => at.duration_since(now).unwrap_or_default(),
        };
        let secs = u32::try_from((after / 10).as_secs()).unwrap_or(u32::MAX);
        (secs > 0).then_some(secs.min(MAX_EARLY_SECS))
    }
}

/// `exptime`, said at `now`, but no more than so many seconds after it.
pub(crate) fn bounded(exptime: Exptime, secs: u32, now: SystemTime) -> Exptime {
    let bound = Exptime(secs.into());
    let unix = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = u32::try_from(unix).unwrap_or(u32::MAX);
    match (exptime.at(now), bound.at(now)) {
        // The first is never.
        (0, _) => bound,
        (at, latest) if at > latest => bound,
        _ => exptime,
    }
}

impl From<Duration> for Expiry {
    fn from(after: Duration) -> Self {
        Self::After(after)
    }
}

impl From<SystemTime> for Expiry {
    fn from(at: SystemTime) -> Self {
        Self::At(at)
    }
}

fn whole_secs(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

const MAX_EARLY_SECS: u32 = 5;

const AT_ONCE: Exptime = Exptime(-1);

/// 30 days.
const MAX_RELATIVE_SECS: u64 = 60 * 60 * 24 * 30;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_SECS: u64 = 1_700_000_000;

    fn sent(expiry: impl Into<Expiry>) -> i64 {
        expiry.into().exptime(UNIX_EPOCH + Duration::from_secs(NOW_SECS)).0
    }

    #[test]
    fn thirty_days_is_the_longest_time_counted_from_now() {
        let thirty_days = Duration::from_secs(MAX_RELATIVE_SECS);
        assert_eq!(sent(Duration::from_secs(1)), 1);
        assert_eq!(sent(thirty_days), 2_592_000);
        let longer = i64::try_from(NOW_SECS + MAX_RELATIVE_SECS + 1).unwrap();
        assert_eq!(sent(thirty_days + Duration::from_secs(1)), longer);
        assert_eq!(sent(thirty_days + Duration::from_nanos(1)), longer);
    }

    #[test]
    fn parts_of_a_second_round_up_and_zero_is_at_once() {
        assert_eq!(sent(Duration::from_millis(1)), 1);
        assert_eq!(sent(Duration::from_millis(1001)), 2);
        assert_eq!(sent(Duration::ZERO), -1);
        assert_eq!(sent(Expiry::Never), 0);
    }

    #[test]
    fn times_become_counts_while_they_are_near() {
        let at = |secs| UNIX_EPOCH + Duration::from_secs(secs);
        assert_eq!(sent(at(NOW_SECS + 60)), 60);
        assert_eq!(sent(at(NOW_SECS)), -1);
        assert_eq!(sent(at(0)), -1);
        assert_eq!(sent(at(NOW_SECS + 2_592_001)), 1_702_592_001);
    }

    #[test]
    fn what_is_bounded_is_kept_no_longer_and_no_shorter() {
        let now = UNIX_EPOCH + Duration::from_secs(NOW_SECS);
        let unix = i64::try_from(NOW_SECS).unwrap();
        for (said, expected) in
            [(0, 10), (5, 5), (10, 10), (11, 10), (-1, -1), (unix + 9, unix + 9), (unix + 11, 10)]
        {
            assert_eq!(bounded(Exptime(said), 10, now), Exptime(expected), "{said}");
        }
    }

    #[test]
    fn what_is_filled_expires_sooner_and_is_made_anew_before() {
        let minute = Expiry::After(Duration::from_mins(1));
        assert_eq!(minute.spread(0.1), Expiry::After(Duration::from_secs(54)));
        assert_eq!(Expiry::After(Duration::MAX).spread(0.0), Expiry::After(Duration::MAX));
        assert_eq!(Expiry::Never.spread(0.1), Expiry::Never);
        let early = |secs| Expiry::After(Duration::from_secs(secs)).early(UNIX_EPOCH);
        assert_eq!([9, 10, 20, 50, 3600].map(early), [None, Some(1), Some(2), Some(5), Some(5)]);
        assert_eq!(Expiry::At(UNIX_EPOCH + Duration::from_secs(20)).early(UNIX_EPOCH), Some(2));
        assert_eq!(Expiry::Never.early(UNIX_EPOCH), None);
        assert_eq!(minute.within(Some(7)), Expiry::After(Duration::from_secs(7)));
        assert_eq!((minute.within(Some(61)), minute.within(None)), (minute, minute));
        assert_eq!(Expiry::Never.within(Some(60)), minute);
        assert_eq!(Expiry::At(UNIX_EPOCH).within(Some(1)), Expiry::At(UNIX_EPOCH));
    }

    #[test]
    fn what_servers_cannot_be_told_is_never() {
        assert_eq!(sent(Duration::from_secs(2_147_483_647 - NOW_SECS)), 2_147_483_647);
        assert_eq!(sent(Duration::from_secs(2_147_483_648 - NOW_SECS)), 0);
        assert_eq!(sent(Duration::MAX), 0);
    }
}
