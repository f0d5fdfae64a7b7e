//! This node's part in a group.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use larder_consensus::{
    Answer, Group, GroupLog, Kind, Machine, Peers, Place, Reign, Transport, Unproposed,
};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::cluster::LogSize;
use crate::directory::Seat;
use crate::placement::GroupId;

/// This node's part in a group. Its calls may wait for the disk or for others: none of them is for a worker
/// that serves clients.
pub(crate) struct Replica {
    group: Arc<Group>,
    /// Whether another is about to lead.
    passing: Arc<AtomicBool>,
    among_others: bool,
    runtime: Handle,
}

/// What a replica among others needs besides.
pub(crate) struct Others {
    /// This node's number.
    pub(crate) node: u64,
    pub(crate) peers: Arc<Peers>,
    /// Where others reach it.
    pub(crate) address: String,
}

/// Which part a node has in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It leads.
    Leads(Reign),
    /// Another leads.
    Follows(Reign),
    /// It does not know who leads.
    Waits,
    /// It takes part no longer.
    Gone,
}

impl Replica {
    /// Takes part in a group of one, begun here if it never was. Returns when all that was ever
    /// acknowledged is in the machine.
    pub(crate) fn open_alone(
        number: GroupId,
        machine: impl Machine,
        log: GroupLog,
        views: &Path,
        runtime: Handle,
    ) -> io::Result<Self> {
        let place = Place { group: number, node: ALONE, directory: views };
        let group = runtime.block_on(async {
            let group = Group::open(place, log, machine, Arc::new(Nobody)).await?;
            settle(be_alone(&group).await, group).await
        })?;
        Ok(Self::new(group, false, runtime))
    }

    /// Takes part in a group of several, who may not be there yet.
    pub(crate) fn open_among(
        others: &Others,
        seat: Seat,
        number: GroupId,
        machine: impl Machine,
        log: GroupLog,
        views: &Path,
        runtime: Handle,
    ) -> io::Result<Self> {
        let node = others.node;
        let place = Place { group: number, node, directory: views };
        let transport: Arc<dyn Transport> = Arc::<Peers>::clone(&others.peers);
        let group = runtime.block_on(async {
            let group = Group::open(place, log, machine, transport).await?;
            if seat == Seat::Admitted {
                group.abstain_while_empty();
            }
            settle(be_node(&group, others, seat).await, group).await
        })?;
        Ok(Self::new(group, true, runtime))
    }

    fn new(group: Group, among_others: bool, runtime: Handle) -> Self {
        Self { group: Arc::new(group), passing: Arc::default(), among_others, runtime }
    }

    /// The group, for those who reach it by the network.
    pub(crate) fn group(&self) -> Arc<Group> {
        Arc::clone(&self.group)
    }

    /// Which part this node has in the group, as far as it knows.
    pub(crate) fn part(&self) -> Part {
        match self.group.reign() {
            _ if self.group.has_stopped() => Part::Gone,
            // It leads, and takes nothing.
            Some(reign) if self.group.is_over(reign) => Part::Waits,
            Some(reign) if reign.leader == self.group.node() => Part::Leads(reign),
            // Who is alone has nobody to ask.
            Some(reign) if self.among_others => Part::Follows(reign),
            _ => Part::Waits,
        }
    }

    /// Proposes an entry in this reign, behind all that was proposed before. `lost` is told if the machine
    /// will not do it, or may not, or has not after so long.
    pub(crate) async fn propose(
        &self,
        entry: Bytes,
        reign: Reign,
        patience: Duration,
        lost: impl FnOnce(Unproposed) + Send + 'static,
    ) {
        let mut lost = Lost(Some(lost));
        match self.group.propose(entry, reign).await {
            Ok(done) => {
                drop(self.runtime.spawn(async move {
                    match timeout(patience, done).await {
                        Ok(Ok(())) => lost.is_not(),
                        Ok(Err(why)) => lost.tell(why),
                        Err(_) => {}
                    }
                }));
            }
            Err(why) => lost.tell(why),
        }
    }

