//! This node's part in the cluster, which its tasks and those who ask it share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use larder_consensus::{Group, Peers, Reign, Unproposed};
use parking_lot::Mutex as ShortMutex;
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;

use super::call::{self, Answer, CLUSTER, Call, No, Order, Reply, Request};
use super::charter::{Admission, Archive, Charter};
use super::hosting::Hosting;
use super::plan::Report;
use super::proposal::What;
use super::register::{Ledger, Verdict};
use super::status::Survey;
use crate::placement::{Change, GroupId, NodeId, PLACEMENT, Placement, Refusal};

/// This node's part in the cluster.
pub(crate) struct Local {
    /// The name of the cluster.
    pub(super) cluster: String,
    pub(super) admission: Admission,
    /// Group 0.
    pub(super) group: Arc<Group>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) peers: Arc<Peers>,
    pub(super) hosting: Arc<dyn Hosting>,
    pub(super) obedience: Arc<Mutex<Obedience>>,
    /// What this node has seen last, if it leads group 0.
    pub(super) survey: ShortMutex<Option<Survey>>,
    /// Whether this node is about to stop.
    pub(super) leaves: AtomicBool,
    /// Why the cluster does not let this node take part any more.
    pub(super) refusal: OnceLock<String>,
    /// That there is something to look at.
    pub(super) wake: Notify,
}

/// Whose orders this node takes about which groups it has. They are done one at a time.
pub(super) struct Obedience {
    pub(super) archive: Archive,
    pub(super) charter: Charter,
    /// The last of each group: a leader of group 0 that is one no longer, or a call that was late, must
    /// not have this node erase what a later one has it have.
    pub(super) last: HashMap<GroupId, (u64, u64)>,
}

impl Local {
    pub(super) fn node(&self) -> NodeId {
        self.admission.node
    }

    pub(super) fn placement(&self) -> Option<Arc<Placement>> {
        self.ledger.placement()
    }

    /// The other members, as far as this node knows.
    pub(super) fn others(&self) -> Vec<NodeId> {
        let placement = self.placement();
        let members = placement.iter().flat_map(|placement| placement.members().keys());
        members.copied().filter(|node| *node != self.node()).collect()
    }

    /// A group that this node takes part in.
    pub(super) fn group(&self, number: GroupId) -> Option<Arc<Group>> {
        if number == PLACEMENT {
            return Some(Arc::clone(&self.group));
        }
        let groups = self.hosting.groups().into_iter();
        groups.filter(|(group, _)| *group == number).map(|(_, group)| group).next()
    }

    pub(super) fn groups(&self) -> Vec<(GroupId, Arc<Group>)> {
        let mut groups = self.hosting.groups();
        groups.push((PLACEMENT, Arc::clone(&self.group)));
        groups
    }

    /// How its groups stand.
    pub(super) fn report(&self) -> Report {
        let groups = self.groups().into_iter();
        Report {
            leaves: self.leaves.load(Ordering::Relaxed),
            trouble: self.hosting.trouble(),
            log: self.hosting.log(),
            groups: groups.map(|(number, group)| (number, group.standing())).collect(),
        }
    }

    /// Calls another node.
    pub(super) async fn call(&self, node: NodeId, call: &Call, limit: Duration) -> Answer {
        let placement = self.placement();
        let member = placement.as_ref().and_then(|placement| placement.members().get(&node));
        let address = member.map(|member| member.peer_address.clone());
        let address = address.or_else(|| self.group.address(node));
        let Some(address) = address else {
            return Err(No::Failed(format!("node {node} is not known")));
        };
        let body = call::encode(call).map_err(|error| No::Failed(error.to_string()))?;
        match self.peers.ask(node, &address, CLUSTER, body, limit).await {
            Ok(answer) => call::decode(&answer).map_err(|error| No::Failed(error.0))?,
            Err(larder_peer::CallError::Unknown(_)) => Err(No::Unknown),
            Err(error) => Err(No::Failed(format!("node {node}: {error}"))),
        }
    }

    /// Has the leader of group 0 do what is asked, if this node does not.
    pub(super) async fn ask(&self, request: Request, passed: bool) -> Answer {
        match self.group.reign() {
            Some(reign) if reign.leader == self.node() => self.lead(request, reign).await,
            Some(reign) if !passed => {
                self.call(reign.leader, &Call::Ask { request, passed: true }, PASSED).await
            }
            _ => Err(No::Leaderless),
        }
    }

