//! Counts that are kept in this process, and written now and then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, Notify};
use tokio::time::{MissedTickBehavior, interval};

use crate::ask::{count_up, counted};
use crate::client::Client;
use crate::error::Error;
use crate::expiry::Expiry;
use crate::long_key;

/// Counters that are counted up in this process, and written every so often: many increments, few
/// writes. Clones count together.
///
/// What is not written yet is in this process alone, and goes with it if it is killed: what was
/// counted within the interval, and what no server could be told. It is written when the last clone
/// is dropped, if the runtime lives on, and by [`flush`](Self::flush), which can be waited for.
///
/// Nothing is counted twice: where it cannot be known whether a server has counted, it is not told
/// again, and [`lost`](Self::lost) says by how much counters may be short.
///
/// Counters that matter belong in a store. A cache evicts them, and of a node that is down it counts
/// elsewhere, briefly. One that many processes count is best in several parts
/// ([`ShardedCounter`](crate::ShardedCounter)) if its node is the busiest for it.
///
/// ```no_run
/// # use std::time::Duration;
/// # use larder_client::{Client, Counters, Expiry};
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Client::builder().node("10.1.0.1:21201").node("10.1.0.2:21201").durable().build()?;
/// let views = Counters::new(store.clone(), Duration::from_secs(1), Expiry::Never);
/// views.add("views:page:7", 1)?;
/// views.flush().await?;
/// println!("{:?}", store.get("views:page:7").await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Counters {
    handle: Arc<Handle>,
}

/// What the clones share: with the last of them counting ends.
#[derive(Debug)]
struct Handle {
    book: Arc<Book>,
}

#[derive(Debug)]
struct Book {
    client: Client,
    expiry: Expiry,
    /// By how much each is to be counted up.
    due: Mutex<HashMap<Box<[u8]>, u64>>,
    /// Held by who writes, so that who waits for a flush also waits for what another is writing.
    turn: Turn<()>,
    closing: Notify,
    lost: AtomicU64,
}

impl Counters {
    /// Counters that are written every `interval`. One that is not there yet begins at 0 and has this
    /// expiry, which counting up does not change.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn new(client: Client, interval: Duration, expiry: impl Into<Expiry>) -> Self {
        let book = Arc::new(Book {
            client,
            expiry: expiry.into(),
            due: Mutex::default(),
            turn: Turn::default(),
            closing: Notify::new(),
            lost: AtomicU64::new(0),
        });
        tokio::spawn(write_now_and_then(Arc::clone(&book), interval.max(SHORTEST)));
        Self { handle: Arc::new(Handle { book }) }
    }

    /// Counts up the counter at `key`, wrapping at 2^64. Nothing is sent yet.
    ///
    /// Fails if the key is none, or if a million other counters wait to be written, since servers
    /// cannot be reached.
    pub fn add(&self, key: impl AsRef<[u8]>, delta: u64) -> Result<(), Error> {
        self.handle.book.add(key.as_ref(), delta)
    }

    /// Writes all that was counted before. Gives the first error; what the servers were not told for
    /// it is written the next time, with what is counted until then.
    pub async fn flush(&self) -> Result<(), Error> {
        let book = Arc::clone(&self.handle.book);
        // It goes on if nobody waits for it any more.
        let written = tokio::spawn(async move { book.write().await });
        written.await.unwrap_or(Err(Error::NoNode))
    }

    /// By how much all counters together may be short: increments that servers refused, such as of
    /// what is no number, or of which nobody knows whether they were counted.
    pub fn lost(&self) -> u64 {
        self.handle.book.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.book.closing.notify_one();
    }
}

impl Book {
    fn add(&self, key: &[u8], delta: u64) -> Result<(), Error> {
        // Who counts is told at once that it is no key.
        long_key::short(key)?;
        let mut due = self.due();
        if let Some(sum) = due.get_mut(key) {
            *sum = sum.wrapping_add(delta);
        } else if due.len() < MOST {
            due.insert(key.into(), delta);
        } else {
            return Err(Error::CountersFull { most: MOST });
        }
        Ok(())
    }

