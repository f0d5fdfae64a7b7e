//! Which node is to have a replica of which group.
//!
//! A [`Placement`] is what group 0 of a cluster agrees on, by [`Change`]s that all its replicas make
//! in the same order, so nothing in here asks a clock, a disk or chance. It says what is to be; what is
//! comes after it, a group at a time.
//!
//! Each group has its *seats*: the nodes that are to have a replica of it. A node that joins takes
//! the seats that are vacant, and one that leaves has its seats taken by others; who has a seat keeps
//! it, unless the seats are [rebalanced](Change::Rebalance) or somebody has to give one up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a node in its cluster, never used twice.
pub(crate) type NodeId = u64;

/// The number of a group.
pub(crate) type GroupId = u64;

/// The group that agrees on the placement.
pub(crate) const PLACEMENT: GroupId = 0;

/// Which node is to have a replica of which group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placement {
    /// How many changes were made.
    version: u64,
    /// How many replicas a group is to have.
    replicas: usize,
    members: BTreeMap<NodeId, Member>,
    last_node: NodeId,
    /// Of each group, which has the number of its place.
    seats: Vec<BTreeSet<NodeId>>,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// By which it is known, wherever it is; no two have the same.
    pub(crate) name: String,
    /// What it drew at random before it joined, and keeps with what it has: another node of the same
    /// name, or the same one without what it had, has another.
    pub(crate) identity: u64,
    /// Where other nodes reach it, as HOST:PORT.
    pub(crate) peer_address: String,
    /// Where clients reach it.
    pub(crate) client_address: String,
    /// What it shares its fate with. Replicas of a group are in as many zones as can be.
    pub(crate) zone: String,
    /// Whether it is to have no seat.
    pub(crate) drains: bool,
}

/// What may be asked of a placement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// A node joins. If it has already, it is told its number again.
    Join(Member),
    /// A node is somewhere else than before.
    Move(NodeId, Member),
    /// A node is to have no seat any more, or may have some again.
    Drain(NodeId, bool),
    /// A node is gone for good: others take its seats. One with seats only if it is `lost`.
    Remove {
        /// Which.
        node: NodeId,
        /// Whether it is known to be gone with what it had.
        lost: bool,
    },
    /// Another node takes all seats of this one, which then is gone for good.
    Replace(NodeId, NodeId),
    /// Seats are moved until all nodes have as many, but for one.
    Rebalance,
    /// Each group is to have so many replicas.
    SetReplicas(usize),
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// There is no such node.
    NoSuchNode(NodeId),
    /// A node of this name is known that is not the one that asks: it draws another identity.
    NameTaken(NodeId),
    /// The node that asks belonged to the cluster, and does not any more.
    Removed(NodeId),
    /// It is the last that may have seats.
    LastNode,
    /// It still has seats of so many groups.
    HasSeats(usize),
    /// The node that is to take the seats has some of the same groups, or drains.
    CannotReplace,
    /// Not a number of replicas.
    Replicas(usize),
    /// There is no cluster yet.
    NotFounded,
}

/// Replicas that a group may have at the most: with more a write waits for four disks.
pub(crate) const MAX_REPLICAS: usize = 7;

