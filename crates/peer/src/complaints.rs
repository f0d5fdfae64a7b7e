//! Saying what is wrong without saying nothing else.

use std::mem::{Discriminant, discriminant};
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// How often the log tells of one kind of failure.
const INTERVAL: Duration = Duration::from_mins(1);

/// Which failures the log was told of, and when.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    told: Vec<Told>,
}

#[derive(Debug)]
struct Told {
    kind: Discriminant<Failure>,
    at: Instant,
    untold: u64,
}

impl Complaints {
    /// Whether the log is to be told of this failure now: if so, how many of its kind it was not told
    /// of since it last was.
    pub(crate) fn due(&mut self, failure: &Failure, now: Instant) -> Option<u64> {
        let kind = discriminant(failure);
        let Some(told) = self.told.iter_mut().find(|told| told.kind == kind) else {
            self.told.push(Told { kind, at: now, untold: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(told.at) < INTERVAL {
            told.untold += 1;
            return None;
        }
        told.at = now;
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_once_an_interval_and_the_others_are_counted() {
        let mut complaints = Complaints::default();
        let now = Instant::now();
        assert_eq!(complaints.due(&Failure::WrongSecret, now), Some(0));
        assert_eq!(complaints.due(&Failure::WrongSecret, now), None);
        assert_eq!(complaints.due(&Failure::WrongVersion(2), now), Some(0));
        assert_eq!(complaints.due(&Failure::WrongVersion(3), now + INTERVAL / 2), None);
        assert_eq!(complaints.due(&Failure::WrongSecret, now + INTERVAL / 2), None);
        assert_eq!(complaints.due(&Failure::WrongSecret, now + INTERVAL), Some(2));
        assert_eq!(complaints.due(&Failure::WrongSecret, now + INTERVAL), None);
    }
}
