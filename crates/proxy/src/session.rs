//! One connection's commands.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use larder_client::{Flushing, Forwarded};
use larder_protocol::{Delete, Form, Key, Op, Outcome, Seconds, Shape};
use larder_server::Session as Served;

use crate::failure;
use crate::pool::Tier;
use crate::worker::Worker;

/// One connection's commands, which go where their keys belong.
#[derive(Debug)]
pub struct Session {
    worker: Arc<Worker>,
    lane: usize,
}

impl Session {
    pub(crate) fn new(worker: &Arc<Worker>) -> Self {
        Self { lane: worker.lane(), worker: Arc::clone(worker) }
    }
}

impl Served for Session {
    type Pending = Pending;
    type Landing = Infallible;

    fn execute<R>(
        &mut self,
        key: &[u8],
        op: &Op<'_>,
        form: &Form<'_>,
        _landed: Option<Infallible>,
        _now: Seconds,
        respond: R,
    ) -> Option<Pending>
    where
        R: FnOnce(Outcome<'_>),
    {
        let switch = self.worker.switch();
        let Some(pool) = switch.route(key) else {
            respond(Outcome::Failed(failure::NO_ROUTE));
            return None;
        };
        let forwarded = pool.client.forward(key, op, form, self.lane, larder_server::now);
        Some(Pending::One(Arc::clone(&pool.name), forwarded))
    }

    fn refused(&mut self, key: &[u8], _now: Seconds) {
        let switch = self.worker.switch();
        let Some(pool) = switch.route(key).filter(|pool| pool.settings.tier == Tier::Cache) else {
            return;
        };
        let text = Key { text: key, base64: false };
        let form = Form { shape: Shape::Deleted, quiet: true, key: text, flags: &[] };
        let delete = Op::Delete(Delete::default());
        // Nobody waits for it.
        drop(pool.client.forward(key, &delete, &form, self.lane, larder_server::now));
    }

    fn flush_all(&mut self, at: Seconds, now: Seconds) -> Option<Pending> {
        // Their clocks may not say what ours does.
        let delay = at.saturating_sub(now);
        let switch = self.worker.switch();
        let caches = switch.pools.iter().filter(|pool| pool.settings.tier == Tier::Cache);
        let left: Vec<_> = caches.map(|pool| pool.client.flush_all(delay, self.lane)).collect();
        let is_any = !left.is_empty();
        Some(Pending::Flush { left, is_any, failed: false })
    }
}

/// An answer to come. Once it has given it, it must not be polled again.
#[derive(Debug)]
pub enum Pending {
    /// Of a pool of this name.
    One(Arc<str>, Forwarded),
    /// Of all pools of caches.
    Flush {
        /// Those that have not answered.
        left: Vec<Flushing>,
        /// Whether there are any.
        is_any: bool,
        /// Whether one has not done it.
        failed: bool,
    },
}

impl Future for Pending {
    type Output = Outcome<'static>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.get_mut() {
            Self::One(pool, forwarded) => match ready!(Pin::new(forwarded).poll(context)) {
                Ok(outcome) => outcome,
                Err(error) => Outcome::Failed(failure::told(pool, &error)),
            },
            Self::Flush { is_any: false, .. } => Outcome::Failed(failure::NO_CACHE),
            Self::Flush { left, failed, .. } => {
                left.retain_mut(|flushing| match Pin::new(flushing).poll(context) {
                    Poll::Pending => true,
                    Poll::Ready(went) => {
                        *failed |= went.is_err();
                        false
                    }
                });
                match (left.is_empty(), *failed) {
                    (false, _) => return Poll::Pending,
                    (true, true) => Outcome::Failed(failure::PARTLY),
                    (true, false) => Outcome::Deleted,
                }
            }
        })
    }
}
