//! A node of the cluster, as the others know it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A node of the cluster, as the others know it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Member {
    /// What keys are placed by: clients that place keys themselves write the node like this in their
    /// lists, [`larder_ring::Server::ring_name`]. No other node has it, and it may outlive an address.
    pub name: Arc<str>,
    /// Drawn at each start, greater than at any before: this run of the node.
    pub run: u64,
    /// Where clients reach it, `host:port`.
    pub client_address: Arc<str>,
    /// Where other nodes reach it, `host:port`.
    pub peer_address: Arc<str>,
    /// How much of the keys it takes, beside the others' weights.
    pub weight: u32,
    /// What it shares its fate with, such as a rack. Empty: nothing that is known.
    pub zone: Arc<str>,
    /// Whether it owns its part of the keys.
    pub stage: Stage,
}

/// Whether a member owns its part of the keys. It goes from one stage to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub enum Stage {
    /// Not yet: all others are to know of it first, since what one of them that does not changes would
    /// not be known to it.
    Coming,
    /// It does.
    Serving,
    /// Not any more: it is about to go.
    Leaving,
}

#[cfg(test)]
impl Member {
    /// One that serves, in its first run, and of which only the name matters.
    pub(crate) fn called(name: &str) -> Self {
        Self {
            name: name.into(),
            run: 1,
            client_address: name.into(),
            peer_address: name.into(),
            weight: 1,
            zone: "".into(),
            stage: Stage::Serving,
        }
    }
}

/// The heaviest a member may be: shares of the ring are reckoned in single precision.
const MAX_WEIGHT: u32 = 1000;

/// The longest a name, an address or a zone may be, in bytes. A host name has at most 253.
const MAX_TEXT: usize = 260;

/// The greatest `run`, which leaves room above it.
const MAX_RUN: u64 = 1 << 62;

impl Member {
    /// Whether it can be a member at all. What does not hold here is refused by all others.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for who configures it.
    pub fn check(&self) -> Result<(), BadMember> {
        if !is_text(&self.name) || self.name.is_empty() {
            return Err(BadMember::Name(Arc::clone(&self.name)));
        }
        for address in [&self.client_address, &self.peer_address] {
            let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            let port = port.and_then(|(_, port)| port.parse().ok());
            if !is_text(address) || port.is_none_or(|port: u16| port == 0) {
                return Err(BadMember::Address(Arc::clone(address)));
            }
        }
        if !is_text(&self.zone) {
            return Err(BadMember::Zone(Arc::clone(&self.zone)));
        }
        if !(1..=MAX_WEIGHT).contains(&self.weight) {
            return Err(BadMember::Weight(self.weight));
        }
        if self.run > MAX_RUN {
            return Err(BadMember::Run(self.run));
        }
        Ok(())
    }
}

/// Whether it can stand in a line of a reply or of the log, among others.
fn is_text(text: &str) -> bool {
    text.len() <= MAX_TEXT && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Why something is no member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadMember {
    /// Its name is empty, too long, or not one word.
    Name(Arc<str>),
    /// An address is not `host:port`.
    Address(Arc<str>),
    /// Its zone is too long or not one word.
    Zone(Arc<str>),
    /// Its weight is 0 or too great.
    Weight(u32),
    /// Its run is none that a clock could have given.
    Run(u64),
}

impl fmt::Display for BadMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => {
                write!(f, "{name:?} is no node name: write 1 to {MAX_TEXT} bytes without spaces")
            }
            Self::Address(address) => {
                write!(f, "{address:?} is not an address of a node: write host:port")
            }
            Self::Zone(zone) => {
                write!(f, "{zone:?} is no zone: write up to {MAX_TEXT} bytes without spaces")
            }
            Self::Weight(weight) => {
                write!(f, "a weight of {weight}: write a number from 1 to {MAX_WEIGHT}")
            }
            Self::Run(run) => write!(f, "a run of {run}, which is no time"),
        }
    }
}

impl std::error::Error for BadMember {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_line_of_text_could_carry_or_no_ring_is_refused() {
        let fine = Member {
            name: "node-1:11212".into(),
            run: 1,
            client_address: "[::1]:11211".into(),
            peer_address: "host.example:7946".into(),
            weight: 1000,
            zone: "".into(),
            stage: Stage::Serving,
        };
        assert_eq!(fine.check(), Ok(()));
        let refused = |change: fn(&mut Member)| {
            let mut member = fine.clone();
            change(&mut member);
            member.check().unwrap_err().to_string()
        };
        assert!(refused(|member| member.name = "".into()).starts_with("\"\" is no node name"));
        assert!(refused(|member| member.name = "a b".into()).contains("without spaces"));
        assert!(refused(|member| member.name = "x".repeat(261).into()).contains("260 bytes"));
        for address in ["host", "host:", "host:0", "host:65536", ":1", "a\nb:1", ""] {
            assert!(fine.check().is_ok());
            let member = Member { peer_address: address.into(), ..fine.clone() };
            assert_eq!(member.check(), Err(BadMember::Address(address.into())));
            let member = Member { client_address: address.into(), ..fine.clone() };
            assert_eq!(member.check(), Err(BadMember::Address(address.into())));
        }
        assert!(refused(|member| member.zone = "a\u{7}".into()).contains("no zone"));
        assert!(refused(|member| member.weight = 0).contains("from 1 to 1000"));
        assert!(refused(|member| member.weight = 1001).contains("from 1 to 1000"));
        assert!(refused(|member| member.run = u64::MAX).contains("no time"));
    }
}
