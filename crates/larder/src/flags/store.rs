//! What `larder store` takes: what every node does, MemcacheDB's flags whose letter memcached leaves free
//! or has for what does nothing here, and what is of a durable cluster alone.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::node::NodeFlags;
use super::place::{CLUSTER, PlaceFlags};
use super::value::{self, Reserve, StaleReads};

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

    /// Seconds after which the log may forget what was written, so that a start repeats no more; 0 for
    /// only by its size (default: 5)
    #[arg(short = 'C', long, value_name = "num",
        value_parser = value::whole(0..=86_400, "seconds", "5"))]
    pub(crate) checkpoint_interval: Option<u64>,

    /// Directory of the log: it is kept with the data
    #[arg(short = 'G', long, value_name = "dir", help_heading = NO_EFFECT)]
    pub(crate) log_dir: Option<PathBuf>,
    /// Remove log files that are no longer needed: they always are
    #[arg(short = 'E', long, help_heading = NO_EFFECT)]
    pub(crate) remove_logs: bool,
    /// Answer writes before they are synced: they never are
    #[arg(short = 'N', long, help_heading = NO_EFFECT)]
    pub(crate) txn_nosync: bool,
    /// Buffer of the log in kilobytes
    #[arg(short = 'L', long, value_name = "num", help_heading = NO_EFFECT,
        value_parser = value::whole(0..=16 << 20, "kilobytes", "4096"))]
    pub(crate) log_buffer: Option<u64>,
    /// Seconds between writes of dirty pages
    #[arg(short = 'T', long, value_name = "num", help_heading = NO_EFFECT,
        value_parser = value::whole(0..=86_400, "seconds", "30"))]
    pub(crate) trickle_interval: Option<u64>,

    #[command(flatten)]
    pub(crate) place: PlaceFlags,
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
