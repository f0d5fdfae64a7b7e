//! A command on its way to a thread: it owns what the request lent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_protocol::{Op, Outcome, Seconds, Store};
use serde::{Deserialize, Serialize};

use crate::flight::Flight;
use crate::pending::Ticket;
use crate::placement::GroupId;
use crate::span::Span;

/// What is asked, by whom, and when.
#[derive(Debug)]
pub(crate) struct Command {
    /// The key, then the value if it brings one, or the end of a range.
    payload: Box<[u8]>,
    key_len: usize,
    task: Task,
    /// To which it belongs; 0 for a flush of all.
    pub(crate) group: GroupId,
    /// Equal for equal keys.
    pub(crate) hash: u64,
    pub(crate) now: Seconds,
    /// Whose order it keeps, while it is with a thread.
    pub(crate) flight: Option<Arc<Flight>>,
    /// Since when it is here.
    given: Instant,
    /// Of a command that another node has forwarded: the term in which this one is to lead.
    pub(crate) forwarded: Option<u64>,
    /// Of a read that may be answered here: while its partition has this tenure.
    pub(crate) tenure: u64,
    /// Whether it may though nobody was asked for it.
    pub(crate) is_stale: bool,
    /// Who waits; nobody for the store's own.
    ticket: Option<Ticket>,
}

