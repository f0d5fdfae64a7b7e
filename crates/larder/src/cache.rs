//! `larder cache`: the memory engine, served.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use larder_cache::{Cache, Options};
use tracing::{info, warn};

use crate::backend::CacheBackend;
use crate::config::{CacheConfig, Note};
use crate::failure::Failure;
use crate::node::{self, Node};

/// Serves a cache until it is told to stop.
pub(crate) fn run(config: &CacheConfig, notes: &[Note]) -> Result<ExitCode, Failure> {
    if let Some(member) = &config.member {
        let listen = &member.place.listen;
        return Err(Failure::usage(format!(
            "--peer-listen {listen}: no cluster of caches yet; leave it out"
        )));
    }
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
    let file = config.memory_file.as_deref();
    let cache = Arc::new(match file {
        Some(path) => open(path, &options)?,
        None => Cache::new(&options),
    });
    node.serve(Arc::new(CacheBackend::of(Arc::clone(&cache), options)))?;
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
