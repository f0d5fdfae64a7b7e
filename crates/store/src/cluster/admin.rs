//! What those who look after a cluster ask of it.

use std::fmt;
use std::time::Duration;

use larder_peer::{Secret, Settings};
use tokio::time::{Instant, sleep};

use super::arrival::draw;
use super::call::{Reply, Request};
use super::status::{ClusterStatus, GroupStatus};
use super::stranger::{Stranger, Unanswered};
use crate::backup::{Cut, Leader, Scene};
use crate::placement::PLACEMENT;

/// What those who look after a cluster ask of it, through whichever node answers.
///
/// What changes who is to have what returns the [version](ClusterStatus::version) that has it, as soon
/// as that is agreed on. [`wait`](Self::wait) returns when it is so. Dropped before, it will be so
/// all the same.
pub struct Admin {
    stranger: Stranger,
}

/// Why something that was asked for is not known to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminError {
    /// The cluster refuses: who asks acts.
    Refused(String),
    /// No node could do it; nothing was changed. Who runs the nodes acts.
    Unavailable(String),
    /// It may have been done, or be done yet: the status tells.
    Unknown(String),
    /// The name of the cluster is none. Who configures this acts.
    Senseless(String),
}

impl Admin {
    /// Of the cluster of this name and secret, some of whose nodes are at these addresses: those of
    /// the nodes, not those for clients. Does not wait for them.
    ///
    /// # Errors
    ///
    /// No cluster has such a name.
    ///
    /// # Panics
    ///
    /// It is called outside of a tokio runtime.
    pub fn connect(
        cluster: &str,
        secret: &Secret,
        addresses: &[String],
    ) -> Result<Self, AdminError> {
        let stranger = Stranger::new(cluster, "admin", secret, addresses, &Settings::default());
        let stranger = stranger.map_err(|error| AdminError::Senseless(error.to_string()))?;
        Ok(Self { stranger })
    }

    /// How the cluster is.
    ///
    /// # Errors
    ///
    /// Nobody knows.
    pub async fn status(&self) -> Result<ClusterStatus, AdminError> {
        match self.stranger.ask(&Request::Status, true, LOOKED).await? {
            Reply::Status(status) => Ok(status),
            other => Err(senseless(&other)),
        }
    }

    /// Has a node have no replicas any more, so that it can be removed; or lets it have some again.
    ///
    /// # Errors
    ///
    /// It is refused, or not known to be done.
    pub async fn drain(&self, name: &str, drains: bool) -> Result<u64, AdminError> {
        self.change(Request::Drain { name: name.to_owned(), drains }).await
    }

    /// Forgets a node for good: one that has nothing any more, or is `lost` with what it had.
    ///
    /// # Errors
    ///
    /// It is refused, or not known to be done.
    pub async fn remove(&self, name: &str, lost: bool) -> Result<u64, AdminError> {
        self.change(Request::Remove { name: name.to_owned(), lost }).await
    }

    /// Has another node take the place of one, which is then forgotten for good.
    ///
    /// # Errors
    ///
    /// It is refused, or not known to be done.
    pub async fn replace(&self, name: &str, by: &str) -> Result<u64, AdminError> {
        self.change(Request::Replace { name: name.to_owned(), by: by.to_owned() }).await
    }

    /// Has all nodes have as many replicas, but for one.
    ///
    /// # Errors
    ///
    /// It is refused, or not known to be done.
    pub async fn rebalance(&self) -> Result<u64, AdminError> {
        self.change(Request::Rebalance).await
    }

    /// Has each group have so many replicas.
    ///
    /// # Errors
    ///
    /// It is refused, or not known to be done.
    pub async fn set_replicas(&self, replicas: usize) -> Result<u64, AdminError> {
        self.change(Request::SetReplicas(replicas)).await
    }

    /// Takes a cut of all that the cluster has. Writes wait for it, some milliseconds each time that it
    /// is tried, and a second at most.
    ///
    /// # Errors
    ///
    /// It is refused; or some group has no leader, or another than a moment ago, however often it is
    /// tried.
    pub async fn cut(&self) -> Result<Cut, AdminError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let scene = match self.status().await {
                Ok(status) => scene(status),
                // Another may be about to lead group 0.
                Err(AdminError::Unavailable(why)) => Err(why),
                Err(error) => return Err(error),
            };
            let taken = match scene {
                Ok(scene) => Cut::take(draw(), scene, self.stranger.credentials()).await,
                Err(why) => Err(why),
            };
            match taken {
                Ok(cut) => return Ok(cut),
                Err(why) if Instant::now() >= deadline => return Err(AdminError::Unavailable(why)),
                // What is known of who leads may be a second old.
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Returns once all groups are where they are to be by this version or a later one. Until then
    /// `progress` is told what is going on, and while nobody knows, why.
    ///
    /// # Errors
    ///
    /// The cluster refuses to tell.
    pub async fn wait(
        &self,
        version: u64,
        mut progress: impl FnMut(Result<&ClusterStatus, &AdminError>),
    ) -> Result<ClusterStatus, AdminError> {
        loop {
            match self.status().await {
                Ok(status) if status.version >= version && status.holds => return Ok(status),
                Ok(status) => progress(Ok(&status)),
                Err(error @ (AdminError::Refused(_) | AdminError::Senseless(_))) => {
                    return Err(error);
                }
                Err(error) => progress(Err(&error)),
            }
            sleep(PAUSE).await;
        }
    }

    async fn change(&self, request: Request) -> Result<u64, AdminError> {
        match self.stranger.ask(&request, false, PATIENCE).await? {
            Reply::Changed(version) => Ok(version),
            other => Err(senseless(&other)),
        }
    }
}

/// Who leads all groups.
fn scene(status: ClusterStatus) -> Result<Scene, String> {
    let groups = status.groups.iter().filter(|group| group.group != PLACEMENT);
    let leader = |group: &GroupStatus| {
        let leader = status.nodes.iter().find(|node| Some(node.node) == group.leader);
        let leader = leader.ok_or_else(|| format!("nobody leads group {}", group.group))?;
        let (name, address) = (leader.name.clone(), leader.peer_address.clone());
        Ok((group.group, Leader { node: leader.node, name, address }))
    };
    let leaders = groups.map(leader).collect::<Result<_, String>>()?;
    Ok(Scene { cluster: status.cluster, cluster_id: status.id, leaders })
}

fn senseless(reply: &Reply) -> AdminError {
    AdminError::Unknown(format!("the answer is to something else: {reply:?}"))
}

impl From<Unanswered> for AdminError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Refused(why) => Self::Refused(why),
            Unanswered::InVain(why) => Self::Unavailable(why),
            Unanswered::Unknown(why) => Self::Unknown(why),
        }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Unavailable(why) => write!(f, "not done: {why}"),
            Self::Unknown(why) => write!(f, "it is not known whether it was done: {why}"),
            Self::Senseless(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for AdminError {}

/// How long nodes may take to say how the cluster is: another leads in less.
const LOOKED: Duration = Duration::from_secs(2);
/// How long nodes are asked until one knows who leads.
const PATIENCE: Duration = Duration::from_secs(10);
/// So often it is asked whether it holds.
const PAUSE: Duration = Duration::from_millis(200);
