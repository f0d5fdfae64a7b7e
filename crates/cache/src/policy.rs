//! Which items stay: quick demotion, lazy promotion.
//!
//! A new item is on probation, in one of three logs by its size. One that is used there again, later
//! than shortly after it came, goes on to the main log when its turn comes; others leave, and for a
//! while their ghosts are remembered: one that comes back soon was judged too early, and begins in
//! the main log. Of the main log the oldest segment is looked through: what was used since stays, at
//! the cost of a use. The main log is a clock, probation is a queue (S3-FIFO, SOSP '23), and uses in
//! its newest part do not count (Clock2Q+): they come from one and the same burst.
//!
//! Large items pass probation sooner, for each takes the place of many: that is what the three logs
//! are for. All constants were chosen together by the miss ratios of many workloads; see
//! `docs/decisions.md`.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "shares of memory need not be exact to the byte"
)]

/// One of the four logs of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// New items: of up to half the mean size, of up to twice, and larger.
    Probation(u8),
    /// Items that proved useful.
    Main,
}

impl Queue {
    /// All of them, probation first.
    pub(crate) const ALL: [Self; 4] =
        [Self::Probation(0), Self::Probation(1), Self::Probation(2), Self::Main];

    /// Its place in [`Self::ALL`].
    pub(crate) fn number(self) -> usize {
        match self {
            Self::Probation(class) => class.into(),
            Self::Main => 3,
        }
    }
}

/// What a shard knows in order to decide.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Bytes the shard may have, about.
    pub(crate) budget: u64,
    /// How much of them are for probation.
    share: f32,
    /// Bytes that were ever put on probation.
    pub(crate) arrived: u64,
    /// How much speaks for it that items come back, not others that look like them.
    returns: u32,
}

impl Policy {
    pub(crate) fn new(budget: u64) -> Self {
        Self { budget, share: FIRST_SHARE, arrived: 0, returns: 0 }
    }

    /// A new item came, and whether its ghost was there.
    #[inline]
    pub(crate) fn arrives(&mut self, known: bool) {
        self.returns = if known {
            (self.returns + NEW_PER_RETURN).min(ENOUGH_RETURNS)
        } else {
            self.returns.saturating_sub(1)
        };
    }

    /// Whether a main log is to be begun for what comes back. One ghost in some thousands is of
    /// another item with the same fingerprint, and that is not worth a segment.
    #[inline]
    pub(crate) fn items_return(&self) -> bool {
        self.returns == ENOUGH_RETURNS
    }

    /// The log of a new item of `cost` bytes where the mean is `mean`.
    #[inline]
    pub(crate) fn probation(cost: u64, mean: u64) -> Queue {
        Queue::Probation(if cost <= mean / 2 {
            0
        } else if cost <= mean * 2 {
            1
        } else {
            2
        })
    }

    /// The uses of an item after one more, of a segment that was begun when so many bytes had
    /// arrived.
    #[inline]
    pub(crate) fn used(&self, queue: Queue, uses: u8, begun: u64) -> u8 {
        match queue {
            Queue::Main => (uses + 1).min(MAX_USES),
            Queue::Probation(_) => {
                let settled = self.arrived - begun >= self.probation_bytes() / BURST_PART;
                if settled { 1 } else { uses }
            }
        }
    }

    /// The uses an item is left with as its turn comes; `None` if it has to go.
    #[inline]
    pub(crate) fn judge(queue: Queue, uses: u8, cost: u64, mean: u64) -> Option<u8> {
        match queue {
            Queue::Probation(_) => (uses > 0).then_some(0),
            Queue::Main => {
                let price = if cost <= mean {
                    1
                } else if cost <= mean * 2 {
                    2
                } else {
                    3
                };
                (uses >= price.min(2)).then(|| uses.saturating_sub(price))
            }
        }
    }

    /// How hot an item is, up to [`HOTTEST`]: how many turns it would outlast if it were used no more,
    /// of large ones some more than that. It falls as long as nobody uses the item.
    #[inline]
    pub(crate) fn heat(queue: Queue, uses: u8) -> u8 {
        uses + u8::from(queue == Queue::Main)
    }

    /// Whether probation, with so many bytes, has more than its share.
    #[inline]
    pub(crate) fn crowded(&self, probation: u64) -> bool {
        probation > self.probation_bytes()
    }

    /// How pressing it is to look through the oldest segment of a probation log.
    #[inline]
    pub(crate) fn urgency(&self, class: u8, begun: u64) -> u64 {
        let weight = match class {
            0 => 1,
            1 => 4,
            _ => 16,
        };
        (self.arrived - begun).saturating_mul(weight)
    }

