//! The life of a cluster: who belongs to it, who has a replica of which group, and how that changes
//! while it is used.
//!
//! All nodes take part in group 0, whose history is the [placement](crate::placement): those that have
//! a seat there with a vote, the others without. Its leader looks how each group stands, and has it
//! become what the placement says, a step at a time. Nothing else changes who takes part in a group.
//!
//! - `node`, `charter`, `file`: who a node is to be, and is for good
//! - `arrival`, `stranger`: how it comes to be of a cluster
//! - `register`, `proposal`: the machine of group 0, and what it does
//! - `local`: this node's part in it
//! - `call`: what nodes ask each other
//! - `plan`, `driver`, `step`: what is to be done next, who has it done, and who does it
//! - `hosting`: the groups of this node
//! - `announcement`: how others come to know where this node is, and it where they are
//! - `status`, `admin`: how it is, and what those who look after it ask for
//!
//! # On disk
//!
//! | name | what |
//! |---|---|
//! | `CHARTER` | who this node is |
//! | `PLACEMENT` | what group 0 has agreed on, and its mark |
//!
//! # What always holds
//!
//! A node has one identity, drawn before it was let in and kept with all it has. One that comes back
//! without is another: it is let in under another name, or as the one that takes the first one's
//! place. So nobody votes who has forgotten that it has voted.
//!
//! A node erases its replica of a group only by an order that follows, in terms of group 0, all that
//! had it take part; and orders are given by who has been confirmed as the leader since it looked. The
//! members of a group change only if they are those that were seen.

mod admin;
mod announcement;
mod arrival;
mod call;
mod charter;
mod driver;
mod file;
mod hosting;
mod local;
mod node;
mod plan;
mod proposal;
mod register;
mod status;
mod step;
mod stranger;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use larder_consensus::{Group, GroupLog, Peers, Place, Transport};
use larder_peer::{PeerId, Refusal};
use parking_lot::Mutex as ShortMutex;
use tokio::sync::{Mutex, Notify};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};

use self::call::{Call, No, Reply};
use self::driver::Driver;
use self::local::{Local, Obedience};
use self::proposal::What;
use self::register::Register;
use crate::error::Error;
use crate::placement::{NodeId, PLACEMENT, Placement};

pub use admin::{Admin, AdminError};
pub(crate) use arrival::arrive;
pub(crate) use call::CLUSTER;
pub(crate) use charter::{Admission, Archive, Charter};
pub(crate) use hosting::{Hosted, Hosting};
pub use node::{Entrance, Node};
pub use status::{ClusterStatus, GroupStatus, LogSize, NodeStatus, Trouble};

/// This node's part in a cluster.
pub(crate) struct Cluster {
    local: Arc<Local>,
    tasks: ShortMutex<JoinSet<()>>,
}

/// What a part in a cluster needs.
pub(crate) struct Opening<'a> {
    /// Where its files are.
    pub(crate) directory: &'a Path,
    /// A directory of group 0's own, for views while they come.
    pub(crate) views: &'a Path,
    pub(crate) node: &'a Node,
    /// As [`arrive`] has given it.
    pub(crate) charter: Charter,
    /// Of group 0.
    pub(crate) log: GroupLog,
    pub(crate) peers: Arc<Peers>,
    pub(crate) hosting: Arc<dyn Hosting>,
}

