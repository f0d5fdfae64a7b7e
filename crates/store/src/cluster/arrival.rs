//! How a node comes to be of a cluster.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::time::Duration;

use larder_peer::{BadCredentials, Settings};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::call::{Reply, Request};
use super::charter::{Admission, Archive, Charter};
use super::node::{Entrance, Node};
use super::stranger::{Stranger, Unanswered};
use crate::error::Error;
use crate::placement::MAX_REPLICAS;
use crate::slots::SLOTS;

/// The charter of a node: the one in its directory, or a new one, once the node has founded its
/// cluster or was let in. Asks as long as that takes: who wants no longer to wait drops the future, and
/// what was told by then is told again the next time.
///
/// # Errors
///
/// The directory is another node's, or damaged; or the node is refused, and will be again.
pub(crate) async fn arrive(
    directory: &Path,
    node: &Node,
    settings: &Settings,
) -> Result<Charter, Error> {
    let archive = Archive::new(directory);
    let (found, cluster, name) = (archive.clone(), node.cluster.clone(), node.name.clone());
    let found = blocking(directory, move || found.find(&cluster, &name)).await?;
    if let Some(charter) = &found
        && charter.admission.is_some()
    {
        return Ok(charter.clone());
    }
    let drawn = || Charter {
        cluster: node.cluster.clone(),
        name: node.name.clone(),
        identity: draw(),
        admission: None,
        orders_of: 0,
    };
    let mut charter = found.unwrap_or_else(drawn);
    let admission = match &node.entrance {
        Entrance::Found { groups, replicas, unless } => {
            let groups = refuse_senseless(*groups, *replicas)?;
            refuse_second(node, unless, settings).await?;
            Admission { cluster_id: draw(), node: FOUNDER, groups, founds: true }
        }
        Entrance::Join(addresses) => {
            // Before anybody is told: or who is let in might be another after a crash.
            keep(directory, &archive, &charter).await?;
            join(node, addresses, charter.identity, settings).await?
        }
    };
    charter.admission = Some(admission);
    keep(directory, &archive, &charter).await?;
    Ok(charter)
}

/// A number that nobody else draws, and not 0.
pub(crate) fn draw() -> u64 {
    RandomState::new().hash_one(()).max(1)
}

fn refuse_senseless(groups: usize, replicas: usize) -> Result<u16, Error> {
    let Some(groups) = u16::try_from(groups).ok().filter(|groups| (1..=SLOTS).contains(groups))
    else {
        let detail = format!("{groups} groups: it must be 1 to {SLOTS}");
        return Err(Error::Member { detail });
    };
    if !(1..=MAX_REPLICAS).contains(&replicas) {
        let detail = format!("{replicas} replicas: it must be 1 to {MAX_REPLICAS}");
        return Err(Error::Member { detail });
    }
    Ok(groups)
}

/// Two clusters of one name would each have a part of what clients write.
async fn refuse_second(node: &Node, unless: &[String], settings: &Settings) -> Result<(), Error> {
    let stranger = Stranger::new(&node.cluster, &node.name, &node.secret, unless, settings);
    let Some((address, reply)) = stranger.map_err(|error| bad(&error))?.find().await else {
        return Ok(());
    };
    let Reply::Node { node: other, .. } = reply else { return Ok(()) };
    let detail = format!(
        "the cluster {:?} is founded already: node {other} of it is at {address}; join it instead",
        node.cluster
    );
    Err(Error::Member { detail })
}

async fn join(
    node: &Node,
    addresses: &[String],
    identity: u64,
    settings: &Settings,
) -> Result<Admission, Error> {
    let stranger = Stranger::new(&node.cluster, &node.name, &node.secret, addresses, settings);
    let stranger = stranger.map_err(|error| bad(&error))?;
    let request = Request::Join(node.member(identity));
    loop {
        match stranger.ask(&request, true, COMPLAINT).await {
            Ok(Reply::Admitted(admission)) => {
                info!("this is node {} of the cluster {:?} now", admission.node, node.cluster);
                return Ok(admission);
            }
            Err(Unanswered::Refused(why)) => {
                let detail = format!("the cluster does not let {:?} in: {why}", node.name);
                return Err(Error::Member { detail });
            }
            Err(Unanswered::InVain(why) | Unanswered::Unknown(why)) => {
                warn!("not let into the cluster {:?} yet, asking on: {why}", node.cluster);
            }
            Ok(_) => {
                let detail = "the cluster answers something else than was asked".to_owned();
                return Err(Error::Member { detail });
            }
        }
    }
}

fn bad(error: &BadCredentials) -> Error {
    Error::Member { detail: error.to_string() }
}

async fn keep(directory: &Path, archive: &Archive, charter: &Charter) -> Result<(), Error> {
    let (archive, charter) = (archive.clone(), charter.clone());
    blocking(directory, move || archive.keep(&charter)).await
}

/// Work that waits for the disk.
async fn blocking<T: Send + 'static>(
    directory: &Path,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = spawn_blocking(work).await;
    done.map_err(io::Error::other).map_err(Error::io("use", directory))?
}

/// The number of who founds a cluster.
const FOUNDER: u64 = 1;
/// So often it is said why a node is not let in.
const COMPLAINT: Duration = Duration::from_secs(10);
