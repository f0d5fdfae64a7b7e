//! `larder proxy`: routes without data, served.

use std::future::ready;
use std::process::ExitCode;
use std::sync::Arc;

use larder_proxy::Proxy;
use tracing::{info, warn};

use crate::config::{Note, ProxyConfig};
use crate::failure::Failure;
use crate::node::{self, Node};

/// Files for connections to nodes.
const UPSTREAM_FILES: u64 = 1024;

/// Passes on what clients ask until it is told to stop.
pub(crate) fn run(config: &ProxyConfig, notes: &[Note]) -> Result<ExitCode, Failure> {
    let table = config.table().map_err(Failure::usage)?;
    if config.node.daemon && !config.node.role.detached {
        return node::launch();
    }
    let node = Node::prepare("proxy", &config.node, notes, UPSTREAM_FILES)?;
    let (pools, routes) = table.count();
    info!(pools, routes, "routes read");
    let proxy = Arc::new(Proxy::new(table));
    let (read, reread) = (config.clone(), Arc::clone(&proxy));
    node.on_hangup(move || reload(&reread, &read));
    node.serve(proxy, ready(()))?;
    Ok(ExitCode::SUCCESS)
}

/// Takes the table up anew, whole or not at all.
fn reload(proxy: &Proxy, config: &ProxyConfig) {
    let reloaded =
        config.table().and_then(|table| proxy.reload(table).map_err(|error| error.to_string()));
    match reloaded {
        Ok(changes) => info!("SIGHUP: routes read anew; {changes}"),
        Err(why) => {
            proxy.refuse();
            warn!("SIGHUP: the routes stay as they were: {why}");
        }
    }
}
