//! What openraft is told about us. Its crate is named here, in `log` and nowhere above.

use std::fmt;

use bytes::Bytes;
use openraft::type_config::alias::{EntryOf, LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf};
use serde::{Deserialize, Serialize};

/// Commands of a group, encoded by its store: Raft never looks in. A clone shares the bytes.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload(pub Bytes);

// Raft logs what it appends: not the clients' data, and not a megabyte of it.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// That an entry was applied. What its commands answered goes to their sessions, past Raft.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied;

/// A member of a group: on disk in each membership, so its fields are never reordered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Where other nodes reach it: host and port.
    pub address: String,
}

openraft::declare_raft_types!(
    /// The types of Larder's Raft groups.
    pub Types:
        D = Payload,
        R = Applied,
        NodeId = u64,
        Node = Node,
        AsyncRuntime = openraft::TokioRuntime,
);

pub(crate) type Entry = EntryOf<Types>;
pub(crate) type LogId = LogIdOf<Types>;
pub(crate) type Vote = VoteOf<Types>;
pub(crate) type Membership = StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = SnapshotMetaOf<Types>;
