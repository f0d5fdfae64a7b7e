//! Whether the books of a shard are right.

use ahash::RandomState;

use super::{Hashed, Shard};
use crate::index::Span;
use crate::policy::{Policy, Queue};
use crate::record::Head;

impl Shard {
    /// Whether its main log was begun: a segment that is being judged counts as of it, and is in none.
    pub(crate) fn has_main_log(&self) -> bool {
        self.logs.newest(Queue::Main).is_some()
    }

    /// Of each item its log and its uses.
    pub(crate) fn uses(&self) -> Vec<(Queue, u8)> {
        let mut all = Vec::new();
        self.index.visit(Span::ALL, |place, uses| {
            let segment = self.logs.segment(self.logs.segment_of(place)).unwrap();
            all.push((segment.queue, uses));
        });
        all
    }

    /// How hot an item is.
    pub(crate) fn heat(&self, key: Hashed<'_>) -> Option<u8> {
        let found = self.look_up(key)?;
        Some(Policy::heat(self.queue_at(found.place), self.index.uses(found.slot)))
    }

    /// Panics unless all that is kept count of is what it is counted to be.
    pub(crate) fn audit(&self, hashing: &RandomState) {
        let (mut places, mut payload, mut longs) = (0, 0, 0);
        let mut weights = std::collections::HashMap::<u32, (u32, u64)>::new();
        for place in self.index.places() {
            let bytes = self.logs.at(place).unwrap();
            let (head, extent) = Head::read(bytes).unwrap();
            assert!(!head.dead, "a dead record is in the index");
            let sealed = self.logs.secret().is_none() || self.logs.is_sealed(place, extent.end);
            assert!(sealed, "a seal is broken");
            let hash = hashing.hash_one(&bytes[extent.key..extent.value]);
            assert!(self.index.find_place(hash, place).is_some(), "a record is not found");
            let weight = self.logs.weight(&head, &extent);
            let sums = weights.entry(self.logs.segment_of(place)).or_default();
            *sums = (sums.0 + weight.len, sums.1 + weight.paged);
            payload += u64::from(head.key_len) + u64::from(head.value_len);
            if let Some(pages) = head.pages {
                assert_eq!(
                    self.longs.pieces(pages.number).unwrap().len(),
                    usize::try_from(weight.paged).unwrap()
                );
                longs += 1;
            }
            places += 1;
        }
        assert_eq!((places, payload), (self.index.len(), self.payload));
        assert_eq!(self.longs.count(), longs, "a long value has no record");
        let mut bytes = [0; 4];
        for (number, segment) in self.logs.iter() {
            let sums = weights.remove(&number).unwrap_or_default();
            assert_eq!(sums, (segment.live, segment.paged), "segment {number}");
            assert!(segment.live + self.logs.start() <= segment.used);
            assert!(segment.used as usize <= segment.memory.len());
            bytes[segment.queue.number()] += u64::from(sums.0) + sums.1;
        }
        assert!(weights.is_empty());
        assert_eq!(bytes, Queue::ALL.map(|queue| self.logs.bytes(queue)));
    }
}
