//! The side that calls.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::credentials::Credentials;
use crate::error::CallError;
use crate::settings::Settings;
use crate::stats::Stats;

mod drive;
mod queue;

use queue::{Fate, Shared};

/// A connection to another node, which is made again whenever it is lost, for many calls at once.
///
/// Calls are made at any time. While there has been no attempt yet that failed, they wait for the
/// connection; after one that did, they fail at once until another succeeds. They leave in the order
/// they are made, each in one piece: a body of many megabytes has all others wait behind it, so cut
/// what is long. Dropping the link closes it: calls still outstanding fail.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
}

impl Link {
    /// A link to `address`, which is `host:port` and is resolved each time that it connects. With
    /// `node`, it talks to nobody else who may be found there.
    ///
    /// # Panics
    ///
    /// It is called outside of a tokio runtime, or of one without I/O or time.
    pub fn open(address: &str, node: Option<u64>, me: Credentials, settings: Settings) -> Self {
        let shared = Arc::new(Shared::new(address, &settings));
        tokio::spawn(drive::drive(Arc::clone(&shared), node, me, settings));
        Self { shared }
    }

    /// Sends a call; the future is its answer. The call is on its way already when the future has not
    /// been polled yet; dropping it gives the call up, which may be carried out all the same. What
    /// `kind` means is between caller and handler.
    pub fn call(
        &self,
        kind: u8,
        body: Bytes,
        deadline: Instant,
    ) -> impl Future<Output = Result<Bytes, CallError>> + Send + use<> {
        let ticket = Ticket::take(&self.shared, kind, body);
        async move { ticket?.redeem(deadline).await }
    }

    /// What it has done.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.closing.notify_one();
    }
}

/// The promise of an answer. Dropping it gives the call up.
struct Ticket {
    call: u64,
    answer: oneshot::Receiver<Result<Bytes, CallError>>,
    shared: Arc<Shared>,
}

impl Ticket {
    fn take(shared: &Arc<Shared>, kind: u8, body: Bytes) -> Result<Self, CallError> {
        let (call, answer) = shared.push(kind, body)?;
        Ok(Self { call, answer, shared: Arc::clone(shared) })
    }

    async fn redeem(mut self, deadline: Instant) -> Result<Bytes, CallError> {
        if let Ok(Ok(answer)) = timeout_at(deadline, &mut self.answer).await {
            return answer;
        }
        match self.shared.give_up(self.call) {
            Some(Fate::Unsent) => Err(CallError::NotSent(
                "it was not connected, or had to wait, till too late".into(),
            )),
            Some(Fate::Sent) => Err(CallError::Unknown("no answer came in time".into())),
            // It was decided meanwhile.
            None => self.answer.try_recv().unwrap_or_else(|_| {
                Err(CallError::Unknown("the runtime of the link has stopped".into()))
            }),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.answer.is_terminated() {
            self.shared.give_up(self.call);
        }
    }
}
