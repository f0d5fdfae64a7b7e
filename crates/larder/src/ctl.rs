//! `larder ctl`: those who look after a cluster, and what they want of it.
//!
//! - `report`: how a cluster is
//! - `backup`, `restore`: its items in files, and back, to whichever cluster
//! - `archive`: what those files are
//! - `dump`, `load`: the same as text, which other servers know
//! - `import`: what another server has
//! - `sender`: commands on their way to nodes
//! - `text`: items as commands
//! - `steady`: files that keep no other waiting for the disk
//! - `progress`: how far it is

mod archive;
mod backup;
mod dump;
mod import;
mod load;
mod progress;
mod report;
mod restore;
mod sender;
mod steady;
mod text;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use larder_protocol::Seconds;
use larder_store::{Admin, AdminError, ClusterStatus, Item, Secret};
use tokio::runtime::{Builder, Runtime};
use tokio::task::spawn_blocking;

use crate::config::{CtlConfig, reachable};
use crate::failure::Failure;
use crate::flags::StoreAction;

/// Has a durable cluster do what is asked, and waits until it is so.
pub(crate) fn store(config: &CtlConfig, action: &StoreAction) -> Result<ExitCode, Failure> {
    let secret = Secret::load(&config.secret_file)
        .map_err(|error| Failure::usage(format!("--cluster-secret-file: {error}")))?;
    runtime()?.block_on(async {
        let admin = Admin::connect(&config.cluster, &secret, &config.nodes)?;
        act(&admin, action).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Says whether a backup is whole, which needs no cluster.
pub(crate) fn verify(directory: &Path) -> Result<ExitCode, Failure> {
    let archive = restore::verify(directory)?;
    say(&restore::describe(&archive));
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::system(format!("cannot wait: {error}")))
}

async fn act(admin: &Admin, action: &StoreAction) -> Result<(), Failure> {
    let version = match action {
        StoreAction::Status { json } => {
            let status = admin.status().await?;
            say(&if *json { report::json(&status) } else { report::text(&status) });
            return Ok(());
        }
        StoreAction::Backup { directory } => return backup::take(admin, directory).await,
        StoreAction::Restore { directory, merge } => {
            return restore::restore(admin, directory, *merge).await;
        }
        StoreAction::Dump { file } => return dump::dump(admin, file).await,
        StoreAction::Load { file } => return load::load(admin, file).await,
        StoreAction::Import { from } => {
            let from = reachable("--from", from, MEMCACHED_PORT)?;
            return import::import(admin, &from).await;
        }
        StoreAction::Verify { directory } => return verify(directory).map(drop),
        StoreAction::Drain { name } => admin.drain(name, true).await,
        StoreAction::Undrain { name } => admin.drain(name, false).await,
        StoreAction::Remove { name, lost } => admin.remove(name, *lost).await,
        StoreAction::Replace { name, by } => admin.replace(name, by).await,
        StoreAction::Rebalance => admin.rebalance().await,
        StoreAction::Replicas { number } => {
            admin.set_replicas(usize::try_from(*number).unwrap_or(usize::MAX)).await
        }
    };
    let version = version?;
    say(&format!("agreed (version {version}); waiting until it is so\n"));
    let mut last = String::new();
    let status = admin.wait(version, |heard| {
        let lines = match heard {
            Ok(status) => report::progress(status),
            Err(error) => format!("  {error}\n"),
        };
        if lines != last {
            say(&lines);
            last = lines;
        }
    });
    let status = status.await?;
    say(&done(&status));
    Ok(())
}

fn done(status: &ClusterStatus) -> String {
    format!("done: {} nodes, {} groups\n", status.nodes.len(), status.groups.len())
}

/// Where clients reach the nodes that answer.
async fn clients(admin: &Admin) -> Result<Vec<String>, Failure> {
    let status = admin.status().await?;
    let nodes = status.nodes.into_iter().filter(|node| node.answers);
    let addresses: Vec<_> = nodes.map(|node| node.client_address).collect();
    if addresses.is_empty() {
        return Err(Failure::system("no node of the cluster answers"));
    }
    Ok(addresses)
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Senseless(_) => Self::usage(error.to_string()),
            _ => Self::system(error.to_string()),
        }
    }
}

/// Does what may wait for a disk: who waits longer for this than nodes have patience for would be taken
/// for dead.
async fn on_a_thread<T: Send + 'static>(
    what: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = spawn_blocking(what).await;
    done.unwrap_or_else(|error| Err(Failure::system(error.to_string())))
}

/// The items of a part of a cut, or of a block of a backup.
fn read_items(bytes: &[u8]) -> impl Iterator<Item = Result<Item<'_>, Failure>> {
    Item::all(bytes).map(|item| item.map_err(|why| Failure::system(why.to_string())))
}

/// The second that it is.
fn now() -> Seconds {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // Good until 2106.
    Seconds::try_from(since.unwrap_or_default().as_secs()).unwrap_or(Seconds::MAX)
}

/// Nobody may be reading any more.
fn say(text: &str) {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).ok();
}

/// Of servers that are named without a port.
const MEMCACHED_PORT: u16 = 11211;
