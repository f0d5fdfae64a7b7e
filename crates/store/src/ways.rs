//! The ways from sessions to threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::bell::Bell;
use crate::command::Command;
use crate::partition::Partition;
use crate::pending::Ticket;
use crate::placement::GroupId;
use crate::queue::Queue;
use crate::slots::{group_of, slot_of};

/// The ways from sessions to threads: what changes something goes by its group, and so does what is
/// read until it is known who may answer it; one thread serves all groups.
#[derive(Debug)]
pub(crate) struct Ways {
    groups: u16,
    /// Of the groups from 1 on.
    partitions: Vec<Arc<Partition>>,
    among_others: bool,
    /// Reads that may be answered here.
    pub(crate) reads: Queue<Command>,
    /// Who waits for the engine to be made durable.
    pub(crate) checkpoints: Queue<Ticket>,
    /// Calls who proposes.
    pub(crate) proposing: Arc<Bell>,
    /// Calls who confirms.
    pub(crate) confirming: Arc<Bell>,
}

impl Ways {
    /// Those of a store with so many groups, whose reads may be answered stale within so long.
    pub(crate) fn new(groups: u16, among_others: bool, stale_within: Option<Duration>) -> Self {
        let [proposing, confirming] = [0, 1].map(|_| Arc::<Bell>::default());
        let partition =
            |group| Arc::new(Partition::new(group, &proposing, &confirming, stale_within));
        let partitions = (1..=GroupId::from(groups)).map(partition).collect();
        let (reads, checkpoints) = (Queue::new(), Queue::new());
        Self { groups, partitions, among_others, reads, checkpoints, proposing, confirming }
    }

    /// How many groups there are.
    pub(crate) fn groups(&self) -> u16 {
        self.groups
    }

    /// Which of them a key belongs to.
    pub(crate) fn group_of(&self, key: &[u8]) -> GroupId {
        group_of(slot_of(key), self.groups)
    }

    /// All groups, in their order.
    pub(crate) fn partitions(&self) -> &[Arc<Partition>] {
        &self.partitions
    }

    pub(crate) fn partition(&self, group: GroupId) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(group.checked_sub(1)?).ok()?)
    }

    /// Whether other nodes may have the same items.
    pub(crate) fn is_among_others(&self) -> bool {
        self.among_others
    }

    /// Whether what other nodes forward to be proposed in this term is taken.
    pub(crate) fn takes(&self, group: GroupId, term: u64) -> bool {
        self.partition(group).is_some_and(|partition| partition.proposals.takes(term))
    }

    /// Sends a read on its way; gives it back if the store is being closed, or there is no such group.
    pub(crate) fn read(&self, command: Command) -> Option<Command> {
        if !self.among_others {
            return self.reads.push(command).err();
        }
        match self.partition(command.group) {
            Some(partition) => partition.asked.push(command),
            None => Some(command),
        }
    }

    /// Sends a session's own read on its way, which may be answered stale but must see what was
    /// acknowledged before what `after` says; gives it back likewise.
    pub(crate) fn read_stale(
        &self,
        mut read: Command,
        after: impl FnOnce() -> Option<Instant>,
    ) -> Option<Command> {
        let partition = self.partition(read.group);
        match partition.and_then(|partition| partition.stale_tenure(after)) {
            Some(tenure) => {
                (read.tenure, read.is_stale) = (tenure, true);
                self.reads.push(read).err()
            }
            None => self.read(read),
        }
    }

    /// Sends what may change something on its way; gives it back likewise.
    pub(crate) fn write(&self, command: Command) -> Option<Command> {
        match self.partition(command.group) {
            Some(partition) => partition.proposals.push(command),
            None => Some(command),
        }
    }

    /// For each group the place in the order of writes up to which the engine has all durably.
    pub(crate) fn watermarks(&self) -> BTreeMap<GroupId, u64> {
        let durable = |of: &Arc<Partition>| (of.group, of.durable.load(Ordering::Acquire));
        self.partitions.iter().map(durable).collect()
    }

    /// How many commands wait to be proposed.
    pub(crate) fn waiting_writes(&self) -> usize {
        self.partitions.iter().map(|partition| partition.proposals.waiting()).sum()
    }
}
