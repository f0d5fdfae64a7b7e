//! The engines as a server knows them.

mod cache;
mod engine;
mod memcachedb;
mod store;

pub use cache::CacheBackend;
pub use store::StoreBackend;
