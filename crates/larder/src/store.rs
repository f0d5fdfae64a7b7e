//! `larder store`: the durable engine, served.

use std::process::ExitCode;
use std::sync::Arc;

use larder_store::{Options, Store};
use tracing::info;

use crate::backend::StoreBackend;
use crate::config::{Note, StoreConfig};
use crate::failure::Failure;
use crate::flags::value::Reserve;
use crate::node::{self, Node};

/// Files the engine keeps open, at most.
const ENGINE_FILES: u64 = 1024;

/// Serves a store until it is told to stop.
pub(crate) fn run(config: &StoreConfig, notes: &[Note]) -> Result<ExitCode, Failure> {
    if config.node.daemon && !config.node.role.detached {
        return node::launch();
    }
    let node = Node::prepare("store", &config.node, notes, ENGINE_FILES)?;
    let options = Options {
        cache_bytes: config.memory_limit_mb << 20,
        reserve_bytes: match config.reserve {
            Reserve::Auto => None,
            Reserve::Bytes(bytes) => Some(bytes),
        },
        ..Options::default()
    };
    let place = config.data_dir.display();
    let store = Store::open(&config.data_dir, options)
        .map(Arc::new)
        .map_err(|error| Failure::system(format!("--data-dir: {error}")))?;
    info!(megabytes = config.memory_limit_mb, data = %place, "store opened");
    node.serve(Arc::new(StoreBackend::new(Arc::clone(&store))))?;
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
