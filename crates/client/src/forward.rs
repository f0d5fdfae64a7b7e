//! Commands of another's clients, passed on as they are: what a proxy does.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use larder_protocol::{Form, Op, Outcome, Seconds, Store};
use smallvec::SmallVec;
use tokio::time::{Instant, timeout_at};

use crate::client::Client;
use crate::connection::{Answer, Expected, Promise};
use crate::error::Error;
use crate::nodes::Nodes;
use crate::outcome::outcome;
use crate::pool::Pool;
use crate::report::NodeReport;
use crate::roster::Roster;
use crate::route::{Failover, Route};
use crate::wording::Wording;

impl Client {
    /// Does `op` on `key` as another's client asked for it, and asks for no more than its answer, which
    /// looks like `form`, is to say. It is sent before this returns, whether the result is polled or not;
    /// if the node fails and another may be asked, that is done once the result is polled.
    ///
    /// What is sent over one of its lanes reaches a node in this order; there are as many as
    /// [connections](crate::Builder::connections_per_node), and any number stands for one. `key` has 1 to
    /// 250 bytes; the answer is in terms of the time that `clock` tells. Must be called within a tokio
    /// runtime, where connections will live.
    pub fn forward(
        &self,
        key: &[u8],
        op: &Op<'_>,
        form: &Form<'_>,
        lane: usize,
        clock: fn() -> Seconds,
    ) -> Forwarded {
        let wording = Wording::of(op, form);
        let asked = |nodes, (at, node)| {
            let deadline = Instant::now() + self.roster.options.timeout;
            let (roster, failover) = (Arc::clone(&self.roster), self.failover);
            let (key, (op, value)) = (SmallVec::from_slice(key), parted(op));
            let asked = Asked {
                roster,
                failover,
                nodes,
                at,
                node,
                key,
                op,
                value,
                wording,
                lane,
                deadline,
                clock,
            };
            Box::new(asked)
        };
        let Some(nodes) = self.roster.current() else {
            return Forwarded(State::Elsewhere(Box::pin(asked(None, (0, 0)).again(None))));
        };
        let sent = Route::new(&nodes, key, self.failover).and_then(|route| {
            let pool = route.pool()?;
            if !pool.may_be_asked(Instant::now()) {
                let down = io::Error::new(io::ErrorKind::NotConnected, "it did not answer of late");
                pool.count_failure();
                let node = Arc::clone(pool.node());
                return Err(Error::Unreachable { node, source: Arc::new(down) });
            }
            let promise = wording.send(pool, lane, key, &route.bounded_op(*op))?;
            Ok((promise, (route.at(), route.index())))
        });
        Forwarded(match sent {
            Ok((promise, place)) => State::Sent(promise, asked(Some(nodes), place)),
            Err(error) => State::Failed(error),
        })
    }

    /// Has all nodes forget all items, so many seconds from now; those of one lane before whatever is
    /// sent over it behind.
    pub fn flush_all(&self, delay: Seconds, lane: usize) -> Flushing {
        let Some(nodes) = self.roster.current() else {
            let why = Arc::from("nobody has told them yet");
            return Flushing { left: Vec::new(), failed: Some(Error::Undiscovered { why }) };
        };
        let mut flushing = Flushing { left: Vec::new(), failed: None };
        for pool in nodes.pools() {
            let promise = pool.send_one(lane, Expected::Ok, |out, _| {
                out.extend_from_slice(format!("flush_all {delay}\r\n").as_bytes());
                Ok(())
            });
            match promise {
                Ok(promise) => flushing.left.push(promise),
                Err(error) => flushing.failed = Some(error),
            }
        }
        flushing
    }

    /// How the nodes are doing; none while they are not known.
    pub fn report(&self) -> Vec<NodeReport> {
        let nodes = self.roster.now();
        nodes.iter().flat_map(|nodes| nodes.pools()).map(|pool| pool.report()).collect()
    }
}

/// The answer to come to a command that was passed on, or why there is none. It must not be polled again
/// once it has been given.
pub struct Forwarded(State);

enum State {
    Sent(Promise, Box<Asked>),
    /// Perhaps by another node; or the nodes are not known yet.
    Elsewhere(Pin<Box<dyn Future<Output = Result<Outcome<'static>, Error>> + Send>>),
    Failed(Error),
}

impl Future for Forwarded {
    type Output = Result<Outcome<'static>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let went = match &mut self.0 {
                State::Sent(promise, _) => ready!(promise.poll(context)),
                State::Elsewhere(outcome) => return outcome.as_mut().poll(context),
                State::Failed(error) => return Poll::Ready(Err(error.clone())),
            };
            let done = State::Failed(Error::NoNode);
            let State::Sent(_, asked) = std::mem::replace(&mut self.0, done) else { continue };
            if let Some(pool) = asked.pool()
                && let Ok(answer) = went
            {
                pool.learn(&Ok(()));
                return Poll::Ready(asked.read(pool, answer));
            }
            self.0 = State::Elsewhere(Box::pin(asked.again(went.err())));
        }
    }
}

