//! What a node of a cluster takes, whichever tier it is of.

use std::path::PathBuf;

use clap::Args;

use super::value;

/// Heading of what is of a cluster.
pub(super) const CLUSTER: &str = "Options of a node that is one of a cluster";

/// The flags of a node that is one of a cluster.
#[derive(Debug, Args)]
pub(crate) struct PlaceFlags {
    /// Address to listen on for other nodes, host or host:port (default port: 21211); a node
    /// without is alone
    #[arg(long, value_name = "addr", help_heading = CLUSTER)]
    pub(crate) peer_listen: Option<String>,
    /// Where other nodes reach this one, host:port (default: --peer-listen)
    #[arg(long, value_name = "addr", help_heading = CLUSTER)]
    pub(crate) peer_address: Option<String>,
    /// Where clients reach this node, host:port (default: the first of --listen)
    #[arg(long, value_name = "addr", help_heading = CLUSTER)]
    pub(crate) client_address: Option<String>,
    /// Name of the cluster (default: larder)
    #[arg(long, value_name = "name", help_heading = CLUSTER, value_parser = value::filled)]
    pub(crate) cluster: Option<String>,
    /// File with what all nodes of the cluster know and nobody else does, such as
    /// openssl rand -base64 32 writes
    #[arg(long, value_name = "file", help_heading = CLUSTER)]
    pub(crate) cluster_secret_file: Option<PathBuf>,
    /// Name of this node, which no other has and which its keys are placed by (default:
    /// --client-address, without port 11211)
    #[arg(long, value_name = "name", help_heading = CLUSTER)]
    pub(crate) node_name: Option<String>,
    /// What this node shares its fate with, such as a rack
    #[arg(long, value_name = "name", help_heading = CLUSTER)]
    pub(crate) zone: Option<String>,
}
