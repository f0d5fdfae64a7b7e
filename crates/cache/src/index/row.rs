//! A row of buckets in memory of its own.

use std::alloc::{Layout, handle_alloc_error};

use memmap2::MmapMut;
use zerocopy::FromBytes;

use super::bucket::Bucket;
use crate::arena::{self, PAGE_BYTES};

/// A row of buckets in a mapping of its own: what an allocator has beside its blocks, and between
/// them, is nothing here.
///
/// All are empty at first, and the system gives a page of them when one of it is put to use. That
/// happens from the front on, and from the front on they are freed.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// `None` for a row of no buckets.
    map: Option<MmapMut>,
    /// How many buckets at the front are on pages that were put to use.
    reach: u32,
    /// How many of these were freed.
    freed: u32,
}

impl Row {
    pub(super) fn new(buckets: u32) -> Self {
        let bytes = buckets as usize * size_of::<Bucket>();
        let map = (bytes > 0).then(|| match arena::map(bytes) {
            Ok(map) => map,
            // As where any other memory is asked for that is not there.
            Err(_) => handle_alloc_error(Layout::new::<Bucket>()),
        });
        Self { map, reach: 0, freed: 0 }
    }

    /// Bytes of memory behind it.
    pub(super) fn bytes(&self) -> usize {
        (self.reach - self.freed) as usize * size_of::<Bucket>()
    }

    #[inline]
    pub(super) fn get(&self, at: u32) -> Option<&Bucket> {
        let bytes = self.map.as_deref()?.get(at as usize * size_of::<Bucket>()..)?;
        Bucket::ref_from_prefix(bytes).ok().map(|(bucket, _)| bucket)
    }

    /// A bucket that was put to use.
    #[inline]
    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Bucket> {
        let bytes = self.map.as_deref_mut()?.get_mut(at as usize * size_of::<Bucket>()..)?;
        Bucket::mut_from_prefix(bytes).ok().map(|(bucket, _)| bucket)
    }

    /// Any bucket, in use from now on.
    #[inline]
    pub(super) fn put_to_use(&mut self, at: u32) -> Option<&mut Bucket> {
        if at >= self.reach {
            self.reach = (at / PAGE + 1) * PAGE;
        }
        self.get_mut(at)
    }

    /// Gives the memory of so many buckets from `at` on back, in whole pages: they are empty then.
    pub(super) fn free(&mut self, at: u32, buckets: u32) {
        let end = self.reach.min(at + buckets);
        if let Some(map) = &mut self.map
            && at < end
        {
            arena::clear(
                map,
                at as usize * size_of::<Bucket>()..end as usize * size_of::<Bucket>(),
            );
            self.freed += end - at;
        }
    }
}

/// Buckets on a page.
pub(super) const PAGE: u32 = 64;

const _: () = assert!(PAGE as usize * size_of::<Bucket>() == PAGE_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_counts_from_its_first_use_until_it_is_freed() {
        let mut row = Row::new(5 * PAGE);
        assert_eq!(row.bytes(), 0);
        for at in [0, PAGE - 1, 3 * PAGE] {
            row.put_to_use(at).unwrap().put(1, 2, 3, 0);
        }
        assert_eq!(row.bytes(), 4 * PAGE_BYTES);
        row.free(0, PAGE);
        row.free(2 * PAGE, 3 * PAGE);
        assert_eq!(row.bytes(), PAGE_BYTES);
        assert!((0..5 * PAGE).all(|at| row.get(at).unwrap().items().iter().all(Option::is_none)));
        assert!(row.get(5 * PAGE).is_none() && Row::default().get(0).is_none());
    }
}
