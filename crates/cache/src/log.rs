//! The segments of a shard, and the order they were written in.
//!
//! - `segment`: one of them, and what is known of its records
//! - `expiry`: when those expire
//! - `records`: those, one after the other
#![expect(
    clippy::cast_possible_truncation,
    reason = "offsets are within a segment, of at most 1 MiB"
)]

use std::collections::VecDeque;

use larder_protocol::Seconds;

use crate::arena::Segment as Memory;
use crate::field;
use crate::index::Place;
use crate::label::{self, Label};
use crate::policy::Queue;
use crate::record::{self, Extent, Head};

mod expiry;
mod records;
mod segment;

use expiry::Expiry;
use records::Records;
pub(crate) use segment::{Segment, Weight};

/// The segments of a shard by number, and its logs of them.
pub(crate) struct Logs {
    segments: Vec<Option<Segment>>,
    vacant: Vec<u32>,
    queues: [Log; 4],
    /// Bytes of pages that belong to records.
    paged: u64,
    /// A place is a segment's number, then so many bits of offset.
    shift: u32,
    /// What is written into segments that are in a file.
    labels: Option<Labels>,
    /// Bytes of a segment before its records: of its label, in a file.
    start: u32,
    /// Bytes before each record: of its seal, in a file.
    seal: u32,
}

/// What labels and seals of one shard are written with.
#[derive(Clone, Copy, Debug)]
struct Labels {
    secret: u64,
    shard: u16,
    /// The number of the next segment in the order of them.
    next: u64,
}

/// Segments in the order they came to its end; records are appended to one of the last two.
#[derive(Debug, Default)]
struct Log {
    order: VecDeque<u32>,
    /// Bytes of records that are wanted, and of their pages.
    bytes: u64,
}

impl Logs {
    /// None yet, of segments of so many bytes, a power of two.
    pub(crate) fn new(segment_bytes: usize) -> Self {
        Self {
            segments: Vec::new(),
            vacant: Vec::new(),
            queues: Default::default(),
            paged: 0,
            shift: segment_bytes.ilog2(),
            labels: None,
            start: 0,
            seal: 0,
        }
    }

    /// None yet, of a shard whose segments are in a file, and are numbered from `next` on.
    pub(crate) fn in_file(segment_bytes: usize, secret: u64, shard: u16, next: u64) -> Self {
        Self {
            labels: Some(Labels { secret, shard, next }),
            start: label::BYTES,
            seal: size_of::<u32>() as u32,
            ..Self::new(segment_bytes)
        }
    }

    /// The number that the next segment of a file will have.
    pub(crate) fn next_label(&self) -> u64 {
        self.labels.map_or(0, |labels| labels.next)
    }

    /// What seals are made with, in a file.
    pub(crate) fn secret(&self) -> Option<u64> {
        self.labels.map(|labels| labels.secret)
    }

    /// Bytes of a segment before its records.
    pub(crate) fn start(&self) -> u32 {
        self.start
    }

    /// The most that all of a record can take.
    pub(crate) fn max_len(&self) -> usize {
        (1 << self.shift) - self.start as usize
    }

    /// What a record takes that ends so many bytes from where it begins.
    #[inline]
    pub(crate) fn len_with_seal(&self, end: usize) -> u32 {
        self.seal + end as u32
    }

    /// What an item means to the segment it is in.
    #[inline]
    pub(crate) fn weight(&self, head: &Head, extent: &Extent) -> Weight {
        let paged = record::paged_len(head.value_len as usize) as u64;
        Weight { len: self.len_with_seal(extent.end), exptime: head.header.exptime, paged }
    }

    /// The place of a record whose seal, if there are seals, begins at an offset.
    #[inline]
    pub(crate) fn place_behind_seal(&self, segment: u32, offset: u32) -> Place {
        self.place(segment, offset + self.seal)
    }

