//! What a server needs of the thing it serves: a cache, a store or a route.

use larder_protocol::{Form, Interval, Landing, Op, Outcome, Seconds};

use crate::discovery::Discovery;

/// Something that holds items. `larder` satisfies it with a cache or a store.
pub trait Backend: Send + Sync + 'static {
    /// What one worker thread holds of it.
    type Worker: Send + Sync + 'static;

    /// What one connection holds of it.
    type Session: Session;

    /// Whether its sessions list [ranges](Session::range).
    const LISTS: bool = false;

    /// What a new worker thread holds of it. This is called on that thread, in its tokio runtime, which
    /// runs what is spawned there.
    fn worker(&self) -> Self::Worker;

    /// A session for a new connection. It lives and dies on the thread of this worker.
    fn session(&self, worker: &Self::Worker) -> Self::Session;

    /// Names and values of a `stats` group, in the order an operator reads them. A group of
    /// MemcacheDB's, or that of a cluster, that has none is to clients as one that they have made up.
    fn stats(&self, group: StatsGroup, now: Seconds, emit: &mut dyn FnMut(&str, &str));

    /// Up to `most` items for `stats cachedump`: key, size in bytes, and exptime. Which ones is up
    /// to the backend; one that would have to search for them names none.
    fn list(&self, most: usize, now: Seconds, emit: &mut dyn FnMut(&[u8], usize, Seconds));

    /// Buffers of connections hold so many bytes more, or fewer. What is bounded makes do with as
    /// much less. Pieces of values are not among them: they are the backend's, whoever holds them.
    fn lend(&self, change: i64, now: Seconds);

    /// `stats reset`: counters begin again at 0; gauges stay.
    fn reset_stats(&self);

    /// `cache_memlimit`: a new limit, in bytes.
    ///
    /// # Errors
    ///
    /// Why it cannot be: a whole reply line, as memcached writes it.
    fn set_memory_limit(&self, bytes: u64, now: Seconds) -> Result<(), &'static str>;

    /// `config get cluster`: the nodes that clients may ask. `None` of a node that is alone, which has no
    /// such command.
    fn discovery(&self) -> Option<Discovery> {
        None
    }
}

/// One connection's commands. Their effects on one key follow their order.
pub trait Session: Send + 'static {
    /// What is awaited when an answer is not at hand. The work goes on whether it is polled or not,
    /// and also if it is dropped; but for a range, of which a page is asked for when it is polled.
    type Pending: Future<Output = Outcome<'static>> + Send + Unpin + 'static;

    /// Memory for the front of a large value that is still coming;
    /// [`Infallible`](std::convert::Infallible) if values are wanted whole.
    type Landing: Landing;

    /// Memory for the front of a value of `len` bytes, or for the first of that. `None` if it is
    /// wanted whole, or there is no memory.
    fn land(&self, _len: usize, _now: Seconds) -> Option<Self::Landing> {
        None
    }

    /// More memory for a value, of which there was too little for all. `true` if that took a while,
    /// so that others should have their turn.
    fn lengthen(&self, _landing: &mut Self::Landing, _now: Seconds) -> bool {
        false
    }

    /// These keys are about to be asked for: a chance to have them at hand. They may be anything.
    #[inline]
    fn expect(&self, _keys: &[&[u8]]) {}

    /// Does `op` to `key`, which is 1 to 250 bytes. The front of the value it stores may have
    /// `landed`. The answer will look like `form`, and what is not in that need not be known.
    ///
    /// An answer at hand is given to `respond` before this returns `None`; what it borrows is held
    /// under a lock, so `respond` only copies. Else `respond` is dropped, and the answer comes
    /// later: pending commands of one session run concurrently.
    fn execute<R>(
        &mut self,
        key: &[u8],
        op: &Op<'_>,
        form: &Form<'_>,
        landed: Option<Self::Landing>,
        now: Seconds,
        respond: R,
    ) -> Option<Self::Pending>
    where
        R: FnOnce(Outcome<'_>);

    /// One request in 64 of those on a worker is counted by its key: this one was. The clients of the worker
    /// ask for the key at least `per_second` times a second of late; 0 if that may be chance.
    fn sampled(&mut self, _key: &[u8], _per_second: f64, _now: Seconds) {}

    /// A `set` of this key was refused because the value is too large. A cache must not go on
    /// serving the older value; a store keeps it.
    fn refused(&mut self, key: &[u8], now: Seconds);

    /// Everything stored before the second `at` is gone from then on; `at` of 0 means now. It
    /// replaces an earlier flush that has not come to pass. Answers [`Outcome::Deleted`].
    fn flush_all(&mut self, at: Seconds, now: Seconds) -> Option<Self::Pending>;

    /// The items of an interval of keys, as pages: who was given one that is not the last polls again
    /// for the next. `None` if there is no such command here.
    fn range(&mut self, _interval: &Interval<'_>, _now: Seconds) -> Option<Self::Pending> {
        None
    }

    /// What was acknowledged here before is no longer kept in a log once this is answered
    /// [`Outcome::Done`]. `None` if there is no such command here.
    fn checkpoint(&mut self) -> Option<Self::Pending> {
        None
    }
}

/// The engine's part of the `stats` families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsGroup {
    /// `stats`
    General,
    /// `stats settings`
    Settings,
    /// `stats items`
    Items,
    /// `stats slabs`
    Slabs,
    /// `stats sizes`
    Sizes,
    /// `stats engine`, which memcached has not: what the engine is made of and how it is doing
    Engine,
    /// `stats cluster`, likewise: the nodes this one makes a cluster with, and what each of them owns
    Cluster,
    /// `stats bdb`, MemcacheDB's: what is kept, where and how
    Bdb,
    /// `stats rep`, MemcacheDB's: how this node takes part in a cluster
    Rep,
    /// `stats repcfg`, MemcacheDB's: how the cluster is set up
    RepCfg,
    /// `stats repms`, MemcacheDB's: the nodes of the cluster
    RepMs,
}
