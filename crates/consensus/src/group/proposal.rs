//! What is proposed, and what becomes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use openraft::RaftMetrics;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal};
use openraft::impls::ProgressResponder;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::type_config::alias::WatchReceiverOf;

use super::{Group, Reign, Unproposed};
use crate::types::{Payload, Types};

impl Group {
    /// Has the group do what `entry` says, if this node leads it and `reign` is its own. Returns when
    /// it is in line: of two, what was in line first is done first. What it gives returns when this
    /// node's machine has done it, and a majority has it on disk; or when it is known that it is not done, and
    /// never will be; or that this cannot be known.
    ///
    /// # Errors
    ///
    /// This node does not lead, or no longer, or not in that reign, or is about to
    /// [hand that on](Self::hand_over).
    pub async fn propose(
        &self,
        entry: Bytes,
        reign: Reign,
    ) -> Result<impl Future<Output = Result<(), Unproposed>> + Send + 'static, Unproposed> {
        let open = self.succession.admit().ok_or(Unproposed::NotLeader(None))?;
        let (responder, done) = ProgressResponder::complete_only();
        let leader = LeaderId { term: reign.term, node_id: reign.leader };
        let views = self.inbox.views();
        let before = views.load(Ordering::Acquire);
        let fate = Fate { leader, metrics: self.raft.metrics(), views, before };
        let write = self.raft.write(Payload(entry)).responder(responder).with_leader(leader);
        write.await.map_err(|fatal| match fatal {
            // It was stopped before it was given this.
            Fatal::Stopped => Unproposed::NotLeader(None),
            _ => Unproposed::Unknown,
        })?;
        drop(open);
        Ok(async move {
            match done.await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(ClientWriteError::ForwardToLeader(forward))) => {
                    Err(Unproposed::NotLeader(forward.leader_id))
                }
                Ok(Err(ClientWriteError::LogEntryDiscarded(_))) => Err(fate.learn().await),
                _ => Err(Unproposed::Unknown),
            }
        })
    }
}

/// What is needed to know what became of an entry that another leader's log has undone here.
///
/// Others may have it still, and one of them be elected. But a log has the entries of a reign in one piece, and
/// none of a former one behind them. So when this node's machine has done one of a later reign, it has
/// done all that will ever be of this one. That it has done it is seen only where it does entry by entry: a
/// view that was taken over may have had it.
struct Fate {
    /// Who proposed it, and in which reign.
    leader: LeaderId<u64, u64>,
    metrics: WatchReceiverOf<Types, RaftMetrics<Types>>,
    /// How many views have come, now and by the time that it was proposed.
    views: Arc<AtomicU64>,
    before: u64,
}

impl Fate {
    /// Returns when it is known that the entry was not done, and will not be, unless the machine has done it; or
    /// that nobody will know.
    async fn learn(mut self) -> Unproposed {
        loop {
            let metrics = self.metrics.borrow_watched().clone();
            if metrics.running_state.is_err() {
                return Unproposed::Unknown;
            }
            let applied = metrics.last_applied.map(|applied| applied.leader_id);
            if applied.is_some_and(|leader| leader > self.leader) {
                if self.views.load(Ordering::Acquire) != self.before {
                    return Unproposed::Unknown;
                }
                return Unproposed::NotLeader(metrics.current_leader);
            }
            if self.metrics.changed().await.is_err() {
                return Unproposed::Unknown;
            }
        }
    }
}
