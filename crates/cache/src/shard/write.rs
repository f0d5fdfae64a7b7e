//! How a shard writes records: over what was there, or at the end of a log.
#![expect(
    clippy::cast_possible_truncation,
    reason = "offsets are within a segment, of at most 1 MiB"
)]

use std::sync::Arc;

use larder_protocol::{Header, NewValue, Piecewise, Seconds};

use super::{Found, Hashed, INDEX_COST, Lack, Preparation, Prepared, Shard, hash_at};
use crate::ghosts::Ghost;
use crate::index::Place;
use crate::log::Weight;
use crate::policy::{Policy, Queue};
use crate::record::{self, Head, MIN_PAGED, Paged};

/// What of a value goes into its record.
enum Inline<'a> {
    /// These bytes, one part after the other.
    New(&'a [u8], &'a [u8]),
    /// The bytes of an older record, and more before or behind them.
    Old { from: Place, len: usize, at: usize, more: &'a [u8], more_at: usize },
}

impl<'a> Inline<'a> {
    /// What is not in pages, of which there are `paged` bytes, of a value.
    fn of(value: &'a NewValue<'_>, paged: usize, old: Option<&Found>) -> Self {
        let inline = |old: &Found| {
            let from = old.place + old.extent.value as u32;
            (from, old.extent.map - old.extent.value)
        };
        // Behind an old value of no bytes may be the end of its segment.
        match (value, old.map(inline).filter(|(_, len)| *len > 0)) {
            (NewValue::Append(more), Some((from, len))) => {
                Self::Old { from, len, at: 0, more, more_at: len }
            }
            (NewValue::Prepend(more), Some((from, len))) => {
                Self::Old { from, len, at: more.len(), more, more_at: 0 }
            }
            (NewValue::Landed(_, rest), _) => Self::New(rest, &[]),
            _ => {
                let (first, second) = value.parts(&[]);
                Self::New(first.get(paged..).unwrap_or_default(), second)
            }
        }
    }
}

impl Shard {
    /// Writes a value over one of the same length. `false` if it has to go elsewhere.
    #[inline]
    pub(super) fn overwrite(
        &mut self,
        found: &Found,
        header: Header,
        value: &NewValue<'_>,
    ) -> bool {
        let len = found.head.value_len as usize;
        if matches!(value, NewValue::Append(_) | NewValue::Prepend(_))
            || value.len_after(len) != len
            || len >= MIN_PAGED
            || !record::same_shape(&header, &found.head.header)
        {
            return false;
        }
        self.put_header(found, header);
        let (first, second) = value.parts(&[]);
        if let Some(bytes) = self.logs.at_mut(found.place) {
            write_parts(bytes, found.extent.value, [first, second]);
        }
        self.logs.seal(found.place);
        self.use_once(found);
        true
    }

