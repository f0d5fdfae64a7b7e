//! What `larder proxy` takes.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use larder_proxy::Limits;

use super::node::NodeFlags;
use super::value;

/// Heading of what is of a proxy alone.
const ROUTES: &str = "Options of a proxy";

/// The flags of a proxy.
#[derive(Debug, Args)]
pub(crate) struct ProxyFlags {
    #[command(flatten)]
    pub(crate) node: NodeFlags,

    /// TOML file with pools, and which keys go to which; read anew on SIGHUP
    #[arg(long, value_name = "file", help_heading = ROUTES)]
    pub(crate) routes: Option<PathBuf>,
    /// Say whether the file of --routes is good, and exit
    #[arg(long, help_heading = ROUTES)]
    pub(crate) check_routes: bool,
    /// Instead of --routes, nodes of one cluster, separated by commas, to ask which nodes it has
    #[arg(long, value_name = "addr", action = ArgAction::Append, help_heading = ROUTES)]
    pub(crate) discover: Vec<String>,
    /// Instead of --routes, all nodes of one pool, separated by commas
    #[arg(long, value_name = "addr", action = ArgAction::Append, help_heading = ROUTES)]
    pub(crate) nodes: Vec<String>,
    /// What these nodes are: cache or store (default: cache)
    #[arg(long, value_name = "tier", help_heading = ROUTES)]
    pub(crate) tier: Option<String>,
    /// Milliseconds that a request may take in all (default: 1000)
    #[arg(long, value_name = "num", help_heading = ROUTES,
        value_parser = value::whole(Limits::TIMEOUT_MS, "milliseconds", "1000"))]
    pub(crate) timeout: Option<u64>,
    /// Milliseconds that connecting to a node may take (default: 500)
    #[arg(long, value_name = "num", help_heading = ROUTES,
        value_parser = value::whole(Limits::TIMEOUT_MS, "milliseconds", "500"))]
    pub(crate) connect_timeout: Option<u64>,
    /// Connections of each thread to each node (default: 1)
    #[arg(long, value_name = "num", help_heading = ROUTES,
        value_parser = value::whole(Limits::CONNECTIONS, "connections", "1"))]
    pub(crate) connections: Option<u64>,
    /// Seconds that what is stored at a stand-in for a cache lives at most; 0 for no stand-ins
    /// (default: 10)
    #[arg(long, value_name = "num", help_heading = ROUTES,
        value_parser = value::whole(Limits::GUTTER_TTL, "seconds", "10"))]
    pub(crate) gutter_ttl: Option<u64>,
    /// Requests that may wait for an answer on one connection (default: 16384)
    #[arg(long, value_name = "num", help_heading = ROUTES,
        value_parser = value::whole(Limits::MAX_WAITING, "requests", "16384"))]
    pub(crate) max_waiting: Option<u64>,
}
