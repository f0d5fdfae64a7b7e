//! A cache node as one of a cluster.

use toml::Value;

use super::node::{integer, number};
use super::place::{self, Place, Tier, addresses};
use super::{NodeConfig, Note, Setting};
use crate::failure::Failure;
use crate::flags::CacheFlags;

const WEIGHT: u32 = 1;
const PEER_TIMEOUT_MS: u64 = 250;
const GUTTER_TTL_SECS: u32 = 10;
const WARM_UP_SECS: u64 = 600;
const HOT_TTL_MS: u64 = 0;
/// What is not hot costs its owner no more than this from each other node: of a hundred nodes some 10,000 requests
/// a second, a few hundredths of a processor. It is also more than the sample finds by chance.
const HOT_RATE: u32 = 100;

/// A cache node as one of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheMember {
    /// Where it is.
    pub(crate) place: Place,
    /// Nodes to hear of the others from, where nodes reach them; this one may be among them. Default: none,
    /// others come to this one.
    pub(crate) seeds: Vec<String>,
    /// How much of the keys it takes, beside the weights of the others. Default: 1.
    pub(crate) weight: u32,
    /// Milliseconds that another node may take to answer what it is asked for a client, before its keys
    /// go to the next. Default: 250.
    pub(crate) peer_timeout_ms: u64,
    /// Seconds that what is stored at a stand-in lives at most. Default: 10.
    pub(crate) gutter_ttl_secs: u32,
    /// Seconds for which a node that has come asks the others for items that were theirs. Default: 600.
    pub(crate) warm_up_secs: u64,
    /// Milliseconds for which copies of others' hot keys are served, from when they were asked for; 0: none are
    /// kept. Default: 0.
    pub(crate) hot_ttl_ms: u64,
    /// How often a second clients ask this node for a key that is hot. Default: 100.
    pub(crate) hot_rate: u32,
}

impl CacheMember {
    /// Resolves `flags`, and adds to `notes` what of them does nothing; nothing if the node is alone.
    pub(super) fn resolve(
        flags: &CacheFlags,
        node: &NodeConfig,
        notes: &mut Vec<Note>,
    ) -> Result<Option<Self>, Failure> {
        let Some(place) = Place::resolve(&flags.place, node, Tier::Cache)? else {
            notes.extend(alone(flags)?);
            return Ok(None);
        };
        Ok(Some(Self {
            place,
            seeds: addresses("--seed", &flags.seed, Tier::Cache.peer_port())?,
            weight: number(flags.weight, WEIGHT),
            peer_timeout_ms: flags.peer_timeout.unwrap_or(PEER_TIMEOUT_MS),
            gutter_ttl_secs: number(flags.gutter_ttl, GUTTER_TTL_SECS),
            warm_up_secs: flags.warm_up.unwrap_or(WARM_UP_SECS),
            hot_ttl_ms: flags.hot_ttl.unwrap_or(HOT_TTL_MS),
            hot_rate: number(flags.hot_rate, HOT_RATE),
        }))
    }
}

/// The options by their long names, of a node that is one of a cluster or none.
pub(super) fn settings(member: Option<&CacheMember>) -> Vec<Setting> {
    let seeds = member.iter().flat_map(|member| member.seeds.iter().cloned());
    let mut settings = place::settings(member.map(|member| &member.place));
    settings.extend([
        ("seed", Value::Array(seeds.map(Value::String).collect())),
        ("weight", integer(member.map_or(WEIGHT, |member| member.weight))),
        ("peer-timeout", integer(member.map_or(PEER_TIMEOUT_MS, |member| member.peer_timeout_ms))),
        ("gutter-ttl", integer(member.map_or(GUTTER_TTL_SECS, |member| member.gutter_ttl_secs))),
        ("warm-up", integer(member.map_or(WARM_UP_SECS, |member| member.warm_up_secs))),
        ("hot-ttl", integer(member.map_or(HOT_TTL_MS, |member| member.hot_ttl_ms))),
        ("hot-rate", integer(member.map_or(HOT_RATE, |member| member.hot_rate))),
    ]);
    settings
}

fn alone(flags: &CacheFlags) -> Result<Vec<Note>, Failure> {
    let senseless = [(flags.seed.iter().any(|list| !list.is_empty()), "--seed")];
    let useless = [
        (number(flags.weight, WEIGHT) != WEIGHT, "--weight"),
        (number(flags.peer_timeout, PEER_TIMEOUT_MS) != PEER_TIMEOUT_MS, "--peer-timeout"),
        (number(flags.gutter_ttl, GUTTER_TTL_SECS) != GUTTER_TTL_SECS, "--gutter-ttl"),
        (flags.warm_up.is_some_and(|seconds| seconds != WARM_UP_SECS), "--warm-up"),
        (number(flags.hot_ttl, HOT_TTL_MS) != HOT_TTL_MS, "--hot-ttl"),
        (number(flags.hot_rate, HOT_RATE) != HOT_RATE, "--hot-rate"),
    ];
    place::alone(&flags.place, &senseless, &useless)
}
