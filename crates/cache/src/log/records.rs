//! The records of a segment, one after the other.

use crate::record::{Extent, Head};

/// The records of a part of a segment, dead or not. What cannot be one ends it.
pub(crate) struct Records<'a> {
    pub(super) memory: &'a [u8],
    /// Where the next seal begins.
    pub(super) at: u32,
    pub(super) seal: u32,
}

impl Iterator for Records<'_> {
    /// Where its seal begins, its head, and the extent from its place.
    type Item = (u32, Head, Extent);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        let bytes = self.memory.get((at + self.seal) as usize..)?;
        let (head, extent) = Head::read(bytes)?;
        if extent.end > bytes.len() {
            return None;
        }
        self.at = at + self.seal + extent.end as u32;
        Some((at, head, extent))
    }
}
