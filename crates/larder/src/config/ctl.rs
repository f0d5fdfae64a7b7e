//! Whom `larder ctl` asks.

use std::path::PathBuf;

use super::member::{CLUSTER, PEER_PORT, reachable};
use super::node::{absolute, given};
use crate::failure::Failure;
use crate::flags::CtlFlags;

/// Whom `larder ctl` asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CtlConfig {
    /// Nodes of the cluster. Default: 127.0.0.1:31201.
    pub(crate) nodes: Vec<String>,
    /// Its name. Default: larder.
    pub(crate) cluster: String,
    /// File of its secret.
    pub(crate) secret_file: PathBuf,
}

impl CtlConfig {
    /// Resolves `flags`.
    pub(crate) fn resolve(flags: &CtlFlags) -> Result<Self, Failure> {
        let Some(secret_file) = given(flags.cluster_secret_file.as_deref()) else {
            return Err(Failure::usage(
                "name the file of the cluster's secret with --cluster-secret-file FILE, or in \
                 LARDER_CLUSTER_SECRET_FILE",
            ));
        };
        let nodes = flags.nodes.iter().flat_map(|list| list.split([',', ';']));
        let nodes = nodes.map(str::trim).filter(|address| !address.is_empty());
        let mut nodes = nodes
            .map(|address| reachable("--nodes", address, PEER_PORT))
            .collect::<Result<Vec<_>, _>>()?;
        if nodes.is_empty() {
            nodes.push(format!("127.0.0.1:{PEER_PORT}"));
        }
        Ok(Self {
            nodes,
            cluster: flags.cluster.clone().unwrap_or_else(|| CLUSTER.to_owned()),
            secret_file: absolute(secret_file)?,
        })
    }
}
