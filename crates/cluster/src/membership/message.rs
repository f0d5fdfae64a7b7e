//! What nodes say to each other, as bytes.

use std::fmt;

use bytes::{Buf as _, Bytes};
use foca::{Codec as _, Header, Message, PostcardCodec};
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

/// A probe of one that is suspected, which tells it so: its answer is that it is not so.
pub(super) fn question(me: &Identity, suspect: &foca::Member<Identity>) -> Bytes {
    let header = Header {
        src: me.clone(),
        // Foca does not tell; the least is none that anybody believes instead of what it knows.
        src_incarnation: 0,
        dst: suspect.id().clone(),
        // Nobody waits for an answer of that number.
        message: Message::Ping(0),
    };
    let mut body = vec![VERSION];
    let encoded = PostcardCodec.encode_header(&header, &mut body).and_then(|()| {
        body.extend_from_slice(&1_u16.to_be_bytes());
        PostcardCodec.encode_member(suspect, &mut body)
    });
    encoded.map(|()| body.into()).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::member::{Member, Stage};

    fn identity(name: &str, bump: u32) -> Identity {
        let member = Member {
            name: name.into(),
            run: 300,
            client_address: "c:1".into(),
            peer_address: "p:2".into(),
            weight: 5,
            zone: "z".into(),
            stage: if bump > 0 { Stage::Leaving } else { Stage::Serving },
        };
        Identity { member: Arc::new(member), bump }
    }

    const A: &[u8] = b"\x01a\xac\x02\x03c:1\x03p:2\x05\x01z\x01\0";
    const B: &[u8] = b"\x01b\xac\x02\x03c:1\x03p:2\x05\x01z\x02\x07";

    #[test]
    fn knocks_and_answers_are_these_bytes() {
        let (a, b) = (identity("a", 0), identity("b", 7));
        let come = Answer::Come {
            by: a.clone(),
            known: Some(b.clone()),
            members: vec![foca::Member::new(b.clone(), 200, foca::State::Suspect)],
        };
        let taken = Answer::Taken { by: a.clone(), rival: b.clone() };
        let bytes = |parts: &[&[u8]]| Bytes::from(parts.concat());
        assert_eq!(encode(&a), bytes(&[b"\x01", A]));
        assert_eq!(encode(&come), bytes(&[b"\x01\0", A, b"\x01", B, b"\x01", B, b"\xc8\x01\x01"]));
        assert_eq!(encode(&taken), bytes(&[b"\x01\x01", A, B]));
        for answer in [come, taken] {
            assert_eq!(decode::<Answer>(&encode(&answer)), Ok(answer));
        }
    }

    fn gossip(src: Identity, updates: &[foca::Member<Identity>]) -> Vec<u8> {
        let message = Message::Ping(9);
        let header = Header { src, src_incarnation: 1, dst: identity("b", 7), message };
        let mut body = vec![VERSION];
        PostcardCodec.encode_header(&header, &mut body).unwrap();
        body.extend(u16::try_from(updates.len()).unwrap().to_be_bytes());
        for update in updates {
            PostcardCodec.encode_member(update, &mut body).unwrap();
        }
        body
    }

    #[test]
    fn gossip_is_these_bytes() {
        let update = foca::Member::down(identity("a", 0));
        let body = gossip(identity("a", 0), std::slice::from_ref(&update));
        let parts = [b"\x01".as_slice(), A, b"\x01", B, b"\0\x09", b"\0\x01", A, b"\0\x02"];
        assert_eq!(body, parts.concat());
        let Gossip { header, updates, packet } = dissect(&body).unwrap();
        assert_eq!((header.src, header.message), (identity("a", 0), Message::Ping(9)));
        assert_eq!((updates, packet), (vec![update], &body[1..]));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let body = gossip(identity("a", 0), &[foca::Member::alive(identity("c", 0))]);
        for len in 0..body.len() {
            // An announcement ends with its header, which others do not.
            let headed = len == body.len() - 2 - A.len() - 2;
            assert_eq!(dissect(&body[..len]).is_ok(), headed, "{len}");
        }
        assert_eq!(dissect(&[&body[..], b"!"].concat()).err(), Some(Malformed::Cut));
        assert_eq!(dissect(b"\x02").err(), Some(Malformed::Version(2)));
        assert_eq!(
            Malformed::Version(2).to_string(),
            "it speaks version 2 of the gossip about members, this node version 1: run releases of \
             Larder that go together"
        );
        let mut absurd = identity("a", 0);
        absurd.member = Arc::new(Member { weight: 0, ..Member::clone(&absurd.member) });
        assert!(dissect(&gossip(absurd.clone(), &[])).is_err());
        assert!(
            dissect(&gossip(identity("a", 0), &[foca::Member::alive(absurd.clone())])).is_err()
        );
        assert!(decode::<Identity>(&encode(&absurd)).is_err());
        assert_eq!(
            decode::<Identity>(&[&encode(&identity("a", 0))[..], b"!"].concat()),
            Err(Malformed::Cut)
        );
    }
}
