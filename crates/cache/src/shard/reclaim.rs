//! How a shard makes room: segments are looked through, one at a time and some records ahead of
//! need, and what stays of them is moved together.
#![expect(
    clippy::cast_possible_truncation,
    reason = "offsets are within a segment, of at most 1 MiB"
)]

use ahash::RandomState;
use larder_protocol::Seconds;

use super::{Found, INDEX_COST, Lack, Shard, hash_at};
use crate::arena;
use crate::arena::Segment as Memory;
use crate::log::Segment;
use crate::policy::{Policy, Queue};

/// A segment being looked through. Records that stay and find no room elsewhere are moved to its
/// own front, so it takes no memory to make memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    segment: u32,
    /// Where its records come from.
    from: Queue,
    kind: Kind,
    /// The next record to look at.
    read: u32,
    /// Where the next that stays goes.
    write: u32,
    /// From here on all that is live stays.
    end: u32,
    /// How many bytes had arrived on probation when it began.
    begun: u64,
}

/// What has come of giving up memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// A segment, or a long value.
    Something,
    /// Not yet anything: more is to be done.
    Not,
    /// There is nothing.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Dead records go, the others move together.
    Tidy,
    /// The oldest segment of its log is judged, and was taken out of it.
    Oldest,
    /// The same of a segment that is still appended to, and stays where it is.
    Open,
}

impl Job {
    fn new(segment: u32, from: Queue, kind: Kind, start: u32, end: u32, begun: u64) -> Self {
        Self { segment, from, kind, read: start, write: start, end, begun }
    }

    /// What another process has left undone; all that is live stays.
    pub(super) fn resumed(segment: u32, from: Queue, read: u32, write: u32) -> Self {
        Self { segment, from, kind: Kind::Tidy, read, write, end: 0, begun: 0 }
    }

    pub(super) fn is_of(&self, segment: u32) -> bool {
        self.segment == segment
    }

    /// The log that a record is of which it has not yet come to.
    pub(super) fn queue_ahead(&self, segment: u32, offset: u32) -> Option<Queue> {
        (self.segment == segment && offset >= self.read).then_some(self.from)
    }

    /// Whether a record here stays as long as it is live.
    fn keeps(&self, offset: u32) -> bool {
        offset >= self.end
    }
}

impl Shard {
    /// Gives up memory: of what is dead, else by eviction; a segment, or a long value of one that
    /// is not yet done with, since a segment of records can stand for very many pages. `false` if
    /// there is none to be had.
    fn give_up(&mut self, hashing: &RandomState, now: Seconds) -> bool {
        loop {
            match self.give_up_some(hashing, now) {
                Given::Not => {}
                Given::Something => return true,
                Given::Nothing => return false,
            }
        }
    }

    /// The same, but no more than so many records at a time: so it may not be done.
    pub(crate) fn give_up_some(&mut self, hashing: &RandomState, now: Seconds) -> Given {
        if !self.begin_job(now) {
            let spare = self.end_an_empty_one() || self.spare.take().is_some();
            return if spare { Given::Something } else { Given::Nothing };
        }
        for _ in 0..BATCHES {
            self.work(hashing, now);
            if self.job.is_none() || !self.remains.is_empty() {
                return Given::Something;
            }
        }
        Given::Not
    }

    /// Does all of a job.
    pub(super) fn finish_job(&mut self, job: Job, hashing: &RandomState, now: Seconds) {
        self.job = Some(job);
        while self.job.is_some() {
            self.work(hashing, now);
        }
    }

    /// Gives it a segment for when it needs one, in exchange for one that it did not need. That is
    /// to be dropped outside of the lock.
    #[inline]
    pub(crate) fn swap_spare(&mut self, memory: &mut Option<Memory>) {
        if memory.is_some() {
            std::mem::swap(&mut self.spare, memory);
        }
    }

    /// When the item was used whose turn to leave is next; of many dead ones before it, the last that
    /// is looked at stands for it.
    pub(crate) fn next_to_leave(&self) -> Option<Seconds> {
        let (number, _) = self.next_victim()?;
        let segment = self.logs.segment(number)?;
        // What a job has moved or dropped is behind it.
        let job = self.job.filter(|job| job.segment == number);
        let from = job.map_or(self.logs.start(), |job| job.read);
        let mut last_access = None;
        for (_, head, _) in self.logs.records(number, from, segment.used).take(LOOKED_AT) {
            last_access = Some(head.header.last_access);
            if !head.dead {
                break;
            }
        }
        last_access
    }

