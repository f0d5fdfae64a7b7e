//! A durable node as one of a cluster.

use toml::Value;

use super::node::{integer, number};
use super::place::{self, Place, Tier, addresses};
use super::{NodeConfig, Note, Setting};
use crate::failure::Failure;
use crate::flags::StoreFlags;
use crate::flags::value::StaleReads;

const GROUPS: usize = 3;
const REPLICAS: usize = 3;
const LOG_LIMIT_MB: u64 = 1024;

/// A durable node as one of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreMember {
    /// Where it is.
    pub(crate) place: Place,
    /// Whether it founds the cluster.
    pub(crate) founds: bool,
    /// Nodes that may let it in.
    pub(crate) join: Vec<String>,
    /// How old what reads see may be. Default: they see all that was acknowledged.
    pub(crate) stale_reads: StaleReads,
    /// How many megabytes of 2^20 bytes its log is to have at most. Default: 1024.
    pub(crate) log_limit_mb: u64,
    /// Into how many groups keys are divided. Default: 3.
    pub(crate) groups: usize,
    /// Of how many replicas. Default: 3.
    pub(crate) replicas: usize,
}

impl StoreMember {
    /// Resolves `flags`, and adds to `notes` what of them does nothing; nothing if the node is alone.
    pub(super) fn resolve(
        flags: &StoreFlags,
        node: &NodeConfig,
        notes: &mut Vec<Note>,
    ) -> Result<Option<Self>, Failure> {
        let Some(place) = Place::resolve(&flags.place, node, Tier::Store)? else {
            notes.extend(alone(flags)?);
            return Ok(None);
        };
        Ok(Some(Self {
            place,
            founds: flags.found,
            join: addresses("--join", &flags.join, Tier::Store.peer_port())?,
            stale_reads: flags.stale_reads.unwrap_or(StaleReads::Off),
            log_limit_mb: flags.log_limit.unwrap_or(LOG_LIMIT_MB),
            groups: number(flags.groups, GROUPS),
            replicas: number(flags.replicas, REPLICAS),
        }))
    }
}

/// The options by their long names, of a node that is one of a cluster or none.
pub(super) fn settings(member: Option<&StoreMember>) -> Vec<Setting> {
    let join = member.iter().flat_map(|member| member.join.iter().cloned());
    let mut settings = place::settings(member.map(|member| &member.place));
    settings.extend([
        ("found", Value::Boolean(member.is_some_and(|member| member.founds))),
        ("join", Value::Array(join.map(Value::String).collect())),
        (
            "stale-reads",
            match member.map_or(StaleReads::Off, |member| member.stale_reads) {
                StaleReads::Off => Value::String("off".to_owned()),
                StaleReads::WithinMs(ms) => integer(ms),
            },
        ),
        ("log-limit", integer(member.map_or(LOG_LIMIT_MB, |member| member.log_limit_mb))),
        ("groups", integer(member.map_or(GROUPS, |member| member.groups))),
        ("replicas", integer(member.map_or(REPLICAS, |member| member.replicas))),
    ]);
    settings
}

fn alone(flags: &StoreFlags) -> Result<Vec<Note>, Failure> {
    let senseless =
        [(flags.found, "--found"), (flags.join.iter().any(|list| !list.is_empty()), "--join")];
    let useless = [
        (matches!(flags.stale_reads, Some(StaleReads::WithinMs(_))), "--stale-reads"),
        (flags.log_limit.is_some_and(|megabytes| megabytes != LOG_LIMIT_MB), "--log-limit"),
        (number(flags.groups, GROUPS) != GROUPS, "--groups"),
        (number(flags.replicas, REPLICAS) != REPLICAS, "--replicas"),
    ];
    place::alone(&flags.place, &senseless, &useless)
}
