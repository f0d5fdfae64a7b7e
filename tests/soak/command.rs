//! A command: what is asked of which key, and in which words.

use larder_protocol::encode::{self, Wishes};
use larder_protocol::{Arithmetic, Delete, Fetch, Op, Store};

use super::value::Value;
use super::violation::Violation;
use crate::filler::Filler;

/// One command of one connection.
#[derive(Clone, Debug)]
pub(super) struct Command {
    /// Which of the connection's keys.
    pub(super) key: usize,
    pub(super) ask: Ask,
    /// What a meta command is to answer; `QUIET` is also `noreply`.
    pub(super) wishes: Wishes,
    pub(super) spelling: Spelling,
}

/// What is asked: an operation, of which a store has its value beside it.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Fetch(Fetch),
    Store(Store<'static>, Value),
    Delete(Delete),
    Count(Arithmetic),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    Meta,
    Classic,
    /// A `get` whose line goes on with the key of the next command.
    Joined,
}

impl Command {
    /// The bytes of values that it moves, if `held` are those of its item.
    pub(super) fn weight(&self, held: usize) -> usize {
        match &self.ask {
            Ask::Fetch(_) => held,
            Ask::Store(_, value) => value.len(),
            Ask::Delete(_) | Ask::Count(_) => 0,
        }
    }

    pub(super) fn is_meta(&self) -> bool {
        self.spelling == Spelling::Meta
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.wishes.has(Wishes::QUIET)
    }

    /// Appends it to `out`, unless it is a part of a `get`, with `opaque` to know its answer by.
    pub(super) fn put(
        &self,
        key: &[u8],
        opaque: u64,
        filler: &Filler,
        out: &mut Vec<u8>,
    ) -> Result<(), Violation> {
        let mut bytes = Vec::new();
        let op = match &self.ask {
            Ask::Fetch(fetch) => Op::Fetch(*fetch),
            Ask::Store(store, value) => {
                value.put(filler, &mut bytes);
                Op::Store(Store { value: &bytes, ..*store })
            }
            Ask::Delete(delete) => Op::Delete(*delete),
            Ask::Count(count) => Op::Arithmetic(*count),
        };
        let put = if self.is_meta() {
            encode::meta(out, key, &op, self.wishes, Some(opaque))
        } else {
            encode::classic(out, key, &op, self.wishes)
        };
        put.map_err(Violation::new)
    }
}