    /// The segment of a log that has room for `len` bytes.
    #[inline]
    pub(super) fn make_room(
        &mut self,
        queue: Queue,
        len: u32,
        hashing: &RandomState,
        now: Seconds,
    ) -> Result<u32, Lack> {
        // Each pass over a log takes a use away from what stays, so that in the end something goes;
        // but not the record that is to be replaced.
        let mut jobs = 4 * (self.logs.len() + 1);
        while jobs > 0 {
            if let Some(open) = self.open(queue, len) {
                return Ok(open);
            }
            if len as usize > self.logs.max_len() {
                return Err(Lack::Memory);
            }
            if self.begin(queue, now).is_some() {
                continue;
            }
            if (self.evict && !self.is_self_sufficient()) || !self.give_up(hashing, now) {
                return Err(Lack::Segment);
            }
            // Their pages are needed now.
            self.remains.clear();
            jobs -= usize::from(self.job.is_none());
        }
        Err(Lack::Segment)
    }

    /// Whether a segment that it gives up is one that it may take: not above the limit. One with
    /// long values would give up parts of many segments, and one that has little would be left with
    /// nothing. But if it has no numbers left for segments, another's is of no use to it.
    fn is_self_sufficient(&self) -> bool {
        let part = self.arena.in_use() as u64 / self.shards;
        let has_its_part = self.logs.len() as u64 >= part - part / 8;
        let may_take = !self.arena.is_above_limit();
        (self.longs.is_empty() && has_its_part && may_take) || !self.logs.may_begin()
    }

    /// Begins a segment at the end of a log, if there is memory for it.
    fn begin(&mut self, queue: Queue, now: Seconds) -> Option<u32> {
        if !self.logs.may_begin() {
            return None;
        }
        let memory =
            self.spare.take().or_else(|| self.arena.take_leaving(segments_left(self.evict)))?;
        Some(self.logs.begin(memory, queue, self.policy.arrived, now))
    }

    /// The segment of a log that records of `len` bytes are appended to, if it has room.
    #[inline]
    fn open(&self, queue: Queue, len: u32) -> Option<u32> {
        let tidied = || self.tidied.get(queue.number()).copied().flatten();
        self.logs.roomy(queue, len).or_else(|| {
            // Where nothing is evicted, the order is of no account.
            if self.evict { None } else { tidied().filter(|tidied| self.logs.fits(*tidied, len)) }
        })
    }

    /// Looks through a few records ahead of need, so that no command has to look through a whole
    /// segment at once.
    #[inline]
    pub(super) fn pace(&mut self, queue: Queue, hashing: &RandomState, now: Seconds) {
        if self.job.is_none() {
            let newest = self.logs.newest(queue).and_then(|number| self.logs.segment(number));
            let soon = newest.is_some_and(Segment::is_nearly_full);
            if !soon || self.arena.room() > 0 || !self.begin_job(now) {
                return;
            }
        }
        let Some(job) = self.job else { return };
        // Long values are many times their records: they stay until their pages are needed.
        let segment = self.logs.segment(job.segment);
        if job.keeps(job.read) || segment.is_some_and(|segment| segment.paged == 0) {
            self.work(hashing, now);
        }
    }

    /// Chooses a segment to look through, if none is being looked through. `false` if there is none
    /// that would give memory.
    fn begin_job(&mut self, now: Seconds) -> bool {
        if self.job.is_some() {
            return true;
        }
        let part = if self.evict { WORTH_TIDYING } else { WORTH_TIDYING_WHEN_FULL };
        let enough = self.arena.segment_bytes() as u64 / part;
        let newest = Queue::ALL.map(|queue| self.logs.newest(queue));
        let deadest = self
            .logs
            .iter()
            .filter(|(number, segment)| {
                // One that was just begun holds little, but for pages.
                segment.is_nearly_full() || segment.paged > 0 || !newest.contains(&Some(*number))
            })
            .map(|(number, segment)| {
                let (records, paged) = segment.dead(now);
                (u64::from(records) + paged, number, segment.queue)
            })
            .max_by_key(|(dead, ..)| *dead)
            .filter(|(dead, ..)| *dead >= enough);
        let arrived = self.policy.arrived;
        let job = if let Some((_, segment, from)) = deadest {
            Job::new(segment, from, Kind::Tidy, self.logs.start(), 0, arrived)
        } else if self.evict
            && let Some((segment, from)) = self.next_victim()
        {
            // Above the limit it takes a segment as a whole.
            let open = !self.arena.is_above_limit() && newest.contains(&Some(segment));
            let kind = if open { Kind::Open } else { Kind::Oldest };
            if kind == Kind::Oldest {
                self.logs.detach(segment, Queue::Main);
            }
            let end = self.logs.segment(segment).map_or(0, |segment| segment.used);
            Job::new(segment, from, kind, self.logs.start(), end, arrived)
        } else {
            return false;
        };
        for tidied in &mut self.tidied {
            if *tidied == Some(job.segment) {
                *tidied = None;
            }
        }
        self.job = Some(job);
        true
    }

