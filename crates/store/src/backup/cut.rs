//! A cut of a cluster, for who asked for it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use larder_peer::{CallError, Credentials, Link, Settings};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::call::{BACKUP, Call, Reply, decode, encode};
use crate::placement::{GroupId, NodeId};

/// All items of a cluster, as they were at one moment, see the module's documentation. The nodes that
/// led its groups then keep them until this is [ended](Self::end), or dropped for a minute: meanwhile
/// they take back no room of what is overwritten.
pub struct Cut {
    cluster: String,
    cluster_id: u64,
    id: u64,
    keepers: BTreeMap<GroupId, Arc<Keeper>>,
    /// Has the nodes keep what is not asked for yet.
    keeps: AbortHandle,
}

/// Of what a cut is to be taken.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// The name of the cluster.
    pub(crate) cluster: String,
    /// What it drew when it was founded.
    pub(crate) cluster_id: u64,
    /// Who leads each of its groups.
    pub(crate) leaders: BTreeMap<GroupId, Leader>,
}

/// Who leads a group.
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    /// Where other nodes reach it.
    pub(crate) address: String,
}

/// Some items of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// One after the other, each as [`Item::take`](super::Item::take) reads it.
    pub items: Vec<u8>,
    /// Whether no more follow.
    pub is_last: bool,
}

/// A node that keeps something.
struct Keeper {
    name: String,
    address: String,
    link: Link,
}

impl Cut {
    /// Takes one, if all groups are led by those who are said to.
    pub(crate) async fn take(
        id: u64,
        scene: Scene,
        credentials: &Credentials,
    ) -> Result<Self, String> {
        let Scene { cluster, cluster_id, leaders } = scene;
        let mut nodes = BTreeMap::new();
        let mut keepers = BTreeMap::new();
        for (group, Leader { node, name, address }) in leaders {
            let keeper = nodes.entry(node).or_insert_with(|| {
                let (me, settings) = (credentials.clone(), Settings::default());
                let link = Link::open(&address, Some(node), me, settings);
                Arc::new(Keeper { name, address, link })
            });
            keepers.insert(group, Arc::clone(keeper));
        }
        let nodes: Vec<_> = nodes.into_values().collect();
        // Before any holds back: none is to wait until another can be reached.
        try_join_all(nodes.iter().map(|node| node.done(Call::Keep { cut: id }))).await?;
        let taken = take_all(id, &keepers).await;
        let end = match taken {
            Ok(()) => Call::GoOn { cut: id },
            Err(_) => Call::Drop { cut: id },
        };
        // Who does not hear it goes on by itself.
        join_all(nodes.iter().map(|node| node.done(end.clone()))).await;
        taken?;
        let keeps = tokio::spawn(async move {
            loop {
                sleep(KEEP).await;
                join_all(nodes.iter().map(|node| node.done(Call::Keep { cut: id }))).await;
            }
        });
        let keeps = keeps.abort_handle();
        Ok(Self { cluster, cluster_id, id, keepers, keeps })
    }

    /// The name of the cluster.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// What the cluster drew when it was founded.
    pub fn cluster_id(&self) -> u64 {
        self.cluster_id
    }

    /// What was drawn for this cut.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The groups that there are.
    pub fn groups(&self) -> impl Iterator<Item = u64> {
        self.keepers.keys().copied()
    }

    /// A part of a group's items. Parts are asked for in their order, from 0 on, one at a time.
    ///
    /// # Errors
    ///
    /// There is no such group, or the node that keeps its items does not answer, or no longer keeps
    /// them, or cannot read them.
    pub async fn part(&self, group: u64, number: u64) -> Result<Part, String> {
        let keeper =
            self.keepers.get(&group).ok_or_else(|| format!("there is no group {group}"))?;
        let call = Call::Part { cut: self.id, group, number };
        let deadline = Instant::now() + PART_PATIENCE;
        loop {
            let (why, lost) = match keeper.ask(&call).await {
                Ok(Reply::Part { items, is_last }) => return Ok(Part { items, is_last }),
                Ok(other) => (format!("the answer is to something else: {other:?}"), false),
                Err(error @ CallError::Refused(_)) => (error.to_string(), false),
                // What was asked for twice is the same: only a link was lost, perhaps.
                Err(error) => (error.to_string(), true),
            };
            if !lost || Instant::now() >= deadline {
                return Err(keeper.failed(&why));
            }
            sleep(PAUSE).await;
        }
    }

    /// Has the nodes let go of it.
    pub async fn end(self) {
        self.keeps.abort();
        let mut keepers: BTreeMap<_, _> = BTreeMap::new();
        for keeper in self.keepers.values() {
            keepers.insert(keeper.address.clone(), Arc::clone(keeper));
        }
        // Who does not hear it lets go in a minute.
        join_all(keepers.values().map(|node| node.done(Call::Drop { cut: self.id }))).await;
    }
}

/// Has all hold back, and once all do, keep what they have.
async fn take_all(cut: u64, keepers: &BTreeMap<GroupId, Arc<Keeper>>) -> Result<(), String> {
    let hold = |(group, keeper): (&GroupId, &Arc<Keeper>)| {
        let (keeper, group) = (Arc::clone(keeper), *group);
        async move { keeper.done(Call::Hold { cut, group }).await }
    };
    try_join_all(keepers.iter().map(hold)).await?;
    let take = |(group, keeper): (&GroupId, &Arc<Keeper>)| {
        let (keeper, group) = (Arc::clone(keeper), *group);
        async move { keeper.done(Call::Take { cut, group }).await }
    };
    try_join_all(keepers.iter().map(take)).await.map(drop)
}

impl Keeper {
    async fn ask(&self, call: &Call) -> Result<Reply, CallError> {
        let refused = |error: larder_peer::Refusal| CallError::Refused(error.0.into());
        let body: Bytes = encode(call).map_err(refused)?;
        let answer = self.link.call(BACKUP, body, Instant::now() + PATIENCE).await?;
        decode(&answer).map_err(refused)
    }

    async fn done(&self, call: Call) -> Result<(), String> {
        self.ask(&call).await.map(drop).map_err(|error| self.failed(&error))
    }

    fn failed(&self, why: &dyn fmt::Display) -> String {
        format!("{} ({}): {why}", self.name, self.address)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.keeps.abort();
    }
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cut").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How long a node may take to answer: it may have to read a part from a busy disk.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a node that keeps something may be out of reach. One that was restarted keeps nothing.
const PART_PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(200);
/// So often nodes are told to keep what is not asked for yet.
const KEEP: Duration = Duration::from_secs(10);
