//! What an ordered batch of commands does to a state: the deterministic heart, with no clock, no
//! disk and no thread of its own. Replicas that apply the same batches hold the same items.

use ahash::AHashMap;
use bytes::Bytes;
use larder_protocol::{Change, Item, Op, Outcome, Seconds, Value, decide};

use crate::command::{Asked, Request};
use crate::failure;
use crate::record::{Record, encode};
use crate::state::State;

/// Which changes may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// All.
    All,
    /// Those that make room; the others are answered with this.
    Removals(&'static str),
    /// None; all are answered with this.
    Nothing(&'static str),
}

/// Gives a key's record as it is before the batch, or what to tell the client instead.
pub(crate) type Read<'a> = dyn Fn(&[u8]) -> Result<Option<Record>, &'static str> + 'a;

/// What a command comes to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome<'static>,
    /// Whether it has changed anything.
    pub(crate) wrote: bool,
}

impl Answer {
    /// That it has not been done, and why.
    pub(crate) fn failed(why: &'static str) -> Self {
        unchanged(Outcome::Failed(why))
    }
}

/// Whether a fetch can be answered from what is durable; `None` if it would write.
pub(crate) fn fetch(
    record: Option<Record>,
    state: State,
    op: &Op<'_>,
    now: Seconds,
) -> Option<Outcome<'static>> {
    let current = record.filter(|record| is_live(record, state, now));
    let verdict = decide(current.map(into_item), op, now, || 0);
    match verdict.change {
        Change::Keep | Change::Use(_) => Some(verdict.outcome.into_owned()),
        Change::Header(_) | Change::Put(..) | Change::Remove => None,
    }
}

/// Whether a record is still an item at `now`.
pub(crate) fn is_live(record: &Record, state: State, now: Seconds) -> bool {
    !record.header.expired(now) && !state.has_flushed(record.sequence, now)
}

/// What commands come to, one after the other, before any of it is kept.
pub(crate) struct Batch<'a, 'r> {
    /// What to keep along with the changes.
    pub(crate) state: State,
    read: &'r Read<'r>,
    /// What to keep, each key once.
    pub(crate) changes: Vec<(&'a [u8], Option<Bytes>)>,
    /// Where in `changes` a key is.
    index: AHashMap<&'a [u8], usize>,
    /// Bytes of changes so far, those of a key that is changed again included: an append of a few
    /// bytes writes the whole value.
    written: usize,
    /// A flush is shown to readers after what is kept with it: what comes after it is not to be.
    flushed: bool,
}

impl<'a, 'r> Batch<'a, 'r> {
    pub(crate) fn new(state: State, read: &'r Read<'r>) -> Self {
        Self {
            state,
            read,
            changes: Vec::new(),
            index: AHashMap::new(),
            written: 0,
            flushed: false,
        }
    }

    /// Whether it has to be kept before more is done: it would be larger than `limit` bytes.
    pub(crate) fn is_full(&self, limit: usize) -> bool {
        self.flushed || self.written > limit
    }

    /// Does a command. A record that cannot be read fails its command alone.
    pub(crate) fn step(&mut self, asked: &Asked<'a>, admission: Admission) -> Answer {
        let before = self.state;
        let now = asked.now;
        self.state.settle(now);
        let answer = match &asked.request {
            Request::Op(op) => self.operate(asked.key, op, admission, now),
            Request::FlushAll(at) => self.flush_all(*at, admission, now),
            Request::Reclaim(sequence) => self.reclaim(asked.key, *sequence, admission, now),
            // None was ever proposed.
            Request::Range(_) => Answer::failed(failure::SENSELESS),
        };
        // What was not changed must not count either, or replicas that refuse at different moments
        // would count differently.
        if !answer.wrote {
            self.state = before;
        }
        answer
    }

    fn operate(
        &mut self,
        key: &'a [u8],
        op: &Op<'a>,
        admission: Admission,
        now: Seconds,
    ) -> Answer {
        let current = if op.looks() {
            match self.current(key) {
                Ok(record) => record.filter(|record| is_live(record, self.state, now)),
                Err(why) => return Answer::failed(why),
            }
        } else {
            None
        };
        let (old_sequence, old_value) = current
            .as_ref()
            .map_or_else(Default::default, |record| (record.sequence, record.value.clone()));
        let mut place = None;
        let state = &mut self.state;
        let verdict = decide(current.map(into_item), op, now, || {
            *place.get_or_insert_with(|| state.advance())
        });
        let change = match verdict.change {
            Change::Keep | Change::Use(_) => return unchanged(verdict.outcome.into_owned()),
            // A header alone keeps the item's place: an earlier flush has spared it, and a later
            // one takes it wherever it stands.
            Change::Header(header) => {
                let sequence = place.unwrap_or(old_sequence);
                Some(Bytes::from(encode(sequence, &header, (&old_value, &[]))))
            }
            Change::Put(header, value) => {
                let sequence = place.unwrap_or_else(|| self.state.advance());
                Some(Bytes::from(encode(sequence, &header, value.parts(&old_value))))
            }
            Change::Remove => None,
        };
        match (admission, &change) {
            (Admission::All, _) | (Admission::Removals(_), None) => {}
            (Admission::Removals(why) | Admission::Nothing(why), _) => {
                return Answer::failed(why);
            }
        }
        self.change(key, change);
        Answer { outcome: verdict.outcome.into_owned(), wrote: true }
    }

    fn flush_all(&mut self, at: Seconds, admission: Admission, now: Seconds) -> Answer {
        if let Admission::Nothing(why) = admission {
            return Answer::failed(why);
        }
        self.state.flush(at, now);
        self.flushed = true;
        Answer { outcome: Outcome::Deleted, wrote: true }
    }

    /// The sweeper saw a dead record a while ago; by now another may stand in its place.
    fn reclaim(
        &mut self,
        key: &'a [u8],
        sequence: u64,
        admission: Admission,
        now: Seconds,
    ) -> Answer {
        let dead = !matches!(admission, Admission::Nothing(_))
            && matches!(self.current(key), Ok(Some(record))
                if record.sequence == sequence && !is_live(&record, self.state, now));
        if dead {
            self.change(key, None);
        }
        Answer { outcome: Outcome::Deleted, wrote: dead }
    }

    fn current(&self, key: &[u8]) -> Result<Option<Record>, &'static str> {
        let changed = self.index.get(key).and_then(|at| self.changes.get(*at));
        match changed {
            Some((_, bytes)) => {
                bytes.clone().map(Record::decode).transpose().map_err(|_| failure::DAMAGED)
            }
            None => (self.read)(key),
        }
    }

    fn change(&mut self, key: &'a [u8], bytes: Option<Bytes>) {
        let bytes_len = key.len() + bytes.as_ref().map_or(0, Bytes::len);
        self.written = self.written.saturating_add(bytes_len);
        let next = self.changes.len();
        let at = *self.index.entry(key).or_insert(next);
        match self.changes.get_mut(at) {
            Some(changed) => changed.1 = bytes,
            None => self.changes.push((key, bytes)),
        }
    }
}

fn into_item(record: Record) -> Item<'static> {
    Item { header: record.header, value: Value::Shared(record.value) }
}

fn unchanged(outcome: Outcome<'static>) -> Answer {
    Answer { outcome, wrote: false }
}

#[cfg(test)]
mod tests;
