//! Commands that are proposed together, as the bytes that all replicas of a group are given.
//!
//! The crate's documentation has the table. Commands are as the structs of this crate and of the
//! protocol are declared: a field more is a version more.

use std::iter::FusedIterator;

use bytes::Bytes;

use crate::apply::Admission;
use crate::command::Asked;
use crate::failure;
use crate::record::Unreadable;

/// Which proposal an entry is: how its proposer knows its own commands again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Proposal {
    pub(crate) proposer: u64,
    pub(crate) number: u64,
}

/// An entry, read as far as its commands.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) proposal: Proposal,
    /// Decided by who proposed it: replicas find different room on their disks.
    pub(crate) admission: Admission,
    pub(crate) commands: Commands<'a>,
}

/// Commands, as they are in an entry, until the first that makes no sense.
#[derive(Clone, Debug)]
pub(crate) struct Commands<'a>(pub(crate) &'a [u8]);

/// An entry of these commands. `None` if nothing is admitted, or a command cannot be written, which
/// none of ours is.
pub(crate) fn encode<'a>(
    proposal: Proposal,
    admission: Admission,
    commands: impl IntoIterator<Item = Asked<'a>>,
) -> Option<Bytes> {
    let admitted = match admission {
        Admission::All => ALL,
        Admission::Removals(_) => REMOVALS,
        Admission::Nothing(_) => return None,
    };
    let mut bytes = Vec::with_capacity(USUAL_LEN);
    bytes.push(VERSION);
    bytes.extend_from_slice(&proposal.proposer.to_le_bytes());
    bytes.extend_from_slice(&proposal.number.to_le_bytes());
    bytes.push(admitted);
    write(commands, bytes).map(Bytes::from)
}

/// Appends commands.
pub(crate) fn write<'a>(
    commands: impl IntoIterator<Item = Asked<'a>>,
    bytes: Vec<u8>,
) -> Option<Vec<u8>> {
    commands.into_iter().try_fold(bytes, |bytes, asked| postcard::to_extend(&asked, bytes).ok())
}

impl<'a> Entry<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let ([version], rest) = bytes.split_first_chunk().ok_or(Unreadable::Damaged)?;
        if *version != VERSION {
            return Err(Unreadable::Version(*version));
        }
        let (proposer, rest) = rest.split_first_chunk().ok_or(Unreadable::Damaged)?;
        let (number, rest) = rest.split_first_chunk().ok_or(Unreadable::Damaged)?;
        let ([admitted], rest) = rest.split_first_chunk().ok_or(Unreadable::Damaged)?;
        let admission = match *admitted {
            ALL => Admission::All,
            REMOVALS => Admission::Removals(failure::FULL),
            _ => return Err(Unreadable::Damaged),
        };
        let (proposer, number) = (u64::from_le_bytes(*proposer), u64::from_le_bytes(*number));
        let proposal = Proposal { proposer, number };
        Ok(Self { proposal, admission, commands: Commands(rest) })
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = Result<Asked<'a>, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let taken = postcard::take_from_bytes(self.0);
        self.0 = taken.as_ref().map_or(&[], |(_, rest)| rest);
        Some(taken.map(|(asked, _)| asked).map_err(|_| Unreadable::Damaged))
    }
}

impl FusedIterator for Commands<'_> {}

const VERSION: u8 = 1;
/// Room for what some tens of clients ask at once.
const USUAL_LEN: usize = 8 << 10;
const ALL: u8 = 0;
const REMOVALS: u8 = 1;

#[cfg(test)]
mod tests {
    use larder_protocol::{Arithmetic, Delete, Exptime, Fetch, Op, Store};

    use super::*;
    use crate::command::Request;

    const PROPOSAL: Proposal = Proposal { proposer: 0x0102, number: 3 };

    fn entry(admission: Admission, commands: &[Asked<'_>]) -> Bytes {
        encode(PROPOSAL, admission, commands.iter().copied()).unwrap()
    }

    fn asked<'a>(key: &'a [u8], op: Op<'a>) -> Asked<'a> {
        Asked { key, now: 1000, request: Request::Op(op) }
    }

    /// A change of what is declared anywhere shows here, and is another version.
    #[test]
    fn the_bytes_are_these_for_good() {
        let store = Store { value: b"v", client_flags: 200, exptime: Exptime(9), ..Store::SET };
        let commands = [
            asked(b"k", Op::Store(store)),
            asked(b"k", Op::Fetch(Fetch::GET)),
            asked(b"k", Op::Delete(Delete { compare: Some(300), ..Delete::default() })),
            asked(
                b"k",
                Op::Arithmetic(Arithmetic {
                    decrement: true,
                    delta: 2,
                    vivify: Some(Exptime::NEVER),
                    initial: 4,
                    compare: None,
                    new_cas: Some(7),
                    ttl: None,
                    binary_key: false,
                }),
            ),
            Asked { key: b"", now: 1000, request: Request::FlushAll(5) },
            Asked { key: b"k", now: 1000, request: Request::Reclaim(6) },
        ];
        let bytes = entry(Admission::Removals(failure::FULL), &commands);
        let expected = [
            &[1, 2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1][..],
            &[1, 107, 232, 7, 0, 1, 0, 0, 1, 118, 200, 1, 18, 0, 0, 0, 0, 0],
            &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
            &[1, 107, 232, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            &[1, 107, 232, 7, 0, 2, 1, 172, 2, 0, 0, 0, 0, 0],
            &[1, 107, 232, 7, 0, 3, 1, 2, 1, 0, 4, 0, 1, 7, 0, 0],
            &[0, 232, 7, 1, 5],
            &[1, 107, 232, 7, 2, 6],
        ]
        .concat();
        assert_eq!(&bytes[..], expected);
        let entry = Entry::decode(&bytes).unwrap();
        assert_eq!(entry.proposal, PROPOSAL);
        assert_eq!(entry.admission, Admission::Removals(failure::FULL));
        let read: Vec<_> = entry.commands.map(Result::unwrap).collect();
        assert_eq!(read, commands);
    }

    #[test]
    fn what_is_not_an_entry_is_refused() {
        let whole = entry(Admission::All, &[asked(b"key", Op::Fetch(Fetch::GET))]);
        for cut in 0..whole.len() {
            let read = Entry::decode(&whole[..cut]).map(|entry| entry.commands.collect());
            let read: Result<Vec<_>, _> =
                read.unwrap_or_else(|why| vec![Err(why)]).into_iter().collect();
            match read {
                Err(Unreadable::Damaged) => {}
                // It ends with the commands before.
                Ok(commands) => assert!(commands.is_empty() && cut == 18, "{cut}"),
                Err(why) => panic!("{why:?}"),
            }
        }
        let mut newer = whole.to_vec();
        newer[0] = 2;
        assert_eq!(Entry::decode(&newer).unwrap_err(), Unreadable::Version(2));
        let mut odd = whole.to_vec();
        odd[17] = 2;
        assert_eq!(Entry::decode(&odd).unwrap_err(), Unreadable::Damaged);
        assert_eq!(encode(PROPOSAL, Admission::Nothing("why"), []), None);
    }
}
