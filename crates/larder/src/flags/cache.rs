//! What `larder cache` takes.

use clap::{ArgAction, Args};

use super::node::NodeFlags;
use super::place::{CLUSTER, PlaceFlags};
use super::value;

/// The flags of a cache.
#[derive(Debug, Args)]
pub(crate) struct CacheFlags {
    #[command(flatten)]
    pub(crate) node: NodeFlags,

    #[command(flatten)]
    pub(crate) place: PlaceFlags,
    /// Nodes of the cluster, at their --peer-listen, separated by commas: the list may be the same for
    /// all of them, and one that answers is enough
    #[arg(long, value_name = "addr", action = ArgAction::Append, help_heading = CLUSTER)]
    pub(crate) seed: Vec<String>,
    /// How much of the keys this node takes, beside the weights of the others (default: 1)
    #[arg(long, value_name = "num", help_heading = CLUSTER,
        value_parser = value::whole(1..=1000, "(a weight)", "1"))]
    pub(crate) weight: Option<u64>,
    /// Milliseconds that another node may take to answer what it is asked for a client, before its
    /// keys go to the next (default: 250)
    #[arg(long, value_name = "num", help_heading = CLUSTER,
        value_parser = value::whole(1..=60_000, "milliseconds", "250"))]
    pub(crate) peer_timeout: Option<u64>,
    /// Seconds that what is stored at a stand-in for another node lives at most (default: 10)
    #[arg(long, value_name = "num", help_heading = CLUSTER,
        value_parser = value::whole(1..=3600, "seconds", "10"))]
    pub(crate) gutter_ttl: Option<u64>,
    /// Seconds for which a node that has come asks the others for items that were theirs and belong to it
    /// now (default: 600)
    #[arg(long, value_name = "num", help_heading = CLUSTER,
        value_parser = value::whole(0..=86_400, "seconds", "600"))]
    pub(crate) warm_up: Option<u64>,
    /// Milliseconds for which this node serves what the owner of a hot key said, without asking again, so that
    /// it may be that old; 0: not at all (default: 0)
    #[arg(long, value_name = "num", help_heading = CLUSTER,
        value_parser = value::whole(0..=10_000, "milliseconds", "500"))]
    pub(crate) hot_ttl: Option<u64>,
    /// With --hot-ttl: how often a second clients ask this node for a key that is hot (default: 100)
    #[arg(long, value_name = "num", help_heading = CLUSTER,
        value_parser = value::whole(1..=1_000_000, "requests a second", "100"))]
    pub(crate) hot_rate: Option<u64>,
}
