//! What each command runs on: its options resolved, checked, and with their origin at hand.

mod cache;
mod ctl;
mod extended;
mod file;
mod layer;
mod listen;
mod member;
mod node;
mod print;
mod source;
mod store;
mod up;

pub(crate) use cache::CacheConfig;
pub(crate) use ctl::CtlConfig;
pub(crate) use layer::{Ended, Layered, layered};
pub(crate) use listen::Endpoint;
pub(crate) use member::{MemberConfig, PEER_PORT, reachable};
pub(crate) use node::{NodeConfig, Note};
pub(crate) use print::print;
pub(crate) use source::Sources;
pub(crate) use store::StoreConfig;
pub(crate) use up::UpConfig;

/// One option as it is resolved: its long name and its value.
pub(crate) type Setting = (&'static str, toml::Value);

#[cfg(test)]
mod tests;
