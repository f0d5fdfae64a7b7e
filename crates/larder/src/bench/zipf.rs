//! Zipf-distributed whole numbers.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "key numbers above 2^52 may round to a neighbour; draws lie within the range"
)]

use rand::{Rng, RngExt as _};

/// Numbers from `low` to `high`, each *k* with probability proportional to `k^-exponent`.
///
/// Rejection-inversion (Hörmann and Derflinger, 1996): constant time and memory for any range, less
/// than two tries per number on average.
#[derive(Debug, Clone)]
pub(super) struct Zipf {
    low: f64,
    high: f64,
    exponent: f64,
    /// The integral of the density, at the ends of the area drawn from.
    area_low: f64,
    area_high: f64,
    /// Numbers this far below the drawn point are accepted without looking closer.
    shortcut: f64,
}

impl Zipf {
    /// `low` is raised to one: a key zero would be infinitely likely.
    pub(super) fn new(low: u64, high: u64, exponent: f64) -> Self {
        let low = low.max(1) as f64;
        let mut zipf = Self {
            low,
            high: (high as f64).max(low),
            exponent,
            area_low: 0.0,
            area_high: 0.0,
            shortcut: 0.0,
        };
        zipf.area_low = zipf.area(low + 0.5) - zipf.density(low);
        zipf.area_high = zipf.area(zipf.high + 0.5);
        let second = low + 1.0;
        zipf.shortcut = second - zipf.point(zipf.area(second + 0.5) - zipf.density(second));
        zipf
    }

    pub(super) fn draw(&self, rng: &mut impl Rng) -> u64 {
        loop {
            let area = self.area_high + rng.random::<f64>() * (self.area_low - self.area_high);
            let point = self.point(area);
            let number = (point + 0.5).floor().clamp(self.low, self.high);
            if number - point <= self.shortcut
                || area >= self.area(number + 0.5) - self.density(number)
            {
                return number as u64;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        x.powf(-self.exponent)
    }

    /// An antiderivative of the density, in a form that stays exact as the exponent nears one.
    fn area(&self, x: f64) -> f64 {
        let log = x.ln();
        let t = (1.0 - self.exponent) * log;
        log * if t.abs() < SMALL { 1.0 + t / 2.0 } else { t.exp_m1() / t }
    }

    /// The inverse of [`Self::area`].
    fn point(&self, area: f64) -> f64 {
        // Below -1 only by rounding, where the logarithm would be of a negative number.
        let t = (area * (1.0 - self.exponent)).max(-1.0);
        (area * if t.abs() < SMALL { 1.0 - t / 2.0 } else { t.ln_1p() / t }).exp()
    }
}

/// Where the first two terms of a series are as exact as the quotient they stand for.
const SMALL: f64 = 1e-8;

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;

    /// Draws against the probabilities computed by definition.
    fn check(low: u64, high: u64, exponent: f64) {
        const DRAWS: usize = 200_000;
        let zipf = Zipf::new(low, high, exponent);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut counts = vec![0_u32; usize::try_from(high).unwrap() + 1];
        for _ in 0..DRAWS {
            counts[usize::try_from(zipf.draw(&mut rng)).unwrap()] += 1;
        }
        let low = low.max(1);
        let weight: f64 = (low..=high).map(|k| (k as f64).powf(-exponent)).sum();
        for k in low..=high {
            let expected = DRAWS as f64 * (k as f64).powf(-exponent) / weight;
            let found = f64::from(counts[k as usize]);
            // Five standard deviations: a sound generator fails once in a million.
            assert!(
                (found - expected).abs() <= 5.0 * expected.sqrt() + 1.0,
                "exponent {exponent}: {k} drawn {found} times, expected {expected}"
            );
        }
        assert_eq!(counts.iter().sum::<u32>() as usize, DRAWS);
    }

    #[test]
    fn numbers_have_their_probability() {
        for exponent in [0.3, 0.99, 1.0, 1.000_000_001, 1.5, 3.0] {
            check(1, 20, exponent);
        }
        check(0, 5, 1.0);
        check(10, 30, 1.2);
        check(7, 7, 1.0);
    }

    #[test]
    fn wide_ranges_stay_in_range() {
        let zipf = Zipf::new(1, 10_000_000, 1.0);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
        let draws: Vec<u64> = (0..10_000).map(|_| zipf.draw(&mut rng)).collect();
        assert!(draws.iter().all(|k| (1..=10_000_000).contains(k)));
        assert!(draws.iter().any(|k| *k > 1_000_000));
    }
}