    /// Gives up a segment that nothing was appended to.
    fn end_an_empty_one(&mut self) -> bool {
        let empty = self.logs.iter().find(|(_, segment)| segment.is_empty());
        let Some((number, _)) = empty else { return false };
        self.logs.end(number);
        true
    }

    /// The segment whose turn it is to be looked through, and its log.
    fn next_victim(&self) -> Option<(u32, Queue)> {
        let oldest = |queue: Queue| {
            let (number, newest) = self.logs.oldest(queue)?;
            let segment = self.logs.segment(number).filter(|segment| !segment.is_empty())?;
            // Of few records that stand for much memory, the first came long before the last; and
            // one that fills too slowly is memory that stands empty.
            let sealed = !newest
                || segment.paged > segment.memory.len() as u64
                || (queue != Queue::Main && self.policy.is_old(segment.begun));
            let urgency = match queue {
                Queue::Probation(class) => self.policy.urgency(class, segment.begun),
                Queue::Main => 0,
            };
            Some((urgency, sealed, (number, queue)))
        };
        let [probation @ .., main] = Queue::ALL.map(oldest);
        let of_probation = |even_open: bool| {
            let some =
                probation.into_iter().flatten().filter(|(_, sealed, _)| even_open || *sealed);
            some.max_by_key(|(urgency, ..)| *urgency).map(|(.., victim)| victim)
        };
        let of_main = |even_open: bool| {
            main.filter(|(_, sealed, _)| even_open || *sealed).map(|(.., victim)| victim)
        };
        let probation_logs = Queue::ALL.into_iter().filter(|queue| *queue != Queue::Main);
        let bytes = probation_logs.map(|queue| self.logs.bytes(queue)).sum();
        let first = if self.policy.crowded(bytes) { of_probation(false) } else { None };
        // Segments that were just begun come last.
        first
            .or_else(|| of_main(false))
            .or_else(|| of_probation(false))
            .or_else(|| of_probation(true))
            .or_else(|| of_main(true))
    }

    /// Looks at the next few records of the job.
    fn work(&mut self, hashing: &RandomState, now: Seconds) {
        let Some(mut job) = self.job else { return };
        let mut batch = [None; BATCH];
        if let Some(segment) = self.logs.segment(job.segment) {
            let records = self.logs.records(job.segment, job.read, segment.used);
            for (entry, (offset, head, extent)) in batch.iter_mut().zip(records) {
                let place = self.logs.place_behind_seal(job.segment, offset);
                let hash = hash_at(&self.logs, hashing, place);
                if !head.dead
                    && let Some(line) = self.index.line(hash)
                {
                    arena::prefetch(line);
                }
                *entry = Some((place, head, extent, hash));
            }
        }
        let mean = self.mean_cost();
        let mut at_end = true;
        for (place, head, extent, hash) in batch.into_iter().flatten() {
            at_end = false;
            job.read = self.logs.offset_of(place) + extent.end as u32;
            // Told apart from what is behind it while it is being moved.
            self.job = Some(job);
            self.logs.note_job(job.segment, job.read, job.write);
            if !head.dead
                && let Some(slot) = self.index.find_place(hash, place)
            {
                let found = Found { slot, place, head, extent };
                job.write += self.pass(&job, &found, hash, mean, hashing, now);
                self.logs.note_job(job.segment, job.read, job.write);
                if head.pages.is_some() {
                    // One long value may be all that is needed.
                    break;
                }
            }
        }
        self.job = Some(job);
        if at_end {
            self.finish(job, now);
        }
    }

