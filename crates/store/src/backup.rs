//! What a backup is made of: all items of a cluster, as they were at one moment.
//!
//! A [`Cut`] has all that was acknowledged before it was asked for; and if it has a write, it has every
//! write that was acknowledged before that one was sent, in whichever group. For that the leaders of
//! all groups hold back what they have not proposed yet. Once all do, each has a majority say that it
//! leads still, has its engine keep its items as they are, and goes on. Whatever is in one of these
//! snapshots was sent before the moment in which all held back, and whatever was acknowledged by that
//! moment is in one: no other node led since, or the majority would know, and each leader has done what
//! it had acknowledged. A leader that is another by then, or that has gone on by itself because it was
//! asked too late, has the cut begun anew.
//!
//! - `item`: an item, as it stands in a part of a cut
//! - `call`: what nodes are asked
//! - `snapshots`: the snapshots that a node has
//! - `cut`: a cut, for who asked for it

pub(crate) mod call;
mod cut;
mod item;
mod snapshots;

pub(crate) use call::BACKUP;
pub use cut::{Cut, Part};
pub(crate) use cut::{Leader, Scene};
pub use item::{Item, Senseless};
pub(crate) use snapshots::Snapshots;
