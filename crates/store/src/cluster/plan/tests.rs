//! Plans, carried out in a world of nodes that die and come back.

use proptest::prelude::*;

use super::*;
use crate::placement::{Change, Member};

fn member(node: u64) -> Member {
    Member {
        name: format!("db{node}"),
        identity: node,
        peer_address: format!("10.0.0.{node}:21202"),
        client_address: format!("10.0.0.{node}:21201"),
        zone: format!("zone-{}", node % 3),
        drains: false,
    }
}

/// Groups whose replicas take entries one by one, and keep to Raft's rules.
struct World {
    placement: Placement,
    groups: Vec<Group>,
    alive: BTreeSet<NodeId>,
}

#[derive(Default)]
struct Group {
    voters: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
    /// How many entries each node has that hosts it.
    has: BTreeMap<NodeId, u64>,
    last: u64,
    leader: Option<NodeId>,
    term: u64,
}

impl Group {
    /// Who lives elects who has most, or nobody.
    fn elect(&mut self, alive: &BTreeSet<NodeId>) {
        let voters = self.voters.clone();
        let living = || voters.intersection(alive).copied();
        if living().count() * 2 <= voters.len() {
            self.leader = None;
        } else if self.leader.is_none_or(|leader| living().all(|node| node != leader)) {
            self.leader = living().max_by_key(|node| self.has[node]);
            self.term += 1;
        }
        if let Some(leader) = self.leader {
            assert_eq!(self.has[&leader], self.last, "what was acknowledged is lost");
            // Who has a vote and lives is given all at once.
            for node in living() {
                self.has.insert(node, self.last);
            }
        }
    }
}

impl World {
    fn new(groups: usize) -> Self {
        let mut placement = Placement::new(groups, 3);
        placement.change(Change::Join(member(1))).unwrap();
        let group =
            || Group { voters: [1].into(), has: [(1, 500)].into(), last: 500, ..Group::default() };
        let groups = (0..=groups).map(|_| group()).collect();
        Self { placement, groups, alive: [1].into() }
    }

    fn observe(&self) -> Observed {
        let known = |node: &NodeId| {
            let group = &self.groups[0];
            self.placement.members().contains_key(node)
                || group.voters.contains(node)
                || group.learners.contains(node)
        };
        let report = |node: NodeId| {
            let hosted = (0..)
                .zip(&self.groups)
                .filter(|(number, group)| *number == PLACEMENT || group.has.contains_key(&node));
            let standing = |group: &Group| Standing {
                leader: group.leader,
                term: group.term,
                voters: vec![group.voters.clone()],
                learners: group.learners.clone(),
                is_settled: true,
                last: group.last,
                matched: if group.leader == Some(node) {
                    let others = group.voters.union(&group.learners);
                    others.map(|node| (*node, group.has[node])).collect()
                } else {
                    BTreeMap::new()
                },
                ..Standing::default()
            };
            let groups = hosted.map(|(number, group)| (number, standing(group)));
            Report { groups: groups.collect(), ..Report::default() }
        };
        let nodes = self.alive.iter().copied().filter(known);
        nodes.map(|node| (node, report(node))).collect()
    }

    /// Carries out a plan, and lets some time pass. Whether there is nothing left to do.
    fn round(&mut self) -> bool {
        for group in &mut self.groups {
            group.elect(&self.alive);
        }
        let plan = Plan::new(&self.placement, &self.observe(), &BTreeSet::new());
        let begun = plan.tasks.iter().filter(|task| {
            task.group != PLACEMENT && matches!(task.step, Step::Host | Step::Admit(_))
        });
        assert!(begun.count() <= MAX_COMING.saturating_sub(self.coming()));
        for task in &plan.tasks {
            self.carry_out(task);
        }
        for group in &mut self.groups {
            for node in group.learners.intersection(&self.alive) {
                let has = group.has.get_mut(node).unwrap();
                *has += (group.last - *has).min(200);
            }
        }
        plan.tasks.is_empty() && plan.holds()
    }

    /// Replicas that are being given all there is.
    fn coming(&self) -> usize {
        let groups = self.placement.groups().zip(&self.groups).skip(1);
        let coming = groups.flat_map(|((_, seats), group)| {
            let lacks = |node: &&NodeId| {
                let living = self.alive.contains(node) && group.leader.is_some();
                living && group.last - group.has[node] > NEAR
            };
            group.learners.intersection(seats).filter(lacks)
        });
        coming.count()
    }

