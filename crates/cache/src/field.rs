//! Parts of memory that the next process reads, each at its place.

use std::sync::atomic::{Ordering, compiler_fence};

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

/// Takes the next part from the front of some bytes.
#[inline]
pub(crate) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}
