//! `larder store`: the durable engine, served.

use std::future::ready;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use larder_store::{Entrance, Node as Member, Options, Store};
use tracing::info;

use crate::backend::StoreBackend;
use crate::config::{Note, StoreConfig, StoreMember};
use crate::failure::Failure;
use crate::flags::value::{Reserve, StaleReads};
use crate::node::{self, Node};
use crate::peers;

/// Files the engine keeps open, at most.
const ENGINE_FILES: u64 = 1024;

/// Serves a store until it is told to stop.
pub(crate) fn run(config: &StoreConfig, notes: &[Note]) -> Result<ExitCode, Failure> {
    if config.node.daemon && !config.node.role.detached {
        return node::launch();
    }
    let mut node = Node::prepare("store", &config.node, notes, ENGINE_FILES)?;
    let defaults = Options::default();
    let log_limit = config.member.as_ref().map(|member| member.log_limit_mb << 20);
    let options = Options {
        cache_bytes: config.memory_limit_mb << 20,
        reserve_bytes: match config.reserve {
            Reserve::Auto => None,
            Reserve::Bytes(bytes) => Some(bytes),
        },
        checkpoint_every: Duration::from_secs(config.checkpoint_interval_secs),
        stale_reads: config.member.as_ref().and_then(stale_reads),
        clock: Some(larder_server::now),
        log_limit_bytes: log_limit.unwrap_or(defaults.log_limit_bytes),
        ..defaults
    };
    let place = config.data_dir.display();
    let place_in = config.member.as_ref().map(member).transpose()?;
    let directory = config.data_dir.clone();
    let opened = node.await_opened(move || match place_in {
        None => Store::open(directory, options),
        Some((listener, node)) => Store::open_among(directory, options, listener, node),
    })?;
    let Some(store) = opened else { return Ok(ExitCode::SUCCESS) };
    let store =
        store.map(Arc::new).map_err(|error| Failure::system(format!("--data-dir: {error}")))?;
    info!(megabytes = config.memory_limit_mb, data = %place, "store opened");
    node.serve(Arc::new(StoreBackend::new(Arc::clone(&store))), ready(()))?;
    let store = Arc::into_inner(store).ok_or_else(|| {
        // No session is left, so this should be the last of it.
        Failure::system(format!(
            "--data-dir: {place} was not closed, something still uses it; what was answered is \
             kept, look for trouble in the log"
        ))
    })?;
    store.close().map_err(|error| Failure::system(format!("--data-dir: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

/// How old what reads see may be.
fn stale_reads(config: &StoreMember) -> Option<Duration> {
    match config.stale_reads {
        StaleReads::Off => None,
        StaleReads::WithinMs(ms) => Some(Duration::from_millis(ms)),
    }
}

/// Where other nodes reach this one, and what it is to them.
fn member(config: &StoreMember) -> Result<(TcpListener, Member), Failure> {
    let place = &config.place;
    let (listener, secret) = peers::listen(place)?;
    let join = config.join.clone();
    let entrance = if config.founds {
        Entrance::Found { groups: config.groups, replicas: config.replicas, unless: join }
    } else {
        Entrance::Join(join)
    };
    let member = Member {
        cluster: place.cluster.clone(),
        secret,
        name: place.name.clone(),
        zone: place.zone.clone(),
        peer_address: place.peer_address.clone(),
        client_address: place.client_address.clone(),
        entrance,
    };
    Ok((listener, member))
}