    fn carry_out(&mut self, task: &Task) {
        let number = task.group;
        let seats = self.placement.seats(number).unwrap();
        let group = &mut self.groups[usize::try_from(number).unwrap()];
        assert!(self.alive.contains(&task.by), "the dead do nothing: {task:?}");
        if !matches!(task.step, Step::Host | Step::GiveUp) {
            assert_eq!(group.leader, Some(task.by), "{task:?}");
        }
        let is_member =
            |node: &NodeId| group.voters.contains(node) || group.learners.contains(node);
        match &task.step {
            Step::Host => {
                assert!(!is_member(&task.by), "what it has may not be forgotten");
                group.has.insert(task.by, 0);
            }
            Step::Admit(node) => {
                group.has.entry(*node).or_insert(0);
                group.learners.insert(*node);
            }
            Step::SetVoters(voters) => {
                assert!(voters.iter().all(is_member));
                let good = |node: &&NodeId| {
                    self.alive.contains(node) && group.has[node] + NEAR >= group.last
                };
                let good = voters.iter().filter(good).count();
                assert!(good * 2 > voters.len(), "{task:?} with {good}");
                assert!(voters.len() >= seats.len().min(group.voters.len()), "{task:?}");
                // A majority of them has it, and all before, when it counts.
                for node in voters.intersection(&self.alive) {
                    group.has.insert(*node, group.last);
                }
                assert!(voters.contains(&task.by), "who leads and has no vote leads on");
                let old = std::mem::replace(&mut group.voters, voters.clone());
                group.learners.extend(old);
                group.learners.retain(|node| !voters.contains(node));
            }
            Step::Dismiss(nodes) => {
                assert!(nodes.is_disjoint(&group.voters) && nodes.is_disjoint(seats));
                group.learners.retain(|node| !nodes.contains(node));
            }
            Step::GiveUp => {
                assert!(!is_member(&task.by) && !seats.contains(&task.by), "{task:?}");
                group.has.remove(&task.by).unwrap();
            }
            Step::HandOver(to) => {
                assert!(group.voters.contains(to) && self.alive.contains(to));
                group.leader = Some(*to);
                group.term += 1;
            }
        }
    }

