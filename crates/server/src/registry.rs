//! The connections there are: to count them, list them, and wake the idle ones.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Waker};

use larder_protocol::Seconds;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// All connections of a server.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    peers: Mutex<HashMap<u64, Arc<Peer>>>,
    opened: AtomicU64,
    /// How many there were when the counters last began.
    opened_before: AtomicU64,
    /// Told each time a connection closes.
    closed: Notify,
}

/// One connection, as others see it.
#[derive(Debug)]
pub(crate) struct Peer {
    number: u64,
    pub(crate) address: String,
    pub(crate) listener: Arc<str>,
    /// When it last asked for something.
    last_request: AtomicU32,
    /// Whether it is to close once it is owed nothing, since the server ends.
    leaving: AtomicBool,
    /// Whether it is to close unless it asks for something first.
    idle: AtomicBool,
    /// Bytes of its input and of replies that it has not taken, as far as they count.
    input: AtomicUsize,
    replies: AtomicUsize,
    /// When these last changed, or more came of a long value.
    went_on: AtomicU32,
    /// Whether it is to close at once, since others need the memory.
    cut_off: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Registry {
    /// Enters a connection; dropping the entry takes it out again.
    pub(crate) fn enter(
        self: &Arc<Self>,
        address: String,
        listener: Arc<str>,
        now: Seconds,
    ) -> Entry {
        let peer = Arc::new(Peer {
            number: self.opened.fetch_add(1, Ordering::Relaxed),
            address,
            listener,
            last_request: AtomicU32::new(now),
            leaving: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            input: AtomicUsize::new(0),
            replies: AtomicUsize::new(0),
            went_on: AtomicU32::new(now),
            cut_off: AtomicBool::new(false),
            waker: Mutex::default(),
        });
        self.peers.lock().insert(peer.number, Arc::clone(&peer));
        Entry { peer, registry: Arc::clone(self) }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.peers.lock().len()
    }

    /// How many there were since the counters began.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed) - self.opened_before.load(Ordering::Relaxed)
    }

    /// The count of all that there were begins again.
    pub(crate) fn reset(&self) {
        self.opened_before.store(self.opened.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Waits until there are fewer than `limit`.
    pub(crate) async fn fewer_than(&self, limit: usize) {
        loop {
            // Listens before it looks, so that no close in between is missed.
            let mut closed = pin!(self.closed.notified());
            closed.as_mut().enable();
            if self.len() < limit {
                return;
            }
            closed.await;
        }
    }

    /// Closes the connection that holds most of those that have done nothing since the second
    /// `since`; or, if they may `dawdle`, the one with most replies. Whether there is one.
    pub(crate) fn cut_off_one(&self, since: Seconds, dawdle: bool) -> bool {
        let peers = self.peers.lock();
        let weight = |peer: &&Arc<Peer>| {
            let replies = peer.replies.load(Ordering::Relaxed);
            let stalled = peer.went_on.load(Ordering::Relaxed) < since;
            match (dawdle, stalled) {
                (true, _) => replies,
                (false, true) => replies + peer.input.load(Ordering::Relaxed),
                (false, false) => 0,
            }
        };
        let Some(peer) = peers.values().filter(|peer| weight(peer) > 0).max_by_key(weight) else {
            return false;
        };
        peer.cut_off.store(true, Ordering::Release);
        peer.wake();
        true
    }

    /// All of them, in the order they came.
    pub(crate) fn peers(&self) -> Vec<Arc<Peer>> {
        let mut peers: Vec<_> = self.peers.lock().values().cloned().collect();
        peers.sort_unstable_by_key(|peer| peer.number);
        peers
    }
}

impl Peer {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Seconds since it last asked for something.
    pub(crate) fn idle(&self, now: Seconds) -> Seconds {
        now.saturating_sub(self.last_request.load(Ordering::Relaxed))
    }

    /// Notes that it asked for something.
    #[inline]
    pub(crate) fn asked(&self, now: Seconds) {
        self.last_request.store(now, Ordering::Relaxed);
        if self.idle.load(Ordering::Relaxed) {
            self.idle.store(false, Ordering::Relaxed);
        }
    }

    /// Tells it to close once it is owed nothing.
    pub(crate) fn dismiss(&self) {
        self.leaving.store(true, Ordering::Release);
        self.wake();
    }

    /// Tells it to close unless it asks for something first.
    pub(crate) fn find_idle(&self) {
        if !self.idle.swap(true, Ordering::Release) {
            self.wake();
        }
    }

    /// Notes how many bytes of input it holds, and of replies that it has not taken.
    pub(crate) fn holds(&self, input: usize, replies: usize) {
        self.input.store(input, Ordering::Relaxed);
        self.replies.store(replies, Ordering::Relaxed);
    }

    /// Notes that it sends or takes what it holds.
    pub(crate) fn goes_on(&self, now: Seconds) {
        self.went_on.store(now, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn dismissed(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn found_idle(&self) -> bool {
        self.idle.load(Ordering::Acquire)
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
        }
    }

    /// Has what it is told wake the task of this context.
    pub(crate) fn wake_by(&self, cx: &Context<'_>) {
        *self.waker.lock() = Some(cx.waker().clone());
    }
}

/// A connection's place in the registry.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) peer: Arc<Peer>,
    registry: Arc<Registry>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.peers.lock().remove(&self.peer.number);
        self.registry.closed.notify_waiters();
    }
}
