//! What nodes say to each other, as bytes.

use std::fmt;

use bytes::{Buf as _, Bytes};
use foca::{Codec as _, Header, PostcardCodec};
use serde::{Deserialize, Serialize};

use super::identity::Identity;

/// The first byte of every message.
pub(super) const VERSION: u8 = 1;

/// What a seed says to who knocks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) enum Answer {
    Come {
        by: Identity,
        /// Who is known by the name of who knocks and has to be outranked.
        known: Option<Identity>,
        /// All that are there, with who answers.
        members: Vec<foca::Member<Identity>>,
    },
    /// There is another member that has the name.
    Taken { by: Identity, rival: Identity },
}

/// A message of foca's, taken apart.
pub(super) struct Gossip<'b> {
    pub(super) header: Header<Identity>,
    pub(super) updates: Vec<foca::Member<Identity>>,
    /// All of it, as foca reads it.
    pub(super) packet: &'b [u8],
}

/// Bytes that are no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    Version(u8),
    Codec(postcard::Error),
    Cut,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(theirs) => write!(
                f,
                "it speaks version {theirs} of the gossip about members, this node version \
                 {VERSION}: run releases of Larder that go together"
            ),
            Self::Codec(error) => write!(f, "a message about members cannot be read: {error}"),
            Self::Cut => f.write_str("a message about members is cut short, or goes on too long"),
        }
    }
}

impl From<postcard::Error> for Malformed {
    fn from(error: postcard::Error) -> Self {
        Self::Codec(error)
    }
}

/// A knock or its answer.
pub(super) fn encode(message: &impl Serialize) -> Bytes {
    // There is no reason why writing to memory should fail; others refuse what is empty.
    postcard::to_extend(message, vec![VERSION]).unwrap_or_default().into()
}

/// A knock or its answer.
pub(super) fn decode<'b, M: Deserialize<'b>>(body: &'b [u8]) -> Result<M, Malformed> {
    let (message, rest) = postcard::take_from_bytes(versioned(body)?)?;
    if rest.is_empty() { Ok(message) } else { Err(Malformed::Cut) }
}

/// Takes a message of foca's apart, in the layout that foca documents at `Header`.
pub(super) fn dissect(body: &[u8]) -> Result<Gossip<'_>, Malformed> {
    let packet = versioned(body)?;
    let mut rest = packet;
    let header = PostcardCodec.decode_header(&mut rest)?;
    let mut updates = Vec::new();
    if !rest.is_empty() {
        let count = rest.try_get_u16().map_err(|_| Malformed::Cut)?;
        for _ in 0..count {
            updates.push(PostcardCodec.decode_member(&mut rest)?);
        }
    }
    if !rest.is_empty() {
        return Err(Malformed::Cut);
    }
    Ok(Gossip { header, updates, packet })
}

fn versioned(body: &[u8]) -> Result<&[u8], Malformed> {
    match body.split_first() {
        Some((&VERSION, rest)) => Ok(rest),
        Some((&version, _)) => Err(Malformed::Version(version)),
        None => Err(Malformed::Cut),
    }
}
