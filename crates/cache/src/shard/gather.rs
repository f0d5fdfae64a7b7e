//! How long values that are left over in segments of others are brought together, so that segments
//! become free. They are copied without the lock: it is held to find one, and to have it replaced.

use std::sync::Arc;

use larder_protocol::Piecewise;

use super::Shard;
use crate::arena::Pages;
use crate::long::{Long, Sighting};
use crate::record::Head;

impl Shard {
    /// One of the next long values that is better kept elsewhere, and the pages for it. Those that
    /// fill segments leave little over.
    pub(crate) fn next_scattered(&mut self) -> Option<(Sighting, Pages)> {
        let Self { longs, arena, .. } = self;
        longs.survey(|long| {
            if long.len() >= arena.segment_bytes() {
                return None;
            }
            let pages = arena.take_denser(long.pages())?;
            // In a file its record says where it is, and has no room to say more.
            let has_room = long.map().is_empty() || long.map().len() == Long::map_len(&pages);
            has_room.then_some(pages)
        })
    }

    /// Has a copy take the place of a value, unless that is gone.
    pub(crate) fn gather(&mut self, from: &Sighting, copy: Long) {
        let Sighting { number, hash, long } = from;
        let is_there = self.longs.get(*number).is_some_and(|there| Arc::ptr_eq(there, long));
        // Whoever kills the process in between loses this item, which is then damaged.
        if is_there && self.rewrite_map(*number, *hash, &copy).is_some() {
            self.remains.extend(self.longs.replace(*number, Arc::new(copy)));
        }
    }

    /// In a file, has the record say where the copy is.
    fn rewrite_map(&mut self, number: u32, hash: u64, copy: &Long) -> Option<()> {
        if copy.map().is_empty() {
            return Some(());
        }
        let Self { index, logs, .. } = self;
        let head_at = |place| logs.at(place).and_then(Head::read);
        let slot = index.find(hash, |place| {
            let pages = head_at(place).and_then(|(head, _)| head.pages);
            pages.is_some_and(|pages| pages.number == number)
        })?;
        let place = index.place(slot);
        let (_, extent) = head_at(place)?;
        let map = logs.at_mut(place)?.get_mut(extent.map..extent.end)?;
        if map.len() != copy.map().len() {
            return None;
        }
        map.copy_from_slice(copy.map());
        logs.seal(place);
        Some(())
    }
}
