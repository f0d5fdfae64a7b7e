//! Commands on their way to the node that leads, as bytes. The crate's documentation has the tables.
//!
//! A node sends the next commands before it knows what became of those before. Should these not be
//! taken, those behind them must not be either, or commands of one session would be done in another
//! order. So what is forwarded says in which reign it is to be done, and behind what.

use std::collections::HashMap;

use bytes::Bytes;

use crate::command::Asked;
use crate::entry::{self, Commands};
use crate::placement::GroupId;

/// The kind of a call between nodes that brings commands to be proposed, in their order.
pub(crate) const WRITES: u8 = 32;
/// The kind of a call that brings fetches, in no order.
pub(crate) const READS: u8 = 33;
/// The kind of a call that asks for a look at a range.
pub(crate) const RANGE: u8 = 35;
/// The kind of a call that asks who leads a group.
pub(crate) const LEADER: u8 = 34;
/// The kind of a call that asks how far a group is.
pub(crate) const INDEX: u8 = 36;

/// Commands to be proposed to a group, forwarded together.
#[derive(Clone, Debug)]
pub(crate) struct Forward<'a> {
    pub(crate) group: GroupId,
    /// In which this node is to lead.
    pub(crate) term: u64,
    pub(crate) place: Place,
    pub(crate) commands: Commands<'a>,
}

/// A place in what one opening of a node forwards to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The number that the opening of the node has drawn.
    pub(crate) proposer: u64,
    /// Of what is forwarded: greater than that of all before.
    pub(crate) number: u64,
    /// Behind what it is to be done; 0 if it is known what became of all before.
    pub(crate) follows: u64,
}

/// What each of the other nodes has forwarded last to each group, of what was taken.
#[derive(Debug, Default)]
pub(crate) struct Lines(HashMap<(u64, GroupId), (u64, u64)>);

impl Lines {
    /// Whether what `node` has forwarded to a group may be taken, which it then is.
    pub(crate) fn admit(&mut self, node: u64, group: GroupId, place: Place) -> bool {
        let Place { proposer, number, follows } = place;
        let last = self.0.entry((node, group)).or_default();
        if last.0 != proposer {
            *last = (proposer, 0);
        }
        let in_line = number > last.1 && (follows == 0 || follows == last.1);
        if in_line {
            last.1 = number;
        }
        in_line
    }
}

/// Commands to be proposed. `None` if one cannot be written, which none of ours is.
pub(crate) fn encode<'a>(
    group: GroupId,
    term: u64,
    place: Place,
    commands: impl IntoIterator<Item = Asked<'a>>,
) -> Option<Bytes> {
    let mut bytes = vec![VERSION];
    for number in [group, term, place.proposer, place.number, place.follows] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    entry::write(commands, bytes).map(Bytes::from)
}

/// Fetches, or a look at a range. `None` if one cannot be written, which none of ours is.
pub(crate) fn encode_reads<'a>(
    group: GroupId,
    commands: impl IntoIterator<Item = Asked<'a>>,
) -> Option<Bytes> {
    entry::write(commands, head(group)).map(Bytes::from)
}

/// A question about a group.
pub(crate) fn encode_group(group: GroupId) -> Bytes {
    head(group).into()
}

fn head(group: GroupId) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&group.to_le_bytes());
    bytes
}

impl<'a> Forward<'a> {
    /// `None` if it makes no sense to this version.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let ([VERSION], rest) = bytes.split_first_chunk()? else { return None };
        let (group, rest) = rest.split_first_chunk()?;
        let (term, rest) = rest.split_first_chunk()?;
        let (proposer, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (follows, rest) = rest.split_first_chunk()?;
        let [group, term, proposer, number, follows] =
            [group, term, proposer, number, follows].map(|bytes| u64::from_le_bytes(*bytes));
        let place = Place { proposer, number, follows };
        Some(Self { group, term, place, commands: Commands(rest) })
    }
}

/// `None` if they make no sense to this version. Of a question about a group there are none.
pub(crate) fn decode_reads(bytes: &[u8]) -> Option<(GroupId, Commands<'_>)> {
    let ([VERSION], rest) = bytes.split_first_chunk()? else { return None };
    let (group, rest) = rest.split_first_chunk()?;
    Some((u64::from_le_bytes(*group), Commands(rest)))
}

const VERSION: u8 = 2;

#[cfg(test)]
mod tests {
    use larder_protocol::{Fetch, Op};

    use super::*;
    use crate::command::Request;
    use crate::span::Span;

    #[test]
    fn the_bytes_are_these_for_good() {
        let place = Place { proposer: 2, number: 3, follows: 0x0104 };
        let get = Asked { key: b"k", now: 1000, request: Request::Op(Op::Fetch(Fetch::GET)) };
        let bytes = encode(5, 1, place, [get]).unwrap();
        let numbers = [5_u64, 1, 2, 3, 0x0104].map(u64::to_le_bytes).concat();
        let command = [1, 107, 232, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        assert_eq!(bytes, [&[2], &numbers[..], &command].concat());
        let read = Forward::decode(&bytes).unwrap();
        assert_eq!((read.group, read.term, read.place), (5, 1, place));
        assert_eq!(read.commands.collect::<Result<Vec<_>, _>>(), Ok(vec![get]));
        assert!(Forward::decode(&bytes[..40]).is_none());
        let bytes = encode_reads(5, [get]).unwrap();
        assert_eq!(bytes, [&[2, 5, 0, 0, 0, 0, 0, 0, 0], &command[..]].concat());
        let (group, mut reads) = decode_reads(&bytes).unwrap();
        assert_eq!((group, reads.next()), (5, Some(Ok(get))));
        assert!(decode_reads(&[1; 9]).is_none() && Forward::decode(&[1; 41]).is_none());
        assert_eq!(encode_group(5), bytes[..9]);
        let span = Span { end: b"z", left_open: true, right_open: false, most: 100, bytes: 300 };
        let look = Asked { key: b"k", now: 1000, request: Request::Range(span) };
        let bytes = encode_reads(5, [look]).unwrap();
        let command = [1, 107, 232, 7, 3, 1, 122, 1, 0, 100, 172, 2];
        assert_eq!(bytes, [&[2, 5, 0, 0, 0, 0, 0, 0, 0], &command[..]].concat());
        assert_eq!(decode_reads(&bytes).unwrap().1.next(), Some(Ok(look)));
    }

    #[test]
    fn what_was_not_taken_keeps_out_what_comes_behind_it() {
        let mut lines = Lines::default();
        let mut admit = |node, proposer, number, follows| {
            lines.admit(node, 5, Place { proposer, number, follows })
        };
        assert!(admit(2, 7, 1, 0) && admit(2, 7, 2, 1));
        // 3 did not come.
        assert!(!admit(2, 7, 4, 3) && !admit(2, 7, 5, 4));
        // All of them again, now that it is known.
        assert!(admit(2, 7, 6, 0) && admit(2, 7, 7, 6));
        // One that was on its way for long.
        assert!(!admit(2, 7, 5, 0));
        // Another node, and another opening of the first.
        assert!(admit(3, 8, 1, 0) && !admit(2, 9, 2, 1) && admit(2, 9, 3, 0));
        // Another group has a line of its own.
        assert!(lines.admit(2, 6, Place { proposer: 9, number: 1, follows: 0 }));
    }
}