impl Cluster {
    /// Takes part in the cluster that the charter says, and founds it if it does not exist yet and
    /// this node is to. Its groups are open by then.
    ///
    /// # Errors
    ///
    /// The disk's, or what is on it is damaged.
    pub(crate) async fn open(opening: Opening<'_>) -> Result<Self, Error> {
        let Opening { directory, views, node, charter, log, peers, hosting } = opening;
        let not_let_in = || Error::Member { detail: "it was not let in yet".to_owned() };
        let admission = charter.admission.ok_or_else(not_let_in)?;
        let (register, ledger) = Register::open(directory, arrival::draw())?;
        log.fits(register.last_mark()).map_err(Error::Log)?;
        if let Some(placement) = ledger.placement() {
            announcement::locate(&peers, &placement);
        }
        let place = Place { group: PLACEMENT, node: admission.node, directory: views };
        let transport: Arc<dyn Transport> = Arc::<Peers>::clone(&peers);
        let group = Group::open(place, log, register, transport).await;
        let group = Arc::new(group.map_err(Error::io("go on with group 0 in", directory))?);
        if !admission.founds {
            group.abstain_while_empty();
        }
        let member = node.member(charter.identity);
        let archive = Archive::new(directory);
        let obedience = Obedience { archive, charter, last: HashMap::new() };
        let local = Arc::new(Local {
            cluster: node.cluster.clone(),
            admission,
            group,
            ledger,
            peers,
            hosting,
            obedience: Arc::new(Mutex::new(obedience)),
            survey: ShortMutex::default(),
            leaves: AtomicBool::new(false),
            refusal: OnceLock::new(),
            wake: Notify::new(),
        });
        if admission.founds {
            local.found(node, &member).await?;
            local.has_founded().await?;
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(announcement::follow(Arc::clone(&local)));
        tasks.spawn(announcement::announce(Arc::clone(&local), member));
        tasks.spawn(Driver::new(Arc::clone(&local)).run());
        Ok(Self { local, tasks: ShortMutex::new(tasks) })
    }

    /// Group 0, for those who reach it by the network.
    pub(crate) fn group(&self) -> Arc<Group> {
        Arc::clone(&self.local.group)
    }

    /// The number of this node.
    pub(crate) fn node(&self) -> NodeId {
        self.local.node()
    }

    /// Whether a link to another node is open.
    pub(crate) fn is_connected(&self, node: NodeId) -> bool {
        self.local.peers.is_connected(node)
    }

    /// The placement, as far as this node knows it.
    pub(crate) fn placement(&self) -> Option<Arc<Placement>> {
        self.local.placement()
    }

    /// Why the cluster does not let this node take part any more: it was removed while it was away.
    pub(crate) fn refusal(&self) -> Option<&str> {
        self.local.refusal.get().map(String::as_str)
    }

    /// Answers a [call about the cluster](CLUSTER).
    pub(crate) fn answer(
        &self,
        peer: &PeerId,
        body: &Bytes,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + use<> {
        let (local, caller, call) = (Arc::clone(&self.local), peer.id, call::decode(body));
        async move {
            let answer = match call? {
                Call::Who => {
                    let cluster_id = local.admission.cluster_id;
                    Ok(Reply::Node { cluster_id, node: local.node() })
                }
                Call::Ask { request, passed } => local.ask(request, passed).await,
                Call::Here { address } => {
                    local.peers.locate([(caller, address)]);
                    Ok(Reply::Taken)
                }
                Call::Report => Ok(Reply::Report(local.report())),
                Call::Take(order) => local.take(order).await,
            };
            call::encode(&answer).map_err(|error| Refusal(error.to_string()))
        }
    }

    /// Has others lead what this node leads, and leads nothing any more, as it is about to stop.
    /// Returns when that is so, or after a while. Whether it is so.
    pub(crate) async fn leave(&self, patience: Duration) -> bool {
        self.local.leave(patience).await
    }

    /// Takes part no longer.
    pub(crate) async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
        // What had stopped it before was told then.
        let _ = self.local.group.stop().await;
    }
}

impl Local {
    /// Founds the cluster, unless that has been done.
    async fn found(&self, node: &Node, member: &crate::placement::Member) -> Result<(), Error> {
        let failed = |detail: &dyn fmt::Display| Error::Member { detail: detail.to_string() };
        if self.placement().is_some() {
            return Ok(());
        }
        if !self.group.is_founded().await.map_err(|error| failed(&error))? {
            let members = BTreeMap::from([(self.node(), member.peer_address.clone())]);
            self.group.found(members).await.map_err(|error| failed(&error))?;
        }
        while self.group.confirm().await.is_err() {
            if let Some(why) = self.group.failure() {
                return Err(failed(&why));
            }
            sleep(Duration::from_millis(1)).await;
        }
        if self.placement().is_some() {
            return Ok(());
        }
        let Entrance::Found { replicas, .. } = node.entrance else {
            return Err(failed(
                &"it was to found the cluster, and was stopped: have it do so again",
            ));
        };
        // What was said the first time: keys are divided by it here already.
        let groups = usize::from(self.admission.groups);
        let hosting = Arc::clone(&self.hosting);
        // Before anybody can know of them: who finds a placement finds its groups.
        let host =
            move || (1..=groups as u64).try_for_each(|group| hosting.host(group, Hosted::Founded));
        spawn_blocking(host).await.map_err(io::Error::other).map_err(|error| failed(&error))??;
        let what = What::Found { groups, replicas, member: member.clone() };
        let reign = self.group.reign().ok_or_else(|| failed(&No::Leaderless))?;
        match self.propose(what, reign).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(refusal)) => Err(failed(&refusal)),
            Err(no) => Err(failed(&no)),
        }
    }

    /// Never again: who has lost what it had would found another cluster of the same name.
    async fn has_founded(&self) -> Result<(), Error> {
        let mut obedience = Arc::clone(&self.obedience).lock_owned().await;
        let kept = spawn_blocking(move || {
            let Obedience { archive, charter, .. } = &mut *obedience;
            charter.admission = charter.admission.map(|told| Admission { founds: false, ..told });
            archive.keep(charter)
        });
        kept.await.map_err(|error| Error::Member { detail: error.to_string() })?
    }

    async fn leave(&self, patience: Duration) -> bool {
        self.leaves.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + patience;
        loop {
            let mut leads = false;
            for (_, group) in self.groups() {
                let standing = group.standing();
                if standing.leader != Some(self.node()) {
                    continue;
                }
                // The one that lacks least takes over soonest.
                let others = standing
                    .matched
                    .iter()
                    .filter(|(other, _)| **other != self.node() && standing.has_vote(**other));
                let Some((to, _)) = others.max_by_key(|(_, matched)| **matched) else { continue };
                leads = true;
                let left = deadline.saturating_duration_since(Instant::now());
                // What fails is tried again, as long as there is time.
                let _ = group.hand_over(*to, left.min(Duration::from_secs(1))).await;
            }
            if !leads || Instant::now() >= deadline {
                return !leads;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
