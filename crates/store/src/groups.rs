//! All groups of data, as this node takes part in them or reaches who does.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use bytes::Bytes;
use larder_consensus::{Group, Log, Reception, Reign};
use larder_peer::CallError;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;

use crate::applier::Applier;
use crate::cluster::{self, Hosting, LogSize, Trouble};
use crate::command::Command;
use crate::directory::{Directory, Seat};
use crate::error::Error;
use crate::failure;
use crate::guide::Guide;
use crate::partition::Partition;
use crate::placement::{GroupId, NodeId, PLACEMENT, Placement};
use crate::replica::{Others, Part, Replica};
use crate::shared::Shared;
use crate::state::Kept;

/// All groups of data: the replicas that this node has, which may come and go while it runs, and where
/// the others are led.
///
/// Whether it has a replica is said by the note in its directory, which is made before the first trace
/// of one, and taken back before the first trace is erased: so a crash leaves a replica that is whole
/// and takes part, or one that takes part in nothing and whose rest is erased before there is another.
pub(crate) struct Groups {
    hosted: RwLock<BTreeMap<GroupId, Hosted>>,
    /// Held while they come or go.
    changing: Mutex<()>,
    others: Option<Others>,
    guide: Option<Arc<Guide>>,
    reception: Arc<Reception>,
    runtime: Handle,
    // Let go last, in this order: the engine's files, the log, the lock of the directory.
    shared: Arc<Shared>,
    log: Arc<Log>,
    directory: Arc<Directory>,
}

/// A replica, and what waits for the end of its machine.
struct Hosted {
    replica: Arc<Replica>,
    machine: Ended,
}

/// Waits when it is dropped until the other end is.
struct Ended(Mutex<Receiver<()>>);

impl Groups {
    /// Takes part in no group yet.
    pub(crate) fn new(
        shared: Arc<Shared>,
        log: Arc<Log>,
        directory: Arc<Directory>,
        others: Option<Others>,
        runtime: Handle,
    ) -> Self {
        let guide = others.as_ref().map(|others| {
            Arc::new(Guide::new(others.node, Arc::clone(&others.peers), runtime.clone()))
        });
        let (hosted, changing, reception) = Default::default();
        Self { hosted, changing, others, guide, reception, runtime, shared, log, directory }
    }

    /// Takes part in the groups that the note says, from what is kept of each, and erases what is left
    /// of others.
    ///
    /// # Errors
    ///
    /// The disk's, or one of the groups is not this node's. Then it takes part in none.
    pub(crate) fn open(
        &self,
        seats: &BTreeMap<GroupId, Seat>,
        kept: BTreeMap<GroupId, Kept>,
    ) -> Result<(), Error> {
        self.open_all(seats, kept).inspect_err(|_| self.stop())
    }

    /// Has this node take part in a group, with nothing at first.
    pub(crate) fn host(&self, group: GroupId, seat: Seat) -> Result<(), Error> {
        let _alone = self.changing.lock();
        let Some(partition) = self.shared.ways.partition(group) else {
            return Err(self.no_such(group));
        };
        if self.replica(group).is_some() {
            return Ok(());
        }
        // What a drop that failed has left would be taken for its history.
        self.erase(group)?;
        // One that was noted of what was given up would be missed.
        self.directory.note_watermarks(|| self.shared.ways.watermarks())?;
        let mut seats = self.directory.seats()?;
        seats.insert(group, seat);
        self.directory.note_seats(&seats)?;
        self.take_part(partition, seat, Kept::default())
    }

    /// Takes part in a group no longer, and erases what there is of it. Only what takes no part in it any
    /// more by its other members' will is given up: with it goes a vote.
    pub(crate) fn give_up(&self, group: GroupId) -> Result<(), Error> {
        let _alone = self.changing.lock();
        let Some(partition) = self.shared.ways.partition(group) else {
            return Err(self.no_such(group));
        };
        let mut seats = self.directory.seats()?;
        if seats.remove(&group).is_some() {
            self.directory.note_seats(&seats)?;
        }
        self.reception.remove(group);
        let hosted = self.hosted.write().remove(&group);
        if let Some(hosted) = hosted {
            hosted.replica.stop();
            hosted.end();
        }
        partition.freshness.end_tenure();
        partition.begin(Kept::default().state);
        self.erase(group)
    }

    /// This node's replica of a group, if it has one.
    pub(crate) fn replica(&self, group: GroupId) -> Option<Arc<Replica>> {
        self.hosted.read().get(&group).map(|hosted| Arc::clone(&hosted.replica))
    }

    /// All replicas of this node.
    pub(crate) fn replicas(&self) -> Vec<Arc<Replica>> {
        self.hosted.read().values().map(|hosted| Arc::clone(&hosted.replica)).collect()
    }