    /// Whether a segment was begun so long ago that its records are as old as those that leave, on
    /// average, even if they came one by one.
    #[inline]
    pub(crate) fn is_old(&self, begun: u64) -> bool {
        self.arrived - begun > 2 * self.probation_bytes()
    }

    /// An item of `cost` bytes came back soon after it had gone from probation, which was too
    /// short then, or from the main log.
    pub(crate) fn came_back(&mut self, from_probation: bool, cost: u64) {
        let step = cost as f32 / (2 * self.budget.max(1)) as f32;
        let step = if from_probation { step } else { -step };
        self.share = (self.share + step).clamp(MIN_SHARE, MAX_SHARE);
    }

    /// How much of the budget is for probation, in thousandths.
    pub(crate) fn permille(&self) -> u64 {
        (self.share * 1000.0).round() as u64
    }

    fn probation_bytes(&self) -> u64 {
        (self.budget as f32 * self.share) as u64
    }
}

const FIRST_SHARE: f32 = 0.10;
const MIN_SHARE: f32 = 0.05;
const MAX_SHARE: f32 = 0.30;

/// Items come back if one in so many new ones does, and four times.
const NEW_PER_RETURN: u32 = 256;
const ENOUGH_RETURNS: u32 = 4 * NEW_PER_RETURN;

/// The newest fourth of probation is where uses do not count.
const BURST_PART: u64 = 4;

/// As many as two bits hold.
const MAX_USES: u8 = 3;

/// In the main log, with as many uses as can be.
pub(crate) const HOTTEST: u8 = MAX_USES + 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_items_are_told_apart_from_small_ones() {
        for (cost, class) in [(50, 0), (51, 1), (200, 1), (201, 2)] {
            assert_eq!(Policy::probation(cost, 100), Queue::Probation(class));
        }
        let policy = Policy { arrived: 100, ..Policy::new(1000) };
        assert!(policy.urgency(2, 90) > policy.urgency(1, 70));
        let policy = Policy { arrived: 301, ..policy };
        assert!(policy.is_old(100) && !policy.is_old(101));
    }

    #[test]
    fn a_ghost_now_and_then_is_not_a_return() {
        let mut policy = Policy::new(1000);
        for _ in 0..100 {
            policy.arrives(true);
            (0..NEW_PER_RETURN).for_each(|_| policy.arrives(false));
            assert!(!policy.items_return());
        }
        for _ in 0..4 {
            assert!(!policy.items_return());
            policy.arrives(true);
        }
        assert!(policy.items_return());
    }

    #[test]
    fn uses_shortly_after_arrival_do_not_count() {
        let policy = Policy { arrived: 1000, ..Policy::new(1000) };
        assert_eq!(policy.used(Queue::Probation(1), 0, 980), 0);
        assert_eq!(policy.used(Queue::Probation(1), 0, 970), 1);
        assert_eq!(policy.used(Queue::Main, 0, 1000), 1);
        assert_eq!(policy.used(Queue::Main, 3, 0), 3);
    }

    #[test]
    fn the_unused_go_and_the_large_go_sooner() {
        assert_eq!(Policy::judge(Queue::Probation(0), 0, 1, 1), None);
        assert_eq!(Policy::judge(Queue::Probation(0), 1, 1, 1), Some(0));
        assert_eq!(Policy::judge(Queue::Main, 0, 100, 100), None);
        assert_eq!(Policy::judge(Queue::Main, 3, 100, 100), Some(2));
        assert_eq!(Policy::judge(Queue::Main, 1, 101, 100), None);
        assert_eq!(Policy::judge(Queue::Main, 3, 101, 100), Some(1));
        assert_eq!(Policy::judge(Queue::Main, 2, 201, 100), Some(0));
    }

    #[test]
    fn what_is_judged_gets_no_hotter() {
        for queue in Queue::ALL {
            for uses in 0..=MAX_USES {
                assert!(Policy::heat(queue, uses) <= HOTTEST);
                for cost in [50, 150, 250] {
                    if let Some(left) = Policy::judge(queue, uses, cost, 100) {
                        let heat = Policy::heat(Queue::Main, left);
                        assert!(heat <= Policy::heat(queue, uses), "{queue:?} {uses} {cost}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_share_follows_those_that_come_back_within_bounds() {
        let mut policy = Policy::new(1000);
        let before = policy.probation_bytes();
        policy.came_back(true, 100);
        assert!(policy.probation_bytes() > before);
        (0..100).for_each(|_| policy.came_back(true, 100));
        assert_eq!(policy.probation_bytes(), 300);
        (0..100).for_each(|_| policy.came_back(false, 100));
        assert_eq!(policy.probation_bytes(), 50);
    }
}
