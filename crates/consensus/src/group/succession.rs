//! How who leads hands that on.

use std::io;
use std::time::Duration;

use openraft::RaftMetrics;
use parking_lot::Mutex;
use tokio::sync::{RwLock, RwLockReadGuard};
use tokio::time::{Instant, timeout_at};

use super::{Group, Reign};
use crate::types::{LogId, Types};

/// What keeps entries out of the log that would be lost when another takes over.
///
/// It is handed on when nothing is on its way: all that was proposed is done, and the other has it. An entry
/// that is not yet with a majority may be undone by whoever leads next, which need not be the one that
/// was meant to.
#[derive(Debug, Default)]
pub(super) struct Succession {
    /// Shared by who proposes, and not while it is handed on.
    proposing: RwLock<()>,
    /// The last reign of this node's that takes nothing any more, for good.
    over: Mutex<Option<Reign>>,
}

impl Succession {
    /// Nothing is handed on before this is dropped; `None` while something is.
    pub(super) fn admit(&self) -> Option<RwLockReadGuard<'_, ()>> {
        self.proposing.try_read().ok()
    }
}

impl Group {
    /// Has another node lead, one with a vote that lacks little. What was proposed is done before, and
    /// meanwhile nothing is taken: if that lasts for half of `patience`, this node leads on. Returns when it
    /// leads no longer. From when the other is told it takes nothing more, and tells nobody that it is there: if
    /// the other does not take over, whoever notices first is elected, which may be this node.
    ///
    /// # Errors
    ///
    /// This node does not lead, or is to itself, or another does not in time, or the wrong one.
    pub async fn hand_over(&self, to: u64, patience: Duration) -> io::Result<()> {
        let begun = Instant::now();
        let alone = timeout_at(begun + patience, self.succession.proposing.write()).await;
        let _alone = alone.map_err(|_| io::Error::other("it is being handed on already"))?;
        let Some(reign) = self.reign().filter(|reign| reign.leader == self.node()) else {
            return Err(io::Error::other("this node does not lead"));
        };
        if to == reign.leader {
            return Err(io::Error::other("this node leads already"));
        }
        let settled = timeout_at(begun + patience / 2, self.settle(reign, to)).await;
        settled.map_err(|_| io::Error::other(format!("node {to} lacks something still")))??;
        *self.succession.over.lock() = Some(reign);
        self.raft.trigger().transfer_leader(to).await.map_err(io::Error::other)?;
        let over = |metrics: &RaftMetrics<Types>| {
            metrics.current_term > reign.term && metrics.current_leader.is_some()
        };
        let left = patience.saturating_sub(begun.elapsed());
        let waited = self.raft.wait(Some(left)).metrics(over, "another leads").await;
        if waited.is_err() || self.leader() != Some(to) {
            return Err(io::Error::other(format!("node {to} did not take over")));
        }
        Ok(())
    }

    /// Whether that reign of this node's has been handed on: nothing is taken in it any more, whoever
    /// takes over.
    pub fn is_over(&self, reign: Reign) -> bool {
        *self.succession.over.lock() == Some(reign)
    }

    /// Returns when this node's machine has done all that was proposed in its reign, and a member has it.
    async fn settle(&self, reign: Reign, member: u64) -> io::Result<()> {
        let index = |id: Option<&LogId>| id.map_or(0, |id| id.index);
        // Asked behind all that was proposed.
        let last = self.raft.with_raft_state(move |state| index(state.log_ids.last()));
        let last = last.await.map_err(io::Error::other)?;
        let leads = |metrics: &RaftMetrics<Types>| {
            let vote = metrics.vote.leader_id;
            metrics.current_leader == Some(reign.leader)
                && (vote.term, vote.node_id) == (reign.term, reign.leader)
        };
        let settled = |metrics: &RaftMetrics<Types>| {
            let matched = metrics.replication.as_ref().and_then(|matched| matched.get(&member));
            index(metrics.last_applied.as_ref()) >= last
                && matched.is_some_and(|matched| index(matched.as_ref()) >= last)
        };
        let either = |metrics: &RaftMetrics<Types>| !leads(metrics) || settled(metrics);
        let waited = self.raft.wait(None).metrics(either, "nothing is on its way").await;
        if !leads(&waited.map_err(io::Error::other)?) {
            return Err(io::Error::other("this node leads no longer"));
        }
        Ok(())
    }
}