    /// Writes what is due. Must not be dropped before it is done.
    async fn write(&self) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let due: Vec<_> = std::mem::take(&mut *self.due()).into_iter().collect();
        let mut first_error = Ok(());
        for some in due.chunks(AT_ONCE) {
            let requests =
                some.iter().map(|(key, delta)| count_up(key, *delta, self.expiry)).collect();
            let written = self.client.ask_many(requests, counted).await;
            for ((key, delta), written) in some.iter().zip(written) {
                let Err(error) = written else { continue };
                if is_done_with(&error) {
                    self.lost.fetch_add(*delta, Ordering::Relaxed);
                } else {
                    let mut due = self.due();
                    let sum = due.entry(key.clone()).or_default();
                    *sum = sum.wrapping_add(*delta);
                }
                first_error = first_error.and(Err(error));
            }
        }
        first_error
    }

    fn due(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, u64>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what failed like that is not to be sent again: it may have been counted, or never will be.
fn is_done_with(error: &Error) -> bool {
    let is_refused = |said: &str| said.starts_with("CLIENT_ERROR");
    error.outcome_unknown() || matches!(error, Error::Server { said, .. } if is_refused(said))
}

async fn write_now_and_then(book: Arc<Book>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first comes at once.
    ticks.tick().await;
    loop {
        let is_last = tokio::select! {
            _ = ticks.tick() => false,
            () = book.closing.notified() => true,
        };
        // What could not be written is tried again the next time.
        let _ = book.write().await;
        if is_last {
            return;
        }
    }
}

/// How many counters may wait to be written.
const MOST: usize = 1_000_000;

/// How many are written at a time.
const AT_ONCE: usize = 1000;

/// An interval of zero would leave no time for anything else.
const SHORTEST: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use tokio::join;

    use super::*;
    use crate::fake::{DeadNode, FakeNode};

    /// Longer than any test takes.
    const NEVER: Duration = Duration::from_hours(1);

    #[tokio::test]
    async fn many_increments_are_one_write() {
        let node = FakeNode::start().await;
        let client = node.builder().build().unwrap();
        let counters = Counters::new(client, NEVER, Duration::from_mins(1));
        for _ in 0..1000 {
            counters.clone().add("k", 3).unwrap();
        }
        let (mut peer, ()) = join!(
            async {
                let mut peer = node.accept().await;
                peer.expect("ma k D3000 N60 J3000 v O0\r\n").await;
                peer.send("VA 4 O0\r\n3000\r\n").await;
                peer
            },
            async { counters.flush().await.unwrap() },
        );
        // With nothing to write nothing is sent.
        counters.flush().await.unwrap();
        counters.add("k", 1).unwrap();
        drop(counters);
        peer.expect("ma k N60 J1 v O1\r\n").await;
    }

    #[tokio::test]
    async fn what_is_due_is_written_in_time() {
        let node = FakeNode::start().await;
        let client = node.builder().build().unwrap();
        let counters = Counters::new(client, SHORTEST, Expiry::Never);
        counters.add("k", 7).unwrap();
        let mut peer = node.accept().await;
        peer.expect("ma k D7 N0 J7 v O0\r\n").await;
        peer.send("VA 1 O0\r\n7\r\n").await;
        counters.add("k", 2).unwrap();
        peer.expect("ma k D2 N0 J2 v O1\r\n").await;
        assert_eq!(counters.lost(), 0);
    }

    #[tokio::test]
    async fn what_was_not_sent_is_kept_and_what_may_have_been_counted_is_not_sent_again() {
        let dead = DeadNode::start();
        let client = Client::builder().node(dead.address()).failover(Duration::ZERO);
        let counters = Counters::new(client.build().unwrap(), NEVER, Expiry::Never);
        counters.add("k", 1).unwrap();
        assert!(matches!(counters.flush().await, Err(Error::Unreachable { .. })));
        counters.add("k", 2).unwrap();
        let node = dead.revive();
        let (peer, refused) = join!(
            async {
                let mut peer = node.accept().await;
                peer.expect("ma k D3 N0 J3 v O0\r\n").await;
                peer.send("CLIENT_ERROR cannot increment or decrement non-numeric value\r\n").await;
                peer
            },
            counters.flush(),
        );
        assert!(matches!(refused, Err(Error::Server { .. })), "{refused:?}");
        assert_eq!(counters.lost(), 3);
        counters.add("k", 4).unwrap();
        let ((), unknown) = join!(
            async {
                let mut peer = peer;
                peer.expect("ma k D4 N0 J4 v O1\r\n").await;
            },
            counters.flush(),
        );
        assert!(unknown.unwrap_err().outcome_unknown());
        assert_eq!(counters.lost(), 7);
        counters.flush().await.unwrap();
    }

    #[tokio::test]
    async fn no_more_than_so_many_wait() {
        let client = Client::builder().node(DeadNode::start().address()).build().unwrap();
        let counters = Counters::new(client, NEVER, Expiry::Never);
        let mut due: HashMap<_, _> =
            (0..MOST).map(|number| (number.to_string().into_bytes().into(), 1)).collect();
        std::mem::swap(&mut due, &mut *counters.handle.book.due());
        assert!(matches!(counters.add("other", 1), Err(Error::CountersFull { .. })));
        counters.add("7", 1).unwrap();
        assert_eq!(counters.handle.book.due().get(&b"7"[..]), Some(&2));
    }
}
