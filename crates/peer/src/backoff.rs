//! When to try again.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// How long to wait before each attempt to connect.
#[derive(Debug)]
pub(crate) struct Backoff {
    least: Duration,
    most: Duration,
    /// Attempts since the last connection that was worth its name.
    attempts: u32,
    chance: SmallRng,
}

impl Backoff {
    pub(crate) fn new((least, most): (Duration, Duration), seed: u64) -> Self {
        Self { least, most, attempts: 0, chance: SmallRng::seed_from_u64(seed) }
    }

    /// How long to wait before the next attempt, after a connection that lasted so long, or none.
    ///
    /// It is zero once after a connection that lasted, then grows from `least` to `most`, less up to
    /// a half by chance, so that nodes that lost the same peer do not come back all at once.
    pub(crate) fn after(&mut self, lasted: Option<Duration>) -> Duration {
        if lasted.is_some_and(|lasted| lasted >= self.most) {
            self.attempts = 0;
        }
        let doublings = self.attempts.checked_sub(1);
        self.attempts = self.attempts.saturating_add(1);
        let Some(doublings) = doublings else { return Duration::ZERO };
        let factor = 2_u32.saturating_pow(doublings);
        self.least
            .saturating_mul(factor)
            .min(self.most)
            .mul_f64(self.chance.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn waits_double_up_to_the_limit_and_begin_anew_after_a_connection_that_lasted() {
        let delays = |seed| {
            let mut backoff = Backoff::new((MS(50), MS(1000)), seed);
            let mut delays: Vec<_> = (0..40).map(|_| backoff.after(None)).collect();
            delays.push(backoff.after(Some(MS(999))));
            delays.push(backoff.after(Some(MS(1000))));
            delays.push(backoff.after(None));
            delays
        };
        let seeded = delays(7);
        assert_eq!(seeded[0], MS(0));
        for (delay, nominal) in seeded[1..].iter().zip([50, 100, 200, 400, 800, 1000, 1000]) {
            assert!((MS(nominal) / 2..=MS(nominal)).contains(delay), "{delay:?} of {nominal}");
        }
        assert!((MS(500)..=MS(1000)).contains(&seeded[40]), "it did not last: {seeded:?}");
        assert_eq!(seeded[41], MS(0));
        assert!((MS(25)..=MS(50)).contains(&seeded[42]));
        assert_eq!(seeded, delays(7));
        assert_ne!(seeded, delays(8));
    }
}