    /// Which part this node has in a group, as far as it knows. What it is no member of is to it as
    /// what it has no replica of, and so is one that has stopped.
    pub(crate) fn part(&self, group: GroupId) -> Part {
        let replica = self.replica(group);
        let Some(guide) = &self.guide else {
            return replica.map_or(Part::Gone, |replica| replica.part());
        };
        if self.shared.health.poisoned() == Some(failure::REMOVED) {
            return Part::Gone;
        }
        match replica.filter(|replica| replica.is_member()).map(|replica| replica.part()) {
            // It may be a member no longer, and nobody has told it.
            Some(Part::Follows(reign)) if guide.is_refuted(group, reign) => {}
            // One that has stopped is as none.
            Some(Part::Gone) | None => {}
            Some(Part::Leads(_)) if self.leaves(group) => return Part::Waits,
            Some(part) => return part,
        }
        guide.reign(group).map_or(Part::Waits, Part::Follows)
    }

    /// Whether this node is to lead a group no longer: it cannot read an item of it, or its disk has
    /// failed, and there are others.
    pub(crate) fn leaves(&self, group: GroupId) -> bool {
        let partition = self.shared.ways.partition(group);
        let is_left = || partition.is_some_and(|of| of.is_left());
        (self.shared.health.is_poisoned() || is_left())
            && self.others.is_some()
            && self.replica(group).is_some_and(|replica| !replica.leads_alone())
    }

    /// Has another lead a group, if this node does and there is one that can.
    pub(crate) fn pass_on(&self, group: GroupId) {
        if let Some(replica) = self.replica(group) {
            replica.pass_on();
        }
    }

    /// Has others lead what this node leads, and takes part in nothing any longer that others have: who
    /// asks here is sent to them.
    pub(crate) fn retire(&self) {
        self.each(|replica| async move {
            if replica.leads_alone() { Ok(()) } else { replica.retire().await }
        });
    }

    /// Sends a call to who leads a group, behind all that were sent before, and has `done` take the answer
    /// on another thread, or that there is none after so long.
    pub(crate) fn forward<F: Future<Output = ()> + Send>(
        &self,
        group: GroupId,
        reign: Reign,
        kind: u8,
        body: Bytes,
        patience: Duration,
        done: impl FnOnce(Result<Bytes, CallError>) -> F + Send + 'static,
    ) {
        let _runtime = self.runtime.enter();
        let known = || self.guide.as_ref()?.address(group, reign);
        let replica = self.replica(group);
        let address = replica.and_then(|replica| replica.address(reign.leader)).or_else(known);
        let call = self.others.as_ref().zip(address).map(|(Others { peers, .. }, address)| {
            peers.ask(reign.leader, &address, kind, body, patience)
        });
        drop(self.runtime.spawn(async move {
            let answer = match call {
                Some(call) => call.await,
                None => Err(CallError::NotSent("it has no address".into())),
            };
            done(answer).await;
        }));
    }

    /// How this node reaches others.
    #[cfg(test)]
    pub(crate) fn peers(&self) -> Option<&larder_consensus::Peers> {
        self.others.as_ref().map(|others| &*others.peers)
    }

    /// Who is to be told that another does not lead a group as was thought.
    pub(crate) fn guide(&self) -> Option<&Arc<Guide>> {
        self.guide.as_ref()
    }

    /// How other nodes reach the groups here.
    pub(crate) fn reception(&self) -> &Arc<Reception> {
        &self.reception
    }

    /// For how long a command may wait for a leader.
    pub(crate) fn patience(&self) -> Duration {
        if self.others.is_some() { self.shared.options.leader_within } else { Duration::MAX }
    }

    /// How long a majority, or another node, may take for commands: as long as the first of them may
    /// wait. What is sent is given some time all the same, or nobody would learn what became of it.
    pub(crate) fn left(&self, commands: &[Command]) -> Duration {
        let patience = self.patience();
        let left = commands.first().map_or(patience, |command| command.left(patience));
        left.max(LEAST)
    }

    /// The longest entry that others take, in bytes.
    pub(crate) fn max_entry(&self) -> usize {
        if self.others.is_some() { MAX_ENTRY } else { usize::MAX }
    }

