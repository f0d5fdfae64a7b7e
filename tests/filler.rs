//! Bytes for values: those of one number are hardly another's, and they cost no more than a copy.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// A block of random bytes, of which every number has its own way around.
#[derive(Debug)]
pub struct Filler(Vec<u8>);

impl Default for Filler {
    fn default() -> Self {
        let mut block = vec![0; BLOCK_BYTES];
        StdRng::seed_from_u64(0).fill_bytes(&mut block);
        Self(block)
    }
}

impl Filler {
    /// Appends the first `len` bytes of a number to `out`.
    pub fn put(&self, number: u64, len: usize, out: &mut Vec<u8>) {
        self.parts(number, len).for_each(|part| out.extend_from_slice(part));
    }

    /// Whether `bytes` are the first ones of a number.
    pub fn is(&self, number: u64, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        self.parts(number, bytes.len()).all(|part| {
            let (here, later) = rest.split_at(part.len().min(rest.len()));
            rest = later;
            here == part
        })
    }

    /// The first `len` bytes of a number, piece by piece.
    fn parts(&self, number: u64, len: usize) -> impl Iterator<Item = &[u8]> {
        let Self(block) = self;
        // The golden ratio puts neighbours far apart; 20 bits are a start in the block.
        let start = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44;
        let first = block.get(usize::try_from(start).unwrap_or(0)..).unwrap_or_default();
        let mut left = len;
        std::iter::once(first).chain(std::iter::repeat(block.as_slice())).map_while(move |part| {
            let part = part.get(..left).unwrap_or(part);
            left -= part.len();
            (!part.is_empty()).then_some(part)
        })
    }
}

const BLOCK_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_known_again() {
        let filler = Filler::default();
        for (number, len) in [(0, 0), (1, 1), (7, 1000), (u64::MAX, 3 * BLOCK_BYTES + 5)] {
            let mut bytes = Vec::new();
            filler.put(number, len, &mut bytes);
            assert_eq!(bytes.len(), len);
            assert!(filler.is(number, &bytes));
            if len > 8 {
                assert!(!filler.is(number.wrapping_add(1), &bytes));
                bytes[len - 1] ^= 1;
                assert!(!filler.is(number, &bytes));
            }
        }
    }
}
