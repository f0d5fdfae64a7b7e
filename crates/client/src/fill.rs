//! One fill per miss: in this process by sharing it, among clients by the servers' leases.
//!
//! A miss leaves an empty item behind (`N`), and whoever made it has won: it fills the key, while
//! others are told that it is taken (`Z`). What is stored in the end carries the cas unique of that
//! item (`C`), so that a value made before a write or a delete does not undo it.

use std::pin::Pin;
use std::time::{Duration, SystemTime};
use std::{error, io};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::ask::{Claim, claim, claimed, compared, deleted, give_back, store};
use crate::client::Client;
use crate::error::Error;
use crate::expiry::Expiry;
use crate::flights::{Filled, Landing, Outcome, Progress};
use crate::item::Value;
use crate::long_key;

/// What makes a value. It runs at most once, and not before it is needed.
pub(crate) type Fill = Pin<Box<dyn Future<Output = Outcome> + Send>>;

impl Client {
    /// The value at `key`; if there is none, `fill` makes it, and it is stored.
    ///
    /// Of all who ask for a missing key at once one fills it:
    ///
    /// - In this process (all clones of a client) callers share one fill. It is a task of its own, so
    ///   that a caller who stops waiting takes nothing from the others.
    /// - Of the clients of a cache the one that the server says has won fills, for
    ///   [`lease`](crate::Builder::lease) at most. The others ask again every 5 to 100 ms, and fill
    ///   themselves after [`fill_wait`](crate::Builder::fill_wait).
    ///
    /// While a value is there but is marked stale ([`invalidate`](Self::invalidate)), or is in the
    /// last tenth of its time (5 seconds at most), one caller in all fills it anew, and waits for
    /// that; all others are given the value there is at once.
    ///
    /// What is stored expires at a random moment in the last tenth of `expiry` if that is a
    /// duration, so that what was filled together does not expire together. It is not stored if the
    /// key has been written or deleted since it was missed.
    ///
    /// If `fill` fails, all who wait for it are given [`Error::Fill`], and another client may try at
    /// once; but a value that has neither expired nor is stale is given instead. If the cache cannot
    /// be asked, or cannot store the value, that is no error: the value is made, once in this
    /// process, and given.
    ///
    /// Others that read the key with plain `get`s of other clients find an empty value while it is
    /// filled; [`get`](Self::get) knows it for a miss. An empty value can be stored, but is filled
    /// by one at a time and seen by the rest only when that is done.
    pub async fn get_or_fill<F, V, E>(
        &self,
        key: impl AsRef<[u8]>,
        expiry: impl Into<Expiry>,
        fill: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Bytes, Error>
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
        V: Into<Bytes>,
        E: Into<Box<dyn error::Error + Send + Sync>>,
    {
        let fill = async move {
            let made = fill().await.map_err(failed)?;
            Ok(Some(Filled { bytes: made.into(), ..Filled::default() }))
        };
        let filled = self.share_fill(key.as_ref(), expiry.into(), Box::pin(fill)).await?;
        Ok(filled.map(|filled| filled.bytes).unwrap_or_default())
    }

    /// What there is at `key`, or `fill` makes.
    pub(crate) async fn share_fill(&self, key: &[u8], expiry: Expiry, fill: Fill) -> Outcome {
        let key = long_key::short(key)?;
        let (progress, started) = self.flights.board(&key, |landing| {
            let client = self.clone();
            tokio::spawn(async move {
                let outcome = client.fill(&landing, expiry, fill).await;
                landing.done(outcome);
            });
        });
        arrive(progress, started).await
    }

    /// Asks for the value, and fills it if nobody else does.
    async fn fill(&self, landing: &Landing, expiry: Expiry, fill: Fill) -> Outcome {
        let key = landing.key();
        let claim = match self.claim(key, expiry).await {
            Claim::Found(found) => return Ok(Some(found)),
            claim => claim,
        };
        landing.filling(claim.old().cloned());
        // Of its own, so that a panic is its own too.
        let made = match tokio::spawn(fill).await {
            Ok(made) => made,
            Err(broken) => Err(failed(io::Error::other(format!("the fill ended: {broken}")))),
        };
        let is_kept = match (&made, claim.cas()) {
            (Ok(Some(Filled { bytes, flags, ttl_secs })), Some(cas)) => {
                let value = Value::with_flags(bytes, *flags);
                let expiry = expiry.within(*ttl_secs).spread(rand::random_range(0.0..SPREAD));
                let request = store(key, larder_protocol::Mode::Set, value, expiry, Some(cas));
                self.ask_as_is(request, compared).await.is_ok()
            }
            _ => false,
        };
        if !is_kept && let Some(give_back) = give_back(key, &claim) {
            // If that fails the lease ends by itself.
            let _ = self.ask_as_is(give_back, deleted).await;
        }
        match (made, claim) {
            (Err(_), Claim::Refresh { value, .. }) => Ok(Some(value)),
            (made, _) => made,
        }
    }

    /// Asks for the value until there is one, or it is for this client to fill it.
    async fn claim(&self, key: &[u8], expiry: Expiry) -> Claim {
        let options = &self.roster.options;
        let early = expiry.early(SystemTime::now());
        let patience = Instant::now() + options.fill_wait;
        let mut pause = MIN_PAUSE;
        loop {
            let claimed = self.ask_as_is(claim(key, options.lease_secs, early), claimed).await;
            match claimed {
                Ok(Claim::Taken { .. }) if Instant::now() < patience => {
                    sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                Ok(claim) => return claim,
                Err(_) => return Claim::Unknown,
            }
        }
    }
}

/// Waits for the end of a flight, or for the old value if it was another caller who started it.
async fn arrive(mut progress: watch::Receiver<Progress>, started: bool) -> Outcome {
    let arrived = progress.wait_for(|progress| match progress {
        Progress::Asking => false,
        Progress::Filling(old) => !started && old.is_some(),
        Progress::Done(_) => true,
    });
    match arrived.await.as_deref() {
        Ok(Progress::Done(outcome)) => outcome.clone(),
        Ok(Progress::Filling(old)) => Ok(old.clone()),
        _ => Err(failed(io::Error::other("the runtime has stopped"))),
    }
}

pub(crate) fn failed(error: impl Into<Box<dyn error::Error + Send + Sync>>) -> Error {
    Error::Fill { source: error.into().into() }
}

/// By how much what is filled expires sooner, at most.
const SPREAD: f64 = 0.1;

/// The least and the longest time between two questions about a key that another client fills.
const MIN_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
