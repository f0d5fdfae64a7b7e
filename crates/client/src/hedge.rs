//! Reads that are asked of a second node when the first takes long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use larder_protocol::response::Status;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::connection::{Answer, Request, Ticket};
use crate::error::Error;
use crate::pool::Pool;
use crate::route::{Failover, Route};

/// How many reads may yet be asked of a second node: one of twenty, and a few at once. A cluster that
/// is slow as a whole must not be asked twice as much for it.
#[derive(Debug)]
pub(crate) struct Hedges {
    /// In twentieths.
    left: AtomicU32,
}

impl Hedges {
    /// Counts a read.
    fn earn(&self) {
        let earn = |left: u32| (left < AT_ONCE * SHARE).then_some(left + 1);
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earn);
    }

    /// Whether a read may be asked of a second node.
    fn spend(&self) -> bool {
        let spend = |left: u32| left.checked_sub(SHARE);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

impl Default for Hedges {
    fn default() -> Self {
        Self { left: AtomicU32::new(AT_ONCE * SHARE) }
    }
}

type Answers = Result<Vec<Answer>, Error>;

impl Client {
    /// The answers to a request that was sent where `route` is, with the node that gave them. A read is asked
    /// of another node too if they take longer than that.
    pub(crate) async fn redeem<'n>(
        &self,
        ticket: Ticket,
        request: Request<'_>,
        route: &Route<'n>,
        deadline: Instant,
    ) -> Result<(&'n Arc<Pool>, Answers), Error> {
        let (pool, timeout) = (route.pool()?, self.roster.options.timeout);
        let after = self.roster.options.hedge_after.filter(|_| request.op.reads_only());
        let Some(after) = after else {
            return Ok((pool, ticket.redeem(deadline, timeout).await));
        };
        self.hedges.earn();
        let mut first = Box::pin(ticket.redeem(deadline, timeout));
        tokio::select! {
            answers = &mut first => return Ok((pool, answers)),
            () = sleep(after) => {}
        }
        let second = route.second(request.key).filter(|_| self.hedges.spend());
        let Some((second_pool, ticket)) = second.and_then(|other| {
            let ticket = other.send(&[request]).ok()?;
            Some((other, ticket))
        }) else {
            return Ok((pool, first.await));
        };
        let mut second = Box::pin(ticket.redeem(deadline, timeout));
        tokio::select! {
            answers = &mut first => Ok((pool, answers)),
            answers = &mut second => {
                if !self.settles(&answers) {
                    return Ok((pool, first.await));
                }
                // That it did not answer, if it does not, is to be known.
                let pool = Arc::clone(pool);
                tokio::spawn(async move { pool.learn(&first.await) });
                Ok((second_pool, answers))
            }
        }
    }

    /// Whether what a node says that does not own the key is as good as what the owner says. That it has
    /// nothing is not, unless any has all.
    fn settles(&self, answers: &Answers) -> bool {
        let Ok([answer]) = answers.as_deref() else { return false };
        match answer {
            Answer::Meta(Status::Miss, _) => self.failover == Failover::Lasting,
            Answer::Meta(..) => true,
            Answer::Error(_) => false,
        }
    }
}

/// One read of so many may be asked twice.
const SHARE: u32 = 20;

/// How many may be without others in between.
const AT_ONCE: u32 = 10;

/// The least time after which a read may be asked of a second node.
pub(crate) const SOONEST: Duration = Duration::from_micros(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{FakeNode, Peer};

    /// Two nodes, and a client of both with a key of the first.
    async fn two() -> ([Peer; 2], Client, String) {
        let nodes = [FakeNode::start().await, FakeNode::start().await];
        let builder = nodes[0].builder().node(nodes[1].address());
        let client = builder.hedge_reads(SOONEST).build().unwrap();
        let owner =
            |key: &str| client.roster.now().unwrap().candidates(key.as_bytes()).next().unwrap();
        let key_of = |node: usize| {
            let mut keys = (0..1000).map(|number| format!("k{number}"));
            keys.find(|key| owner(key) == node).unwrap()
        };
        let keys = [0, 1].map(key_of);
        // Each node has been asked once, so that what is sent after that is known.
        let mut peers = Vec::new();
        for (node, key) in nodes.iter().zip(&keys) {
            let serve = async {
                let mut peer = node.accept().await;
                peer.expect(&format!("md {key} O0\r\n")).await;
                peer.send("NF O0\r\n").await;
                peer
            };
            let (peer, deleted) = tokio::join!(serve, client.delete(key));
            assert!(!deleted.unwrap());
            peers.push(peer);
        }
        let [key, _] = keys;
        (peers.try_into().ok().unwrap(), client, key)
    }

    #[tokio::test]
    async fn who_is_quicker_answers_and_a_miss_is_the_owners() {
        let ([mut owner, mut other], client, key) = two().await;
        let get = format!("mg {key} v f c");
        let serve = async {
            other.expect(&format!("{get} O1\r\n")).await;
            other.send("VA 3 f0 c1 O1\r\nhis\r\n").await;
        };
        let (found, ()) = tokio::join!(client.get(&key), serve);
        assert_eq!(&found.unwrap().unwrap().value[..], b"his");
        // The late answer is nobody's.
        owner.expect(&format!("{get} O1\r\n")).await;
        owner.send("VA 4 f0 c1 O1\r\nlate\r\n").await;
        let serve = async {
            other.expect(&format!("{get} O2\r\n")).await;
            other.send("EN O2\r\n").await;
            owner.expect(&format!("{get} O2\r\n")).await;
            owner.send("VA 5 f0 c1 O2\r\nowner\r\n").await;
        };
        let (found, ()) = tokio::join!(client.get(&key), serve);
        assert_eq!(&found.unwrap().unwrap().value[..], b"owner");
    }

    #[tokio::test]
    async fn what_changes_something_is_asked_of_nobody_else() {
        let ([mut owner, mut other], client, key) = two().await;
        let set = tokio::spawn({
            let (client, key) = (client.clone(), key.clone());
            async move { client.set(&key, "v", crate::Expiry::Never).await }
        });
        owner.expect(&format!("ms {key} 1 O1\r\nv\r\n")).await;
        // By now a read would have been.
        let get = tokio::spawn({
            let (client, key) = (client.clone(), key.clone());
            async move { client.get(&key).await }
        });
        other.expect(&format!("mg {key} v f c O1\r\n")).await;
        owner.expect(&format!("mg {key} v f c O2\r\n")).await;
        owner.send("HD O1\r\nVA 1 f0 c1 O2\r\nv\r\n").await;
        set.await.unwrap().unwrap();
        assert_eq!(&get.await.unwrap().unwrap().unwrap().value[..], b"v");
    }

    #[test]
    fn one_of_twenty_may_be_asked_twice() {
        let hedges = Hedges::default();
        assert_eq!((0..100).filter(|_| hedges.spend()).count(), AT_ONCE as usize);
        let asked_twice = (0..2000).filter(|_| {
            hedges.earn();
            hedges.spend()
        });
        assert_eq!(asked_twice.count(), 100);
        (0..10_000).for_each(|_| hedges.earn());
        assert_eq!((0..100).filter(|_| hedges.spend()).count(), AT_ONCE as usize);
    }
}
