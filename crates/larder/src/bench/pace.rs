//! When the requests of a rate-limited connection are due.

/// A fixed schedule: request *k* is due at `offset + k / rate`, whatever happened to those before.
///
/// Nothing shifts the schedule: a late request does not delay the due times after it, so its
/// lateness shows in their latency instead of being forgiven (coordinated omission).
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// When request zero is due, in microseconds after the start of the run.
    offset_us: u64,
    /// Requests per second, above zero.
    rate: u32,
    /// Requests sent, each for its own due time.
    sent: u64,
}

const SECOND_US: u64 = 1_000_000;

impl Pace {
    /// The schedule of client `client` of `clients`, spread evenly over the first interval: clients
    /// that all sent at the same instants would measure the queue they form themselves.
    pub(super) fn new(rate: u32, client: u32, clients: u32) -> Self {
        let offset_us =
            SECOND_US * u64::from(client) / u64::from(clients.max(1)) / u64::from(rate.max(1));
        Self { offset_us, rate: rate.max(1), sent: 0 }
    }

    /// When the next request is due, in microseconds after the start of the run.
    pub(super) fn due_us(&self) -> u64 {
        self.offset_us + scaled(self.sent, SECOND_US, u64::from(self.rate))
    }

    /// Takes the next request off the schedule.
    pub(super) fn advance(&mut self) {
        self.sent += 1;
    }

    /// How many requests were due before `end_us` and have not been taken.
    pub(super) fn behind(&self, end_us: u64) -> u64 {
        let Some(elapsed) = end_us.checked_sub(self.offset_us) else { return 0 };
        let due = scaled(elapsed, u64::from(self.rate), SECOND_US);
        // Request k is due at the start of its interval: one more than whole intervals elapsed,
        // unless it would be due at the very end.
        let due = if self.offset_us + scaled(due, SECOND_US, u64::from(self.rate)) < end_us {
            due + 1
        } else {
            due
        };
        due.saturating_sub(self.sent)
    }
}

/// `value * numerator / denominator` without overflow in between.
fn scaled(value: u64, numerator: u64, denominator: u64) -> u64 {
    let wide = u128::from(value) * u128::from(numerator) / u128::from(denominator);
    u64::try_from(wide).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_times(mut pace: Pace, count: usize) -> Vec<u64> {
        (0..count)
            .map(|_| {
                let due = pace.due_us();
                pace.advance();
                due
            })
            .collect()
    }

    #[test]
    fn requests_are_due_at_even_intervals() {
        assert_eq!(due_times(Pace::new(1_000, 0, 1), 4), [0, 1_000, 2_000, 3_000]);
        // Rounding does not add up: the third of a second never drifts.
        assert_eq!(due_times(Pace::new(3, 0, 1), 4), [0, 333_333, 666_666, 1_000_000]);
    }

    #[test]
    fn clients_start_one_after_the_other() {
        let firsts: Vec<u64> = (0..4).map(|client| Pace::new(100, client, 4).due_us()).collect();
        assert_eq!(firsts, [0, 2_500, 5_000, 7_500]);
    }

    #[test]
    fn due_times_do_not_wait_for_late_requests() {
        let mut pace = Pace::new(10, 0, 1);
        pace.advance();
        assert_eq!(pace.due_us(), 100_000);
        assert_eq!(pace.due_us(), 100_000, "asking late changes nothing");
    }

    #[test]
    fn what_was_due_and_not_sent_is_counted() {
        let mut pace = Pace::new(10, 0, 1);
        assert_eq!(pace.behind(0), 0);
        assert_eq!(pace.behind(1), 1);
        assert_eq!(pace.behind(100_000), 1, "due at the end is not due before it");
        assert_eq!(pace.behind(1_000_000), 10);
        for _ in 0..7 {
            pace.advance();
        }
        assert_eq!(pace.behind(1_000_000), 3);
        assert_eq!(Pace::new(10, 1, 2).behind(50_000), 0);
        assert_eq!(Pace::new(10, 1, 2).behind(50_001), 1);
    }

    #[test]
    fn years_of_requests_do_not_overflow() {
        let pace = Pace { offset_us: 0, rate: u32::MAX, sent: u64::MAX / 2 };
        assert!(pace.due_us() > 0);
    }
}
