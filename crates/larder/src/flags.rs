//! The command line as written: memcached's own flags with memcached's meaning, and ours.
//!
//! What is here is raw. [`crate::config`] resolves it with the environment and the file.

mod cache;
mod ctl;
mod help;
mod node;
mod place;
mod proxy;
mod store;
mod up;
pub(crate) mod value;

pub(crate) use cache::CacheFlags;
pub(crate) use ctl::{CtlFlags, StoreAction, What};
pub(crate) use help::{INTERNAL, command, complaint, nearest};
pub(crate) use node::NodeFlags;
pub(crate) use place::PlaceFlags;
pub(crate) use proxy::ProxyFlags;
pub(crate) use store::StoreFlags;
pub(crate) use up::UpFlags;
