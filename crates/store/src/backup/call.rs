//! What nodes are asked for a cut.
//!
//! | call 49, and its answer | bytes | |
//! |---|---|---|
//! | version | 1 | 1 |
//! | content | rest | postcard of [`Call`]; of a [`Reply`] |
//!
//! What is not done is a refusal, whose text says why.

use bytes::Bytes;
use larder_peer::Refusal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::placement::GroupId;

/// The kind of these calls.
pub(crate) const BACKUP: u8 = 49;

/// What a node is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Call {
    /// To keep what it has of a cut, if it has something, for another while.
    Keep { cut: u64 },
    /// To propose nothing to a group that it leads until it is told to go on, or some time has passed.
    Hold { cut: u64, group: GroupId },
    /// To keep the items of a group as they are, if it has led and held back since it was asked to.
    Take { cut: u64, group: GroupId },
    /// To go on with all groups.
    GoOn { cut: u64 },
    /// For a part of what it has kept of a group. Parts are asked for in their order, from 0 on, each
    /// as often as need be until the next is.
    Part { cut: u64, group: GroupId, number: u64 },
    /// To keep nothing of it any more.
    Drop { cut: u64 },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// It is so.
    Done,
    /// Items, one after the other, as `item` has them.
    Part {
        #[serde(with = "serde_bytes")]
        items: Vec<u8>,
        /// Whether no more follow.
        is_last: bool,
    },
}

pub(crate) fn encode(content: &impl Serialize) -> Result<Bytes, Refusal> {
    let bytes = postcard::to_extend(content, vec![VERSION]);
    bytes.map(Bytes::from).map_err(|error| Refusal(error.to_string()))
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let decode = || match bytes.split_first()? {
        (&VERSION, content) => postcard::from_bytes(content).ok(),
        _ => None,
    };
    decode().ok_or_else(|| {
        Refusal("this version of Larder knows no such call about a backup".to_owned())
    })
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn these_are_the_bytes() {
        let calls = [
            (Call::Keep { cut: 5 }, &b"\x01\x00\x05"[..]),
            (Call::Hold { cut: 5, group: 3 }, b"\x01\x01\x05\x03"),
            (Call::Take { cut: 5, group: 3 }, b"\x01\x02\x05\x03"),
            (Call::GoOn { cut: 300 }, b"\x01\x03\xac\x02"),
            (Call::Part { cut: 5, group: 3, number: 9 }, b"\x01\x04\x05\x03\x09"),
            (Call::Drop { cut: 5 }, b"\x01\x05\x05"),
        ];
        for (call, bytes) in calls {
            assert_eq!(encode(&call).unwrap(), bytes, "{call:?}");
            assert_eq!(decode::<Call>(bytes).unwrap(), call);
        }
        let part = Reply::Part { items: b"ab".to_vec(), is_last: true };
        for (reply, bytes) in [(Reply::Done, &b"\x01\x00"[..]), (part, b"\x01\x01\x02ab\x01")] {
            assert_eq!(encode(&reply).unwrap(), bytes, "{reply:?}");
            assert_eq!(decode::<Reply>(bytes).unwrap(), reply);
        }
        for wrong in [&b""[..], b"\x02\x00\x05", b"\x01\x06\x05", b"\x01\x01"] {
            assert!(decode::<Call>(wrong).is_err(), "{wrong:?}");
        }
    }
}
