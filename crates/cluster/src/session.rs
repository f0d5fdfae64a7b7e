//! One connection's commands.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use larder_protocol::{Delete, Form, Interval, Op, Outcome, Seconds};
use larder_server::Session as Served;

use crate::answers::Awaited;
use crate::call::{self, Asked};
use crate::courier::Courier;
use crate::engine::Engine;
use crate::failure;
use crate::near::{Asking, Changing, Found, Near};
use crate::shared::Shared;
use crate::stand_in::bounded;
use crate::table::{Route, Table};
use crate::worker::Worker;

/// One connection's commands: those on keys of this node go to its own session, the others to their nodes.
pub struct Session<S, E> {
    local: S,
    worker: Arc<Worker<E>>,
    table: Arc<Table>,
    /// Of the table.
    version: u64,
}

impl<S, E: Engine> Session<S, E> {
    pub(crate) fn new(local: S, worker: Arc<Worker<E>>) -> Self {
        let (version, table) = (worker.version(), worker.table());
        Self { local, worker, table, version }
    }

    /// Does what another node may have to know of, or to be asked for first.
    fn execute_here<R>(
        &mut self,
        key: &[u8],
        (op, form): (&Op<'_>, &Form<'_>),
        landed: Option<S::Landing>,
        lives: Option<Seconds>,
        now: Seconds,
        respond: R,
    ) -> Option<Pending<S::Pending>>
    where
        S: Served,
        R: FnOnce(Outcome<'_>),
    {
        let shared = self.worker.shared();
        if lives.is_some() {
            shared.counters.stood_in.add(1);
            // Its owner will be asked again before long.
            drop(shared.near.change(key, op));
        }
        let op = lives.map_or(*op, |lives| bounded(op, lives, now));
        let (asked, places) = (Asked { key, op }, shared.places());
        if landed.is_none()
            && let Some((source, wanted)) = shared.lacks(&places, &asked, now)
            && let Some(body) = call::push(&asked, call::begin(lives))
        {
            let (shared, source) = (Arc::clone(shared), Arc::clone(source));
            return Some(Pending::Fetched(Box::pin(async move {
                shared.fetch_from(source, vec![wanted]).await;
                let answer = shared.carry_out(&body);
                let outcomes = answer.and_then(|body| call::read_answer(&body, 1, now));
                let outcome = outcomes.and_then(|mut outcomes| outcomes.pop());
                outcome.unwrap_or(Outcome::Failed(failure::UNKNOWN))
            })));
        }
        if !op.reads_only() {
            shared.will_change(&places, key);
        }
        self.local.execute(key, &op, form, landed, now, respond).map(Pending::Local)
    }

    /// Does what another node has to do, or tells what it has said.
    fn execute_away<R: FnOnce(Outcome<'_>)>(
        &self,
        courier: &Courier,
        lives: Option<Seconds>,
        asked: &Asked<'_>,
        now: Seconds,
        respond: R,
    ) -> Option<Pending<S::Pending>>
    where
        S: Served,
    {
        let Asked { key, op } = asked;
        let Shared { counters, near, .. } = &**self.worker.shared();
        let mut asking = None;
        if lives.is_none() {
            match near.find(key, op, now, Instant::now) {
                Found::Answer(outcome) => {
                    counters.near.add(1);
                    respond(outcome);
                    return None;
                }
                Found::Ask(found) => asking = Some(found),
                Found::Nothing => {}
            }
        }
        let changing = near.change(key, op);
        let counter = if lives.is_some() { &counters.stood_in } else { &counters.forwarded };
        counter.add(1);
        match courier.send(asked, lives) {
            Ok(awaited) => Some(match (asking, changing) {
                (Some(asking), _) => Pending::Asked(awaited, Box::new(asking)),
                (None, Some(changing)) => Pending::Changed(awaited, changing),
                (None, None) => Pending::Away(awaited),
            }),
            Err(why) => {
                counters.failed.add(1);
                respond(Outcome::Failed(why));
                None
            }
        }
    }

    /// Goes by the worker's table.
    #[inline]
    fn keep_up(&mut self) {
        if self.version != self.worker.version() {
            (self.version, self.table) = (self.worker.version(), self.worker.table());
        }
    }
}

impl<S: Served, E: Engine> Served for Session<S, E> {
    type Pending = Pending<S::Pending>;
    type Landing = S::Landing;

    fn land(&self, len: usize, now: Seconds) -> Option<S::Landing> {
        // Whose the value is is known only with its key.
        self.table.is_alone().then(|| self.local.land(len, now)).flatten()
    }

    fn lengthen(&self, landing: &mut S::Landing, now: Seconds) -> bool {
        self.local.lengthen(landing, now)
    }

    #[inline]
    fn expect(&self, keys: &[&[u8]]) {
        if self.table.is_alone() {
            self.local.expect(keys);
        }
    }

