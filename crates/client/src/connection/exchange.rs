//! Requests that were sent together, and the answers to them so far.

use bytes::Bytes;
use larder_protocol::response::{Debug, Flag, Flags, Response, Status};
use larder_protocol::{parse_u32, parse_u64};
use tokio::sync::oneshot;

use crate::error::Violation;
use crate::item::Item;

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A code, and what came with it.
    Meta(Status, Found),
    /// An error line.
    Error(String),
}

/// What came with a code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) item: Item,
    /// This client is to fill the item (`W`).
    pub(crate) won: bool,
    /// Another one is (`Z`).
    pub(crate) taken: bool,
    /// The item is marked stale (`X`).
    pub(crate) stale: bool,
    /// The time it has left (`t`), if that was asked for and ends.
    pub(crate) ttl_secs: Option<u32>,
    /// The time since it was last used (`l`).
    pub(crate) idle_secs: u32,
    /// It was fetched before (`h`).
    pub(crate) fetched: bool,
    /// Its key is given as base64 (`b`).
    pub(crate) binary_key: bool,
    /// Its length (`s`), if that was asked for.
    pub(crate) len: Option<u64>,
}

impl Found {
    /// What `me` tells of an item; its length is what else there is besides the key.
    fn of_debug(debug: &Debug<'_>) -> Self {
        let mut found = Self::default();
        let key_len = u64::try_from(debug.key.len()).unwrap_or_default();
        for (name, value) in debug.fields() {
            match name {
                b"exp" => found.ttl_secs = parse_u32(value),
                b"la" => found.idle_secs = parse_u32(value).unwrap_or_default(),
                b"cas" => found.item.cas = parse_u64(value).unwrap_or_default(),
                b"fetch" => found.fetched = value == b"yes",
                b"size" => found.len = parse_u64(value).map(|all| all.saturating_sub(key_len)),
                _ => {}
            }
        }
        found
    }
}

/// What answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// A code, with the opaque; to a request that brings a value or not.
    Meta { stores: bool },
    /// `VALUE` and `END`, or `END`: to a `get` of one key, of which this is known.
    Value(Tail),
    /// `TOUCHED` or `NOT_FOUND`.
    Touched,
    /// `ME`, or a miss.
    Debug,
    /// `OK`.
    Ok,
}

/// A key's length and last bytes: enough to see that a value is not another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail(usize, u64);

impl Tail {
    pub(crate) fn of(key: &[u8]) -> Self {
        let last = key.last_chunk().copied().unwrap_or_else(|| {
            let mut short = [0; 8];
            short.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
            short
        });
        Self(key.len(), u64::from_le_bytes(last))
    }
}

/// Requests that were sent together, whose opaques are consecutive.
#[derive(Debug)]
pub(crate) struct Exchange {
    opaque: u64,
    missing: usize,
    expected: Expected,
    answers: Answers,
}

/// The answers so far, and who waits for them.
#[derive(Debug)]
enum Answers {
    Many(Vec<Answer>, oneshot::Sender<Vec<Answer>>),
    One(Option<Answer>, oneshot::Sender<Answer>),
}

impl Exchange {
    /// One of meta commands. `stores` tells whether any of them brings a value.
    pub(super) fn many(
        first_opaque: u64,
        requests: usize,
        stores: bool,
        reply: oneshot::Sender<Vec<Answer>>,
    ) -> Self {
        let answers = Answers::Many(Vec::with_capacity(requests), reply);
        let expected = Expected::Meta { stores };
        Self { opaque: first_opaque, missing: requests, expected, answers }
    }

    /// One of a single command.
    pub(super) fn one(opaque: u64, expected: Expected, reply: oneshot::Sender<Answer>) -> Self {
        Self { opaque, missing: 1, expected, answers: Answers::One(None, reply) }
    }

    /// Whether all answers are there.
    pub(super) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Hands the answers over. If nobody waits any more they vanish.
    pub(super) fn complete(self) {
        match self.answers {
            Answers::Many(answers, reply) => drop(reply.send(answers)),
            Answers::One(Some(answer), reply) => drop(reply.send(answer)),
            Answers::One(None, _) => {}
        }
    }

    /// Gives the answer accepted last its value.
    pub(super) fn set_value(&mut self, value: Bytes) {
        let last = match &mut self.answers {
            Answers::Many(answers, _) => answers.last_mut(),
            Answers::One(answer, _) => answer.as_mut(),
        };
        if let Some(Answer::Meta(_, found)) = last {
            found.item.value = value;
        }
    }