    /// Who leads and since when, as far as it knows.
    pub(crate) fn reign(&self) -> Option<Reign> {
        self.group.reign()
    }

    /// Where a member is reached, as far as it knows.
    pub(crate) fn address(&self, member: u64) -> Option<String> {
        self.group.address(member)
    }

    /// Whether this node is a member of the group, as far as it knows.
    pub(crate) fn is_member(&self) -> bool {
        self.group.address(self.group.node()).is_some()
    }

    /// Whether it may answer a read though nobody else was asked.
    pub(crate) fn leads_alone(&self) -> bool {
        self.group.leads_alone()
    }

    /// Whether all that was acknowledged before this was called is in the machine. Returns when that is
    /// known, or is not after so long.
    pub(crate) async fn confirm(&self, patience: Duration) -> bool {
        self.leads_alone() || matches!(timeout(patience, self.group.confirm()).await, Ok(Ok(())))
    }

    /// The index of the last entry that may have been acknowledged before this was called; `None` if a
    /// majority does not say that this node leads.
    pub(crate) async fn read_index(&self) -> Option<u64> {
        self.group.read_index().await.ok()
    }

    /// Whether the machine has done the entry of this index. Returns when it has, or has not after so long.
    pub(crate) async fn reach(&self, index: u64, patience: Duration) -> bool {
        self.group.reach(index, patience).await
    }

    /// Makes the machine durable.
    pub(crate) async fn persist(&self) -> io::Result<()> {
        self.group.persist().await
    }

    /// Makes the machine durable, and forgets the history before that, but for what a log of this size
    /// keeps for others.
    pub(crate) async fn forget_history(&self, log: LogSize) -> io::Result<()> {
        let kept = if self.among_others { kept(log) } else { 0 };
        let from = self.group.held_by_all().filter(|_| !log.is_long());
        self.group.forget_history(kept, from).await
    }

    /// The last entry that the machine has done.
    pub(crate) fn applied(&self) -> Option<u64> {
        self.group.applied()
    }

    /// Forgets all history that the machine has durably.
    #[cfg(test)]
    pub(crate) fn group_forgets_all(&self) {
        self.runtime.block_on(self.group.forget_history(0, None)).unwrap();
    }

    /// Why it takes part no longer.
    pub(crate) fn failure(&self) -> Option<String> {
        self.group.failure()
    }

    /// Has another lead that lacks little, if this one does. That is under way when this returns.
    pub(crate) fn pass_on(&self) {
        let (group, passing) = (self.group(), Arc::clone(&self.passing));
        if !passing.swap(true, Ordering::AcqRel) {
            drop(self.runtime.spawn(async move {
                pass_on(&group).await;
                passing.store(false, Ordering::Release);
            }));
        }
    }

    /// Has another lead, and takes part no longer.
    pub(crate) async fn retire(&self) -> io::Result<()> {
        pass_on(&self.group).await;
        self.group.stop().await
    }

    /// Takes part no longer.
    pub(crate) fn stop(&self) {
        // What had stopped it before was told then.
        let _ = self.runtime.block_on(self.group.stop());
    }
}