impl Placement {
    /// Of a cluster of so many groups beside group 0, before anyone has joined.
    pub(crate) fn new(groups: usize, replicas: usize) -> Self {
        Self {
            version: 0,
            replicas,
            members: BTreeMap::new(),
            last_node: 0,
            seats: vec![BTreeSet::new(); groups + 1],
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// How many replicas a group is to have.
    pub(crate) fn replicas(&self) -> usize {
        self.replicas
    }

    pub(crate) fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// The node of this name.
    pub(crate) fn named(&self, name: &str) -> Option<NodeId> {
        self.members.iter().find(|(_, member)| member.name == name).map(|(node, _)| *node)
    }

    /// All groups and the nodes that are to have a replica of each.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (GroupId, &BTreeSet<NodeId>)> {
        (0..).zip(&self.seats)
    }

    /// The nodes that are to have a replica of a group.
    #[cfg(test)]
    pub(crate) fn seats(&self, group: GroupId) -> Option<&BTreeSet<NodeId>> {
        self.seats.get(usize::try_from(group).ok()?)
    }

    /// Who should lead each group, so that all lead as many, as far as that goes by their seats.
    pub(crate) fn leaders(&self) -> Vec<Option<NodeId>> {
        let mut leads: BTreeMap<NodeId, usize> = BTreeMap::new();
        let lead = |seats: &BTreeSet<NodeId>| {
            let standing = seats.iter().filter(|node| self.stands(**node));
            let leader = *standing.min_by_key(|node| (leads.get(node).copied(), **node))?;
            *leads.entry(leader).or_default() += 1;
            Some(leader)
        };
        self.seats.iter().map(lead).collect()
    }

    /// Makes a change; the node it is about.
    ///
    /// # Errors
    ///
    /// It is refused, and nothing has changed.
    pub(crate) fn change(&mut self, change: Change) -> Result<Option<NodeId>, Refusal> {
        let mut next = self.clone();
        let node = next.make(change)?;
        next.fill();
        if next != *self {
            next.version += 1;
            *self = next;
        }
        Ok(node)
    }

    fn make(&mut self, change: Change) -> Result<Option<NodeId>, Refusal> {
        match change {
            Change::Join(member) => {
                if let Some(node) = self.named(&member.name) {
                    let known = self.members.get(&node).map(|known| known.identity);
                    if known != Some(member.identity) {
                        return Err(Refusal::NameTaken(node));
                    }
                    return self.relocate(node, member);
                }
                self.last_node += 1;
                self.members.insert(self.last_node, Member { drains: false, ..member });
                Ok(Some(self.last_node))
            }
            Change::Move(node, member) => self.relocate(node, member),
            Change::Drain(node, drains) => {
                let member = self.members.get_mut(&node).ok_or(Refusal::NoSuchNode(node))?;
                member.drains = drains;
                if self.standing().is_empty() {
                    return Err(Refusal::LastNode);
                }
                self.vacate(node);
                Ok(Some(node))
            }
            Change::Remove { node, lost } => {
                let has = self.count(node);
                if !lost && has > 0 {
                    return Err(Refusal::HasSeats(has));
                }
                self.dismiss(node)?;
                Ok(Some(node))
            }
            Change::Replace(node, by) => {
                let has = |seats: &&BTreeSet<NodeId>| seats.contains(&node);
                if !self.members.contains_key(&node) {
                    return Err(Refusal::NoSuchNode(node));
                }
                if !self.members.contains_key(&by) {
                    return Err(Refusal::NoSuchNode(by));
                }
                let both = self.seats.iter().filter(has).any(|seats| seats.contains(&by));
                if !self.stands(by) || both || node == by {
                    return Err(Refusal::CannotReplace);
                }
                for seats in &mut self.seats {
                    if seats.contains(&node) {
                        seats.insert(by);
                    }
                }
                self.dismiss(node)?;
                Ok(Some(by))
            }
            Change::Rebalance => {
                self.rebalance();
                Ok(None)
            }
            Change::SetReplicas(replicas) => {
                if !(1..=MAX_REPLICAS).contains(&replicas) {
                    return Err(Refusal::Replicas(replicas));
                }
                self.replicas = replicas;
                Ok(None)
            }
        }
    }

    /// Has a node be where it says, and else as it was.
    fn relocate(&mut self, node: NodeId, member: Member) -> Result<Option<NodeId>, Refusal> {
        let known = self.members.get_mut(&node).filter(|known| known.identity == member.identity);
        let known = known.ok_or(Refusal::Removed(node))?;
        *known = Member { drains: known.drains, name: known.name.clone(), ..member };
        Ok(Some(node))
    }

    /// Forgets a node.
    fn dismiss(&mut self, node: NodeId) -> Result<(), Refusal> {
        self.members.remove(&node).ok_or(Refusal::NoSuchNode(node))?;
        if self.standing().is_empty() {
            return Err(Refusal::LastNode);
        }
        self.vacate(node);
        Ok(())
    }

    /// Takes the seats of a node that may have none, or lets it keep them.
    fn vacate(&mut self, node: NodeId) {
        if !self.stands(node) {
            for seats in &mut self.seats {
                seats.remove(&node);
            }
        }
    }

    /// Has each group have as many replicas as it is to, or as there are nodes.
    fn fill(&mut self) {
        let standing = self.standing();
        let wanted = self.replicas.min(standing.len());
        for group in 0..self.seats.len() {
            while self.seats.get(group).is_some_and(|seats| seats.len() < wanted) {
                let Some(node) = self.best(group, &standing) else { break };
                self.sit(group, node, true);
            }
            while self.seats.get(group).is_some_and(|seats| seats.len() > wanted) {
                let Some(node) = self.worst(group) else { break };
                self.sit(group, node, false);
            }
        }
    }

    /// Moves seats from who has most to who has fewest, as long as that makes them more equal.
    fn rebalance(&mut self) {
        let standing = self.standing();
        let by_seats = |placement: &Self, node: &NodeId| (placement.count(*node), *node);
        // Each move lessens the sum of the squares, so there is an end.
        while let Some(most) = standing.iter().copied().max_by_key(|node| by_seats(self, node))
            && let Some(fewest) = standing.iter().copied().min_by_key(|node| by_seats(self, node))
            && self.count(most) > self.count(fewest) + 1
        {
            let movable = (0..self.seats.len()).filter(|group| {
                self.seats
                    .get(*group)
                    .is_some_and(|seats| seats.contains(&most) && !seats.contains(&fewest))
            });
            // Where it costs no zone, if there is such a group.
            let group = movable.min_by_key(|group| {
                let others = self.seats.get(*group).into_iter().flatten();
                let same = |node: &&NodeId| self.zone(**node) == self.zone(fewest);
                (others.filter(|node| **node != most).any(|node| same(&node)), *group)
            });
            let Some(group) = group else { return };
            self.sit(group, most, false);
            self.sit(group, fewest, true);
        }
    }

    fn sit(&mut self, group: usize, node: NodeId, sits: bool) {
        if let Some(seats) = self.seats.get_mut(group) {
            if sits {
                seats.insert(node);
            } else {
                seats.remove(&node);
            }
        }
    }

    /// Who is to take a seat of a group: one in a zone without, with the fewest seats.
    fn best(&self, group: usize, standing: &[NodeId]) -> Option<NodeId> {
        let seats = self.seats.get(group)?;
        let vacant = standing.iter().copied().filter(|node| !seats.contains(node));
        vacant.min_by_key(|node| {
            let zone = self.zone(*node);
            let near = seats.iter().filter(|other| self.zone(**other) == zone).count();
            (near, self.count(*node), *node)
        })
    }

    /// Who is to give its seat of a group up: one in a zone with most, with the most seats.
    fn worst(&self, group: usize) -> Option<NodeId> {
        let seats = self.seats.get(group)?;
        seats.iter().copied().max_by_key(|node| {
            let zone = self.zone(*node);
            let near = seats.iter().filter(|other| self.zone(**other) == zone).count();
            (near, self.count(*node), *node)
        })
    }

    fn zone(&self, node: NodeId) -> Option<&str> {
        self.members.get(&node).map(|member| member.zone.as_str())
    }

    /// How many seats a node has.
    fn count(&self, node: NodeId) -> usize {
        self.seats.iter().filter(|seats| seats.contains(&node)).count()
    }

    /// Whether a node may have seats.
    fn stands(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|member| !member.drains)
    }

