//! What a durable node of a cluster takes besides.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::value::{self, StaleReads};

const CLUSTER: &str = "Options of a node that is one of a cluster";

/// The flags of a durable node that is one of a cluster.
#[derive(Debug, Args)]
pub(crate) struct MemberFlags {
    /// Address to listen on for other nodes, host or host:port (default port: 31201); a node
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
    /// Name of this node, which no other has (default: that of the machine)
    #[arg(long, value_name = "name", help_heading = CLUSTER)]
    pub(crate) node_name: Option<String>,
    /// What this node shares its fate with, such as a rack: copies are kept in different zones
    #[arg(long, value_name = "name", help_heading = CLUSTER)]
    pub(crate) zone: Option<String>,
    /// Found the cluster, unless a node of --join says that it is there
    #[arg(long, help_heading = CLUSTER)]
    pub(crate) found: bool,
    /// Nodes of the cluster, at their --peer-listen, to ask to be let in; counts until it is
    #[arg(short = 'O', long, value_name = "addr", action = ArgAction::Append,
        help_heading = CLUSTER)]
    pub(crate) join: Vec<String>,
    /// Answer reads from this node's own copies, whoever leads, if these are known to have all that was
    /// acknowledged so many milliseconds ago, or off: reads see all that was (default: off)
    #[arg(long, value_name = "num", help_heading = CLUSTER, value_parser = value::stale_reads)]
    pub(crate) stale_reads: Option<StaleReads>,
    /// Megabytes that the log is to have at most: the more, the longer a node may be away and be given
    /// what it lacks when it is back, and not all there is (default: 1024)
    #[arg(long, value_name = "num", help_heading = CLUSTER,
        value_parser = value::whole(512..=1 << 20, "megabytes", "1024"))]
    pub(crate) log_limit: Option<u64>,
    /// With --found: groups that keys are divided into, for good; each is led by one node at a
    /// time (default: 3)
    #[arg(long, value_name = "num", help_heading = CLUSTER,
        value_parser = value::whole(1..=256, "groups", "3"))]
    pub(crate) groups: Option<u64>,
    /// With --found: copies of each key, once there are as many nodes (default: 3)
    #[arg(long, value_name = "num", help_heading = CLUSTER,
        value_parser = value::whole(1..=7, "copies", "3"))]
    pub(crate) replicas: Option<u64>,
}
