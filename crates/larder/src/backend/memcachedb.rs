//! MemcacheDB's groups of `stats`, as far as there is something true to say. `docs/memcachedb.md` says
//! what each line means.

use std::fmt::Display;
use std::path::Path;

use larder_store::{Peer, Store};

use super::store::one_line;

/// `stats bdb`: what is kept, where and how.
pub(super) fn files(store: &Store, stat: &mut dyn FnMut(&str, &dyn Display)) {
    let path = |path: &Path| one_line(&path.to_string_lossy());
    let (options, bytes) = (store.options(), store.options().cache_bytes);
    stat("env_home", &path(store.path()));
    stat("log_home", &path(&store.log_path()));
    stat("cache_size", &format_args!("{}/{}/{CACHES}", bytes >> 30, bytes & ((1 << 30) - 1)));
    stat("txn_nosync", &0);
    stat("log_auto_remove", &1);
    stat("chkpoint_val", &options.checkpoint_every.as_secs());
}

/// `stats rep`: how this node takes part in a cluster; nothing if it is alone.
pub(super) fn replication(store: &Store, stat: &mut dyn FnMut(&str, &dyn Display)) {
    let Some(membership) = store.membership() else { return };
    let stats = store.stats();
    stat("st_env_id", &membership.node);
    stat("st_log_records", &stats.log.entries);
    stat("st_nsites", &membership.nodes.len());
    stat("st_txns_applied", &stats.commits);
}

/// `stats repcfg`: how its cluster is set up.
pub(super) fn configuration(store: &Store, stat: &mut dyn FnMut(&str, &dyn Display)) {
    let Some(membership) = store.membership() else { return };
    stat("rep_ack_policy", &ACKS_QUORUM);
    stat("rep_ack_timeout", &membership.majority_within.as_micros());
    stat("rep_nsites", &membership.nodes.len());
}

/// `stats repms`: its nodes, this one first.
pub(super) fn sites(store: &Store, stat: &mut dyn FnMut(&str, &dyn Display)) {
    let Some(membership) = store.membership() else { return };
    let (own, others): (Vec<_>, Vec<_>) =
        membership.nodes.iter().partition(|peer| peer.node == membership.node);
    for (number, peer) in own.into_iter().chain(others).enumerate() {
        let link = match peer {
            Peer { node, .. } if *node == membership.node => "--",
            Peer { connected: true, .. } => "CONNECTED",
            Peer { connected: false, .. } => "DISCONNECTED",
        };
        let role = if peer.leads > 0 { "MASTER" } else { "CLIENT" };
        let address = one_line(&peer.address);
        stat(&format!("site-{number:02}"), &format_args!("{address}/{role}/{link}"));
    }
}

/// One of records and one of blocks.
const CACHES: u32 = 2;
/// Berkeley DB 4.7's number for a majority that has it.
const ACKS_QUORUM: u32 = 6;
