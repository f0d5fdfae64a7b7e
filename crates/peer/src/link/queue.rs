//! The calls of a link.

use std::sync::Arc;

use ahash::HashMap;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::error::CallError;
use crate::failure::Failure;
use crate::frame::Frame;
use crate::handshake::Session;
use crate::outgoing::Outgoing;
use crate::server::Answer;
use crate::settings::Settings;
use crate::stats::Stats;
use crate::writer::More;

/// What its callers and the task of a link share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) address: Arc<str>,
    queue: Mutex<Queue>,
    max_calls: usize,
    max_bytes: usize,
    /// There is something to write.
    pub(super) wake: Notify,
    /// There is nothing left to do.
    pub(super) closing: Notify,
}

/// Calls are numbered as they come, and never with the same number again.
#[derive(Debug)]
struct Queue {
    outgoing: Outgoing,
    waiting: HashMap<u64, Waiting>,
    next_call: u64,
    /// The first call that has not been given to a connection.
    unsent_from: u64,
    max_body: usize,
    /// Why calls are not taken, and since when.
    down: Option<(Arc<str>, Instant)>,
    stats: Stats,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    answer: oneshot::Sender<Result<Bytes, CallError>>,
}

impl Waiting {
    /// If nobody waits any more, the answer vanishes.
    fn tell(self, answer: Result<Bytes, CallError>) {
        let _ = self.answer.send(answer);
    }
}

/// What had become of a call that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Unsent,
    Sent,
}

impl Shared {
    pub(super) fn new(address: &str, settings: &Settings) -> Self {
        let queue = Queue {
            outgoing: Outgoing::default(),
            waiting: HashMap::default(),
            next_call: 1,
            unsent_from: 1,
            max_body: settings.max_body,
            down: None,
            stats: Stats::default(),
        };
        Self {
            address: address.into(),
            queue: Mutex::new(queue),
            max_calls: settings.max_calls,
            max_bytes: settings.max_bytes,
            wake: Notify::new(),
            closing: Notify::new(),
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let queue = self.queue.lock();
        Stats { outstanding: queue.waiting.len(), ..queue.stats.clone() }
    }

    /// Takes a call on.
    pub(super) fn push(
        &self,
        kind: u8,
        body: Bytes,
    ) -> Result<(u64, oneshot::Receiver<Result<Bytes, CallError>>), CallError> {
        let mut queue = self.queue.lock();
        if let Some((why, since)) = &queue.down {
            let ago = since.elapsed();
            return Err(CallError::NotSent(format!("{why}, {ago:.1?} ago").into()));
        }
        let (len, max) = (body.len(), queue.max_body);
        if len > max {
            return Err(CallError::TooLarge { len, max });
        }
        let (calls, bytes) = (queue.waiting.len(), queue.outgoing.bytes());
        if calls >= self.max_calls || bytes > 0 && bytes + len > self.max_bytes {
            return Err(CallError::TooMany { calls, bytes });
        }
        let call = queue.next_call;
        queue.next_call += 1;
        queue.stats.calls += 1;
        let (answer, ticket) = oneshot::channel();
        queue.waiting.insert(call, Waiting { since: Instant::now(), answer });
        queue.outgoing.push(Frame { call, kind, body });
        drop(queue);
        self.wake.notify_one();
        Ok((call, ticket))
    }

    /// Forgets a call, if it is not decided yet. What is not sent is not going to be.
    pub(super) fn give_up(&self, call: u64) -> Option<Fate> {
        let mut queue = self.queue.lock();
        queue.waiting.remove(&call)?;
        if call < queue.unsent_from {
            return Some(Fate::Sent);
        }
        queue.outgoing.withdraw(call);
        Some(Fate::Unsent)
    }

    /// Gives calls to the connection.
    pub(super) fn take(&self, batch: &mut Vec<Frame>) -> More {
        let mut queue = self.queue.lock();
        queue.outgoing.take(batch);
        if let Some(last) = batch.last() {
            queue.unsent_from = last.call + 1;
        }
        queue.stats.bytes_out += batch.iter().map(|frame| frame.body.len() as u64).sum::<u64>();
        More::Maybe
    }

    /// Gives an answer to the call it belongs to.
    pub(super) fn deliver(&self, frame: Frame) {
        let mut queue = self.queue.lock();
        let stats = &mut queue.stats;
        stats.bytes_in += frame.body.len() as u64;
        let Some(waiting) = queue.waiting.remove(&frame.call) else { return };
        let took = waiting.since.elapsed();
        let stats = &mut queue.stats;
        stats.round_trip = Some(stats.round_trip.map_or(took, |mean| (mean * 7 + took) / 8));
        drop(queue);
        let text = |body: &[u8]| String::from_utf8_lossy(body).into();
        waiting.tell(match Answer::from_kind(frame.kind) {
            Answer::Done => Ok(frame.body),
            Answer::Refused => Err(CallError::Refused(text(&frame.body))),
            Answer::Lost => Err(CallError::Unknown(text(&frame.body))),
        });
    }

    /// There is a connection.
    pub(super) fn up(&self, session: &Session) {
        let mut queue = self.queue.lock();
        let Queue { outgoing, waiting, stats, max_body, down, .. } = &mut *queue;
        *down = None;
        *max_body = session.max_body;
        outgoing.retain(|Frame { call, body, .. }| {
            let (len, max) = (body.len(), session.max_body);
            if len > max
                && let Some(waiting) = waiting.remove(call)
            {
                waiting.tell(Err(CallError::TooLarge { len, max }));
            }
            len <= max
        });
        stats.connected = true;
        stats.reconnects += u64::from(stats.peer.is_some());
        stats.peer = Some(session.peer.clone());
    }

    /// There is no connection, or no longer one. What is not sent may still be.
    pub(super) fn lost(&self, failure: &Failure) {
        let why: Arc<str> = format!("{}: {failure}", self.address).into();
        let mut queue = self.queue.lock();
        queue.stats.connected = false;
        queue.stats.last_error = Some(Arc::clone(&why));
        queue.outgoing.lose_taken();
        let unsent_from = queue.unsent_from;
        for (_, sent) in queue.waiting.extract_if(|call, _| *call < unsent_from) {
            sent.tell(Err(CallError::Unknown(Arc::clone(&why))));
        }
    }

    /// There will not be a connection for a while.
    pub(super) fn down(&self) {
        let mut queue = self.queue.lock();
        let why = queue.stats.last_error.clone().unwrap_or_else(|| "the link is closed".into());
        queue.down = Some((Arc::clone(&why), Instant::now()));
        queue.outgoing.retain(|_| false);
        for (_, unsent) in queue.waiting.drain() {
            unsent.tell(Err(CallError::NotSent(Arc::clone(&why))));
        }
    }
}
