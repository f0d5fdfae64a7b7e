//! Many cache nodes as one: who is there, and which of them has a key.
//!
//! - `cluster`: this node's part in the cluster
//! - `member`, `view`: a node, as the others know it; who is there, and the ring that they make
//! - `membership`: who is there, kept by gossip; `membership/engine`: what is decided, and why
//! - `backend`, `session`: the cluster as a server knows it, and one connection's commands
//! - `engine`: what carries out commands here
//! - `worker`, `table`: what one worker thread has of the cluster, and where keys go
//! - `courier`, `answers`: commands on their way to one other node, and their answers to come
//! - `call`, `service`: what nodes ask each other to do, as bytes, and who does it
//! - `stand_in`: what is done differently for a node that cannot be reached
//! - `report`, `resolved`: `stats cluster`; what members' names stand for, for discovery
//! - `places`, `past`: who may have a key besides whose it is, since nodes come and go
//! - `hints`, `fetching`: what others are to forget; what is asked for where it may be
//! - `near`: copies of others' hot keys
//! - `handing`: what a node that goes hands over
//! - `keeper`, `links`: what a node does of itself, and the connections it does that over
//! - `shared`, `counters`, `failure`: what the threads of a node share, count, and tell clients
//!
//! # What nodes say to each other
//!
//! Each is a call of [`larder_peer`], of a kind of its own. The first byte is a version, 1.
//!
//! About who is there, in which what follows is encoded by postcard, so the order of fields is the format:
//!
//! | kind | body | answer |
//! |---|---|---|
//! | 1, [`KNOCK`] | who knocks: a [`Member`], and how often it has come again | 0 (come in): who answers, who is known by that name if that is not who knocks, all that are there. 1 (taken): who answers, and the member that has that name |
//! | 2, [`GOSSIP`] | a message of foca's, in its own encoding: who sends it, to whom, what it asks, and what was heard of others | none |
//!
//! About items, with integers little-endian. The answers to commands are those of
//! [`larder_protocol::told`], in their order:
//!
//! | kind | body | answer |
//! |---|---|---|
//! | 16, commands | 4 bytes: for how many seconds what is stored lives at most, since the node stands in for another, or 0; then commands, each a key and an [operation](larder_protocol::Op) in postcard | 1, 4 bytes: the time there, then outcomes |
//! | 17, flush | 4 bytes: in how many seconds | none |
//! | 18, sign of life | none, not even a version | none |
//! | 19, forget | keys, each a byte with its length and so many bytes | none |
//! | 20, items | none, not even a version | 8 bytes: how many there are |
//! | 21, hand over | 4 bytes: the time there; 4: how many; keys, each a byte with its length and so many bytes; items, as outcomes of fetches | none |
//! | 22, forget all | none, not even a version | none |
mod answers;
mod backend;
mod call;
mod cluster;
mod counters;
mod courier;
mod engine;
mod failure;
mod fetching;
mod handing;
mod hints;
mod keeper;
mod links;
mod member;
mod membership;
mod near;
mod past;
mod places;
mod report;
mod resolved;
mod service;
mod session;
mod shared;
mod stand_in;
mod table;
mod view;
mod worker;

pub use answers::Awaited;
pub use backend::{Clustered, Part};
pub use cluster::{Cluster, Settings, StartError};
pub use engine::Engine;
pub use larder_peer::Secret;
pub use member::{BadMember, Member, Stage};
pub use membership::{
    GOSSIP, KNOCK, Membership, MembershipSettings, PeerReport, PeerState, SilentSeed,
};
pub use session::{Flush, Pending, Session};
pub use view::View;
pub use worker::Worker;
