//! What a node tells of the others.

use std::sync::Arc;
use std::time::Duration;

use crate::member::Member;

/// A member, or one that was.
#[derive(Clone, Debug)]
pub struct PeerReport {
    /// Who it is.
    pub member: Arc<Member>,
    /// How it is.
    pub state: PeerState,
    /// Whether this node has a connection to it for gossip now.
    pub connected: bool,
    /// How long messages to it take to be answered, lately. `None` if there were none.
    pub round_trip: Option<Duration>,
}

/// How a member is, as this node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// It is this node itself.
    Here,
    /// It will have its part of the keys in a moment.
    Coming,
    /// It has its part of the keys.
    Serving,
    /// It owns no key any more, and is about to go.
    Leaving,
    /// It has not answered lately, and is lost unless it does. It still has its part of the keys.
    Suspect,
    /// It is no member any more, and would be if it came back.
    Lost {
        /// How long ago.
        since: Duration,
    },
}

/// A seed where nobody answers who could let this node in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilentSeed {
    /// Its address, as it was given.
    pub address: Arc<str>,
    /// How long ago it was first found to be silent.
    pub since: Duration,
    /// What happened last.
    pub why: Arc<str>,
}
