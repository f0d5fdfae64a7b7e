//! What `larder ctl` takes.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

use super::value;

/// The flags of those who look after a cluster.
#[derive(Debug, Args)]
pub(crate) struct CtlFlags {
    /// Nodes to ask, at their --peer-listen, separated by commas; one that answers is enough
    /// (default: 127.0.0.1:31201)
    #[arg(short, long, value_name = "addr", global = true, action = ArgAction::Append)]
    pub(crate) nodes: Vec<String>,
    /// Name of the cluster (default: larder)
    #[arg(long, value_name = "name", global = true, value_parser = value::filled)]
    pub(crate) cluster: Option<String>,
    /// File with the cluster's secret
    #[arg(long, value_name = "file", global = true)]
    pub(crate) cluster_secret_file: Option<PathBuf>,
    /// Read options from this TOML file
    #[arg(long, value_name = "file", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// What to look after
    #[command(subcommand)]
    pub(crate) what: What,
}

/// What there is to look after.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// The durable tier
    #[command(subcommand)]
    Store(StoreAction),
}

/// What can be done to a durable cluster. All wait until it is so.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreAction {
    /// Say how nodes and groups are
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy all items, as they are at one moment, to files in a new directory, while all is served
    Backup {
        /// Directory that is empty or not there, which becomes the backup
        #[arg(value_name = "dir")]
        directory: PathBuf,
    },
    /// Read all of a backup and say whether it is whole; asks no cluster
    Verify {
        /// Directory of the backup
        #[arg(value_name = "dir")]
        directory: PathBuf,
    },
    /// Put the items of a backup into a cluster, of whatever size
    Restore {
        /// Directory of the backup
        #[arg(value_name = "dir")]
        directory: PathBuf,
        /// Also if the cluster has items: those of the backup replace those of the same keys
        #[arg(long)]
        merge: bool,
    },
    /// Write all items, as they are at one moment, as meta commands, which any memcached takes
    Dump {
        /// File that is not there yet, or - for standard output
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Put the items of a dump into a cluster, over those of the same keys
    Load {
        /// File of the dump, or - for standard input
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Put the items of a memcached (1.4.31 or later) or a MemcacheDB into a cluster, over those of the
    /// same keys; what is written there meanwhile may be missed
    Import {
        /// Its address, as clients write it (port 11211 if none is given)
        #[arg(long, value_name = "addr")]
        from: String,
    },
    /// Move all that a node has to others, while it serves
    Drain {
        /// Name of the node
        name: String,
    },
    /// Let a node that was drained have something again
    Undrain {
        /// Name of the node
        name: String,
    },
    /// Forget a node for good, once it is drained
    Remove {
        /// Name of the node
        name: String,
        /// It is gone with all it had: do not ask it
        #[arg(long)]
        lost: bool,
    },
    /// Have another node take the place of one that is gone for good
    Replace {
        /// Name of the node that is gone
        name: String,
        /// Name of the one that takes its place
        #[arg(long, value_name = "name")]
        by: String,
    },
    /// Have all nodes have about as much
    Rebalance,
    /// Set how many copies of each key there are
    Replicas {
        /// How many
        #[arg(value_parser = value::whole(1..=7, "copies", "3"))]
        number: u64,
    },
}
