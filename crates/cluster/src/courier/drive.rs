//! The task that makes the calls.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream::FuturesOrdered};
use larder_peer::{CallError, Link};
use larder_protocol::Outcome;
use tokio::time::{Instant, sleep_until};

use super::{Call, Courier};
use crate::call::{self, Asked};
use crate::engine::Engine;
use crate::failure;
use crate::worker::Worker;

/// Makes the calls of `courier`, until it is closed. Where its node does not answer, its commands go to
/// whoever stands in, in their order.
pub(crate) async fn drive<E: Engine>(courier: Arc<Courier>, worker: Arc<Worker<E>>, link: Link) {
    let shared = worker.shared();
    let mut sent = VecDeque::new();
    let mut answers = FuturesOrdered::new();
    loop {
        let closed = courier.is_closed();
        while let Some(call) = courier.next() {
            if closed {
                worker.elsewhere(&courier, call, Done::Not);
                continue;
            }
            let deadline = Instant::now() + shared.timeout;
            answers.push_back(link.call(call.kind, call.body.clone(), deadline));
            sent.push_back(call);
        }
        if closed && sent.is_empty() {
            return;
        }
        let answer = tokio::select! {
            biased;
            Some(answer) = answers.next(), if !sent.is_empty() => answer,
            () = courier.wake.notified() => continue,
        };
        // There is one for each answer.
        let Some(call) = sent.pop_front() else { continue };
        let Err(lost) = worker.settle(&courier, call, answer) else { continue };
        // What is known by now of the others is so; for the rest nobody waits.
        courier.out.store(true, Ordering::Relaxed);
        shared.tell_out(&courier.member, &lost.why);
        worker.elsewhere(&courier, lost.call, lost.done);
        let mut come = true;
        while let Some(call) = sent.pop_front() {
            let answer = if come { answers.next().now_or_never().flatten() } else { None };
            come = answer.is_some();
            let answer = answer.unwrap_or_else(|| Err(CallError::Unknown("given up".into())));
            if let Err(lost) = worker.settle(&courier, call, answer) {
                worker.elsewhere(&courier, lost.call, lost.done);
            }
        }
        answers = FuturesOrdered::new();
        while let Some(call) = courier.next() {
            worker.elsewhere(&courier, call, Done::Not);
        }
        await_life(&courier, &link, shared.timeout).await;
        courier.out.store(false, Ordering::Relaxed);
    }
}

/// A call of which the node that was called has nothing, or does not say what it has.
pub(crate) struct Lost {
    pub(crate) call: Call,
    pub(crate) done: Done,
    pub(crate) why: Arc<str>,
}

/// What is known of a call that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// It was not done.
    Not,
    /// It may have been.
    Perhaps,
}

impl<E: Engine> Worker<E> {
    /// Gives the answers to a call, unless its node is lost.
    fn settle(
        &self,
        courier: &Courier,
        call: Call,
        answer: Result<Bytes, CallError>,
    ) -> Result<(), Lost> {
        let (done, why) = match answer {
            Err(CallError::NotSent(why)) => (Done::Not, why),
            Err(CallError::Unknown(why)) => (Done::Perhaps, why),
            answer => {
                courier.is_rid_of(&call);
                match answer {
                    Ok(body) => {
                        let again = |asked: &Asked<'_>, lives, ticket| {
                            courier.send_for(asked, lives, ticket, failure::BUSY);
                        };
                        call.answer(&body, (self.shared().clock)(), again);
                    }
                    Err(CallError::TooMany { .. }) => {
                        call.answer_all(&Outcome::Failed(failure::BUSY));
                    }
                    Err(CallError::TooLarge { .. }) => call.answer_all(&Outcome::TooLarge),
                    Err(_) => call.answer_all(&Outcome::Failed(failure::SENSELESS)),
                }
                return Ok(());
            }
        };
        Err(Lost { call, done, why })
    }

    /// Has others do what was for the node of `courier`.
    fn elsewhere(&self, courier: &Courier, mut call: Call, done: Done) {
        courier.is_rid_of(&call);
        if call.kind == call::FLUSH {
            self.shared().hints.note_everything(&courier.member.name);
            return call.answer_all(&Outcome::Failed(failure::PARTLY));
        }
        call.commands(|asked, ticket| self.again(asked, ticket, done));
    }
}

/// Waits until the node answers.
async fn await_life(courier: &Courier, link: &Link, timeout: Duration) {
    let mut wait = FIRST_WAIT;
    let mut next = Instant::now() + wait;
    while !courier.is_closed() {
        tokio::select! {
            () = sleep_until(next) => {}
            // It may be closed.
            () = courier.wake.notified() => continue,
        }
        if link.call(call::PING, Bytes::new(), Instant::now() + timeout).await.is_ok() {
            return;
        }
        wait = (wait * 2).min(LONGEST_WAIT);
        next = Instant::now() + wait;
    }
}

/// Between two attempts to reach a node that does not answer.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
