//! A command on its way to a thread: it owns what the request lent.

use std::sync::Arc;

use larder_protocol::{Op, Outcome, Seconds, Store};

use crate::flight::Flight;
use crate::pending::Ticket;

/// What is asked, by whom, and when.
#[derive(Debug)]
pub(crate) struct Command {
    /// The key, then the value if it brings one.
    payload: Box<[u8]>,
    key_len: usize,
    task: Task,
    /// Equal for equal keys.
    pub(crate) hash: u64,
    pub(crate) now: Seconds,
    /// Whose order it keeps, while it is with a thread.
    pub(crate) flight: Option<Arc<Flight>>,
    /// Who waits; nobody for the store's own.
    ticket: Option<Ticket>,
}

#[derive(Clone, Copy, Debug)]
enum Task {
    /// Its value is in the payload.
    Op(Op<'static>),
    FlushAll(Seconds),
    Reclaim(u64),
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    /// A client's operation on the key.
    Op(Op<'a>),
    /// Everything written before this second is to go.
    FlushAll(Seconds),
    /// The record with this place in the order of writes is dead: take it away.
    Reclaim(u64),
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
            hash,
            now,
            flight: None,
            ticket: Some(ticket),
        }
    }

    pub(crate) fn flush_all(at: Seconds, now: Seconds, ticket: Ticket) -> Self {
        let task = Task::FlushAll(at);
        let ticket = Some(ticket);
        Self { payload: Box::default(), key_len: 0, task, hash: 0, now, flight: None, ticket }
    }

    pub(crate) fn reclaim(key: &[u8], sequence: u64, now: Seconds) -> Self {
        let task = Task::Reclaim(sequence);
        let key_len = key.len();
        Self { payload: key.into(), key_len, task, hash: 0, now, flight: None, ticket: None }
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
        match self.task {
            Task::Op(op) => {
                Request::Op(with_value(&op, self.payload.get(self.key_len..).unwrap_or_default()))
            }
            Task::FlushAll(at) => Request::FlushAll(at),
            Task::Reclaim(sequence) => Request::Reclaim(sequence),
        }
    }

    pub(crate) fn is_flush(&self) -> bool {
        matches!(self.task, Task::FlushAll(_))
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
        self.flight.is_some() && self.is_answered()
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
