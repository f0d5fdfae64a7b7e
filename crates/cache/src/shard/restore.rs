//! How a shard takes over what another process has left.

use std::ops::Range;

use ahash::RandomState;
use larder_protocol::{Marks, Seconds};
use parking_lot::Mutex;

use super::reclaim::Job;
use super::{Found, Hashed, Shard, hash_at};
use crate::arena::{Recovery, Segment};
use crate::index::{Index, Place};
use crate::label::Label;
use crate::long::Long;
use crate::policy::Queue;
use crate::record::{self, Extent, Head};
use crate::restored::Restored;

/// What records are taken over with.
#[derive(Clone, Copy)]
struct Circumstances<'a> {
    recovery: &'a Mutex<Recovery>,
    hashing: &'a RandomState,
    now: Seconds,
}

impl Shard {
    /// Fills an empty shard with the segments that are labelled as its own. Each record is checked.
    pub(crate) fn restore(
        &mut self,
        mut segments: Vec<(Label, Segment)>,
        recovery: &Mutex<Recovery>,
        hashing: &RandomState,
        now: Seconds,
    ) -> Restored {
        segments.sort_unstable_by_key(|(label, _)| label.number);
        let mut restored = Restored::default();
        let mut jobs = Vec::new();
        let mut places = Vec::new();
        let with = Circumstances { recovery, hashing, now };
        for (label, memory) in segments {
            let number = self.logs.adopt(memory, &label, now);
            let (read, write) = label.job.unwrap_or((label.used, label.used));
            for part in [self.logs.start()..write, read..label.used] {
                self.take_over(number, part, with, &mut restored, &mut places);
            }
            if let Some(segment) = self.logs.segment_mut(number) {
                segment.begun = self.policy.arrived;
                if segment.queue != Queue::Main {
                    self.policy.arrived += u64::from(segment.live) + segment.paged;
                }
            }
            if label.job.is_some() {
                jobs.push(Job::resumed(number, label.queue, read, write));
            }
        }
        self.longs.restored();
        self.index = Index::with_room(places.len());
        for (number, (hash, place)) in places.iter().enumerate() {
            if let Some((later, _)) = places.get(number + EXPECTED) {
                self.fetch_index(*later);
            }
            self.enlist(*hash, *place, hashing);
        }
        let of_job = |number| jobs.iter().any(|job: &Job| job.is_of(number));
        let dead = self.logs.iter().filter(|(_, segment)| segment.live == 0);
        let dead = dead.map(|(number, _)| number).filter(|number| !of_job(*number));
        for number in dead.collect::<Vec<_>>() {
            self.logs.end(number);
        }
        for job in jobs {
            self.finish_job(job, hashing, now);
        }
        restored.items = self.index.len() as u64;
        restored.bytes = self.payload;
        restored
    }

    /// Counts what is wanted of a part of a segment, and buries the rest.
    fn take_over(
        &mut self,
        number: u32,
        part: Range<u32>,
        with: Circumstances<'_>,
        restored: &mut Restored,
        places: &mut Vec<(u64, Place)>,
    ) {
        let mut at = part.start;
        loop {
            // One at a time, since what is not wanted is written to.
            let Some((offset, head, extent)) = self.logs.records(number, at, part.end).next()
            else {
                return;
            };
            at = offset + self.logs.len_with_seal(extent.end);
            if head.dead {
                continue;
            }
            let place = self.logs.place_behind_seal(number, offset);
            let expired = head.header.expired(with.now);
            restored.expired += u64::from(expired);
            if !expired && self.is_sound(place, &head, &extent, with) {
                self.logs.enter(number, self.logs.weight(&head, &extent));
                self.payload += u64::from(head.key_len) + u64::from(head.value_len);
                places.push((hash_at(&self.logs, with.hashing, place), place));
            } else {
                // A value in too many pieces to say where they are was not meant to come back.
                let untold = head.pages.is_some()
                    && extent.map == extent.end
                    && self.logs.is_sealed(place, extent.end);
                restored.damaged += u64::from(!expired && !untold);
                self.logs.bury(place);
            }
        }
    }

    /// Whether a record is what was written; its pages are claimed.
    fn is_sound(
        &mut self,
        place: Place,
        head: &Head,
        extent: &Extent,
        with: Circumstances<'_>,
    ) -> bool {
        if head.key_len == 0 || !self.logs.is_sealed(place, extent.end) {
            return false;
        }
        let Some(pages) = head.pages else { return true };
        let long = || {
            let map = self.logs.at(place)?.get(extent.map..extent.end)?;
            let len = record::paged_len(head.value_len as usize);
            Long::recover(map, len, &mut with.recovery.lock(), self.logs.secret()?)
        };
        long().is_some_and(|long| {
            let hash = hash_at(&self.logs, with.hashing, place);
            self.longs.restore(pages.number, hash, long)
        })
    }

    /// Puts a record into the index. Of two with one key, the process before was about to bury one.
    fn enlist(&mut self, hash: u64, place: Place, hashing: &RandomState) {
        let Some((head, extent)) = self.logs.at(place).and_then(Head::read) else { return };
        let key = self.logs.at(place).and_then(record::key).unwrap_or_default();
        let other = self.look_up(Hashed { key, hash, hashing });
        let Self { index, logs, .. } = self;
        let Some(other) = other else {
            let uses = u8::from(head.header.marks.has(Marks::FETCHED));
            index.insert(hash, place, uses, |place| hash_at(logs, hashing, place));
            return;
        };
        if other.head.header.cas <= head.header.cas {
            index.put_place(other.slot, place);
            self.discard(&other, None);
        } else {
            self.discard(&Found { place, head, extent, ..other }, None);
        }
    }
}

/// So many items ahead their places in the index are fetched.
const EXPECTED: usize = 8;
