//! What is proposed to group 0.
//!
//! | entry of the log | bytes | |
//! |---|---|---|
//! | version | 1 | 1 |
//! | proposer | 8 | a number that an opening of a node drew at random, little-endian |
//! | number | 8 | of the proposal, among those of its proposer |
//! | what | rest | postcard of [`What`] |

use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::placement::{Change, Member};

/// A proposal, whose proposer is told what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) proposer: u64,
    pub(crate) number: u64,
    pub(crate) what: What,
}

/// What is proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    /// A cluster begins, with this member, which has all groups. Done once.
    Found {
        /// So many beside group 0.
        groups: usize,
        /// So many replicas each.
        replicas: usize,
        member: Member,
    },
    /// The placement changes.
    Change(Change),
}

impl Proposal {
    pub(crate) fn encode(&self) -> io::Result<Bytes> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.proposer.to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        postcard::to_extend(&self.what, bytes).map(Bytes::from).map_err(io::Error::other)
    }

    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Self> {
        let decode = || {
            let (&VERSION, bytes) = bytes.split_first()? else { return None };
            let (proposer, bytes) = bytes.split_first_chunk()?;
            let (number, bytes) = bytes.split_first_chunk()?;
            Some(Self {
                proposer: u64::from_le_bytes(*proposer),
                number: u64::from_le_bytes(*number),
                what: postcard::from_bytes(bytes).ok()?,
            })
        };
        let strange = "this version cannot read a proposal to group 0";
        decode().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, strange))
    }
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_proposed_is_read_and_nothing_else() {
        let what = What::Change(Change::Drain(3, true));
        let proposal = Proposal { proposer: 0x0102, number: 9, what };
        let bytes = proposal.encode().unwrap();
        let written = [&[1, 2, 1, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0][..], &[1, 2, 3, 1]];
        assert_eq!(bytes, written.concat());
        assert_eq!(Proposal::decode(&bytes).unwrap(), proposal);
        let newer = [&[2], &bytes[1..]].concat();
        for senseless in [&newer[..], &bytes[..16], &bytes[..18], b""] {
            Proposal::decode(senseless).unwrap_err();
        }
    }
}