    /// Where all is that this node has.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What waits for the others runs here.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Does `what` with all replicas at once. Gives what has failed.
    pub(crate) fn each<F: Future<Output = io::Result<()>> + Send + 'static>(
        &self,
        what: impl Fn(Arc<Replica>) -> F,
    ) -> Vec<io::Error> {
        let tasks = self.replicas().into_iter().map(|replica| self.runtime.spawn(what(replica)));
        let tasks: Vec<_> = tasks.collect();
        let mut failed = Vec::new();
        for task in tasks {
            let done = self.runtime.block_on(task);
            failed.extend(done.unwrap_or_else(|why| Err(io::Error::other(why))).err());
        }
        failed
    }

    /// Why one of the replicas takes part no longer.
    pub(crate) fn failure(&self) -> Option<String> {
        self.hosted.read().values().find_map(|hosted| hosted.replica.failure())
    }

    /// Takes part in nothing any longer.
    pub(crate) fn stop(&self) {
        self.each(|replica| async move { replica.group().stop().await });
    }

    fn open_all(
        &self,
        seats: &BTreeMap<GroupId, Seat>,
        mut kept: BTreeMap<GroupId, Kept>,
    ) -> Result<(), Error> {
        let logged = self.log.groups().map_err(Error::Log)?;
        for partition in self.shared.ways.partitions() {
            let group = partition.group;
            if let Some(seat) = seats.get(&group) {
                self.take_part(partition, *seat, kept.remove(&group).unwrap_or_default())?;
            } else if logged.contains(&group)
                || !self.shared.storage.scan(group, &[], 1)?.is_empty()
            {
                self.erase(group)?;
            }
        }
        Ok(())
    }

    fn take_part(&self, partition: &Arc<Partition>, seat: Seat, kept: Kept) -> Result<(), Error> {
        let group = partition.group;
        let log = self.log.group(group).map_err(Error::Log)?;
        let views = self.directory.views(group)?;
        let (ended, end) = mpsc::channel();
        partition.published.publish(kept.state);
        let applier = Applier::new(Arc::clone(&self.shared), Arc::clone(partition), kept, ended);
        let runtime = self.runtime.clone();
        let replica = match &self.others {
            None => Replica::open_alone(group, applier, log, &views, runtime),
            Some(others) => Replica::open_among(others, seat, group, applier, log, &views, runtime),
        };
        let machine = Ended(Mutex::new(end));
        let replica = replica.map_err(Error::io("go on with", &self.directory.log()))?;
        let replica = Arc::new(replica);
        self.reception.add(group, replica.group());
        self.hosted.write().insert(group, Hosted { replica, machine });
        Ok(())
    }

    /// Erases all that there is of a group here. Should it be interrupted, it is begun anew.
    fn erase(&self, group: GroupId) -> Result<(), Error> {
        self.log.forget(group).map_err(Error::Log)?;
        self.shared.erase(group, None)?;
        self.shared.storage.persist()?;
        self.directory.remove_views(group)
    }

    fn no_such(&self, group: GroupId) -> Error {
        let groups = self.shared.ways.groups();
        Error::Member { detail: format!("there is no group {group} among {groups}") }
    }
}

impl Hosting for Groups {
    fn host(&self, group: GroupId, how: cluster::Hosted) -> Result<(), Error> {
        self.host(
            group,
            match how {
                cluster::Hosted::Founded => Seat::Founded,
                cluster::Hosted::Admitted => Seat::Admitted,
            },
        )
    }

    fn give_up(&self, group: GroupId) -> Result<(), Error> {
        self.give_up(group)
    }

    fn groups(&self) -> Vec<(GroupId, Arc<Group>)> {
        let hosted = self.hosted.read();
        hosted.iter().map(|(group, hosted)| (*group, hosted.replica.group())).collect()
    }

    fn trouble(&self) -> Option<Trouble> {
        let (poisoned, why) = self.shared.health.trouble()?;
        Some(Trouble { poisoned, why: why.to_string() })
    }

    fn log(&self) -> LogSize {
        let (room, reserve) = self.shared.health.space();
        let spare = room.map(|room| room.saturating_sub(reserve));
        let limit = self.shared.options.log_limit(spare);
        LogSize { bytes: self.log.stats().used_bytes, limit }
    }

    fn placed(&self, placement: &Placement) {
        let Some(guide) = &self.guide else { return };
        let address = |node: &NodeId| {
            let member = placement.members().get(node)?;
            Some((*node, member.peer_address.clone()))
        };
        let groups = placement.groups().filter(|(group, _)| *group != PLACEMENT);
        guide.place(
            groups.map(|(group, seats)| (group, seats.iter().filter_map(address).collect())),
        );
    }
}

impl Hosted {
    /// Returns when the machine is gone: the replica has been stopped, or what it runs on has.
    fn end(self) {
        drop(self.replica);
        drop(self.machine);
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for (group, hosted) in std::mem::take(&mut *self.hosted.write()) {
            self.reception.remove(group);
            hosted.end();
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // Nothing is ever sent.
        let _ = self.0.get_mut().recv();
    }
}

/// The longest entry that goes from node to node, in bytes.
const MAX_ENTRY: usize = 24 << 20;
/// A majority answers in this time, if it does: the worst sync of a busy disk takes 400 ms.
const LEAST: Duration = Duration::from_millis(500);
