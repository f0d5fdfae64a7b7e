//! To come.
mod backend;
pub use backend::{Backend, Session, StatsGroup};