    /// Decides about a record whose turn it is. By how much the front of its segment has grown.
    fn pass(
        &mut self,
        job: &Job,
        found: &Found,
        hash: u64,
        mean: u64,
        hashing: &RandomState,
        now: Seconds,
    ) -> u32 {
        let weight = self.logs.weight(&found.head, &found.extent);
        let uses = self.index.uses(found.slot);
        let expired = found.head.header.expired(now);
        let cost = weight.bytes() + INDEX_COST;
        let offset = self.logs.offset_of(found.place);
        let stays = if self.spared == Some(found.place) || (job.keeps(offset) && !expired) {
            Some(uses)
        } else if expired {
            None
        } else {
            Policy::judge(job.from, uses, cost, mean)
        };
        let Some(uses) = stays else {
            self.index.remove(hash, found.slot, |place| hash_at(&self.logs, hashing, place));
            self.discard(found, None);
            self.count_removal(&found.head.header, expired, now);
            if !expired {
                let from_probation = job.from != Queue::Main;
                self.ghosts.add(hash, from_probation, self.index.len());
            }
            return 0;
        };
        self.index.put_uses(found.slot, uses);
        let elsewhere = if job.kind == Kind::Tidy {
            let tidied = self.tidied.get(job.from.number()).copied().flatten();
            self.end_of(tidied, job, weight.len)
        } else if job.keeps(offset) {
            None
        } else {
            let roomy = self.end_of(self.logs.roomy(Queue::Main, weight.len), job, weight.len);
            // Of a segment that goes to the main log as a whole, what stays is there already.
            let promoted = job.kind == Kind::Open && job.from != Queue::Main;
            if roomy.is_none() && promoted {
                let begun = self.begin(Queue::Main, now);
                self.end_of(begun, job, weight.len)
            } else {
                roomy
            }
        };
        let (segment, offset) = elsewhere.unwrap_or((job.segment, job.write));
        let place = self.logs.place_behind_seal(segment, offset);
        if place != found.place {
            self.logs.copy_record(found.place, place, weight.len);
        }
        self.index.put_place(found.slot, place);
        if self.spared == Some(found.place) {
            self.spared = Some(place);
        }
        if elsewhere.is_none() {
            return weight.len;
        }
        self.logs.grow(segment, weight.len);
        self.logs.leave(job.segment, weight);
        self.logs.enter(segment, weight);
        0
    }

    /// A segment other than the job's and the offset of its end, if it has room for so many bytes.
    fn end_of(&self, number: Option<u32>, job: &Job, len: u32) -> Option<(u32, u32)> {
        let number = number.filter(|number| *number != job.segment)?;
        let segment = self.logs.segment(number)?;
        segment.fits(len).then_some((number, segment.used))
    }

    /// What is left of a segment that was looked through is its front, or nothing.
    fn finish(&mut self, job: Job, now: Seconds) {
        self.job = None;
        if job.write == self.logs.start() {
            self.logs.end(job.segment);
            return;
        }
        self.logs.cut(job.segment, job.write);
        if let Some(segment) = self.logs.segment_mut(job.segment) {
            if job.kind != Kind::Tidy {
                segment.begun_at = now;
            }
            if job.kind == Kind::Open {
                // What it had then was judged: the others came later.
                segment.begun = job.begun;
            }
        }
        match job.kind {
            Kind::Oldest => self.logs.attach(job.segment),
            Kind::Tidy => {
                if let Some(tidied) = self.tidied.get_mut(job.from.number()) {
                    *tidied = Some(job.segment);
                }
            }
            Kind::Open => {}
        }
    }
}

/// How many segments are not taken: where nothing is evicted, what the index may yet grow by cannot be
/// had back from what is stored.
pub(crate) fn segments_left(evict: bool) -> usize {
    usize::from(!evict)
}

/// How many records are looked at in one go: so many memory accesses overlap.
const BATCH: usize = 16;

/// How many dead records are passed over to find one that is not: it is a question that is asked
/// often, under the lock.
const LOOKED_AT: usize = 256;

/// So many goes under one lock.
const BATCHES: usize = 8;

/// A segment is tidied if this part of it is dead: to free one, at most three others are copied.
const WORTH_TIDYING: u64 = 4;

/// The same where nothing is evicted: what is dead is all there is to be had.
const WORTH_TIDYING_WHEN_FULL: u64 = 64;