#[derive(Clone, Copy, Debug)]
enum Task {
    /// Its value is in the payload.
    Op(Op<'static>),
    FlushAll(Seconds),
    Reclaim(u64),
    /// Its end is in the payload.
    Range(Span<'static>),
}

/// What is asked of which key, and when: all of a command that has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Asked<'a> {
    /// None for a flush; that of a range is where it begins.
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) key: &'a [u8],
    pub(crate) now: Seconds,
    pub(crate) request: Request<'a>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) enum Request<'a> {
    /// A client's operation on the key.
    #[serde(borrow)]
    Op(Op<'a>),
    /// Everything written before this second is to go.
    FlushAll(Seconds),
    /// The record with this place in the order of writes is dead: take it away.
    Reclaim(u64),
    /// Items behind the key, as far as one look goes. It is only ever read.
    #[serde(borrow)]
    Range(Span<'a>),
}

impl Command {
    pub(crate) fn op(key: &[u8], hash: u64, op: &Op<'_>, now: Seconds, ticket: Ticket) -> Self {
        let value: &[u8] = if let Op::Store(store) = op { store.value } else { &[] };
        let mut payload = Vec::with_capacity(key.len() + value.len());
        payload.extend_from_slice(key);
        payload.extend_from_slice(value);
        Self {
            payload: payload.into_boxed_slice(),
            key_len: key.len(),
            task: Task::Op(with_value(op, &[])),
            group: 0,
            hash,
            now,
            flight: None,
            given: Instant::now(),
            forwarded: None,
            tenure: 0,
            is_stale: false,
            ticket: Some(ticket),
        }
    }

    pub(crate) fn flush_all(at: Seconds, now: Seconds, ticket: Ticket) -> Self {
        Self::of(Box::default(), Task::FlushAll(at), now, Some(ticket))
    }

    pub(crate) fn reclaim(key: &[u8], sequence: u64, now: Seconds) -> Self {
        Self::of(key.into(), Task::Reclaim(sequence), now, None)
    }

    /// A look at a group's items behind `start`.
    pub(crate) fn range(start: &[u8], span: Span<'_>, now: Seconds, ticket: Ticket) -> Self {
        let payload = [start, span.end].concat().into_boxed_slice();
        let task = Task::Range(Span { end: &[], ..span });
        Self { key_len: start.len(), ..Self::of(payload, task, now, Some(ticket)) }
    }

    fn of(key: Box<[u8]>, task: Task, now: Seconds, ticket: Option<Ticket>) -> Self {
        let (key_len, given) = (key.len(), Instant::now());
        let (payload, flight, forwarded) = (key, None, None);
        let (group, hash, tenure, is_stale) = (0, 0, 0, false);
        Self {
            payload,
            key_len,
            task,
            group,
            hash,
            now,
            flight,
            given,
            forwarded,
            tenure,
            is_stale,
            ticket,
        }
    }

    /// The same, of a group.
    pub(crate) fn of_group(self, group: GroupId) -> Self {
        Self { group, ..self }
    }

    /// The flushes of all groups that a flush is. It is answered when all of them are.
    pub(crate) fn split(mut self, groups: u16) -> Vec<Self> {
        let tickets = self.ticket.take().map(|ticket| ticket.split(groups.into()));
        let part = |(ticket, group)| Self {
            given: self.given,
            ..Self::of(Box::default(), self.task, self.now, Some(ticket)).of_group(group)
        };
        tickets.into_iter().flatten().zip(1..).map(part).collect()
    }

    /// The sweeper's time may be wrong or long ago: what it saw dead is judged anew, at most with the
    /// time told last, and must have been dead for a while.
    pub(crate) fn judge_anew(&mut self, now: Seconds) {
        if let Task::Reclaim(_) = self.task {
            self.now = self.now.min(now).saturating_sub(SLACK);
        }
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.payload.get(..self.key_len).unwrap_or_default()
    }

    pub(crate) fn request(&self) -> Request<'_> {
        let behind_key = self.payload.get(self.key_len..).unwrap_or_default();
        match self.task {
            Task::Op(op) => Request::Op(with_value(&op, behind_key)),
            Task::Range(span) => Request::Range(Span { end: behind_key, ..span }),
            Task::FlushAll(at) => Request::FlushAll(at),
            Task::Reclaim(sequence) => Request::Reclaim(sequence),
        }
    }

    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked { key: self.key(), now: self.now, request: self.request() }
    }

    pub(crate) fn is_flush(&self) -> bool {
        matches!(self.task, Task::FlushAll(_))
    }

    pub(crate) fn is_range(&self) -> bool {
        matches!(self.task, Task::Range(_))
    }

    /// Whether a reading thread may answer it.
    pub(crate) fn reads_only(&self) -> bool {
        matches!(self.task, Task::Op(op) if op.reads_only())
    }

    /// How much it counts against the bytes that share a batch.
    pub(crate) fn bytes(&self) -> usize {
        self.payload.len()
    }

    /// Whether whoever waits has an answer.
    pub(crate) fn is_answered(&self) -> bool {
        self.ticket.as_ref().is_none_or(Ticket::is_answered)
    }

    /// Whether whoever waits was told that it will not be done. The store's own are never given up.
    pub(crate) fn is_given_up(&self) -> bool {
        !self.is_own() && self.is_answered()
    }

    /// Whether it is the store's own, for which nobody waits.
    pub(crate) fn is_own(&self) -> bool {
        self.ticket.is_none()
    }

    /// It has waited for what its session asked before, and begins to wait for others now.
    pub(crate) fn begin(&mut self) {
        self.given = Instant::now();
    }

    /// Whether it is here for so long at `now`.
    pub(crate) fn is_late(&self, now: Instant, limit: Duration) -> bool {
        now.saturating_duration_since(self.given) >= limit
    }

    /// What is left of so long.
    pub(crate) fn left(&self, limit: Duration) -> Duration {
        limit.saturating_sub(self.given.elapsed())
    }

    /// Answers it while it is with a thread, whose own answer then comes too late.
    pub(crate) fn answer_early(&self, outcome: Outcome<'static>) -> Option<std::task::Waker> {
        self.ticket.as_ref().and_then(|ticket| ticket.answer_early(outcome))
    }

    /// Answers it; whoever waits has to be woken by the ticket's waker.
    pub(crate) fn answer(mut self, outcome: Outcome<'static>) -> Option<std::task::Waker> {
        self.ticket.take().and_then(|ticket| ticket.answer(outcome))
    }
}

/// For so many seconds the dead are left where they are, so that clocks that differ a little, or are
/// set back, find again what is alive.
pub(crate) const SLACK: Seconds = 60;

fn with_value<'a>(op: &Op<'_>, value: &'a [u8]) -> Op<'a> {
    match *op {
        Op::Fetch(fetch) => Op::Fetch(fetch),
        Op::Store(store) => Op::Store(Store {
            value,
            mode: store.mode,
            landed: store.landed,
            client_flags: store.client_flags,
            exptime: store.exptime,
            compare: store.compare,
            invalidate: store.invalidate,
            new_cas: store.new_cas,
            vivify: store.vivify,
            binary_key: store.binary_key,
            max_len: store.max_len,
        }),
        Op::Delete(delete) => Op::Delete(delete),
        Op::Arithmetic(arithmetic) => Op::Arithmetic(arithmetic),
    }
}
