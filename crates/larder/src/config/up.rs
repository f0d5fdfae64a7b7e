//! What a local cluster runs on.

use std::path::{Path, PathBuf};

use super::Setting;
use super::node::{absolute, given, integer, path};
use crate::failure::Failure;
use crate::flags::UpFlags;

/// What `larder up` runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpConfig {
    /// Ports of the cache nodes. Default: 11211 to 11213.
    pub(crate) cache_ports: Vec<u16>,
    /// Port of the store node. Default: 21201.
    pub(crate) store_port: u16,
    /// Memory for items of each cache node, in megabytes of 2^20 bytes. Default: 64.
    pub(crate) memory_limit_mb: u64,
    /// Directory of data and logs. Default: `larder-data` in the working directory.
    pub(crate) data: PathBuf,
}

impl UpConfig {
    /// Resolves `flags`.
    pub(crate) fn resolve(flags: &UpFlags) -> Result<Self, Failure> {
        let nodes = flags.nodes.unwrap_or(3);
        let first = flags.cache_port.unwrap_or(11211);
        let cache_ports = (first..first + nodes)
            .map(u16::try_from)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| {
                Failure::usage(format!(
                    "--cache-port {first}: {nodes} nodes need ports up to {}, and 65535 is the \
                     last; choose a smaller one",
                    first + nodes - 1
                ))
            })?;
        let store_port =
            flags.store_port.and_then(|port| u16::try_from(port).ok()).unwrap_or(21201);
        if cache_ports.contains(&store_port) {
            return Err(Failure::usage(format!(
                "--store-port {store_port}: a cache node has it, they take {first} to {}; choose \
                 another",
                first + nodes - 1
            )));
        }
        let data = given(flags.data.as_deref());
        Ok(Self {
            cache_ports,
            store_port,
            memory_limit_mb: flags.memory_limit.unwrap_or(64),
            data: absolute(data.unwrap_or(Path::new("larder-data")))?,
        })
    }

    /// The options by their long names.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        vec![
            ("nodes", integer(self.cache_ports.len())),
            ("cache-port", integer(self.cache_ports.first().copied().unwrap_or(0))),
            ("store-port", integer(self.store_port)),
            ("memory-limit", integer(self.memory_limit_mb)),
            ("data", path(Some(&self.data))),
        ]
    }
}
