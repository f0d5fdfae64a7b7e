//! How a group stands, as one of its nodes sees it.

use std::collections::{BTreeMap, BTreeSet};

use openraft::RaftMetrics;
use serde::{Deserialize, Serialize};

use crate::types::{LogId, Types};

/// How a group stands, as one of its nodes sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Who leads, if that is known: to a node that has stopped it is not.
    pub leader: Option<u64>,
    /// Of the last election that it knows of.
    pub term: u64,
    /// Who has a vote. While that passes from some nodes to others it is two sets, and a majority of
    /// each counts. There is none before the group was begun, or told of.
    pub voters: Vec<BTreeSet<u64>>,
    /// Who takes part without a vote.
    pub learners: BTreeSet<u64>,
    /// By which change it has these members.
    pub members_as_of: AsOf,
    /// Whether a majority has that change.
    pub is_settled: bool,
    /// The last entry of this node's log.
    pub last: u64,
    /// The last entry in its machine.
    pub applied: u64,
    /// If it leads, the last entry that each other is known to have.
    pub matched: BTreeMap<u64, u64>,
}

/// Which members a group had: what is to be changed of them is so only if they have not changed since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsOf(pub(crate) Option<LogId>);

impl Standing {
    pub(crate) fn new(metrics: &RaftMetrics<Types>) -> Self {
        let members = &metrics.membership_config;
        let index = |id: &Option<LogId>| id.map_or(0, |id| id.index);
        let matched = metrics.replication.iter().flatten();
        Self {
            leader: metrics.current_leader.filter(|_| metrics.running_state.is_ok()),
            term: metrics.current_term,
            voters: members.membership().get_joint_config().clone(),
            learners: members.membership().learner_ids().collect(),
            members_as_of: AsOf(*members.log_id()),
            is_settled: members.log_id() == metrics.committed_membership_config.log_id(),
            last: metrics.last_log_index.unwrap_or(0),
            applied: index(&metrics.last_applied),
            matched: matched.map(|(node, matched)| (*node, index(matched))).collect(),
        }
    }

    /// Whether a node takes part, with a vote or without.
    pub fn has(&self, node: u64) -> bool {
        self.learners.contains(&node) || self.has_vote(node)
    }

    /// Whether the replica that says so has done what made the members those.
    pub fn has_done(&self, as_of: AsOf) -> bool {
        as_of.0.is_none_or(|id| self.applied >= id.index)
    }

    /// Whether a node has a vote.
    pub fn has_vote(&self, node: u64) -> bool {
        self.voters.iter().any(|voters| voters.contains(&node))
    }
}