    /// Writes a record, in place of `old` if there is one. What is prepared is there again if it
    /// cannot.
    pub(super) fn put(
        &mut self,
        key: Hashed<'_>,
        old: Option<Found>,
        header: Header,
        value: &NewValue<'_>,
        prepared: &mut Preparation,
        now: Seconds,
    ) -> Result<(), Lack> {
        let old_len = old.map_or(0, |old| old.head.value_len as usize);
        let value_len = value.len_after(old_len);
        let Ok(value_len_32) = u32::try_from(value_len) else {
            return Err(Lack::Memory);
        };
        // A head alone is written anew with the same pages.
        let kept = match value {
            NewValue::Append([]) => old.and_then(|old| old.head.pages).map(|pages| pages.number),
            _ => None,
        };
        let in_pages = record::paged_len(value_len);
        let map_len = match (kept, &*prepared) {
            _ if value_len < MIN_PAGED => 0,
            (Some(number), _) => self.longs.get(number).map_or(0, |long| long.map().len()),
            (None, Preparation::Made(Prepared { long, .. })) if long.len() == in_pages => {
                long.map().len()
            }
            _ => return Err(Lack::Memory),
        };
        let len = record::record_len(&header, key.key.len(), value_len, map_len);
        let len = self.logs.len_with_seal(len);
        let weight = Weight { len, exptime: header.exptime, paged: in_pages as u64 };
        let cost = weight.bytes() + INDEX_COST;
        let ghost = if old.is_some() { None } else { self.ghosts.find(key.hash) };
        let queue = self.queue_of_new(old.as_ref(), ghost, cost);
        self.spared = old.map(|old| old.place);
        let roomy = self.make_room(queue, len, key.hashing, now);
        let spared = self.spared.take();
        let segment = roomy?;
        if old.is_none() {
            self.policy.arrives(ghost.is_some());
        }
        if let Some(ghost) = ghost {
            self.ghosts.forget(key.hash);
            if ghost.age < self.index.len() as u64 / 10 {
                self.policy.came_back(ghost.from_probation, cost);
            }
        }
        // Its place may have changed as room was made.
        let old = match (old, spared) {
            (Some(old), Some(place)) => {
                self.index.find_place(key.hash, place).map(|slot| Found { slot, place, ..old })
            }
            _ => None,
        };
        let (long, from) = if value_len < MIN_PAGED {
            (None, None)
        } else if let Some(number) = kept {
            (self.longs.get(number).cloned(), None)
        } else if let Preparation::Made(made) = std::mem::replace(prepared, Preparation::None) {
            (Some(Arc::new(made.long)), made.from)
        } else {
            return Err(Lack::Memory);
        };
        let pages = long.as_ref().map(|long| Paged {
            number: kept.unwrap_or_else(|| self.longs.insert(key.hash, Arc::clone(long))),
            map_len: map_len as u32,
        });
        let Some(offset) = self.logs.segment(segment).map(|segment| segment.used) else {
            return Err(Lack::Memory);
        };
        let place = self.logs.place_behind_seal(segment, offset);
        let head = Head {
            header,
            key_len: key.key.len() as u8,
            value_len: value_len_32,
            pages,
            dead: false,
        };
        let inline = match &from {
            // The rest is all that is not in pages.
            Some((_, rest)) => Inline::New(rest, &[]),
            None => Inline::of(value, in_pages, old.as_ref()),
        };
        let map = long.as_ref().map_or(&[][..], |long| long.map());
        let written = self.write(place, &head, key.key, &inline, map);
        debug_assert!(written.is_some(), "a record has the room that was made for it");
        self.logs.seal(place);
        self.logs.grow(segment, len);
        self.logs.enter(segment, weight);
        self.payload += (key.key.len() + value_len) as u64;
        if let Queue::Probation(_) = queue {
            self.policy.arrived += weight.bytes();
        }
        if let Some(old) = old {
            self.discard(&old, kept);
            self.use_once(&old);
            self.index.put_place(old.slot, place);
        } else {
            let Self { index, logs, .. } = self;
            index.insert(key.hash, place, 0, |place| hash_at(logs, key.hashing, place));
        }
        // A head alone is no new value.
        self.counters.stored += u64::from(!matches!(value, NewValue::Append([])));
        self.pace(queue, key.hashing, now);
        Ok(())
    }

    /// Writes a record.
    fn write(
        &mut self,
        place: Place,
        head: &Head,
        key: &[u8],
        value: &Inline<'_>,
        map: &[u8],
    ) -> Option<()> {
        let bytes = self.logs.at_mut(place)?;
        let extent = head.write(bytes)?;
        bytes.get_mut(extent.key..extent.value)?.copy_from_slice(key);
        bytes.get_mut(extent.map..extent.end)?.copy_from_slice(map);
        match *value {
            Inline::New(first, second) => write_parts(bytes, extent.value, [first, second]),
            Inline::Old { from, len, at, more, more_at } => {
                write_parts(bytes, extent.value + more_at, [more, &[]]);
                self.logs.copy(from, place + (extent.value + at) as u32, len)?;
            }
        }
        Some(())
    }

    /// Where a new record belongs.
    #[inline]
    fn queue_of_new(&self, old: Option<&Found>, ghost: Option<Ghost>, cost: u64) -> Queue {
        let items = self.index.len();
        // The first of all is neither small nor large.
        let mean = if items == 0 { cost } else { self.mean_cost() };
        if let Some(old) = old {
            let segment = self.logs.segment(self.logs.segment_of(old.place));
            return match segment.map(|segment| segment.queue) {
                Some(Queue::Main) => Queue::Main,
                _ => Policy::probation(cost, mean),
            };
        }
        match ghost {
            Some(ghost) if ghost.age < items as u64 / 2 && self.has_main() => Queue::Main,
            _ => Policy::probation(cost, mean),
        }
    }

    /// Whether there is a main log, or reason to begin it.
    #[inline]
    fn has_main(&self) -> bool {
        self.logs.newest(Queue::Main).is_some() || self.policy.items_return()
    }
}

fn write_parts(bytes: &mut [u8], mut at: usize, parts: [&[u8]; 2]) {
    for part in parts {
        if let Some(place) = bytes.get_mut(at..at + part.len()) {
            place.copy_from_slice(part);
        }
        at += part.len();
    }
}
