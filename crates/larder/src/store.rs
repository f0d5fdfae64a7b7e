//! `larder store`: the durable engine, served.

use std::process::ExitCode;
use std::sync::Arc;

use larder_store::{Options, Store};
use tracing::info;

use crate::backend::StoreBackend;
use crate::config::{Note, StoreConfig};
use crate::failure::Failure;
use crate::node::{self, Node};

/// Files the engine keeps open, at most.
const ENGINE_FILES: u64 = 1024;

/// Serves a store until it is told to stop.
pub(crate) fn run(config: &StoreConfig, notes: &[Note]) -> Result<ExitCode, Failure> {
    if config.node.daemon && !config.node.role.detached {
        return node::launch();
    }
    let node = Node::prepare("store", &config.node, notes, ENGINE_FILES)?;
    let options = Options { cache_bytes: config.memory_limit_mb << 20, ..Options::default() };
    let place = config.data_dir.display();
    let store = Store::open(&config.data_dir, options)
        .map(Arc::new)
        .map_err(|error| Failure::system(format!("--data-dir {place}: {error}")))?;
    info!(megabytes = config.memory_limit_mb, data = %place, "store opened");
    node.serve(Arc::new(StoreBackend::new(Arc::clone(&store))))?;
    // No session is left, so this is the last of it.
    Arc::into_inner(store)
        .map_or(Ok(()), Store::close)
        .map_err(|error| Failure::system(format!("--data-dir {place}: {error}")))?;
    Ok(ExitCode::SUCCESS)
}
