//! A row of buckets in memory of its own.

use memmap2::MmapMut;
use zerocopy::FromBytes;

use super::bucket::Bucket;
use crate::arena::{self, PAGE_BYTES};

/// A row of buckets in a mapping of its own: what an allocator has beside its blocks, and between
/// them, is nothing here.
///
/// All are empty at first, and the system gives a page of them when one of it is put to use. That
/// happens from the front on, and from the front on they are freed, a part at a time.
#[derive(Default)]
pub(super) struct Row {
    /// `None` for a row of no buckets.
    map: Option<MmapMut>,
    /// How many buckets at the front are on pages that were put to use.
    reach: u32,
    /// How many are in parts that were put to use and not freed.
    held: u32,
    /// How many are freed at once, whole pages of the system's.
    part: u32,
}

impl Row {
    /// A row of so many buckets; `None` if there is no memory.
    pub(super) fn new(buckets: u32) -> Option<Self> {
        let map = arena::zeros(buckets as usize * size_of::<Bucket>()).ok()?;
        let page = u32::try_from(arena::system_page_bytes() / size_of::<Bucket>()).ok()?;
        let part = (buckets / PARTS).clamp(PAGE, MAX_PART).next_multiple_of(page.max(PAGE));
        Some(Self { map: Some(map), reach: 0, held: 0, part })
    }

    /// Bytes of memory behind it, in whole parts, so that it is news only now and then.
    ///
    /// A page that was freed and is put to use again does not count: what has overflowed from the end
    /// of a row may come to its beginning while that is being freed.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.held as usize * size_of::<Bucket>()
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
            self.go_on_to(at);
        }
        self.get_mut(at)
    }

    #[cold]
    #[inline(never)]
    fn go_on_to(&mut self, at: u32) {
        let Some(bucket) = self.get_mut(at) else { return };
        // A page that is read first costs the system twice.
        *bucket = Bucket::default();
        let before = self.in_parts(self.reach);
        self.reach = (at / PAGE + 1) * PAGE;
        self.held += self.in_parts(self.reach) - before;
    }

    /// How many buckets are in the parts that the first so many are in.
    fn in_parts(&self, buckets: u32) -> u32 {
        let all = self.map.as_deref().map_or(0, <[u8]>::len) / size_of::<Bucket>();
        buckets.next_multiple_of(self.part).min(u32::try_from(all).unwrap_or(u32::MAX))
    }

    /// How many buckets are freed at once.
    pub(super) fn part(&self) -> u32 {
        self.part
    }

    /// Gives the memory of a part back that begins at `at` and was put to use: its buckets are empty
    /// then.
    pub(super) fn free(&mut self, at: u32) {
        let start = at as usize * size_of::<Bucket>();
        let end = start + self.part as usize * size_of::<Bucket>();
        if at < self.reach
            && let Some(map) = &mut self.map
            && arena::give_back(map, start..end)
        {
            self.held -= self.part;
        }
    }
}

/// Buckets on a page.
pub(super) const PAGE: u32 = 64;

const _: () = assert!(PAGE as usize * size_of::<Bucket>() == PAGE_BYTES);

/// Parts that a row has at least, if they are no shorter than a page and no longer than this: the
/// more, the less is held twice while items move; the longer, the less often the system is asked.
const PARTS: u32 = 64;
const MAX_PART: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn is_empty(row: &Row, at: u32) -> bool {
        row.get(at).unwrap().items().iter().all(Option::is_none)
    }

    #[test]
    fn memory_counts_from_its_first_use_until_it_is_freed() {
        let mut row = Row::new(5 * PAGE).unwrap();
        let part = row.part();
        if part > PAGE {
            // The system's pages are so large that this row is one part.
            return;
        }
        let bytes = |parts: u32| (parts * part) as usize * size_of::<Bucket>();
        assert_eq!(row.bytes(), 0);
        for at in [0, part - 1, part, 3 * part] {
            if let Some(bucket) = row.put_to_use(at) {
                bucket.put(1, 2, 3, 0);
            }
        }
        assert_eq!(row.bytes(), bytes(4));
        row.free(0);
        assert_eq!(row.bytes(), bytes(3));
        // That, and nothing else.
        let taken: Vec<_> = (0..5 * PAGE).filter(|at| !is_empty(&row, *at)).collect();
        assert_eq!(taken, [part, 3 * part]);
        // What was never put to use, or is not there, is nothing to free.
        row.free(4 * part);
        row.free(5 * part);
        assert_eq!(row.bytes(), bytes(3));
        assert!(row.put_to_use(5 * PAGE).is_none());
        assert_eq!(row.bytes(), bytes(3));
    }

    #[test]
    fn long_rows_are_freed_in_longer_parts() {
        let parts = [64, 6400, 64_000, 1 << 20].map(|buckets| Row::new(buckets).unwrap().part());
        assert_eq!(parts.map(|part| part % PAGE), [0; 4]);
        assert!(parts.is_sorted() && parts[3] >= MAX_PART, "{parts:?}");
    }
}