    /// All is as the placement says.
    fn assert_holds(&self) {
        let members: BTreeSet<_> = self.placement.members().keys().copied().collect();
        let leaders = self.placement.leaders();
        for (((number, seats), group), leader) in
            self.placement.groups().zip(&self.groups).zip(leaders)
        {
            assert_eq!(group.voters, *seats);
            assert_eq!(group.leader, leader);
            if number == PLACEMENT {
                assert_eq!(group.learners, members.difference(seats).copied().collect());
            } else {
                assert!(group.learners.is_empty());
                // What a node has that came back after it was forgotten is for nobody to erase.
                assert!(group.has.keys().filter(|node| members.contains(node)).eq(seats));
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Change(Change),
    Die(NodeId),
    ComeBack(NodeId),
    Write(usize, u64),
    Rounds(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let node = || 1..8_u64;
    let change = prop_oneof![
        4 => node().prop_map(|node| Change::Join(member(node))),
        2 => (node(), any::<bool>()).prop_map(|(node, drains)| Change::Drain(node, drains)),
        2 => node().prop_map(|node| Change::Remove { node, lost: true }),
        1 => (node(), node()).prop_map(|(node, by)| Change::Replace(node, by)),
        2 => Just(Change::Rebalance),
        1 => (1..6_usize).prop_map(Change::SetReplicas),
    ];
    prop_oneof![
        6 => change.prop_map(Event::Change),
        2 => node().prop_map(Event::Die),
        2 => node().prop_map(Event::ComeBack),
        2 => (0..6_usize, 1..400_u64).prop_map(|(group, entries)| Event::Write(group, entries)),
        6 => (1..8_usize).prop_map(Event::Rounds),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever is asked for, and whoever dies meanwhile: nothing that was acknowledged is lost, no
    /// group is without a majority that lives, and when all live it becomes what it is to be.
    #[test]
    fn what_is_becomes_what_is_to_be(
        groups in 1..6_usize,
        events in prop::collection::vec(event(), 1..60),
    ) {
        let mut world = World::new(groups);
        for event in events {
            match event {
                Event::Change(change) => {
                    // Nobody is removed as lost who lives.
                    let lives = |node| world.alive.contains(&node);
                    if matches!(change, Change::Remove { node, .. } if lives(node)) {
                        continue;
                    }
                    let joins = matches!(change, Change::Join(_));
                    if let Ok(Some(node)) = world.placement.change(change)
                        && joins
                    {
                        world.alive.insert(node);
                        world.groups[0].has.entry(node).or_insert(0);
                    }
                }
                Event::Die(node) => drop(world.alive.remove(&node)),
                Event::ComeBack(node) => {
                    if world.groups[0].has.contains_key(&node) {
                        world.alive.insert(node);
                    }
                }
                Event::Write(group, entries) => {
                    if let Some(group) = world.groups.get_mut(group) {
                        group.elect(&world.alive);
                        if let Some(leader) = group.leader {
                            group.last += entries;
                            group.has.insert(leader, group.last);
                            group.elect(&world.alive);
                        }
                    }
                }
                Event::Rounds(rounds) => {
                    for _ in 0..rounds {
                        world.round();
                    }
                }
            }
        }
        world.alive = world.groups[0].has.keys().copied().collect();
        let ended = (0..1000).any(|_| world.round());
        prop_assert!(ended, "it does not come to an end");
        world.assert_holds();
    }
}

#[test]
fn a_dead_node_is_replaced_and_nobody_is_given_a_vote_before_it_has_all() {
    let mut world = World::new(1);
    for node in 2..=4 {
        world.placement.change(Change::Join(member(node))).unwrap();
        world.alive.insert(node);
        world.groups[0].has.insert(node, 0);
    }
    assert!((0..100).any(|_| world.round()));
    world.assert_holds();
    let seats = world.placement.seats(1).unwrap().clone();
    let dead = *seats.first().unwrap();
    let by = (1..=4).find(|node| !seats.contains(node)).unwrap();
    world.alive.remove(&dead);
    world.placement.change(Change::Replace(dead, by)).unwrap();
    // Nobody leads yet.
    world.groups[1].leader = None;
    let plan = Plan::new(&world.placement, &world.observe(), &BTreeSet::new());
    assert!(plan.tasks.iter().all(|task| task.group != 1));
    assert!(matches!(&plan.progress[&1], Progress::Waits(why) if why.contains("no leader")));
    for group in &mut world.groups {
        group.elect(&world.alive);
    }
    let mut taken = Vec::new();
    while !world.round() && taken.len() < 100 {
        let plan = Plan::new(&world.placement, &world.observe(), &BTreeSet::new());
        let steps = plan.tasks.into_iter().filter(|task| task.group == 1).map(|task| task.step);
        taken.extend(steps);
        if let Progress::Waits(why) = &plan.progress[&1] {
            assert!(why.contains("lacks") && why.contains("of 500 entries"), "{why}");
        }
    }
    // One that has lost its replica is told of, and not given another.
    let mut observed = world.observe();
    observed.get_mut(&by).unwrap().groups.remove(&1);
    let plan = Plan::new(&world.placement, &observed, &BTreeSet::new());
    assert!(matches!(&plan.progress[&1], Progress::Waits(why) if why.contains("has lost")));
    assert!(plan.tasks.is_empty(), "{:?}", plan.tasks);
    let voters = world.placement.seats(1).unwrap().clone();
    let set = taken.iter().position(|step| *step == Step::SetVoters(voters.clone())).unwrap();
    assert!(taken[..set].contains(&Step::Admit(by)), "{taken:?}");
    assert!(taken[set..].contains(&Step::Dismiss([dead].into())), "{taken:?}");
    assert_eq!(world.groups[1].voters, voters);
}

#[test]
fn who_cannot_read_all_it_has_is_not_told_to_lead() {
    let mut world = World::new(3);
    for node in 2..=3 {
        world.placement.change(Change::Join(member(node))).unwrap();
        world.alive.insert(node);
    }
    while !world.round() {}
    let to = world.placement.leaders()[1].unwrap();
    let group = &mut world.groups[1];
    group.leader = group.voters.iter().copied().find(|node| *node != to);
    let mut observed = world.observe();
    let tasks = |observed: &Observed| {
        let plan = Plan::new(&world.placement, observed, &BTreeSet::new());
        assert!(plan.holds());
        plan.tasks.into_iter().map(|task| task.step).collect::<Vec<_>>()
    };
    assert_eq!(tasks(&observed), [Step::HandOver(to)]);
    let trouble = Trouble { poisoned: false, why: "a block is damaged".to_owned() };
    observed.get_mut(&to).unwrap().trouble = Some(trouble);
    assert_eq!(tasks(&observed), []);
}