    fn standing(&self) -> Vec<NodeId> {
        let standing = self.members.iter().filter(|(_, member)| !member.drains);
        standing.map(|(node, _)| *node).collect()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchNode(node) => write!(f, "there is no node {node}"),
            Self::NameTaken(node) => write!(
                f,
                "the name is that of node {node}, which is another or has lost what it had: \
                 replace or remove node {node}, or give this one another name"
            ),
            Self::Removed(node) => write!(
                f,
                "node {node} was removed from the cluster: to join again, give it an empty directory"
            ),
            Self::LastNode => f.write_str("no node would be left to have the data"),
            Self::HasSeats(seats) => write!(
                f,
                "it is to have replicas of {seats} groups: drain it first, or say that it is lost"
            ),
            Self::CannotReplace => f.write_str(
                "the node that is to take its place drains, or has replicas of the same groups",
            ),
            Self::NotFounded => f.write_str("the cluster is not founded yet"),
            Self::Replicas(replicas) => {
                write!(f, "{replicas} replicas: it must be 1 to {MAX_REPLICAS}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(name: u64, zone: u64) -> Member {
        Member {
            name: format!("node-{name}"),
            identity: name,
            peer_address: format!("10.0.0.{name}:21202"),
            client_address: format!("10.0.0.{name}:21201"),
            zone: format!("zone-{zone}"),
            drains: false,
        }
    }

    fn of(nodes: u64, groups: usize) -> Placement {
        let mut placement = Placement::new(groups, 3);
        for node in 1..=nodes {
            assert_eq!(placement.change(Change::Join(member(node, node))), Ok(Some(node)));
        }
        placement
    }

    fn counts(placement: &Placement) -> Vec<usize> {
        placement.members.keys().map(|node| placement.count(*node)).collect()
    }

    #[test]
    fn who_joins_takes_what_is_vacant_and_no_more() {
        let mut placement = of(1, 8);
        assert!(placement.groups().all(|(_, seats)| *seats == BTreeSet::from([1])));
        placement.change(Change::Join(member(2, 2))).unwrap();
        placement.change(Change::Join(member(3, 3))).unwrap();
        assert_eq!(counts(&placement), [9, 9, 9]);
        placement.change(Change::Join(member(4, 4))).unwrap();
        assert_eq!(counts(&placement), [9, 9, 9, 0]);
        placement.change(Change::Rebalance).unwrap();
        let mut even = counts(&placement);
        even.sort_unstable();
        assert_eq!(even, [6, 7, 7, 7]);
        let version = placement.version();
        placement.change(Change::Rebalance).unwrap();
        assert_eq!(placement.version(), version, "nothing to do");
    }

    #[test]
    fn who_comes_back_elsewhere_is_who_it_was() {
        let mut placement = of(3, 4);
        placement.change(Change::Join(member(4, 4))).unwrap();
        placement.change(Change::Drain(2, true)).unwrap();
        let elsewhere = Member { peer_address: "10.9.9.9:1".to_owned(), ..member(2, 2) };
        let before = placement.clone();
        for change in [Change::Join(elsewhere.clone()), Change::Move(2, elsewhere.clone())] {
            let mut placement = before.clone();
            assert_eq!(placement.change(change), Ok(Some(2)));
            let member = &placement.members()[&2];
            assert_eq!((member.peer_address.as_str(), member.drains), ("10.9.9.9:1", true));
        }
        // One that only has the name is not.
        let other = Member { identity: 99, ..elsewhere };
        let joined = placement.change(Change::Join(other.clone()));
        assert_eq!(joined, Err(Refusal::NameTaken(2)));
        assert_eq!(placement.change(Change::Move(2, other)), Err(Refusal::Removed(2)));
        assert_eq!(placement, before);
    }

    #[test]
    fn a_node_goes_once_it_has_nothing_or_is_lost() {
        let mut placement = of(4, 5);
        placement.change(Change::Rebalance).unwrap();
        let has = placement.count(2);
        let remove = |lost| Change::Remove { node: 2, lost };
        assert_eq!(placement.change(remove(false)), Err(Refusal::HasSeats(has)));
        let mut drained = placement.clone();
        drained.change(Change::Drain(2, true)).unwrap();
        drained.change(remove(false)).unwrap();
        placement.change(remove(true)).unwrap();
        for placement in [&placement, &drained] {
            assert!(placement.groups().all(|(_, seats)| *seats == BTreeSet::from([1, 3, 4])));
        }
        assert_eq!(placement.change(remove(true)), Err(Refusal::NoSuchNode(2)));
        assert_eq!(placement.change(Change::Move(2, member(2, 2))), Err(Refusal::Removed(2)));
        assert_eq!(
            placement.change(Change::Join(member(2, 2))),
            Ok(Some(5)),
            "a number is never another's"
        );
    }

    #[test]
    fn the_last_node_stays() {
        let mut placement = of(1, 2);
        let before = placement.clone();
        for change in [Change::Drain(1, true), Change::Remove { node: 1, lost: true }] {
            assert_eq!(placement.change(change), Err(Refusal::LastNode));
        }
        assert_eq!(placement, before);
    }

    #[test]
    fn another_takes_the_place_of_a_dead_node() {
        let mut placement = of(4, 5);
        let seats = placement.count(3);
        placement.change(Change::Replace(3, 4)).unwrap();
        assert_eq!((placement.count(4), placement.members().len()), (seats, 3));
        for (node, by, refusal) in [
            (3, 4, Refusal::NoSuchNode(3)),
            (1, 9, Refusal::NoSuchNode(9)),
            (1, 2, Refusal::CannotReplace),
            (1, 1, Refusal::CannotReplace),
        ] {
            assert_eq!(placement.change(Change::Replace(node, by)), Err(refusal));
        }
    }

    #[test]
    fn replicas_are_in_as_many_zones_as_can_be() {
        let mut placement = Placement::new(6, 3);
        for (node, zone) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)] {
            placement.change(Change::Join(member(node, zone))).unwrap();
        }
        placement.change(Change::Rebalance).unwrap();
        placement.change(Change::SetReplicas(2)).unwrap();
        for (group, seats) in placement.groups() {
            let zones: BTreeSet<_> = seats.iter().map(|node| placement.zone(*node)).collect();
            assert_eq!((seats.len(), zones.len()), (2, 2), "{group}");
        }
        for replicas in [0, MAX_REPLICAS + 1] {
            let refused = placement.change(Change::SetReplicas(replicas));
            assert_eq!(refused, Err(Refusal::Replicas(replicas)));
        }
    }

