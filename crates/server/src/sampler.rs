//! Which requests are counted by their keys: one in 64.

use std::sync::atomic::{AtomicU64, Ordering};

/// Picks one request in [`ONE_IN`], for one thread.
///
/// The gaps between those it picks are drawn from 1 to 127, each as likely as any other. Were every 64th
/// picked, a client that asks for the same 64 keys in turn would be seen to ask for one of them, or for
/// none that matters; with these gaps each place of a pattern is picked as often as any other, however
/// long the pattern. The draws are the same in each run: they have to be unlike what clients do, not
/// secret.
#[derive(Debug)]
pub(crate) struct Sampler {
    /// Requests before the next that is picked.
    ahead: AtomicU64,
    state: AtomicU64,
}

impl Sampler {
    pub(crate) fn new(seed: u64) -> Self {
        let sampler = Self { ahead: AtomicU64::new(0), state: AtomicU64::new(seed) };
        sampler.draw();
        sampler
    }

    /// Whether this request is one that is counted. Only the thread whose it is may ask: as with the
    /// counters, no instruction is locked.
    #[inline]
    pub(crate) fn picks(&self) -> bool {
        match self.ahead.load(Ordering::Relaxed) {
            0 => {
                self.draw();
                true
            }
            ahead => {
                self.ahead.store(ahead - 1, Ordering::Relaxed);
                false
            }
        }
    }

    /// Draws the next gap: a linear congruential generator, Knuth's MMIX, of which the upper half is
    /// used.
    fn draw(&self) {
        let state = self.state.load(Ordering::Relaxed);
        let state = state.wrapping_mul(6_364_136_223_846_793_005);
        let state = state.wrapping_add(1_442_695_040_888_963_407);
        self.state.store(state, Ordering::Relaxed);
        self.ahead.store(((state >> 32) * (2 * u64::from(ONE_IN) - 1)) >> 32, Ordering::Relaxed);
    }
}

/// For how many requests one stands that is counted.
pub(crate) const ONE_IN: u16 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_any_pattern_is_picked_alike() {
        for period in (1..=200).chain([256, 500, 512, 1000]) {
            let sampler = Sampler::new(period as u64);
            let mut picked = vec![0_u32; period];
            let expected = 400.0;
            for request in 0..period * 400 * usize::from(ONE_IN) {
                picked[request % period] += u32::from(sampler.picks());
            }
            for (place, picked) in picked.iter().enumerate() {
                // Six standard deviations.
                let off = (f64::from(*picked) - expected).abs();
                assert!(off < 120.0, "place {place} of {period} was picked {picked} times");
            }
        }
    }
}
