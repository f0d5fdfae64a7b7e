//! Many cache nodes as one: who is there, and which of them has a key.
//!
//! - `member`: a node, as the others know it
//! - `view`: who is there, and the ring that they make
mod member;
mod view;

pub use member::Member;
pub use view::View;