impl fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarded").finish_non_exhaustive()
    }
}

/// A command with all that it takes to send it once more.
struct Asked {
    roster: Arc<Roster>,
    failover: Failover,
    /// Where it was sent: the nodes then, how far from the key's owner, and which of them.
    nodes: Option<Arc<Nodes>>,
    at: usize,
    node: usize,
    key: SmallVec<[u8; USUAL_KEY]>,
    /// But for the value.
    op: Op<'static>,
    value: Box<[u8]>,
    wording: Wording,
    lane: usize,
    deadline: Instant,
    clock: fn() -> Seconds,
}

impl Asked {
    fn op(&self) -> Op<'_> {
        match self.op {
            Op::Store(store) => Op::Store(Store { value: &self.value, ..store }),
            op => op,
        }
    }

    /// The node that it was sent to.
    fn pool(&self) -> Option<&Arc<Pool>> {
        self.nodes.as_ref()?.pool(self.node)
    }

    fn read(&self, pool: &Pool, answer: Answer) -> Result<Outcome<'static>, Error> {
        let read = outcome(pool.node(), &self.op(), answer, self.clock);
        if read.is_err() {
            pool.count_failure();
        }
        read
    }

    /// Sends it to who may do it now, if it was not sent yet, or else after `error`.
    async fn again(mut self: Box<Self>, error: Option<Error>) -> Result<Outcome<'static>, Error> {
        let nodes = match self.nodes.take() {
            Some(nodes) => nodes,
            None => self.roster.nodes(self.deadline).await?,
        };
        let mut route = match error {
            Some(_) => Route::from(&nodes, &self.key, self.failover, self.at)?,
            None => Route::new(&nodes, &self.key, self.failover)?,
        };
        let mut went = error.map(|error| Err(self.late(route.pool()?, error)));
        loop {
            let pool = route.pool()?;
            if let Some(went) = went {
                if pool.learn(&went) {
                    self.roster.doubt();
                }
                match went {
                    Ok(answer) => return self.read(pool, answer),
                    Err(error) if route.goes_on(&error, &self.op()) => {}
                    Err(error) => {
                        pool.count_failure();
                        return Err(error);
                    }
                }
            }
            let (pool, op) = (route.pool()?, route.bounded_op(self.op()));
            went = Some(match self.wording.send(pool, self.lane, &self.key, &op) {
                Ok(promise) => self.redeem(pool, promise).await,
                Err(error) => Err(error),
            });
        }
    }

    async fn redeem(&self, pool: &Pool, mut promise: Promise) -> Result<Answer, Error> {
        match timeout_at(self.deadline, poll_fn(|context| promise.poll(context))).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.late(pool, error)),
            Err(_) => Err(self.timed_out(pool)),
        }
    }

    /// A connection that was closed since this was not answered in time was not just lost.
    fn late(&self, pool: &Pool, error: Error) -> Error {
        match error {
            Error::Disconnected { .. } if Instant::now() >= self.deadline => self.timed_out(pool),
            error => error,
        }
    }

    fn timed_out(&self, pool: &Pool) -> Error {
        let after = self.roster.options.timeout;
        Error::TimedOut { node: Arc::clone(pool.node()), after }
    }
}

/// An operation and the value that it stores.
fn parted(op: &Op<'_>) -> (Op<'static>, Box<[u8]>) {
    match *op {
        Op::Store(store) => {
            let of_none = Store {
                mode: store.mode,
                landed: store.landed,
                value: &[],
                client_flags: store.client_flags,
                exptime: store.exptime,
                compare: store.compare,
                invalidate: store.invalidate,
                new_cas: store.new_cas,
                vivify: store.vivify,
                binary_key: store.binary_key,
                max_len: store.max_len,
            };
            (Op::Store(of_none), store.value.into())
        }
        Op::Fetch(fetch) => (Op::Fetch(fetch), Box::default()),
        Op::Delete(delete) => (Op::Delete(delete), Box::default()),
        Op::Arithmetic(arithmetic) => (Op::Arithmetic(arithmetic), Box::default()),
    }
}

/// What is to come of a flush: nothing, or why one of the nodes may not have done it.
#[derive(Debug)]
pub struct Flushing {
    left: Vec<Promise>,
    failed: Option<Error>,
}

impl Future for Flushing {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { left, failed } = &mut *self;
        left.retain_mut(|promise| match promise.poll(context) {
            Poll::Pending => true,
            Poll::Ready(went) => {
                match went {
                    Ok(Answer::Meta(..)) => {}
                    Ok(Answer::Error(said)) => {
                        *failed = Some(Error::Server { node: promise.node(), said });
                    }
                    Err(error) => *failed = Some(error),
                }
                false
            }
        });
        if !left.is_empty() {
            return Poll::Pending;
        }
        Poll::Ready(failed.take().map_or(Ok(()), Err))
    }
}

/// A longer key takes an allocation of its own.
const USUAL_KEY: usize = 64;

#[cfg(test)]
mod tests;