    /// Takes the next answer, or a part of it; `value` makes its value outlive the buffer.
    ///
    /// An error line that leaves the state of the connection in doubt is kept as the answer and
    /// reported as a violation too.
    pub(super) fn accept(
        &mut self,
        response: &Response<'_>,
        value: impl FnOnce(&[u8]) -> Bytes,
    ) -> Result<(), Violation> {
        let mut doubt = None;
        let answer = match response {
            Response::ServerError(text) => error_line("SERVER_ERROR", text),
            Response::ClientError(text) => {
                // A server that rejects the line may read the value behind it as requests.
                let stores = self.expected == Expected::Meta { stores: true };
                doubt = stores.then_some(Violation::RefusedValue);
                error_line("CLIENT_ERROR", text)
            }
            Response::Error(text) => {
                doubt = Some(Violation::NoMetaCommands);
                error_line("ERROR", text)
            }
            response => match self.read(response, value)? {
                Some(answer) => answer,
                None => return Ok(()),
            },
        };
        match &mut self.answers {
            Answers::Many(answers, _) => answers.push(answer),
            Answers::One(place, _) => *place = Some(answer),
        }
        self.missing = self.missing.saturating_sub(1);
        self.opaque += 1;
        doubt.map_or(Ok(()), Err)
    }

    /// Reads what is no error; `None` if there is more to come of it.
    fn read(
        &mut self,
        response: &Response<'_>,
        value: impl FnOnce(&[u8]) -> Bytes,
    ) -> Result<Option<Answer>, Violation> {
        Ok(Some(match (self.expected, response) {
            (Expected::Meta { .. }, Response::Meta { status, flags, data }) => {
                let mut found = self.check(*status, flags)?;
                found.item.value = data.map(value).unwrap_or_default();
                Answer::Meta(*status, found)
            }
            (Expected::Value(tail), Response::Value { key, client_flags, cas, data }) => {
                let Answers::One(answer @ None, _) = &mut self.answers else {
                    return Err(Violation::WrongAnswer);
                };
                if tail != Tail::of(key) {
                    return Err(Violation::WrongAnswer);
                }
                let cas = cas.unwrap_or_default();
                let item = Item { value: value(data), flags: *client_flags, cas };
                *answer = Some(Answer::Meta(Status::Value, Found { item, ..Found::default() }));
                return Ok(None);
            }
            (Expected::Value(_), Response::End) => {
                let miss = || Answer::Meta(Status::Miss, Found::default());
                match &mut self.answers {
                    Answers::One(answer, _) => answer.take().unwrap_or_else(miss),
                    Answers::Many(..) => return Err(Violation::WrongAnswer),
                }
            }
            (Expected::Touched, Response::Touched) | (Expected::Ok, Response::Ok) => {
                Answer::Meta(Status::Done, Found::default())
            }
            (Expected::Touched, Response::NotFound)
            | (Expected::Debug, Response::Meta { status: Status::Miss, .. }) => {
                Answer::Meta(Status::Miss, Found::default())
            }
            (Expected::Debug, Response::Debug(debug)) => {
                Answer::Meta(Status::Done, Found::of_debug(debug))
            }
            _ => return Err(Violation::WrongAnswer),
        }))
    }

    /// Checks that an answer is to the next request, and reads its flags.
    fn check(&self, status: Status, flags: &Flags<'_>) -> Result<Found, Violation> {
        let mut found = Found::default();
        // memcached before 1.6.18 leaves the opaque out of a miss.
        let mut matches = status == Status::Miss;
        for flag in flags.clone() {
            match flag {
                Flag::Opaque(opaque) if parse_u64(opaque) == Some(self.opaque) => matches = true,
                Flag::Opaque(_) => return Err(Violation::WrongOpaque),
                Flag::ClientFlags(flags) => found.item.flags = flags,
                Flag::Cas(cas) => found.item.cas = cas,
                Flag::Won => found.won = true,
                Flag::AlreadyWon => found.taken = true,
                Flag::Stale => found.stale = true,
                Flag::Ttl(ttl) => found.ttl_secs = ttl,
                Flag::IdleSecs(secs) => found.idle_secs = secs,
                Flag::Fetched(fetched) => found.fetched = fetched,
                Flag::Base64Key => found.binary_key = true,
                Flag::Size(len) => found.len = Some(len),
                _ => {}
            }
        }
        if matches { Ok(found) } else { Err(Violation::WrongOpaque) }
    }
}

fn error_line(word: &str, text: &[u8]) -> Answer {
    let text = text.escape_ascii();
    Answer::Error(format!("{word} {text}").trim_end().to_owned())
}
