//! Parts of memory that the next process reads, each at its place.

use std::sync::atomic::{Ordering, compiler_fence};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Writes a part, after all that was written before and before all that is written after: nothing
/// else keeps the compiler from leaving out what is soon written over, or from another order.
#[inline]
pub(crate) fn put(memory: &mut [u8], at: usize, bytes: &[u8]) {
    compiler_fence(Ordering::SeqCst);
    if let Some(place) = memory.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
    compiler_fence(Ordering::SeqCst);
}

/// A part as it is; `None` if the memory ends before.
#[inline]
pub(crate) fn get<const N: usize>(memory: &[u8], at: usize) -> Option<[u8; N]> {
    memory.get(at..)?.first_chunk().copied()
}

/// Writes a number of so many bits and, in the rest of its eight bytes, a check that depends on the
/// key and on where it is: a bit of it that is flipped, or a word that belongs elsewhere, shows.
#[inline]
pub(crate) fn put_checked(memory: &mut [u8], at: usize, number: u64, bits: u32, key: u64) {
    put(memory, at, &(check(number, at, key) << bits | number).to_le_bytes());
}

/// A number with its check; `None` if that is not its own.
#[inline]
pub(crate) fn get_checked(memory: &[u8], at: usize, bits: u32, key: u64) -> Option<u64> {
    let word = u64::from_le_bytes(get(memory, at)?);
    let number = word & ((1 << bits) - 1);
    (check(number, at, key) << bits | number == word).then_some(number)
}

/// A checksum of a number at a place.
#[inline]
pub(crate) fn check(number: u64, at: usize, key: u64) -> u64 {
    let mut bytes = [0; 16];
    let (first, second) = bytes.split_at_mut(8);
    first.copy_from_slice(&number.to_le_bytes());
    second.copy_from_slice(&(at as u64).to_le_bytes());
    xxh3_64_with_seed(&bytes, key)
}

/// Takes the next part from the front of some bytes.
#[inline]
pub(crate) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}