    #[inline]
    fn execute<R>(
        &mut self,
        key: &[u8],
        op: &Op<'_>,
        form: &Form<'_>,
        landed: Option<S::Landing>,
        now: Seconds,
        respond: R,
    ) -> Option<Self::Pending>
    where
        R: FnOnce(Outcome<'_>),
    {
        self.keep_up();
        // The front of a value that has landed is here, and cannot go anywhere else.
        let route = if landed.is_some() { Route::Here(None) } else { self.table.route(key) };
        match route {
            Route::Here(lives) => {
                if lives.is_none() && self.worker.shared().is_settled_by(self.table.view()) {
                    return self
                        .local
                        .execute(key, op, form, landed, now, respond)
                        .map(Pending::Local);
                }
                self.execute_here(key, (op, form), landed, lives, now, respond)
            }
            Route::Away(courier, lives) => {
                self.execute_away(courier, lives, &Asked { key, op: *op }, now, respond)
            }
            Route::Nowhere => {
                self.worker.shared().counters.failed.add(1);
                respond(Outcome::Failed(failure::NO_NODE));
                None
            }
        }
    }

    fn sampled(&mut self, key: &[u8], per_second: f64, now: Seconds) {
        self.keep_up();
        if let Route::Away(_, None) = self.table.route(key) {
            self.worker.shared().near.note(key, per_second, now);
        }
    }

    fn refused(&mut self, key: &[u8], now: Seconds) {
        self.keep_up();
        let shared = self.worker.shared();
        let asked = Asked { key, op: Op::Delete(Delete::default()) };
        let changing = shared.near.change(key, &asked.op);
        match self.table.route(key) {
            Route::Here(_) => {
                shared.will_change(&shared.places(), key);
                self.local.refused(key, now);
            }
            Route::Away(courier, lives) => {
                // No client waits for it.
                match (courier.send(&asked, lives), changing) {
                    (Ok(awaited), Some(changing)) => {
                        tokio::spawn(async move {
                            awaited.await;
                            drop(changing);
                        });
                    }
                    (Ok(_), None) => {}
                    // What was to be replaced must not be found for ever: it is told so until it is.
                    (Err(_), _) => shared.hints.note(&courier.member.name, key),
                }
            }
            Route::Nowhere => {}
        }
    }

    fn flush_all(&mut self, at: Seconds, now: Seconds) -> Option<Self::Pending> {
        self.keep_up();
        let shared = self.worker.shared();
        shared.owe_flush();
        let local = self.local.flush_all(at, now);
        if self.table.is_alone() {
            return local.map(Pending::Local);
        }
        // Their clocks may not say what ours does.
        let delay = at.saturating_sub(now);
        let (mut away, mut failed) = (Vec::new(), false);
        for courier in self.table.couriers() {
            let sent = if courier.is_out() { None } else { courier.flush(delay).ok() };
            if sent.is_none() {
                shared.hints.note_everything(&courier.member.name);
                failed = true;
            }
            away.extend(sent);
        }
        Some(Pending::Flush(Flush { local, away, failed, near: Arc::clone(&shared.near) }))
    }

    fn range(&mut self, interval: &Interval<'_>, now: Seconds) -> Option<Self::Pending> {
        self.local.range(interval, now).map(Pending::Local)
    }

    fn checkpoint(&mut self) -> Option<Self::Pending> {
        self.local.checkpoint().map(Pending::Local)
    }
}

impl<S, E> fmt::Debug for Session<S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// An answer to come. Once it has given it, it must not be polled again.
pub enum Pending<P> {
    /// Of this node.
    Local(P),
    /// Of another.
    Away(Awaited),
    /// Of another, to be kept.
    Asked(Awaited, Box<Asking>),
    /// Of another, which changes an item.
    Changed(Awaited, Changing),
    /// Of this node, once it has asked another for the item.
    Fetched(Pin<Box<dyn Future<Output = Outcome<'static>> + Send>>),
    /// Of all of them.
    Flush(Flush<P>),
}

impl<P> fmt::Debug for Pending<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

/// What comes of a flush, which every node does by itself.
#[derive(Debug)]
pub struct Flush<P> {
    local: Option<P>,
    away: Vec<Awaited>,
    failed: bool,
    near: Arc<Near>,
}

impl<P: Future<Output = Outcome<'static>> + Unpin> Future for Pending<P> {
    type Output = Outcome<'static>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Local(pending) => Pin::new(pending).poll(context),
            Self::Away(awaited) | Self::Changed(awaited, _) => Pin::new(awaited).poll(context),
            Self::Asked(awaited, asking) => {
                let poll = Pin::new(awaited).poll(context);
                if let Poll::Ready(outcome) = &poll {
                    asking.keep(outcome);
                }
                poll
            }
            Self::Fetched(outcome) => outcome.as_mut().poll(context),
            Self::Flush(flush) => flush.poll(context),
        }
    }
}

impl<P: Future<Output = Outcome<'static>> + Unpin> Flush<P> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Outcome<'static>> {
        let mut take = |poll: Poll<Outcome<'_>>| {
            if let Poll::Ready(outcome) = &poll {
                self.failed |= outcome.is_failure();
            }
            poll.is_pending()
        };
        self.away.retain_mut(|awaited| take(Pin::new(awaited).poll(context)));
        self.local.take_if(|pending| !take(Pin::new(pending).poll(context)));
        if !self.away.is_empty() || self.local.is_some() {
            return Poll::Pending;
        }
        // What others had not flushed yet may have been asked for since this node did.
        self.near.clear();
        Poll::Ready(if self.failed { Outcome::Failed(failure::PARTLY) } else { Outcome::Deleted })
    }
}
