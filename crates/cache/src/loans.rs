//! What of the limit is lent to connections for their buffers.

use larder_protocol::Seconds;

/// Bytes that are lent, and what is set aside for that: no less than was lent at any moment of this
/// second and the one before. Large requests come one after the other, and memory that was taken
/// from the items for one, and given back to them, and taken for the next, would go to the system and
/// come back as often.
#[derive(Debug, Default)]
pub(crate) struct Loans {
    lent: u64,
    /// The most that was lent since `second` began, and in the second of loans before.
    most: u64,
    most_before: u64,
    second: Seconds,
}

impl Loans {
    /// So many bytes more are lent, or fewer. Nobody may give back what is not lent: each number is a
    /// sum that no order of its changes takes below 0.
    pub(crate) fn lend(&mut self, change: i64, now: Seconds) {
        // Another thread may know of an earlier second only.
        if now > self.second {
            // Of a second that is long ago, nothing is needed.
            let just_before = now - self.second == 1;
            self.most_before = if just_before { self.most } else { self.lent };
            (self.most, self.second) = (self.lent, now);
        }
        self.lent = self.lent.wrapping_add_signed(change);
        self.most = self.most.max(self.lent);
    }

    /// What is set aside.
    pub(crate) fn set_aside(&self) -> u64 {
        self.most.max(self.most_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lent_stays_set_aside_for_a_second() {
        let mut loans = Loans::default();
        loans.lend(100, 10);
        loans.lend(-60, 10);
        assert_eq!(loans.set_aside(), 100);
        loans.lend(10, 11);
        loans.lend(0, 10);
        assert_eq!(loans.set_aside(), 100);
        loans.lend(0, 12);
        assert_eq!(loans.set_aside(), 50);
        loans.lend(-50, 12);
        loans.lend(0, 20);
        assert_eq!(loans.set_aside(), 0);
    }
}
