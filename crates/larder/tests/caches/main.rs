//! Cache nodes as processes: they are one cache, whichever of them a client asks and whatever happens to
//! the others.
//!
//! - `sharing`: what is written through one node is there through any other
//! - `telling`: what all are told, and what all tell
//! - `loss`: one is killed, or stands still; `load`: the clients meanwhile
//! - `parting`: some cannot reach the others for a while
//! - `growth`: one comes and goes
//! - `heat`: hot keys are served where they are asked for; `herd`: one of all fills what is missing
//! - `doors`: who is let in
//! - `warmth`: one is back with what it had
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

mod doors;
mod growth;
mod heat;
mod herd;
mod load;
mod loss;
mod parting;
mod sharing;
#[path = "../support/mod.rs"]
mod support;
mod telling;
mod warmth;
