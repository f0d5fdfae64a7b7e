//! What nodes, and those who look after them, ask each other about the cluster.
//!
//! | call 48, and its answer | bytes | |
//! |---|---|---|
//! | version | 1 | 3 |
//! | content | rest | postcard of [`Call`]; of a [`Reply`], or [why there is none](No) |

use std::io;

use bytes::Bytes;
use larder_peer::Refusal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::charter::Admission;
use super::plan::{Report, Task};
use super::status::ClusterStatus;
use crate::placement::{Member, NodeId};

/// The kind of these calls.
pub(crate) const CLUSTER: u8 = 48;

/// What a node is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Call {
    /// Who it is. A node that belongs to no cluster yet answers nothing.
    Who,
    /// What only the leader of group 0 can do.
    Ask {
        request: Request,
        /// Whether a node that does not lead has passed it on: no other does.
        passed: bool,
    },
    /// To know where the node that calls is now, before a majority does: without it there may be none.
    Here { address: String },
    /// How its groups stand.
    Report,
    /// To take a step.
    Take(Order),
}

/// What is asked of the leader of group 0.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// To let a node in.
    Join(Member),
    /// To know where a node is now.
    Move(NodeId, Member),
    /// To say how the cluster is.
    Status,
    /// To have this node have nothing any more, or something again.
    Drain { name: String, drains: bool },
    /// To forget this node.
    Remove { name: String, lost: bool },
    /// To have another take all that this node has.
    Replace { name: String, by: String },
    /// To spread what there is over all nodes.
    Rebalance,
    /// To have so many replicas of each group.
    SetReplicas(usize),
}

/// A step, by a leader of group 0.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// In which that leads.
    pub(crate) term: u64,
    /// Of the order, among those of that leader.
    pub(crate) number: u64,
    pub(crate) task: Task,
    /// Where the node is that is to be admitted.
    pub(crate) address: String,
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Node {
        cluster_id: u64,
        node: NodeId,
    },
    Admitted(Admission),
    /// The placement was changed, or already was as it is to be. This is its version now.
    Changed(u64),
    Status(ClusterStatus),
    Report(Report),
    /// It is done.
    Taken,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum No {
    /// Surely: who was asked does not lead group 0, and knows nobody who does.
    Leaderless,
    /// Surely: a majority of group 0 does not answer.
    Minority,
    /// Surely, and it will not be if it is asked for again.
    Refused(String),
    /// Surely, for now.
    Failed(String),
    /// Surely: an order of this number was taken, and this one is before it.
    Older(u64),
    /// It may be done, or be done yet.
    Unknown,
}

/// What comes of a call.
pub(crate) type Answer = Result<Reply, No>;

pub(crate) fn encode(content: &impl Serialize) -> io::Result<Bytes> {
    postcard::to_extend(content, vec![VERSION]).map(Bytes::from).map_err(io::Error::other)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let decode = || match bytes.split_first()? {
        (&VERSION, content) => postcard::from_bytes(content).ok(),
        _ => None,
    };
    decode().ok_or_else(|| {
        Refusal("this version of Larder knows no such call about the cluster".to_owned())
    })
}

const VERSION: u8 = 3;
