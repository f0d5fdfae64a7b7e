//! What only `larder store` takes: those of MemcacheDB's flags whose letter memcached leaves free.

use std::path::PathBuf;

use clap::Args;

use super::member::MemberFlags;
use super::node::NodeFlags;
use super::value::{self, Reserve};

/// Heading of what is accepted so that MemcacheDB's command lines work, and does nothing.
const NO_EFFECT: &str = "Accepted, without effect here";

/// The flags of a durable node.
#[derive(Debug, Args)]
pub(crate) struct StoreFlags {
    #[command(flatten)]
    pub(crate) node: NodeFlags,
    /// Directory of the data (default: the service manager's state directory, else
    /// ./larder-data/store)
    #[arg(short = 'H', long, value_name = "dir")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Free space of the volume below which writes are refused, in bytes or with k, m or g, or
    /// auto for 2g and less while the store is small (default: auto)
    #[arg(long, value_name = "size", value_parser = value::reserve)]
    pub(crate) reserve: Option<Reserve>,

    /// Directory of the log: it is kept with the data
    #[arg(short = 'G', long, value_name = "dir", help_heading = NO_EFFECT)]
    pub(crate) log_dir: Option<PathBuf>,
    /// Remove log files that are no longer needed: they always are
    #[arg(short = 'E', long, help_heading = NO_EFFECT)]
    pub(crate) remove_logs: bool,
    /// Seconds between writes of dirty pages
    #[arg(short = 'T', long, value_name = "num", help_heading = NO_EFFECT,
        value_parser = value::whole(0..=86_400, "seconds", "30"))]
    pub(crate) trickle_interval: Option<u64>,

    #[command(flatten)]
    pub(crate) member: MemberFlags,
}