/// Begins a group of one if it never was, and waits until all that was ever acknowledged is in the
/// machine.
async fn be_alone(group: &Group) -> io::Result<()> {
    if !group.is_founded().await? {
        group.found(BTreeMap::from([(ALONE, String::new())])).await?;
    }
    let members = group.members().await?;
    if !members.keys().eq([&ALONE]) {
        return Err(io::Error::other(format!(
            "it belongs to a cluster, with nodes {:?}: open it as the one of them that it is",
            members.keys()
        )));
    }
    while group.confirm().await.is_err() {
        if let Some(why) = group.failure() {
            return Err(io::Error::other(why));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Begins a group, alone for now, if it never was and this node is to do so.
async fn be_node(group: &Group, others: &Others, seat: Seat) -> io::Result<()> {
    let Others { node, address, .. } = others;
    if !group.is_founded().await? {
        return match seat {
            Seat::Founded => group.found(BTreeMap::from([(*node, address.clone())])).await,
            Seat::Admitted => Ok(()),
        };
    }
    let members = group.members().await?;
    // Only who is alone has no address.
    if members.values().any(String::is_empty) {
        return Err(io::Error::other(format!(
            "it belongs to the nodes {:?}, and is not to be node {node} of a cluster",
            members.keys()
        )));
    }
    Ok(())
}

/// Has another lead that lacks little, if this one does and there is such.
async fn pass_on(group: &Group) {
    let (node, standing) = (group.node(), group.standing());
    let near = |node: &u64| {
        let matched = standing.matched.get(node).copied().unwrap_or(0);
        (matched > 0 && matched + NEAR >= standing.last).then_some((matched, *node))
    };
    let voters = standing.voters.iter().flatten().filter(|voter| **voter != node);
    let mut voters: Vec<_> = voters.filter_map(near).collect();
    voters.sort_unstable();
    voters.dedup();
    for (_, to) in voters.into_iter().rev() {
        let leads = group.reign().is_some_and(|reign| reign.leader == node);
        // One that does not take over may be dead.
        if !leads || group.hand_over(to, HANDED_OVER).await.is_ok() {
            return;
        }
    }
}

/// A group that is not what it is to be takes part in nothing.
async fn settle(checked: io::Result<()>, group: Group) -> io::Result<Group> {
    if let Err(why) = checked {
        // What had stopped it before is why.
        let _ = group.stop().await;
        return Err(why);
    }
    Ok(group)
}

/// Whom to tell that an entry is lost. If nothing is heard of it any more, it may be.
struct Lost<F: FnOnce(Unproposed)>(Option<F>);

impl<F: FnOnce(Unproposed)> Lost<F> {
    /// It was done.
    fn is_not(&mut self) {
        self.0 = None;
    }

    fn tell(&mut self, why: Unproposed) {
        if let Some(lost) = self.0.take() {
            lost(why);
        }
    }
}

impl<F: FnOnce(Unproposed)> Drop for Lost<F> {
    fn drop(&mut self) {
        self.tell(Unproposed::Unknown);
    }
}

/// Wires to no other node.
struct Nobody;

impl Transport for Nobody {
    fn call(&self, _: u64, _: &str, _: Kind, _: Bytes, _: Duration) -> Answer {
        Box::pin(async { Err(io::ErrorKind::HostUnreachable.into()) })
    }
}

/// How many entries are kept for others though the machine has them durably: all as long as the log has
/// half of what it may, and from there on less the more it has, since entries can be of any size.
fn kept(log: LogSize) -> u64 {
    let half = (log.limit / 2).max(1);
    let left = log.limit.saturating_sub(log.bytes).min(half);
    (KEPT.saturating_mul(left) / half).max(NEAR)
}

/// How long one that is to lead may take.
const HANDED_OVER: Duration = Duration::from_millis(500);
/// Who lacks no more entries has them at once, and they are kept however long the log is.
const NEAR: u64 = 100;
/// The number of a node alone.
const ALONE: u64 = 1;
/// Entries that are kept though the machine has them durably and all others too, if there is room: one of
/// them may lead next, and know of another that lacks some.
const KEPT: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_the_log_the_less_is_kept_for_others() {
        for (bytes, entries) in
            [(0, KEPT), (500, KEPT), (750, KEPT / 2), (999, NEAR), (1000, NEAR), (9000, NEAR)]
        {
            assert_eq!(kept(LogSize { bytes, limit: 1000 }), entries, "{bytes}");
        }
        assert_eq!(kept(LogSize { bytes: 0, limit: 0 }), NEAR);
    }
}
