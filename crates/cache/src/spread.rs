//! How far numbers of one kind are apart.

/// The least, the mean and the most of some numbers: 0 if there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    least: u64,
    most: u64,
    sum: u64,
    count: u64,
}

impl Spread {
    /// One more number.
    pub(crate) fn add(&mut self, number: u64) {
        self.least = if self.count == 0 { number } else { self.least.min(number) };
        self.most = self.most.max(number);
        self.sum += number;
        self.count += 1;
    }

    /// How many numbers they are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The smallest of them.
    pub fn least(&self) -> u64 {
        self.least
    }

    /// Their mean, rounded down.
    pub fn mean(&self) -> u64 {
        self.sum / self.count.max(1)
    }

    /// The largest of them.
    pub fn most(&self) -> u64 {
        self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_ends_and_the_middle() {
        let mut spread = Spread::default();
        assert_eq!((spread.least(), spread.mean(), spread.most()), (0, 0, 0));
        for number in [5, 9, 1] {
            spread.add(number);
        }
        assert_eq!((spread.least(), spread.mean(), spread.most()), (1, 5, 9));
        assert_eq!(spread.count(), 3);
    }
}
