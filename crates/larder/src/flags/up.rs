//! What `larder up` takes.

use std::path::PathBuf;

use clap::Args;

use super::value;

/// The flags of a local cluster.
#[derive(Debug, Args)]
pub(crate) struct UpFlags {
    /// Number of cache nodes, which are one cache (default: 3)
    #[arg(short, long, value_name = "num", value_parser = value::whole(1..=64, "nodes", "3"))]
    pub(crate) nodes: Option<u64>,
    /// Port of the first cache node; the others follow it (default: 11211)
    #[arg(short = 'p', long, value_name = "num",
        value_parser = value::whole(1..=65_535, "(a port)", "11211"))]
    pub(crate) cache_port: Option<u64>,
    /// Port at which the first cache node is reached by the others; theirs follow it (default:
    /// 21211)
    #[arg(long, value_name = "num",
        value_parser = value::whole(1..=65_535, "(a port)", "21211"))]
    pub(crate) cache_peer_port: Option<u64>,
    /// Number of store nodes, which are copies of each other; kept from the first time on, for the
    /// same --data (default: 3)
    #[arg(long, value_name = "num", value_parser = value::whole(1..=7, "nodes", "3"))]
    pub(crate) store_nodes: Option<u64>,
    /// Port of the first store node; the others follow it (default: 21201)
    #[arg(long, value_name = "num",
        value_parser = value::whole(1..=65_535, "(a port)", "21201"))]
    pub(crate) store_port: Option<u64>,
    /// Port at which the first store node is reached by the others; theirs follow it (default:
    /// 31201)
    #[arg(long, value_name = "num",
        value_parser = value::whole(1..=65_535, "(a port)", "31201"))]
    pub(crate) peer_port: Option<u64>,
    /// Memory for items of each cache node, in megabytes (default: 64)
    #[arg(short, long, value_name = "num",
        value_parser = value::whole(1..=16 << 20, "megabytes", "64"))]
    pub(crate) memory_limit: Option<u64>,
    /// Directory of data and logs (default: ./larder-data)
    #[arg(long, value_name = "dir")]
    pub(crate) data: Option<PathBuf>,
    /// Read options from this TOML file
    #[arg(long, value_name = "file")]
    pub(crate) config: Option<PathBuf>,
    /// Print every option as it would be, and where it came from, and exit
    #[arg(long)]
    pub(crate) print_config: bool,
}
