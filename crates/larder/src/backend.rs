//! The engines as a server knows them.

mod cache;
mod engine;
mod store;

pub use cache::CacheBackend;
pub use store::StoreBackend;
