//! What is to be done next so that what is becomes what is to be.
//!
//! Nothing in here acts: who leads group 0 looks how all groups stand, [decides](Plan::new), has it
//! done, and looks again. Whatever it has done, or another before it, shows in how the groups stand,
//! so nothing is remembered, and another goes on where it stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use larder_consensus::{AsOf, Standing};
use serde::{Deserialize, Serialize};

use super::status::{LogSize, Trouble};
use crate::placement::{GroupId, NodeId, PLACEMENT, Placement};

/// What the nodes that answered have said.
pub(crate) type Observed = BTreeMap<NodeId, Report>;

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Whether it is about to stop, and is to lead nothing.
    pub(crate) leaves: bool,
    /// What is wrong with its disk, if something is.
    pub(crate) trouble: Option<Trouble>,
    /// How long its log is, which all its groups share.
    pub(crate) log: LogSize,
    /// The groups it takes part in, and how each stands as it sees it.
    pub(crate) groups: BTreeMap<GroupId, Standing>,
}

/// What is to be done next, and how far each group is.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) tasks: Vec<Task>,
    pub(crate) progress: BTreeMap<GroupId, Progress>,
}

/// What a node is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) group: GroupId,
    /// The node that is to do it.
    pub(crate) by: NodeId,
    /// The members that the group had when this was decided. It is not done if they have changed.
    pub(crate) as_of: AsOf,
    pub(crate) step: Step,
}

/// A step of a group towards its seats. Each is done once, however often it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// The node is there for a leader that will admit it.
    Host,
    /// This node takes part without a vote, and is given what it lacks.
    Admit(NodeId),
    /// These have a vote each.
    SetVoters(BTreeSet<NodeId>),
    /// These take part no longer.
    Dismiss(BTreeSet<NodeId>),
    /// The node, which the group does not know any more, erases what it had of it.
    GiveUp,
    /// This node leads.
    HandOver(NodeId),
}

/// How far a group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Who has a seat has a vote, and nobody else.
    Holds,
    /// Something is to be done now.
    Moves,
    /// Something must happen first.
    Waits(String),
}

/// One group, while it is decided about.
struct Case<'a> {
    placement: &'a Placement,
    observed: &'a Observed,
    group: GroupId,
    seats: &'a BTreeSet<NodeId>,
    leader: NodeId,
    standing: &'a Standing,
}

impl Plan {
    /// What is to be done now. Nothing is for a group that is `busy`.
    pub(crate) fn new(
        placement: &Placement,
        observed: &Observed,
        busy: &BTreeSet<GroupId>,
    ) -> Self {
        let mut plan = Self::default();
        let cases = || {
            placement.groups().map(|(group, seats)| {
                let (leader, standing) = leader(observed, group)?;
                Some(Case { placement, observed, group, seats, leader, standing })
            })
        };
        let coming = cases().flatten().map(|case| case.coming().count()).sum::<usize>();
        let mut room = MAX_COMING.saturating_sub(coming);
        for ((group, seats), case) in placement.groups().zip(cases()) {
            let Some(case) = case else {
                let why = format!("no leader of it answers; {} are to have it", Nodes(seats));
                plan.progress.insert(group, Progress::Waits(why));
                continue;
            };
            let (progress, task) = match case.next(room) {
                Ok(Some((by, step))) => {
                    let as_of = case.standing.members_as_of;
                    (Progress::Moves, Some(Task { group, by, as_of, step }))
                }
                Ok(None) => (Progress::Holds, None),
                Err(why) => (Progress::Waits(why), None),
            };
            plan.progress.insert(group, progress);
            let Some(task) = task else { continue };
            // What is being done already takes its room too.
            if group != PLACEMENT && matches!(task.step, Step::Host | Step::Admit(_)) {
                room = room.saturating_sub(1);
            }
            if !busy.contains(&group) {
                plan.tasks.push(task);
            }
        }
        if busy.is_empty() && plan.holds() {
            let mut leaders = cases().zip(placement.leaders());
            let moved = leaders.find_map(|(case, to)| case?.hand_over(to?));
            plan.tasks.extend(moved);
        }
        plan
    }

    /// Whether all groups are where they are to be, whoever leads them.
    pub(crate) fn holds(&self) -> bool {
        self.progress.values().all(|progress| *progress == Progress::Holds)
    }
}

/// Who leads a group, and how it says that stands.
pub(crate) fn leader(observed: &Observed, group: GroupId) -> Option<(NodeId, &Standing)> {
    let standings = observed.iter().filter_map(|(node, report)| {
        let standing = report.groups.get(&group)?;
        (standing.leader == Some(*node)).then_some((*node, standing))
    });
    // One that does not know yet that it leads no longer has an earlier term.
    standings.max_by_key(|(_, standing)| standing.term)
}