    fn change() -> impl Strategy<Value = Change> {
        let node = || 1..8_u64;
        prop_oneof![
            4 => (node(), 1..4_u64).prop_map(|(node, zone)| Change::Join(member(node, zone))),
            2 => (node(), any::<bool>()).prop_map(|(node, drains)| Change::Drain(node, drains)),
            2 => (node(), any::<bool>()).prop_map(|(node, lost)| Change::Remove { node, lost }),
            1 => (node(), node()).prop_map(|(node, by)| Change::Replace(node, by)),
            2 => Just(Change::Rebalance),
            1 => (0..5_usize).prop_map(Change::SetReplicas),
        ]
    }

    proptest! {
        #[test]
        fn seats_are_always_taken_by_whom_they_may_be(
            groups in 1..12_usize,
            changes in prop::collection::vec(change(), 1..40),
        ) {
            let mut placement = Placement::new(groups, 3);
            for change in changes {
                let before = placement.clone();
                let made = placement.change(change.clone());
                prop_assert!(made.is_ok() || placement == before);
                let standing = placement.standing();
                let wanted = placement.replicas.min(standing.len());
                for seats in &placement.seats {
                    prop_assert_eq!(seats.len(), wanted);
                    prop_assert!(seats.iter().all(|node| standing.contains(node)));
                }
                let counts: Vec<_> = standing.iter().map(|node| placement.count(*node)).collect();
                let (most, least) = (counts.iter().max(), counts.iter().min());
                if change == Change::Rebalance && let Some((most, least)) = most.zip(least) {
                    prop_assert!(most - least <= 1, "{counts:?}");
                }
                let leaders = placement.leaders();
                for (leader, seats) in leaders.iter().zip(&placement.seats) {
                    prop_assert_eq!(leader.is_some(), !seats.is_empty());
                    prop_assert!(leader.is_none_or(|leader| seats.contains(&leader)));
                }
                // Groups that nobody asked to move stay where they are, but for what must go.
                if let (Change::Join(_), Ok(_)) = (&change, &made) {
                    for (seats, before) in placement.seats.iter().zip(&before.seats) {
                        prop_assert!(seats.is_superset(before));
                    }
                }
            }
        }
    }
}
