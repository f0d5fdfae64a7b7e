//! What each command runs on: its options resolved, checked, and with their origin at hand.

mod cache;
mod cache_member;
mod ctl;
mod extended;
mod file;
mod layer;
mod listen;
mod node;
mod place;
mod print;
mod proxy;
mod source;
mod store;
mod store_member;
mod up;

pub(crate) use cache::CacheConfig;
pub(crate) use cache_member::CacheMember;
pub(crate) use ctl::CtlConfig;
pub(crate) use layer::{Ended, Layered, layered};
pub(crate) use listen::Endpoint;
pub(crate) use node::{NodeConfig, Note};
pub(crate) use place::{Place, Tier, reachable};
pub(crate) use print::print;
pub(crate) use proxy::ProxyConfig;
pub(crate) use source::Sources;
pub(crate) use store::StoreConfig;
pub(crate) use store_member::StoreMember;
pub(crate) use up::UpConfig;

/// One option as it is resolved: its long name and its value.
pub(crate) type Setting = (&'static str, toml::Value);

#[cfg(test)]
mod tests;
