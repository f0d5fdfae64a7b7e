//! What the threads of one node share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ahash::HashMap;
use larder_peer::Credentials;
use larder_protocol::Seconds;
use parking_lot::Mutex;
use tracing::warn;

use crate::counters::Counters;
use crate::fetching::Fetching;
use crate::hints::Hints;
use crate::links::Links;
use crate::member::Member;
use crate::near::Near;
use crate::places::Places;
use crate::resolved::Resolved;
use crate::view::View;

/// What the threads of one node share.
#[derive(Debug)]
pub(crate) struct Shared<E> {
    pub(crate) engine: Arc<E>,
    /// This node's name.
    pub(crate) name: Arc<str>,
    pub(crate) credentials: Credentials,
    /// Of the connections that commands go over.
    pub(crate) link: larder_peer::Settings,
    /// How long another node may take to answer.
    pub(crate) timeout: Duration,
    /// For how many seconds what is stored at a stand-in lives.
    pub(crate) gutter: Seconds,
    pub(crate) clock: fn() -> Seconds,
    pub(crate) counters: Counters,
    /// Who may have a key besides whose it is.
    pub(crate) places: Mutex<Arc<Places>>,
    /// The version of their view if nobody else may, else [`UNSETTLED`].
    pub(crate) settled: AtomicU64,
    /// How long this node asks others, once it has come, for what it lacks.
    pub(crate) warm_up: Duration,
    pub(crate) hints: Hints,
    pub(crate) fetching: Fetching,
    pub(crate) near: Arc<Near>,
    pub(crate) links: Links,
    pub(crate) resolved: Resolved,
    /// When it was last said of which node that it does not answer.
    pub(crate) told: Mutex<HashMap<Arc<str>, Instant>>,
}

impl<E> Shared<E> {
    /// Whether a key may be nowhere but where it belongs.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire) != UNSETTLED
    }

    /// The same for who goes by `view`: a worker has a view a little before or after the node as a whole.
    #[inline]
    pub(crate) fn is_settled_by(&self, view: &View) -> bool {
        self.settled.load(Ordering::Acquire) == u64::from(view.version)
    }

    pub(crate) fn places(&self) -> Arc<Places> {
        Arc::clone(&self.places.lock())
    }

    pub(crate) fn set_places(&self, places: Places) {
        let settled = if places.is_settled() { places.view.version.into() } else { UNSETTLED };
        *self.places.lock() = Arc::new(places);
        self.settled.store(settled, Ordering::Release);
    }

    /// Says that the keys of a member go to others: one worker says it for all.
    pub(crate) fn tell_out(&self, member: &Member, why: &str) {
        self.counters.lost.add(1);
        let now = Instant::now();
        let last = self.told.lock().insert(Arc::clone(&member.name), now);
        if last.is_none_or(|last| now.duration_since(last) >= SILENCE) {
            warn!("{} does not answer, its keys go to others meanwhile: {why}", member.name);
        }
    }
}

/// No version of a view.
const UNSETTLED: u64 = u64::MAX;

/// For so long the same is not said again.
const SILENCE: Duration = Duration::from_secs(10);