    /// The records of a segment between two offsets, each with where its seal begins.
    pub(crate) fn records(&self, number: u32, from: u32, to: u32) -> Records<'_> {
        let memory = self.segment(number).map_or(&[][..], |segment| &segment.memory);
        Records { memory: memory.get(..to as usize).unwrap_or_default(), at: from, seal: self.seal }
    }

    #[inline]
    fn place(&self, segment: u32, offset: u32) -> Place {
        segment << self.shift | offset
    }

    #[inline]
    pub(crate) fn segment_of(&self, place: Place) -> u32 {
        place >> self.shift
    }

    #[inline]
    pub(crate) fn offset_of(&self, place: Place) -> u32 {
        place & ((1 << self.shift) - 1)
    }

    #[inline]
    pub(crate) fn segment(&self, number: u32) -> Option<&Segment> {
        self.segments.get(number as usize)?.as_ref()
    }

    #[inline]
    pub(crate) fn segment_mut(&mut self, number: u32) -> Option<&mut Segment> {
        self.segments.get_mut(number as usize)?.as_mut()
    }

    /// The bytes from a place to the end of its segment.
    #[inline]
    pub(crate) fn at(&self, place: Place) -> Option<&[u8]> {
        let offset = self.offset_of(place) as usize;
        self.segment(self.segment_of(place))?.memory.get(offset..)
    }

    /// As [`Self::at`], to be written.
    #[inline]
    pub(crate) fn at_mut(&mut self, place: Place) -> Option<&mut [u8]> {
        let offset = self.offset_of(place) as usize;
        self.segment_mut(self.segment_of(place))?.memory.get_mut(offset..)
    }

    /// Bytes of wanted records, and of their pages, in a log.
    #[inline]
    pub(crate) fn bytes(&self, queue: Queue) -> u64 {
        self.log(queue).bytes
    }

    /// Bytes of memory that the accounts of segments take.
    #[inline]
    pub(crate) fn overhead(&self) -> usize {
        self.segments.len() * size_of::<Option<Segment>>()
    }

    /// Bytes of segments, and of the pages of their records.
    #[inline]
    pub(crate) fn held(&self) -> u64 {
        ((self.len() as u64) << self.shift) + self.paged
    }

    /// How many segments there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.segments.len() - self.vacant.len()
    }

    /// How many numbers segments have or had.
    pub(crate) fn numbers(&self) -> u32 {
        self.segments.len() as u32
    }

    /// All segments and their numbers, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Segment)> {
        (0..).zip(&self.segments).filter_map(|(number, segment)| Some((number, segment.as_ref()?)))
    }

    /// The last segment.
    #[inline]
    pub(crate) fn newest(&self, queue: Queue) -> Option<u32> {
        self.log(queue).order.back().copied()
    }

    /// The segment of a log that a record of `len` bytes is appended to. It is one of the last two:
    /// what stays of a segment that was looked through comes to the end of the log with room left,
    /// and behind one that was begun meanwhile.
    #[inline]
    pub(crate) fn roomy(&self, queue: Queue, len: u32) -> Option<u32> {
        let mut last = self.log(queue).order.iter().rev().take(2).copied();
        last.find(|number| self.fits(*number, len))
    }

    /// Whether a record of `len` bytes can be appended to a segment.
    #[inline]
    pub(crate) fn fits(&self, number: u32, len: u32) -> bool {
        self.segment(number).is_some_and(|segment| segment.fits(len))
    }

    /// The segment whose turn is next, and whether it is also the newest.
    pub(crate) fn oldest(&self, queue: Queue) -> Option<(u32, bool)> {
        let order = &self.log(queue).order;
        Some((order.front().copied()?, order.len() == 1))
    }

    /// Whether there are numbers left for another segment.
    pub(crate) fn may_begin(&self) -> bool {
        !self.vacant.is_empty() || self.segments.len() < 1 << (u32::BITS - self.shift)
    }

    /// Begins a segment at the end of a log, when so many bytes have arrived on probation. Its
    /// number.
    pub(crate) fn begin(&mut self, memory: Memory, queue: Queue, begun: u64, now: Seconds) -> u32 {
        let mut segment = Segment::new(memory, queue, begun, now, self.start);
        self.label_anew(&mut segment);
        let number = self.add(segment);
        self.log_mut(queue).order.push_back(number);
        number
    }

    /// Takes over a segment that another process has left, as the newest of its log.
    pub(crate) fn adopt(&mut self, memory: Memory, label: &Label, now: Seconds) -> u32 {
        let mut segment = Segment::new(memory, label.queue, 0, now, self.start);
        segment.used = label.used;
        let number = self.add(segment);
        self.log_mut(label.queue).order.push_back(number);
        if let Some(labels) = &mut self.labels {
            labels.next = labels.next.max(label.number.saturating_add(1));
        }
        number
    }

    fn add(&mut self, segment: Segment) -> u32 {
        let segment = Some(segment);
        if let Some(number) = self.vacant.pop() {
            if let Some(place) = self.segments.get_mut(number as usize) {
                *place = segment;
            }
            number
        } else {
            self.segments.push(segment);
            self.segments.len() as u32 - 1
        }
    }

    /// Writes a label that makes a segment the newest.
    fn label_anew(&mut self, segment: &mut Segment) {
        if let Some(labels) = &mut self.labels {
            let Labels { secret, shard, next } = *labels;
            let (queue, used) = (segment.queue, segment.used);
            let label = Label { number: next, shard, queue, used, job: None };
            label.write(&mut segment.memory, secret);
            labels.next += 1;
        }
    }

    /// Takes a segment out of its log, and counts what it holds in another, where it is not yet
    /// attached.
    pub(crate) fn detach(&mut self, number: u32, to: Queue) {
        let Some(segment) = self.segment_mut(number) else { return };
        let (from, bytes) = (segment.queue, segment.bytes());
        segment.queue = to;
        let log = self.log_mut(from);
        log.bytes -= bytes;
        log.order.retain(|other| *other != number);
        self.log_mut(to).bytes += bytes;
        self.label_end(number);
    }

    /// Puts a detached segment at the end of the log it is counted in.
    pub(crate) fn attach(&mut self, number: u32) {
        let Some(mut segment) = self.segments.get_mut(number as usize).and_then(Option::take)
        else {
            return;
        };
        self.label_anew(&mut segment);
        self.log_mut(segment.queue).order.push_back(number);
        if let Some(place) = self.segments.get_mut(number as usize) {
            *place = Some(segment);
        }
    }

    /// Gives up a segment that holds nothing wanted: its memory.
    pub(crate) fn end(&mut self, number: u32) -> Option<Memory> {
        let mut segment = self.segments.get_mut(number as usize).and_then(Option::take)?;
        if self.labels.is_some() {
            label::erase(&mut segment.memory);
        }
        self.log_mut(segment.queue).order.retain(|other| *other != number);
        self.vacant.push(number);
        Some(segment.memory)
    }

    /// Counts a record among the wanted of a segment.
    #[inline]
    pub(crate) fn enter(&mut self, number: u32, weight: Weight) {
        let Some(segment) = self.segment_mut(number) else { return };
        segment.live += weight.len;
        segment.paged += weight.paged;
        if weight.exptime != 0 {
            segment.expiry.get_or_insert_default().add(weight);
        }
        let queue = segment.queue;
        self.paged += weight.paged;
        self.log_mut(queue).bytes += weight.bytes();
    }

    /// A record is no longer wanted.
    #[inline]
    pub(crate) fn leave(&mut self, number: u32, weight: Weight) {
        let Some(segment) = self.segment_mut(number) else { return };
        segment.live -= weight.len;
        segment.paged -= weight.paged;
        if weight.exptime != 0
            && let Some(expiry) = &mut segment.expiry
        {
            expiry.take(weight);
        }
        let queue = segment.queue;
        self.paged -= weight.paged;
        self.log_mut(queue).bytes -= weight.bytes();
    }

    /// A record of so many bytes, with its seal, was written where the next one goes.
    #[inline]
    pub(crate) fn grow(&mut self, number: u32, len: u32) {
        let Some(segment) = self.segment_mut(number) else { return };
        segment.used += len;
        self.label_end(number);
    }

    /// Notes in its label what log a segment is in and where it ends.
    #[inline]
    fn label_end(&mut self, number: u32) {
        if let Some(secret) = self.secret()
            && let Some(segment) = self.segment_mut(number)
        {
            label::put_end(&mut segment.memory, secret, segment.queue, segment.used);
        }
    }

    /// Notes how far a job has come with a segment. The next process goes on from there.
    #[inline]
    pub(crate) fn note_job(&mut self, number: u32, read: u32, write: u32) {
        if let Some(secret) = self.secret()
            && let Some(segment) = self.segment_mut(number)
        {
            label::put_job(&mut segment.memory, secret, read, write);
        }
    }

    /// The records of a segment end here, and no job is at work on it. When they expire is found
    /// out anew, since joined moments grow vaguer with each record that leaves.
    pub(crate) fn cut(&mut self, number: u32, used: u32) {
        let mut expiry = None::<Box<Expiry>>;
        for (_, head, extent) in self.records(number, self.start, used) {
            if !head.dead && head.header.exptime != 0 {
                expiry.get_or_insert_default().add(self.weight(&head, &extent));
            }
        }
        let Some(segment) = self.segment_mut(number) else { return };
        (segment.used, segment.expiry) = (used, expiry);
        self.label_end(number);
        self.note_job(number, 0, 0);
    }

    /// Seals the record at a place, if records are sealed.
    #[inline]
    pub(crate) fn seal(&mut self, place: Place) {
        if let Some(secret) = self.secret() {
            self.write_seal(place, secret);
        }
    }

    fn write_seal(&mut self, place: Place, secret: u64) -> Option<()> {
        let record = self.at_mut(place)?;
        let (_, extent) = Head::read(record)?;
        let seal = record::seal(record.get(..extent.end)?, secret)?;
        let before = self.at_mut(place.checked_sub(self.seal)?)?;
        *before.first_chunk_mut()? = seal.to_le_bytes();
        Some(())
    }

    /// Marks the record at a place dead, and breaks its seal, so that no other mark brings it back.
    #[inline]
    pub(crate) fn bury(&mut self, place: Place) {
        let Some(bytes) = self.at_mut(place) else { return };
        record::bury(bytes);
        if self.labels.is_some()
            && let Some(before) = self.at_mut(place - self.seal)
            && let Some(seal) = field::get(before, 0)
        {
            // Before its memory is used again.
            field::put(before, 0, &(!u32::from_le_bytes(seal)).to_le_bytes());
        }
    }

    /// Whether the seal of the record at a place is its own.
    pub(crate) fn is_sealed(&self, place: Place, end: usize) -> bool {
        let seal = || {
            let before = self.at(place.checked_sub(self.seal)?)?;
            Some(u32::from_le_bytes(*before.first_chunk()?))
        };
        let record = self.at(place).and_then(|bytes| bytes.get(..end));
        let due =
            record.zip(self.secret()).and_then(|(record, secret)| record::seal(record, secret));
        due.is_some() && due == seal()
    }

    /// Copies a record, which has so many bytes with its seal, seal and all. Within a segment the
    /// two may overlap.
    pub(crate) fn copy_record(&mut self, from: Place, to: Place, len: u32) -> Option<()> {
        self.copy(from.checked_sub(self.seal)?, to.checked_sub(self.seal)?, len as usize)
    }

    /// Copies bytes from place to place; within a segment they may overlap.
    pub(crate) fn copy(&mut self, from: Place, to: Place, len: usize) -> Option<()> {
        let (source, target) = (self.segment_of(from) as usize, self.segment_of(to) as usize);
        let (start, put) = (self.offset_of(from) as usize, self.offset_of(to) as usize);
        if source == target {
            let memory = &mut self.segments.get_mut(source)?.as_mut()?.memory;
            if start + len <= memory.len() && put + len <= memory.len() {
                memory.copy_within(start..start + len, put);
            }
            return Some(());
        }
        let [source, target] = self.segments.get_disjoint_mut([source, target]).ok()?;
        let bytes = source.as_ref()?.memory.get(start..start + len)?;
        target.as_mut()?.memory.get_mut(put..put + len)?.copy_from_slice(bytes);
        Some(())
    }

    fn log(&self, queue: Queue) -> &Log {
        let [small, medium, large, main] = &self.queues;
        match queue {
            Queue::Probation(0) => small,
            Queue::Probation(1) => medium,
            Queue::Probation(_) => large,
            Queue::Main => main,
        }
    }

    fn log_mut(&mut self, queue: Queue) -> &mut Log {
        let [small, medium, large, main] = &mut self.queues;
        match queue {
            Queue::Probation(0) => small,
            Queue::Probation(1) => medium,
            Queue::Probation(_) => large,
            Queue::Main => main,
        }
    }
}

#[cfg(test)]
mod tests;
