//! What a set stores.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng as _, RngExt as _};

/// How long values are, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sizes {
    Fixed(usize),
    /// At random, from and to.
    Random(usize, usize),
    /// Growing with the key's number, from and to.
    ByKey(usize, usize),
}

/// A thread's values.
#[derive(Debug)]
pub(super) struct Payload {
    sizes: Sizes,
    /// The longest value; shorter ones are its beginning.
    bytes: Vec<u8>,
    random: bool,
    /// Of random data, the byte to change next.
    changed: usize,
}

impl Payload {
    pub(super) fn new(sizes: Sizes, random: bool, rng: &mut Xoshiro256PlusPlus) -> Self {
        let mut bytes = vec![b'x'; sizes.largest()];
        if random {
            rng.fill_bytes(&mut bytes);
        }
        Self { sizes, bytes, random, changed: 0 }
    }

    /// The value to store under a key that lies at `position`, zero to one, of all keys.
    pub(super) fn value(&mut self, position: f64, rng: &mut Xoshiro256PlusPlus) -> &[u8] {
        if self.random {
            self.vary(rng);
        }
        let size = self.sizes.size(position, rng);
        self.bytes.get(..size).unwrap_or(&self.bytes)
    }

    /// Makes the next value differ from the last by one byte, which is enough to defeat
    /// deduplication and costs next to nothing; all bytes anew once each has had its turn.
    fn vary(&mut self, rng: &mut Xoshiro256PlusPlus) {
        if let Some(byte) = self.bytes.get_mut(self.changed) {
            *byte = byte.wrapping_add(1);
            self.changed += 1;
        } else {
            rng.fill_bytes(&mut self.bytes);
            self.changed = 0;
        }
    }
}

impl Sizes {
    pub(super) fn largest(self) -> usize {
        match self {
            Self::Fixed(size) | Self::Random(_, size) | Self::ByKey(_, size) => size,
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sizes are at most 2^30, positions between zero and one"
    )]
    fn size(self, position: f64, rng: &mut Xoshiro256PlusPlus) -> usize {
        match self {
            Self::Fixed(size) => size,
            Self::Random(min, max) => rng.random_range(min..=max),
            Self::ByKey(min, max) => min + ((max - min) as f64 * position) as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn plain_values_are_all_x() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(0);
        let mut payload = Payload::new(Sizes::Fixed(3), false, &mut rng);
        assert_eq!(payload.value(0.0, &mut rng), b"xxx");
    }

    #[test]
    fn random_values_differ_from_each_other() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(0);
        let mut payload = Payload::new(Sizes::Fixed(4), true, &mut rng);
        let values: Vec<Vec<u8>> = (0..12).map(|_| payload.value(0.0, &mut rng).to_vec()).collect();
        assert!(values.windows(2).all(|pair| pair[0] != pair[1]), "{values:?}");
    }

    #[test]
    fn random_sizes_reach_both_ends() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(0);
        let mut payload = Payload::new(Sizes::Random(2, 4), false, &mut rng);
        let mut seen = [false; 5];
        for _ in 0..100 {
            seen[payload.value(0.0, &mut rng).len()] = true;
        }
        assert_eq!(seen, [false, false, true, true, true]);
    }

    #[test]
    fn sizes_grow_with_the_key() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(0);
        let mut payload = Payload::new(Sizes::ByKey(10, 20), false, &mut rng);
        let mut size = |position| payload.value(position, &mut rng).len();
        assert_eq!([size(0.0), size(0.5), size(1.0)], [10, 15, 20]);
    }
}
