//! `larder cache`: the memory engine, served.

use std::future::ready;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use larder_cache::{Cache, Options};
use larder_cluster::{Cluster, Clustered, Member, Secret, Settings, Stage};
use tracing::{info, warn};

use crate::backend::CacheBackend;
use crate::config::{CacheConfig, CacheMember, Note};
use crate::failure::Failure;
use crate::node::{self, Node};
use crate::peers;

/// Serves a cache until it is told to stop.
pub(crate) fn run(config: &CacheConfig, notes: &[Note]) -> Result<ExitCode, Failure> {
    if config.node.daemon && !config.node.role.detached {
        return node::launch();
    }
    let node = Node::prepare("cache", &config.node, notes, 0)?;
    info!(megabytes = config.memory_limit_mb, evict = config.evict, "memory for items");
    let options = Options {
        memory_limit: config.memory_limit_mb << 20,
        evict: config.evict,
        ..Options::default()
    };
    let door = config.member.as_ref().map(|member| peers::listen(&member.place)).transpose()?;
    let file = config.memory_file.as_deref();
    let cache = Arc::new(match file {
        Some(path) => open(path, &options)?,
        None => Cache::new(&options),
    });
    let backend = Arc::new(CacheBackend::of(Arc::clone(&cache), options));
    match config.member.as_ref().zip(door) {
        None => node.serve(backend, ready(()))?,
        Some((member, door)) => serve_among(node, config, member, door, &cache, backend)?,
    }
    if let Some(path) = file {
        cache.close().map_err(|error| {
            let file = path.display();
            Failure::system(format!(
                "-e {file}: {error}; its items are good until the machine stops"
            ))
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the cas uniques of a node of a cluster begin is less than this, by chance: clients that have one of a
/// node that is lost must not find that it is another item's at the next. As many are left until they
/// take more memory.
const FIRST_CAS: u64 = (1 << 39) - 1;

/// Serves a cache as one of a cluster until it is told to stop.
fn serve_among(
    mut node: Node<'_>,
    config: &CacheConfig,
    member: &CacheMember,
    (listener, secret): (TcpListener, Secret),
    cache: &Cache,
    backend: Arc<CacheBackend>,
) -> Result<(), Failure> {
    let CacheMember { place, seeds, .. } = member;
    cache.skip_cas(rand::random::<u64>() & FIRST_CAS);
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let me = Member {
        name: place.name.as_str().into(),
        run: u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX),
        client_address: place.client_address.as_str().into(),
        peer_address: place.peer_address.as_str().into(),
        weight: member.weight,
        zone: place.zone.as_str().into(),
        stage: Stage::Coming,
    };
    me.check().map_err(|error| Failure::usage(format!("--peer-listen: {error}")))?;
    let settings = Settings {
        cluster: place.cluster.clone(),
        secret,
        seeds: seeds.clone(),
        timeout: Duration::from_millis(member.peer_timeout_ms),
        gutter: member.gutter_ttl_secs,
        warm_up: Duration::from_secs(member.warm_up_secs),
        hot_ttl: Duration::from_millis(member.hot_ttl_ms),
        // Each thread has its part of the clients.
        hot_rate: f64::from(member.hot_rate)
            / f64::from(u32::try_from(config.node.threads).unwrap_or(u32::MAX).max(1)),
        max_value: usize::try_from(config.node.item_size_max).unwrap_or(usize::MAX),
        threads: config.node.threads,
        clock: larder_server::now,
    };
    let joined = node.await_opened(move || Cluster::start(listener, me, backend, settings))?;
    let Some(cluster) = joined else { return Ok(()) };
    let cluster = cluster.map_err(|error| Failure::system(format!("--peer-listen: {error}")))?;
    info!(cluster = place.cluster, name = place.name, "of the cluster");
    let backend = Arc::new(Clustered::new(Arc::clone(&cluster)));
    let served = node.serve(backend, cluster.retire());
    cluster.stop();
    served
}

/// Opens the cache of a file, and tells what it had.
fn open(path: &Path, options: &Options) -> Result<Cache, Failure> {
    let began = Instant::now();
    let (cache, restored) = Cache::open(options, path, larder_server::now())
        .map_err(|error| Failure::system(format!("-e {}: {error}", path.display())))?;
    let file = path.display();
    if let Some(why) = restored.unusable {
        warn!(%file, "nothing is kept of the memory file: {why}");
    }
    if restored.damaged > 0 {
        warn!(%file, items = restored.damaged, "items in the memory file were damaged, and are gone");
    }
    info!(
        %file,
        items = restored.items,
        megabytes = restored.bytes >> 20,
        expired = restored.expired,
        milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "memory file opened"
    );
    Ok(cache)
}