impl Case<'_> {
    /// The next step and who is to take it, or why there is none yet.
    fn next(&self, room: usize) -> Result<Option<(NodeId, Step)>, String> {
        let (leader, standing, seats) = (self.leader, self.standing, self.seats);
        if !standing.is_settled {
            return Err("its members are changing".to_owned());
        }
        let missing = self.takers().find(|node| !standing.has(*node) && self.answers(*node));
        if let Some(node) = missing {
            let report = self.observed.get(&node);
            if !self.takes_part_in_placement(node) {
                return Err(format!("node {node} does not take part in group {PLACEMENT} yet"));
            }
            if self.group != PLACEMENT && room == 0 {
                return Err(format!("node {node} waits until others have caught up"));
            }
            let hosts = report.is_some_and(|report| report.groups.contains_key(&self.group));
            let (by, step) = if hosts { (leader, Step::Admit(node)) } else { (node, Step::Host) };
            return Ok(Some((by, step)));
        }
        if let Some(node) = self.coming().next() {
            let lacks = standing.last.saturating_sub(self.matched(node));
            return Err(format!("node {node} lacks {lacks} of {} entries", standing.last));
        }
        let mut voters = self.voters();
        if !voters.contains(&leader) {
            // Who leads would lead on without a vote.
            if let Some(to) = self.successor(&voters) {
                return Ok(Some((leader, Step::HandOver(to))));
            }
            voters.insert(leader);
        }
        if standing.voters != [voters.clone()] {
            let answering = voters.iter().filter(|node| self.answers(**node)).count();
            if answering * 2 <= voters.len() {
                return Err(format!(
                    "only {answering} of {} answer, which are to have a vote",
                    Nodes(&voters)
                ));
            }
            return Ok(Some((leader, Step::SetVoters(voters))));
        }
        let takers: BTreeSet<_> = self.takers().collect();
        let strangers: BTreeSet<_> = standing.learners.difference(&takers).copied().collect();
        let (needed, gone): (BTreeSet<_>, _) =
            strangers.into_iter().partition(|node| self.is_needed_elsewhere(*node));
        if !gone.is_empty() {
            return Ok(Some((leader, Step::Dismiss(gone))));
        }
        if !needed.is_empty() {
            return Err(format!("{} have replicas that others are to have", Nodes(&needed)));
        }
        let leftover = self.observed.iter().find(|(node, report)| {
            let hosts = report.groups.contains_key(&self.group) && self.group != PLACEMENT;
            hosts && !standing.has(**node) && !takers.contains(node)
        });
        if let Some((node, _)) = leftover {
            return Ok(Some((*node, Step::GiveUp)));
        }
        if voters == *seats {
            if let Some(node) = self.poisoned() {
                return Err(format!("the disk of node {node} has failed: replace it"));
            }
            return self.lost().map_or(Ok(None), |node| {
                Err(format!("node {node} has lost its replica: have another take its place"))
            });
        }
        let silent: BTreeSet<_> =
            seats.iter().copied().filter(|node| !self.answers(*node)).collect();
        if silent.is_empty() {
            return Err(format!("nobody can take over yet from node {leader}, which leads"));
        }
        Err(format!("{} do not answer, and are to have it", Nodes(&silent)))
    }

    /// Whether a node that is to leave the cluster has something still. It is asked how it stands, and
    /// told what to do, as long as it takes part in group 0.
    fn is_needed_elsewhere(&self, node: NodeId) -> bool {
        let mut others = self.placement.groups().map(|(group, _)| group).skip(1);
        self.group == PLACEMENT
            && others.any(|group| {
                let report = self.observed.get(&node);
                report.is_some_and(|report| report.groups.contains_key(&group))
                    || leader(self.observed, group).is_none_or(|(_, standing)| standing.has(node))
            })
    }

    /// Whether a node may have a replica: one that is removed again is told to give up what it has only
    /// as long as it takes part in group 0.
    fn takes_part_in_placement(&self, node: NodeId) -> bool {
        self.group == PLACEMENT
            || leader(self.observed, PLACEMENT).is_some_and(|(_, standing)| standing.has(node))
    }

    /// Who is to take part: who has a seat; and in group 0 all, so that all know the placement.
    fn takers(&self) -> impl Iterator<Item = NodeId> {
        let all = self.placement.members().keys().filter(|_| self.group == PLACEMENT);
        self.seats.iter().copied().chain(all.copied().filter(|node| !self.seats.contains(node)))
    }

    /// Who is to have a replica, and says that it has none. It may not be given one anew: it may have
    /// voted.
    fn lost(&self) -> Option<NodeId> {
        self.seats.iter().copied().find(|node| {
            let report = self.observed.get(node);
            report.is_some_and(|report| !report.groups.contains_key(&self.group))
        })
    }

    /// Who is to have a vote, answers, and lacks too much yet.
    fn coming(&self) -> impl Iterator<Item = NodeId> {
        let learners = self.standing.learners.intersection(self.seats).copied();
        learners.filter(|node| self.answers(*node) && !self.is_near(*node))
    }

    /// Who is to have a vote now: who has a seat and a vote or may be given one; and, as long as those
    /// are fewer than the seats, some that have one still.
    fn voters(&self) -> BTreeSet<NodeId> {
        let standing = self.standing;
        let ready = |node: &NodeId| {
            standing.has_vote(*node)
                || self.answers(*node) && standing.has(*node) && self.is_near(*node)
        };
        let mut voters: BTreeSet<_> = self.seats.iter().copied().filter(ready).collect();
        let old = standing.voters.iter().flatten().copied();
        let mut old: Vec<_> = old.filter(|node| !self.seats.contains(node)).collect();
        old.sort_unstable_by_key(|node| (!self.answers(*node), *node));
        old.dedup();
        let vacant = self.seats.len() - voters.len();
        voters.extend(old.into_iter().take(vacant));
        voters
    }

    /// Who of these can lead at once instead of who does.
    fn successor(&self, voters: &BTreeSet<NodeId>) -> Option<NodeId> {
        let able = voters.iter().copied().filter(|node| {
            self.may_lead(*node) && self.standing.has_vote(*node) && self.is_near(*node)
        });
        able.max_by_key(|node| self.matched(*node))
    }

    /// Another leader, if it can take over at once.
    fn hand_over(&self, to: NodeId) -> Option<Task> {
        let ready = self.standing.has_vote(to) && self.is_near(to);
        let may_lead = self.may_lead(to);
        let (group, by, as_of) = (self.group, self.leader, self.standing.members_as_of);
        let step = Step::HandOver(to);
        (to != by && ready && may_lead).then_some(Task { group, by, as_of, step })
    }

    /// Whether a node may be told to lead: it stays, and can read and write all that it has.
    fn may_lead(&self, node: NodeId) -> bool {
        let report = self.observed.get(&node);
        report.is_some_and(|report| !report.leaves && report.trouble.is_none())
    }

    /// Who is to have a replica, and takes part in nothing any more.
    fn poisoned(&self) -> Option<NodeId> {
        let is_poisoned = |node: &NodeId| {
            let trouble = self.observed.get(node).and_then(|report| report.trouble.as_ref());
            trouble.is_some_and(|trouble| trouble.poisoned)
        };
        self.seats.iter().copied().find(is_poisoned)
    }

    fn answers(&self, node: NodeId) -> bool {
        self.observed.contains_key(&node)
    }

    /// The last entry a node is known to have.
    fn matched(&self, node: NodeId) -> u64 {
        if node == self.leader {
            return self.standing.last;
        }
        self.standing.matched.get(&node).copied().unwrap_or(0)
    }

    /// Whether a node lacks so little that it has it at once. One that has nothing does not, however
    /// short the history is: what it begins with may be large.
    fn is_near(&self, node: NodeId) -> bool {
        let matched = self.matched(node);
        matched > 0 && matched + NEAR >= self.standing.last
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = self.by;
        match &self.step {
            Step::Host => write!(f, "node {by} makes room for a replica"),
            Step::Admit(node) => write!(f, "node {node} is given a replica"),
            Step::SetVoters(voters) => write!(f, "{} are given the votes", Nodes(voters)),
            Step::Dismiss(nodes) => write!(f, "{} are let go", Nodes(nodes)),
            Step::GiveUp => write!(f, "node {by} erases its replica"),
            Step::HandOver(to) => write!(f, "node {by} has node {to} lead"),
        }
    }
}

/// Nodes, for people.
struct Nodes<'a>(&'a BTreeSet<NodeId>);

impl fmt::Display for Nodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.len() == 1 { "node" } else { "nodes" })?;
        for (at, node) in self.0.iter().enumerate() {
            write!(f, "{} {node}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// So many replicas are given all there is at the same time: it takes disk and network from clients.
const MAX_COMING: usize = 2;

/// Who lacks no more entries than this is given a vote.
const NEAR: u64 = 100;

#[cfg(test)]
mod tests;
