//! Whom `larder ctl` asks.

use std::path::PathBuf;

use super::node::{absolute, given};
use super::place::{CLUSTER, Tier, addresses};
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
        let port = Tier::Store.peer_port();
        let mut nodes = addresses("--nodes", &flags.nodes, port)?;
        if nodes.is_empty() {
            nodes.push(format!("127.0.0.1:{port}"));
        }
        Ok(Self {
            nodes,
            cluster: flags.cluster.clone().unwrap_or_else(|| CLUSTER.to_owned()),
            secret_file: absolute(secret_file)?,
        })
    }
}