    /// Does what only the leader of group 0 can.
    async fn lead(&self, request: Request, reign: Reign) -> Answer {
        // Also that its placement is the last one.
        match timeout(MAJORITY, self.group.confirm()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(No::Leaderless),
            Err(_) => return Err(No::Minority),
        }
        let placement = self.placement().ok_or(No::Failed(Refusal::NotFounded.to_string()))?;
        let change = match request {
            Request::Join(member) => {
                let (node, _) = self.change(Change::Join(member), reign).await?;
                let node = node.ok_or(No::Unknown)?;
                return Ok(Reply::Admitted(Admission { node, founds: false, ..self.admission }));
            }
            Request::Status => {
                let survey = self.survey.lock().clone();
                let survey = survey.ok_or(No::Leaderless)?;
                let id = self.admission.cluster_id;
                return Ok(Reply::Status(survey.status(&self.cluster, id)));
            }
            Request::Move(node, member) => Change::Move(node, member),
            Request::Drain { name, drains } => Change::Drain(named(&placement, &name)?, drains),
            Request::Remove { name, lost } => {
                let node = named(&placement, &name)?;
                let has_seats = placement.groups().any(|(_, seats)| seats.contains(&node));
                // One that has is refused for that.
                if !lost && !has_seats {
                    self.refuse_if_needed(node)?;
                }
                Change::Remove { node, lost }
            }
            Request::Replace { name, by } => {
                Change::Replace(named(&placement, &name)?, named(&placement, &by)?)
            }
            Request::Rebalance => Change::Rebalance,
            Request::SetReplicas(replicas) => Change::SetReplicas(replicas),
        };
        let (_, version) = self.change(change, reign).await?;
        Ok(Reply::Changed(version))
    }

    /// A node whose seats are others' by now may have the replicas still.
    fn refuse_if_needed(&self, node: NodeId) -> Result<(), No> {
        let survey = self.survey.lock();
        let survey = survey.as_ref().ok_or(No::Leaderless)?;
        let has = survey.replicas_of(node).filter(|group| *group != PLACEMENT).count();
        if has > 0 {
            let why = format!("it has replicas of {has} groups still: wait until others have them");
            return Err(No::Refused(why));
        }
        Ok(())
    }

    async fn change(&self, change: Change, reign: Reign) -> Result<(Option<NodeId>, u64), No> {
        self.propose(What::Change(change), reign).await?.map_err(|no| No::Refused(no.to_string()))
    }

    /// Has group 0 agree on something, in this reign of this node's.
    pub(super) async fn propose(&self, what: What, reign: Reign) -> Result<Verdict, No> {
        let (proposal, told) = self.ledger.propose(what);
        let entry = proposal.encode().map_err(|error| No::Failed(error.to_string()))?;
        let done = async {
            self.group.propose(entry, reign).await?.await?;
            told.await.map_err(|_| Unproposed::Unknown)
        };
        match timeout(AGREED, done).await {
            Ok(Ok(verdict)) => {
                self.wake.notify_one();
                Ok(verdict)
            }
            Ok(Err(Unproposed::NotLeader(_))) => Err(No::Leaderless),
            Ok(Err(Unproposed::Unknown)) | Err(_) => Err(No::Unknown),
        }
    }

    /// Has a node take a step, which may be this one.
    pub(super) async fn order(self: &Arc<Self>, order: Order) -> Answer {
        if order.task.by == self.node() {
            return self.take(order).await;
        }
        self.call(order.task.by, &Call::Take(order), STEP).await
    }
}

fn named(placement: &Placement, name: &str) -> Result<NodeId, No> {
    placement.named(name).ok_or_else(|| No::Refused(format!("no node is known as {name:?}")))
}

/// How long a majority may take to say that this node leads.
const MAJORITY: Duration = Duration::from_secs(2);
/// How long it may take to agree.
const AGREED: Duration = Duration::from_secs(5);
/// Longer than both.
const PASSED: Duration = Duration::from_secs(8);
/// How long a step may take. One that takes longer is looked at again, and not begun anew if it goes on.
const STEP: Duration = Duration::from_secs(10);
