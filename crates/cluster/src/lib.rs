//! Many cache nodes as one: who is there, and which of them has a key.
//!
//! - `member`: a node, as the others know it
//! - `membership`: who is there, kept by gossip; `membership/engine`: what is decided, and why
//! - `view`: who is there, and the ring that they make
//!
//! # What nodes say about who is there
//!
//! Each is a call of [`larder_peer`], of a kind of its own. The first byte is a version, 1; what follows
//! is encoded by postcard, so the order of fields is the format.
//!
//! | kind | body | answer |
//! |---|---|---|
//! | 1, [`KNOCK`] | who knocks: a [`Member`], and how often it has come again | 0 (come in): who answers, who is known by that name if that is not who knocks, all that are there. 1 (taken): the member that has that name |
//! | 2, [`GOSSIP`] | a message of foca's, in its own encoding: who sends it, to whom, what it asks, and what was heard of others | none |
mod member;
mod membership;
mod view;

pub use member::{BadMember, Member};
pub use membership::{
    GOSSIP, KNOCK, Membership, MembershipSettings, PeerReport, PeerState, SilentSeed,
};
pub use view::View;
