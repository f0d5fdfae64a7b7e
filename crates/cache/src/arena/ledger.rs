//! Whose every page is: the accounts of an arena, in numbers alone.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::ops::Range;

use super::PAGE_BYTES;

/// Which segments and pages are free, and how many may be in use.
///
/// Page `p` is part of segment `p / pages_per_segment`. A page is held, which means that one
/// [`Held`] covers it, or it is free in one of these ways:
///
/// - in a segment from `fresh` on, which nobody ever had;
/// - in a segment of `warm` or `cold`, which is free as a whole;
/// - marked in `loose`: other pages of its segment are held;
/// - in a segment that the arena took out with [`Ledger::next_cold`] or [`Ledger::surplus`], to
///   give it memory or to take its memory away, and puts back after.
pub(super) struct Ledger {
    pages_per_segment: u32,
    /// A run of pages does not go beyond a multiple of this, where its mapping ends.
    pages_per_extent: u32,
    limit: usize,
    in_use: usize,
    /// Free segments that have memory. The last freed is the first taken: caches still know it.
    warm: Vec<u32>,
    /// Free segments without memory. The lowest is taken first, so that what has memory stays
    /// dense: where the kernel gives memory in huge pages, every gap would cost one.
    cold: BinaryHeap<Reverse<u32>>,
    fresh: u32,
    /// Segments from here on have no address yet.
    mapped: u32,
    /// One bit for each page that is mapped.
    loose: Vec<u64>,
    /// How many bits are set in `loose`.
    loose_pages: usize,
    /// The segments with bits set in `loose`, by how many.
    partial: BTreeSet<(u32, u32)>,
}

/// Adjacent pages that somebody holds. It cannot be copied, and only the ledger makes one: while it
/// is there, no other covers a page of it.
pub(super) struct Held {
    first: u32,
    pages: u32,
}

impl Held {
    pub(super) fn first(&self) -> u32 {
        self.first
    }

    pub(super) fn numbers(&self) -> Range<u32> {
        self.first..self.first + self.pages
    }

    pub(super) fn bytes(&self) -> usize {
        self.pages as usize * PAGE_BYTES
    }
}

