//! What a local cluster runs on.

use std::path::{Path, PathBuf};

use super::node::{absolute, given, integer, path};
use super::{Setting, Tier};
use crate::failure::Failure;
use crate::flags::UpFlags;

/// What `larder up` runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpConfig {
    /// Ports of the cache nodes. Default: 11211 to 11213.
    pub(crate) cache_ports: Vec<u16>,
    /// Ports at which they reach each other. Default: 21211 to 21213.
    pub(crate) cache_peer_ports: Vec<u16>,
    /// Ports of the store nodes. Default: 21201 to 21203.
    pub(crate) store_ports: Vec<u16>,
    /// Ports at which those reach each other. Default: 31201 to 31203.
    pub(crate) peer_ports: Vec<u16>,
    /// Memory for items of each cache node, in megabytes of 2^20 bytes. Default: 64.
    pub(crate) memory_limit_mb: u64,
    /// Directory of data and logs. Default: `larder-data` in the working directory.
    pub(crate) data: PathBuf,
}

impl UpConfig {
    /// Resolves `flags`.
    pub(crate) fn resolve(flags: &UpFlags) -> Result<Self, Failure> {
        let (caches, stores) = (flags.nodes.unwrap_or(3), flags.store_nodes.unwrap_or(3));
        let cache_ports = ports("--cache-port", flags.cache_port.unwrap_or(11211), caches, &[])?;
        let store_ports =
            ports("--store-port", flags.store_port.unwrap_or(21201), stores, &[&cache_ports])?;
        let first = flags.cache_peer_port.unwrap_or(Tier::Cache.peer_port().into());
        let others = [&cache_ports[..], &store_ports];
        let cache_peer_ports = ports("--cache-peer-port", first, caches, &others)?;
        let first = flags.peer_port.unwrap_or(Tier::Store.peer_port().into());
        let others = [&cache_ports[..], &store_ports, &cache_peer_ports];
        let peer_ports = ports("--peer-port", first, stores, &others)?;
        let data = given(flags.data.as_deref());
        Ok(Self {
            cache_ports,
            cache_peer_ports,
            store_ports,
            peer_ports,
            memory_limit_mb: flags.memory_limit.unwrap_or(64),
            data: absolute(data.unwrap_or(Path::new("larder-data")))?,
        })
    }

    /// The options by their long names.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let first = |ports: &[u16]| integer(ports.first().copied().unwrap_or(0));
        vec![
            ("nodes", integer(self.cache_ports.len())),
            ("cache-port", first(&self.cache_ports)),
            ("cache-peer-port", first(&self.cache_peer_ports)),
            ("store-nodes", integer(self.store_ports.len())),
            ("store-port", first(&self.store_ports)),
            ("peer-port", first(&self.peer_ports)),
            ("memory-limit", integer(self.memory_limit_mb)),
            ("data", path(Some(&self.data))),
        ]
    }
}

/// As many ports as there are nodes, from the first on, which none of the others have.
fn ports(flag: &str, first: u64, nodes: u64, taken: &[&[u16]]) -> Result<Vec<u16>, Failure> {
    let last = first + nodes - 1;
    let ports: Result<Vec<_>, _> = (first..=last).map(u16::try_from).collect();
    let ports = ports.map_err(|_| {
        Failure::usage(format!(
            "{flag} {first}: {nodes} nodes need ports up to {last}, and 65535 is the last; choose \
             a smaller one"
        ))
    })?;
    match ports.iter().find(|port| taken.iter().any(|taken| taken.contains(port))) {
        Some(port) => Err(Failure::usage(format!(
            "{flag} {first}: another node has {port} of the ports {first} to {last}; choose others"
        ))),
        None => Ok(ports),
    }
}
