//! One connection to a node, shared by many callers.
//!
//! Callers append requests to a buffer and wait; one task connects, writes what has gathered in
//! the buffer, and matches answers to requests. Servers answer in order, so the order is the
//! match, and the opaque that every request carries checks it.
//!
//! When anything is in doubt the connection is closed, once and for all: the error is put down,
//! every caller that still waits gets it, and the pool opens another connection. In particular a
//! request that times out takes its connection with it, so a late answer finds nobody.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use larder_protocol::Op;
use larder_protocol::encode::{self, Refused, Wishes};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::builder::Options;
use crate::endpoint::Endpoint;
use crate::error::Error;

mod drive;
mod exchange;
mod reader;

pub(crate) use drive::connect;
use exchange::Exchange;
pub(crate) use exchange::{Answer, Expected, Found, Tail};

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'r> {
    pub(crate) key: &'r [u8],
    pub(crate) op: Op<'r>,
    pub(crate) wishes: Wishes,
}

/// The callers' end of a connection. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
}

impl Connection {
    /// A connection that is about to be made; requests can be sent at once.
    pub(crate) fn open(endpoint: &Endpoint, node: &Arc<str>, options: Options) -> Self {
        let shared = Arc::new(Shared {
            node: Arc::clone(node),
            queue: Mutex::default(),
            max_outstanding: options.max_outstanding,
            wake: Notify::new(),
            closing: Notify::new(),
        });
        tokio::spawn(drive::drive(Arc::clone(&shared), endpoint.clone(), options));
        Self { shared }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.queue().closed.is_some()
    }

    /// How many sends wait for answers.
    pub(crate) fn outstanding(&self) -> usize {
        self.shared.queue().outstanding
    }

    /// Sends requests, in order. Their keys must have been checked.
    pub(crate) fn send(self: &Arc<Self>, requests: &[Request<'_>]) -> Result<Ticket, Error> {
        let mut queue = self.queue()?;
        let start = queue.unwritten.len();
        let first_opaque = queue.next_opaque;
        for (request, opaque) in requests.iter().zip(first_opaque..) {
            let Request { key, op, wishes } = request;
            if let Err(refused) = encode::meta(&mut queue.unwritten, key, op, *wishes, Some(opaque))
            {
                queue.unwritten.truncate(start);
                return Err(Error::Key(refused));
            }
            queue.next_opaque = opaque + 1;
        }
        let stores = requests.iter().any(|request| matches!(request.op, Op::Store(_)));
        let (answers, ticket) = oneshot::channel();
        self.has_queued(
            queue,
            Exchange::many(first_opaque, requests.len(), stores, answers),
            start,
        );
        Ok(Ticket { answers: ticket, connection: Arc::clone(self) })
    }

    /// Sends one request as `write` puts it, given its opaque.
    pub(crate) fn send_one(
        self: &Arc<Self>,
        expected: Expected,
        write: impl FnOnce(&mut Vec<u8>, u64) -> Result<(), Refused>,
    ) -> Result<Promise, Error> {
        let mut queue = self.queue()?;
        let (start, opaque) = (queue.unwritten.len(), queue.next_opaque);
        // It has written nothing if it refuses.
        write(&mut queue.unwritten, opaque).map_err(Error::Key)?;
        queue.next_opaque = opaque + 1;
        let (answer, promised) = oneshot::channel();
        self.has_queued(queue, Exchange::one(opaque, expected, answer), start);
        Ok(Promise { answer: promised, connection: Arc::clone(self) })
    }

    /// The queue, if it takes one more.
    fn queue(&self) -> Result<MutexGuard<'_, Queue>, Error> {
        let queue = self.shared.queue();
        if let Some(error) = &queue.closed {
            return Err(error.clone());
        }
        if queue.outstanding >= self.shared.max_outstanding {
            return Err(Error::Overloaded { node: Arc::clone(&self.shared.node) });
        }
        Ok(queue)
    }

