//! Large values, whose pages are written before a shard is locked.

use larder_protocol::{Mode, Op, Piecewise, Seconds};

use super::Cache;
use crate::arena::{PAGE_BYTES, Pages};
use crate::long::{self, Long};
use crate::record::{MIN_PAGED, paged_len};
use crate::runway::Runway;
use crate::shard::{Before, Hashed, Preparation, Prepared};

impl Cache {
    /// Pages for the front of a value of `len` bytes that is still coming, or for the first of that:
    /// then [`lengthen`](Self::lengthen) has more. `None` if it has too few, or there is no memory:
    /// half of the limit stays with the items.
    pub fn land(&self, len: usize, now: Seconds) -> Option<Runway> {
        let len = paged_len(len);
        if len == 0 {
            return None;
        }
        let loan = self.budget.land(len as u64)?;
        let pages = self.take_pages(self.pages_of_part(len), now)?;
        Some(Runway::new(len, pages, loan))
    }

    /// The next pages for a value that is coming. `true` if others had to make way.
    pub fn lengthen(&self, runway: &mut Runway, now: Seconds) -> bool {
        let number = self.pages_of_part(runway.lacking());
        let at_hand = self.arena.take_pages(number);
        let makes_way = at_hand.is_none();
        let pages = at_hand.or_else(|| self.take_pages(number, now));
        runway.lengthen(pages, |long, pages| self.add_pages(long, pages));
        makes_way
    }

    /// How many pages are had at once of so many bytes.
    fn pages_of_part(&self, bytes: usize) -> usize {
        bytes.min(PART_BYTES.max(self.arena.segment_bytes())) / PAGE_BYTES
    }

    /// Writes what of a value belongs in pages, if there is that much of it. No lock is held.
    pub(super) fn prepare(&self, key: Hashed<'_>, op: &Op<'_>, now: Seconds) -> Preparation {
        let Op::Store(store) = op else { return Preparation::None };
        if store.landed > 0 {
            // It came with its pages, and they cannot be made again.
            return Preparation::Failed;
        }
        let value = store.value;
        let conditional = store.mode != Mode::Set || store.compare.is_some();
        // Nothing is evicted for what is not stored.
        if conditional
            && value.len() >= MIN_PAGED
            && !self.lock(key.hash, now).would_put_at(key, op, now)
        {
            return Preparation::None;
        }
        let adds = matches!(store.mode, Mode::Append | Mode::Prepend);
        let before =
            if adds { self.lock(key.hash, now).before(key, value.len(), now) } else { None };
        let Some(before) = before else {
            let paged = paged_len(value.len());
            if paged == 0 {
                return Preparation::None;
            }
            let long = self.extend(Long::default(), &[value], paged, now);
            return long.map_or(Preparation::Failed, |long| {
                Preparation::Made(Prepared { long, from: None })
            });
        };
        let Before { long: old, inline } = &before;
        let inline = inline.as_slice();
        let old_paged = old.as_deref().map_or(0, Piecewise::len);
        let paged = paged_len(old_paged + inline.len() + value.len());
        let pieces = || (0..).map_while(|number| old.as_deref()?.piece(number));
        let (long, parts) = if store.mode == Mode::Append {
            // What is in pages already stays there.
            (old.as_deref().cloned().unwrap_or_default(), vec![inline, value])
        } else {
            (Long::default(), [value].into_iter().chain(pieces()).chain([inline]).collect())
        };
        let paged_of_parts = paged - long.len();
        let Some(long) = self.extend(long, &parts, paged, now) else {
            return Preparation::Failed;
        };
        let mut rest = Vec::with_capacity(PAGE_BYTES);
        let mut at = 0;
        for part in parts {
            let paged = paged_of_parts.saturating_sub(at).min(part.len());
            rest.extend_from_slice(part.get(paged..).unwrap_or_default());
            at += part.len();
        }
        Preparation::Made(Prepared { long, from: Some((before, rest)) })
    }

    /// Adds to `long` what it lacks of `len` bytes, from `parts`. `None` if there is no memory.
    fn extend(&self, long: Long, parts: &[&[u8]], len: usize, now: Seconds) -> Option<Long> {
        let lacking = len - long.len();
        if lacking == 0 {
            return Some(long);
        }
        if len as u64 > self.budget.limit() {
            // Not worth emptying the cache for.
            return None;
        }
        let pages = self.take_pages(lacking / PAGE_BYTES, now)?;
        self.fill(long, pages, parts.iter().copied())
    }

    /// Adds to `long` pages with what is first in `parts`; `None` if that is less.
    pub(super) fn fill<'a>(
        &self,
        long: Long,
        mut pages: Pages,
        mut parts: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Long> {
        let mut part: &[u8] = &[];
        for mut run in pages.runs_mut() {
            while !run.is_empty() {
                while part.is_empty() {
                    part = parts.next()?;
                }
                let (copied, later) = part.split_at(part.len().min(run.len()));
                let (room, rest) = run.split_at_mut(copied.len());
                room.copy_from_slice(copied);
                (part, run) = (later, rest);
            }
        }
        Some(self.add_pages(long, pages))
    }

    pub(super) fn add_pages(&self, long: Long, pages: Pages) -> Long {
        let check = self.image.as_ref().map(|image| long::checksum(&pages, image.secret()));
        long.extended(pages, check)
    }
}

/// So many bytes of a value are made way for at once: some thousand small items.
const PART_BYTES: usize = 256 << 10;
