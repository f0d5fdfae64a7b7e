//! How a cluster is, for people and programs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::plan::{Observed, Plan, Progress, leader};
use crate::placement::{GroupId, Member, NodeId, Placement};

/// How a cluster is, as the leader of group 0 knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Its name.
    pub cluster: String,
    /// What it drew when it was founded.
    pub id: u64,
    /// How many changes of who is to have what this takes into account.
    pub version: u64,
    /// How many replicas a group is to have.
    pub replicas: usize,
    /// Whether all groups are where they are to be.
    pub holds: bool,
    /// Its nodes.
    pub nodes: Vec<NodeStatus>,
    /// Its groups. Group 0 is the one that agrees on all this.
    pub groups: Vec<GroupStatus>,
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its number.
    pub node: u64,
    /// Its name.
    pub name: String,
    /// What it shares its fate with.
    pub zone: String,
    /// Where other nodes reach it.
    pub peer_address: String,
    /// Where clients reach it.
    pub client_address: String,
    /// Whether it is to have no replicas.
    pub drains: bool,
    /// Whether it is about to stop, and leads nothing.
    pub leaves: bool,
    /// Whether it answers.
    pub answers: bool,
    /// What is wrong with its disk, if something is.
    pub trouble: Option<Trouble>,
    /// How long its log is, if it answers.
    pub log: Option<LogSize>,
    /// Of how many groups it is to have a replica.
    pub seats: usize,
    /// Of how many groups it has one, with a vote or without.
    pub replicas: usize,
    /// How many groups it leads.
    pub leads: usize,
}

/// What is wrong with a node's disk, until it is opened anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Whether it acknowledges nothing any more, and forwards what it is asked. If not, there is
    /// something that it cannot read.
    pub poisoned: bool,
    /// Why: the file and the offset, if they are known.
    pub why: String,
}

/// How long a node's log is, which all its groups share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSize {
    /// Bytes of its files, but of those that are only kept to be written over, as of the last second.
    pub bytes: u64,
    /// How many it is to have at most, in bytes.
    pub limit: u64,
}

impl LogSize {
    /// Whether it has more. What a node lacks that answers and is slow is kept all the same.
    pub fn is_long(&self) -> bool {
        self.bytes > self.limit
    }

    /// Whether it keeps less than it would if it were short.
    pub(crate) fn is_filling(&self) -> bool {
        self.bytes > self.limit / 2
    }
}

/// How a group is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its number.
    pub group: u64,
    /// The nodes that are to have a replica.
    pub seats: BTreeSet<u64>,
    /// The nodes that have a vote.
    pub voters: BTreeSet<u64>,
    /// The nodes that have a replica without a vote.
    pub learners: BTreeSet<u64>,
    /// The node that leads it, if one says so.
    pub leader: Option<u64>,
    /// Since which election.
    pub term: u64,
    /// The last entry of its leader's log.
    pub last: u64,
    /// How many entries each other replica is known to lack.
    pub lag: BTreeMap<u64, u64>,
    /// Whether it is where it is to be.
    pub holds: bool,
    /// What is going on, or what is in the way.
    pub doing: Option<String>,
}

/// What the leader of group 0 knows since it last looked.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    placement: Arc<Placement>,
    observed: Observed,
    progress: BTreeMap<GroupId, Progress>,
    /// What is being done about groups, or has failed.
    doing: BTreeMap<GroupId, String>,
}

impl Survey {
    pub(crate) fn new(
        placement: Arc<Placement>,
        observed: Observed,
        plan: &Plan,
        doing: BTreeMap<GroupId, String>,
    ) -> Self {
        Self { placement, observed, progress: plan.progress.clone(), doing }
    }

    /// The groups that a node has a replica of, or that do not say so.
    pub(crate) fn replicas_of(&self, node: NodeId) -> impl Iterator<Item = GroupId> {
        self.placement.groups().map(|(group, _)| group).filter(move |group| {
            let found = leader(&self.observed, *group);
            found.is_none_or(|(_, standing)| standing.has(node))
        })
    }

    pub(crate) fn status(&self, cluster: &str, id: u64) -> ClusterStatus {
        let placement = &self.placement;
        let groups = placement.groups().map(|(group, seats)| self.group(group, seats));
        let groups: Vec<_> = groups.collect();
        let node = |(node, member): (&NodeId, &Member)| {
            let report = self.observed.get(node);
            let count = |which: &dyn Fn(&GroupStatus) -> bool| {
                groups.iter().filter(|group| which(group)).count()
            };
            NodeStatus {
                node: *node,
                name: member.name.clone(),
                zone: member.zone.clone(),
                peer_address: member.peer_address.clone(),
                client_address: member.client_address.clone(),
                drains: member.drains,
                leaves: report.is_some_and(|report| report.leaves),
                answers: report.is_some(),
                trouble: report.and_then(|report| report.trouble.clone()),
                log: report.map(|report| report.log),
                seats: count(&|group| group.seats.contains(node)),
                replicas: count(&|group| {
                    group.voters.contains(node) || group.learners.contains(node)
                }),
                leads: count(&|group| group.leader == Some(*node)),
            }
        };
        ClusterStatus {
            cluster: cluster.to_owned(),
            id,
            version: placement.version(),
            replicas: placement.replicas(),
            holds: groups.iter().all(|group| group.holds),
            nodes: placement.members().iter().map(node).collect(),
            groups,
        }
    }

    fn group(&self, group: GroupId, seats: &BTreeSet<NodeId>) -> GroupStatus {
        let found = leader(&self.observed, group);
        let standing = found.map(|(_, standing)| standing.clone()).unwrap_or_default();
        let waits = match self.progress.get(&group) {
            Some(Progress::Waits(why)) => Some(why.clone()),
            _ => None,
        };
        let leader = found.map(|(node, _)| node);
        let lacks = |(node, matched): (&NodeId, &u64)| {
            (Some(*node) != leader).then(|| (*node, standing.last.saturating_sub(*matched)))
        };
        GroupStatus {
            group,
            seats: seats.clone(),
            voters: standing.voters.iter().flatten().copied().collect(),
            learners: standing.learners.clone(),
            leader,
            term: standing.term,
            last: standing.last,
            lag: standing.matched.iter().filter_map(lacks).collect(),
            holds: self.progress.get(&group) == Some(&Progress::Holds),
            doing: self.doing.get(&group).cloned().or(waits),
        }
    }
}
