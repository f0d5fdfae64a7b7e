//! Who is of the cluster, kept by gossip with a failure detector.
//!
//! - `engine`: who is there, decided from what is heard; `engine/roll`: the list of them,
//!   `engine/door`: who is let in, `engine/gossip`: what is heard in passing
//! - `identity`: a member, told from who else had its name
//! - `message`: what nodes say to each other, as bytes
//! - `output`: what the engine wants done; `timers`, `seeds`: when it wants to do something itself
//! - `timing`: how long things take, and why
//! - `driver`: the engine on a runtime
//! - `report`: what a node tells of the others

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use larder_peer::{Credentials, PeerId, Refusal, Settings};
use tokio::sync::watch;

use crate::member::Member;
use crate::view::View;

mod driver;
mod engine;
mod identity;
mod message;
mod output;
mod report;
mod seeds;
mod timers;
mod timing;

use driver::Driver;

pub use report::{PeerReport, PeerState, SilentSeed};

/// The kind of the call by which a node asks another to be let into its cluster.
pub const KNOCK: u8 = 1;

/// The kind of the call by which members tell each other what they have heard.
pub const GOSSIP: u8 = 2;

/// How a node becomes a member.
#[derive(Clone, Debug, Default)]
pub struct MembershipSettings {
    /// Peer addresses of other nodes, `host:port`, any of which lets it in. Its own is skipped.
    ///
    /// Default: none, which is a cluster of its own until others come.
    pub seeds: Vec<String>,
    /// Limits of the links to other nodes.
    ///
    /// Default: theirs.
    pub links: Settings,
}

/// Who is of the cluster, as this node knows it.
///
/// All members come to know the same. One that does not answer is lost within about two seconds, and
/// remembered for an hour in which it is called, so that it is a member again when it can be reached,
/// whoever started anew or was cut off.
pub struct Membership {
    driver: Arc<Driver>,
}

impl Membership {
    /// Begins to join the cluster of the settings' seeds, and does not wait for that. What others call
    /// is to be [heard](Self::hear) from now on.
    ///
    /// `me` should [be fit](Member::check) for a member: others refuse it if it is not.
    ///
    /// # Panics
    ///
    /// It is called outside of a tokio runtime, or of one without I/O or time. That runtime is what it
    /// runs on; one with a single thread that is busy for long will be taken for lost.
    pub fn start(me: Member, credentials: Credentials, settings: MembershipSettings) -> Arc<Self> {
        let MembershipSettings { seeds, links } = settings;
        Arc::new(Self { driver: Driver::start(me, credentials, &seeds, links) })
    }

    /// Who is there now. It is alone until it has been let in.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.driver.views().borrow())
    }

    /// Who is there, from now on.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.driver.views().subscribe()
    }

    /// Waits until this node is of the cluster as far as it can be: a seed has let it in and told who
    /// is there; or there is no seed, or none that answers, so that it serves alone and goes on
    /// knocking. While its name is that of another member, it is not.
    pub async fn joined(&self) {
        // It does not end as long as this is borrowed.
        let _ = self.driver.settled().subscribe().wait_for(|settled| *settled).await;
    }

    /// What another node says about members: calls of the kinds [`KNOCK`] and [`GOSSIP`]. It does not
    /// block.
    ///
    /// # Errors
    ///
    /// It cannot be read, or this node cannot let it in.
    pub fn hear(&self, from: &PeerId, kind: u8, body: &[u8]) -> Result<Bytes, Refusal> {
        self.driver.hear(from, kind, body)
    }

    /// Tells the others that this node has its part of the keys from now on, which it may when all know of it.
    pub fn begin_serving(&self) {
        self.driver.run(engine::Engine::begin_serving);
    }

    /// Tells the others that this node is about to go: it is a member still, but owns no key.
    pub fn begin_leaving(&self) {
        self.driver.run(engine::Engine::begin_leaving);
    }

    /// Tells the others that this node is gone, which takes up to half a second. It is a member no more
    /// and says nothing any more.
    pub async fn leave(&self) {
        self.driver.leave().await;
    }

    /// Members and those who are lost, this node among them, in the order of their names.
    pub fn peers(&self) -> Vec<PeerReport> {
        let peers = self.driver.run(|engine, now| engine.peers(now));
        let report = |(member, state): (Arc<Member>, _)| {
            let link = self.driver.link_stats(&member.peer_address).unwrap_or_default();
            PeerReport { member, state, connected: link.connected, round_trip: link.round_trip }
        };
        peers.into_iter().map(report).collect()
    }

    /// Seeds where nobody answers who could let this node in.
    pub fn silent_seeds(&self) -> Vec<SilentSeed> {
        self.driver.run(|engine, now| engine.silent_seeds(now))
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.driver.vanish();
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("view", &self.view()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod simulation;