    /// Of requests that are put down from `start` on.
    fn has_queued(&self, mut queue: MutexGuard<'_, Queue>, exchange: Exchange, start: usize) {
        queue.waiting.push_back(exchange);
        queue.outstanding += 1;
        queue.sent += 1;
        drop(queue);
        // Else the task has been told, and takes all that is there when it has its turn.
        if start == 0 {
            self.shared.wake.notify_one();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let gone = io::Error::new(io::ErrorKind::NotConnected, "the client is gone");
        self.shared.close(self.shared.disconnected(gone));
    }
}

/// What its callers and the task of a connection share.
#[derive(Debug)]
struct Shared {
    node: Arc<str>,
    queue: Mutex<Queue>,
    max_outstanding: usize,
    /// There is something to write.
    wake: Notify,
    /// There is nothing left to do.
    closing: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    /// Requests for the task to write.
    unwritten: Vec<u8>,
    /// Who waits for answers, in the order of their requests, but for those that the task has
    /// taken to match.
    waiting: VecDeque<Exchange>,
    /// How many wait, with those that the task has taken.
    outstanding: usize,
    /// How many there ever were.
    sent: u64,
    next_opaque: u64,
    /// Why the connection is closed. Once set it stays; nothing is queued any more.
    closed: Option<Error>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics between two changes that belong together.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives what is to be written for an empty buffer, and how many sends there were and how many of
    /// them wait.
    fn take_unwritten(&self, batch: &mut Vec<u8>) -> (u64, usize) {
        let mut queue = self.queue();
        std::mem::swap(batch, &mut queue.unwritten);
        (queue.sent, queue.outstanding)
    }

    /// Closes the connection because of `error`, unless it is closed already. Whoever waits is
    /// told, because what would have answered is dropped.
    fn close(&self, error: Error) {
        let mut queue = self.queue();
        if queue.closed.is_none() {
            queue.closed = Some(error);
        }
        queue.unwritten = Vec::new();
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        drop(waiting);
        self.closing.notify_one();
    }

    fn disconnected(&self, source: io::Error) -> Error {
        Error::Disconnected { node: Arc::clone(&self.node), source: Arc::new(source) }
    }
}

/// The promise of answers.
#[derive(Debug)]
pub(crate) struct Ticket {
    answers: oneshot::Receiver<Vec<Answer>>,
    // Which stays open for it, though its node may be one no longer.
    connection: Arc<Connection>,
}

impl Ticket {
    /// The answers, one for each request sent, in their order.
    pub(crate) async fn redeem(
        self,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<Vec<Answer>, Error> {
        let shared = &self.connection.shared;
        match timeout_at(deadline, self.answers).await {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(_)) => {
                Err(shared.queue().closed.clone().unwrap_or_else(|| {
                    shared.disconnected(io::ErrorKind::ConnectionAborted.into())
                }))
            }
            Err(_) => {
                let late = "another request on it was not answered in time";
                let late = io::Error::new(io::ErrorKind::TimedOut, late);
                shared.close(shared.disconnected(late));
                Err(Error::TimedOut { node: Arc::clone(&shared.node), after: timeout })
            }
        }
    }
}

/// The promise of one answer.
#[derive(Debug)]
pub(crate) struct Promise {
    answer: oneshot::Receiver<Answer>,
    // Which stays open for it, though its node may be one no longer.
    connection: Arc<Connection>,
}

impl Promise {
    /// The node that gives it.
    pub(crate) fn node(&self) -> Arc<str> {
        Arc::clone(&self.connection.shared.node)
    }

    /// Ready with the answer once it is there, or with what has become of the connection.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Answer, Error>> {
        Pin::new(&mut self.answer).poll(context).map_err(|_| {
            let shared = &self.connection.shared;
            let closed = shared.queue().closed.clone();
            closed.unwrap_or_else(|| shared.disconnected(io::ErrorKind::ConnectionAborted.into()))
        })
    }
}

#[cfg(test)]
mod tests;
