//! `larder cache`: the memory engine, served.

use std::process::ExitCode;
use std::sync::Arc;

use larder_cache::Options;
use tracing::info;

use crate::backend::CacheBackend;
use crate::config::{CacheConfig, Note};
use crate::failure::Failure;
use crate::node::{self, Node};

/// Serves a cache until it is told to stop.
pub(crate) fn run(config: &CacheConfig, notes: &[Note]) -> Result<ExitCode, Failure> {
    if config.node.daemon && !config.node.role.detached {
        return node::launch();
    }
    let node = Node::prepare("cache", &config.node, notes, 0)?;
    info!(megabytes = config.memory_limit_mb, evict = config.evict, "memory for items");
    let cache = CacheBackend::new(Options {
        memory_limit: config.memory_limit_mb << 20,
        evict: config.evict,
        ..Options::default()
    });
    node.serve(Arc::new(cache))?;
    Ok(ExitCode::SUCCESS)
}