impl Ledger {
    /// Of an arena that has no memory yet, and a limit of 0.
    pub(super) fn new(pages_per_segment: u32, pages_per_extent: u32) -> Self {
        Self {
            pages_per_segment,
            pages_per_extent,
            limit: 0,
            in_use: 0,
            warm: Vec::new(),
            cold: BinaryHeap::new(),
            fresh: 0,
            mapped: 0,
            loose: Vec::new(),
            loose_pages: 0,
            partial: BTreeSet::new(),
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn set_limit(&mut self, segments: usize) {
        self.limit = segments;
    }

    /// Segments that are held, or pages of them.
    pub(super) fn in_use(&self) -> usize {
        self.in_use
    }

    /// Pages that are free while others of their segments are held.
    pub(super) fn loose_pages(&self) -> usize {
        self.loose_pages
    }

    /// Whether so many pages are loose that whole segments are to be had by bringing together what is
    /// held around them, and few are to be had otherwise.
    pub(super) fn is_scattered(&self) -> bool {
        let pages = |segments: usize| segments * self.pages_per_segment as usize;
        self.loose_pages > pages(self.in_use) / SCATTERED && self.loose_pages > pages(self.room())
    }

    /// How many segments may be taken.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.in_use)
    }

    pub(super) fn warm(&self) -> usize {
        self.warm.len()
    }

    /// Segments that have an address: the numbers below this.
    pub(super) fn mapped(&self) -> u32 {
        self.mapped
    }

    /// Whether there are numbers for the pages of another extent.
    pub(super) fn can_extend(&self) -> bool {
        let pages = u64::from(self.mapped) * u64::from(self.pages_per_segment);
        u32::try_from(pages + u64::from(self.pages_per_extent)).is_ok()
    }

    /// Another extent has got its address.
    pub(super) fn extend(&mut self) {
        self.mapped += self.pages_per_extent / self.pages_per_segment;
        let words = self.mapped as usize * self.pages_per_segment as usize / 64;
        self.loose.resize(words, 0);
    }

    /// Takes out a segment without memory, to give it some; `None` if all that have an address are
    /// taken.
    pub(super) fn next_cold(&mut self) -> Option<u32> {
        if let Some(Reverse(segment)) = self.cold.pop() {
            return Some(segment);
        }
        let segment = self.fresh;
        (segment < self.mapped).then(|| {
            self.fresh += 1;
            segment
        })
    }

    /// Takes out a free segment whose memory is more than the limit allows, to take it away.
    pub(super) fn surplus(&mut self) -> Option<u32> {
        if self.in_use + self.warm.len() > self.limit { self.warm.pop() } else { None }
    }

    pub(super) fn put_warm(&mut self, segment: u32) {
        self.warm.push(segment);
    }

    pub(super) fn put_cold(&mut self, segment: u32) {
        self.cold.push(Reverse(segment));
    }

    /// A segment, if there is room and a warm one.
    pub(super) fn take(&mut self) -> Option<Held> {
        if self.room() == 0 {
            return None;
        }
        let segment = self.warm.pop()?;
        self.in_use += 1;
        Some(self.whole(segment))
    }

    /// How many whole segments have to be warm for [`take_pages`](Self::take_pages); `None` if the
    /// limit does not allow so many pages.
    ///
    /// What fills segments gets segments of its own as long as there are any: they make long runs,
    /// and become free all at once. The rest goes to the pages that are left over in others, and
    /// only to a new segment if these are too few.
    pub(super) fn plan(&self, pages: usize) -> Option<usize> {
        let per_segment = self.pages_per_segment as usize;
        let room = self.room();
        if pages > self.loose_pages.saturating_add(room.saturating_mul(per_segment)) {
            return None;
        }
        let whole = (pages / per_segment).min(room);
        let rest = pages - whole * per_segment;
        Some(if rest > self.loose_pages { whole + 1 } else { whole })
    }

    /// So many pages, in order and in as few runs as they make; `None`, and nothing is changed, if
    /// the limit does not allow them or fewer segments are warm than planned.
    pub(super) fn take_pages(&mut self, pages: usize) -> Option<Vec<Held>> {
        let segments = self.plan(pages)?;
        if segments > self.warm.len() {
            return None;
        }
        let mut runs = Vec::with_capacity(segments + 1);
        let mut left = u32::try_from(pages).ok()?;
        for _ in 0..segments {
            let Some(segment) = self.warm.pop() else { unreachable!("as many are warm") };
            self.in_use += 1;
            let held = self.whole(segment);
            if let Some(rest) = left.checked_sub(self.pages_per_segment) {
                left = rest;
                runs.push(held);
            } else {
                self.split(&held);
            }
        }
        while left > 0 {
            // The fullest segment that has them all: so the others become empty sooner. Where none
            // has, the one that has most: so the runs are few.
            let chosen = self.partial.range((left, 0)..).next().or_else(|| self.partial.last());
            let Some(&(free, segment)) = chosen else { unreachable!("the plan counted them") };
            let part = left.min(free);
            self.carve(segment, free, part, &mut runs);
            left -= part;
        }
        runs.sort_unstable_by_key(|run| run.first);
        runs.dedup_by(|next, run| self.join(run, next));
        Some(runs)
    }

    /// Makes `run` longer by `next`, if that follows it in the same mapping.
    pub(super) fn join(&self, run: &mut Held, next: &Held) -> bool {
        let adjacent = run.first + run.pages == next.first
            && !next.first.is_multiple_of(self.pages_per_extent);
        if adjacent {
            run.pages += next.pages;
        }
        adjacent
    }

    /// Gives back what was held. Its `Held` must not be used any more.
    pub(super) fn give(&mut self, held: &Held) {
        let per_segment = self.pages_per_segment;
        let mut end = held.first + held.pages;
        // From the last to the first, so that segments are taken again in the order of addresses.
        while end > held.first {
            let segment = (end - 1) / per_segment;
            let first = held.first.max(segment * per_segment);
            self.give_part(segment, first, end - first);
            end = first;
        }
    }

    /// From now on the pages of a segment are held one by one; none of them yet. Its `Held` must
    /// not be used any more.
    pub(super) fn split(&mut self, held: &Held) {
        self.mark(held.first, held.pages, true);
        self.loose_pages += held.pages as usize;
        self.partial.insert((held.pages, held.first / self.pages_per_segment));
    }

    /// Holds the segments of a file that has something for them, for [`Recovery`](super::Recovery):
    /// these are the first of the arena, and they have an address. The others are cold.
    pub(super) fn hold_old(&mut self, backed: &[bool]) -> Vec<Option<Held>> {
        let numbers = self.fresh..;
        let held = numbers.zip(backed).map(|(segment, &backed)| {
            self.fresh = segment + 1;
            if backed {
                self.in_use += 1;
                Some(self.whole(segment))
            } else {
                self.put_cold(segment);
                None
            }
        });
        held.collect()
    }

    /// Whether this page is free while others of its segment are held, or were until now.
    pub(super) fn is_loose(&self, page: u32) -> bool {
        self.loose.get(page as usize / 64).is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    /// Holds this very page, if it is loose.
    pub(super) fn take_loose(&mut self, page: u32) -> Option<Held> {
        self.is_loose(page).then(|| {
            let segment = page / self.pages_per_segment;
            let free = self.loose_of(segment);
            self.partial.remove(&(free, segment));
            if free > 1 {
                self.partial.insert((free - 1, segment));
            }
            self.hold(page, 1)
        })
    }

    fn whole(&self, segment: u32) -> Held {
        Held { first: segment * self.pages_per_segment, pages: self.pages_per_segment }
    }

    fn give_part(&mut self, segment: u32, first: u32, pages: u32) {
        let per_segment = self.pages_per_segment;
        let before = self.loose_of(segment);
        debug_assert!((first..first + pages).all(|page| !self.is_loose(page)), "given back twice");
        if before > 0 {
            self.partial.remove(&(before, segment));
        }
        if before + pages < per_segment {
            self.mark(first, pages, true);
            self.loose_pages += pages as usize;
            self.partial.insert((before + pages, segment));
            return;
        }
        if before > 0 {
            self.mark(segment * per_segment, per_segment, false);
            self.loose_pages -= before as usize;
        }
        self.in_use -= 1;
        self.warm.push(segment);
    }

    /// As many pages as these are, in a segment that has no more loose pages than the emptiest of
    /// those that these are in; if at least a fourth of that is loose.
    pub(super) fn take_denser(
        &mut self,
        pages: impl Iterator<Item = Range<u32>> + Clone,
    ) -> Option<Vec<Held>> {
        let per_segment = self.pages_per_segment;
        let number = pages.clone().map(|run| run.end - run.start).sum();
        let of = |run: Range<u32>| run.start / per_segment..run.end.div_ceil(per_segment);
        let its_own = pages.flat_map(of);
        let emptiest = its_own.clone().map(|segment| self.loose_of(segment)).max()?;
        if emptiest < per_segment / 4 || number > emptiest {
            return None;
        }
        let fuller = self.partial.range((number, 0)..=(emptiest, u32::MAX));
        let mut others = fuller.filter(|(_, segment)| !its_own.clone().any(|own| own == *segment));
        let &(free, segment) = others.next()?;
        let mut runs = Vec::new();
        self.carve(segment, free, number, &mut runs);
        Some(runs)
    }

    /// Takes `part` of the `free` pages that are loose in a segment: from the shortest run that has
    /// them all, or else from its runs as they come.
    fn carve(&mut self, segment: u32, free: u32, part: u32, into: &mut Vec<Held>) {
        self.partial.remove(&(free, segment));
        if free > part {
            self.partial.insert((free - part, segment));
        }
        let mut page = segment * self.pages_per_segment;
        let end = page + self.pages_per_segment;
        let runs =
            std::iter::successors(self.next_run(page..end), |run| self.next_run(run.end..end));
        let fits =
            runs.filter(|run| run.end - run.start >= part).min_by_key(|run| run.end - run.start);
        if let Some(run) = fits {
            page = run.start;
        }
        let mut left = part;
        while left > 0 {
            let Some(run) = self.next_run(page..end) else { unreachable!("as many are loose") };
            let pages = left.min(run.end - run.start);
            into.push(self.hold(run.start, pages));
            left -= pages;
            page = run.end;
        }
    }

    fn hold(&mut self, first: u32, pages: u32) -> Held {
        self.mark(first, pages, false);
        self.loose_pages -= pages as usize;
        Held { first, pages }
    }

    /// The first loose pages of some.
    fn next_run(&self, among: Range<u32>) -> Option<Range<u32>> {
        let start = self.find(among.clone(), true)?;
        Some(start..self.find(start..among.end, false).unwrap_or(among.end))
    }

    /// The first page of some that is loose, or that is not.
    fn find(&self, among: Range<u32>, loose: bool) -> Option<u32> {
        let mut page = among.start;
        while page < among.end {
            let word = self.loose.get(page as usize / 64)?;
            let word = if loose { *word } else { !word };
            let rest = word >> (page % 64);
            if rest != 0 {
                let found = page + rest.trailing_zeros();
                return (found < among.end).then_some(found);
            }
            page = (page / 64 + 1) * 64;
        }
        None
    }

    fn loose_of(&self, segment: u32) -> u32 {
        let per_segment = self.pages_per_segment;
        let mask = if per_segment < 64 { (1 << per_segment) - 1 } else { u64::MAX };
        let first = segment * per_segment;
        let words = (first..first + per_segment).step_by(64).map(|page| {
            let word = self.loose.get(page as usize / 64).copied().unwrap_or(0);
            (word >> (page % 64) & mask).count_ones()
        });
        words.sum()
    }

    fn mark(&mut self, first: u32, pages: u32, loose: bool) {
        let (mut page, end) = (first, first + pages);
        while page < end {
            let bits = (end - page).min(64 - page % 64);
            if let Some(word) = self.loose.get_mut(page as usize / 64) {
                let mask = u64::MAX >> (64 - bits) << (page % 64);
                if loose { *word |= mask } else { *word &= !mask }
            }
            page += bits;
        }
    }

    /// Whether the accounts agree with each other.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let ones: u32 = self.loose.iter().map(|word| word.count_ones()).sum();
        assert_eq!(ones as usize, self.loose_pages);
        let by_segment = (0..self.mapped).map(|segment| (self.loose_of(segment), segment));
        let partial: BTreeSet<_> = by_segment.filter(|&(free, _)| free > 0).collect();
        assert_eq!(partial, self.partial);
        assert!(partial.iter().all(|&(free, _)| free < self.pages_per_segment));
        let free = self.warm.len() + self.cold.len();
        assert_eq!(free + self.in_use, self.fresh as usize);
        let free: BTreeSet<_> =
            self.warm.iter().copied().chain(self.cold.iter().map(|cold| cold.0)).collect();
        assert_eq!(free.len(), self.warm.len() + self.cold.len());
        assert!(self.warm.is_empty() || self.in_use + self.warm.len() <= self.limit);
    }
}

/// One page in so many is loose at most times.
const SCATTERED: usize = 32;
