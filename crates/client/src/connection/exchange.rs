//! Requests that were sent together, and the answers to them so far.

use bytes::Bytes;
use larder_protocol::parse_u64;
use larder_protocol::response::{Flag, Flags, Response, Status};
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
}

/// Requests that were sent together, whose opaques are consecutive.
#[derive(Debug)]
pub(crate) struct Exchange {
    opaque: u64,
    missing: usize,
    stores: bool,
    answers: Vec<Answer>,
    reply: oneshot::Sender<Vec<Answer>>,
}

impl Exchange {
    /// `stores` tells whether any of the requests brings a value.
    pub(super) fn new(
        first_opaque: u64,
        requests: usize,
        stores: bool,
        reply: oneshot::Sender<Vec<Answer>>,
    ) -> Self {
        let answers = Vec::with_capacity(requests);
        Self { opaque: first_opaque, missing: requests, stores, answers, reply }
    }

    /// Whether all answers are there.
    pub(super) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Hands the answers over. If nobody waits any more they vanish.
    pub(super) fn complete(self) {
        let _ = self.reply.send(self.answers);
    }

    /// Gives the answer accepted last its value.
    pub(super) fn set_value(&mut self, value: Bytes) {
        if let Some(Answer::Meta(_, found)) = self.answers.last_mut() {
            found.item.value = value;
        }
    }

    /// Takes the next answer; `value` makes its value outlive the buffer.
    ///
    /// An error line that leaves the state of the connection in doubt is kept as the answer and
    /// reported as a violation too.
    pub(super) fn accept(
        &mut self,
        response: &Response<'_>,
        value: impl FnOnce(&[u8]) -> Bytes,
    ) -> Result<(), Violation> {
        let (answer, doubt) = match response {
            Response::Meta { status, flags, data } => {
                let mut found = self.check(*status, flags)?;
                found.item.value = data.map(value).unwrap_or_default();
                (Answer::Meta(*status, found), None)
            }
            Response::ServerError(text) => (error_line("SERVER_ERROR", text), None),
            Response::ClientError(text) => {
                // A server that rejects the line may read the value behind it as requests.
                let doubt = self.stores.then_some(Violation::RefusedValue);
                (error_line("CLIENT_ERROR", text), doubt)
            }
            Response::Error(text) => (error_line("ERROR", text), Some(Violation::NoMetaCommands)),
            _ => return Err(Violation::WrongAnswer),
        };
        self.answers.push(answer);
        self.missing = self.missing.saturating_sub(1);
        self.opaque += 1;
        doubt.map_or(Ok(()), Err)
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
