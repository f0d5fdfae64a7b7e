//! From a server's bytes to replies, one per request.

use larder_protocol::response::{Parsed, Response, parse};

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) outcome: Outcome,
    /// Its length on the wire.
    pub(super) bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A set was done.
    Stored,
    /// A get found so many of its keys.
    Got { hits: u32 },
    /// `ERROR`, `CLIENT_ERROR`, `SERVER_ERROR` or `NOT_STORED`, as the server wrote it.
    Refused(String),
}

/// What a connection has received of replies that are not whole.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// The beginning of a value or line. Mostly empty: replies come whole, and are read in place.
    partial: Vec<u8>,
    /// How many bytes `partial` needs at least before looking at it again makes sense.
    missing: usize,
    /// Values and their bytes of a get whose `END` is still to come.
    hits: u32,
    bytes: u64,
}

impl Inbox {
    /// Takes what was received, passing each reply that is whole by now to `take`. Fails on bytes
    /// that are no reply, or when `take` does; nothing more can be read then.
    pub(super) fn receive(
        &mut self,
        input: &[u8],
        mut take: impl FnMut(Reply) -> Result<(), String>,
    ) -> Result<(), String> {
        if self.partial.is_empty() {
            let rest = self.scan(input, &mut take)?;
            self.partial.extend_from_slice(rest);
            return Ok(());
        }
        self.partial.extend_from_slice(input);
        if input.len() < self.missing {
            self.missing -= input.len();
            return Ok(());
        }
        let mut partial = std::mem::take(&mut self.partial);
        let rest_len = self.scan(&partial, &mut take)?.len();
        partial.drain(..partial.len() - rest_len);
        self.partial = partial;
        Ok(())
    }

    /// Passes all whole replies to `take` and returns the rest of `input`.
    fn scan<'a>(
        &mut self,
        mut input: &'a [u8],
        take: &mut impl FnMut(Reply) -> Result<(), String>,
    ) -> Result<&'a [u8], String> {
        loop {
            if input.is_empty() {
                return Ok(input);
            }
            let (response, consumed) = match parse(input) {
                Parsed::Done { response, consumed } => (response, consumed),
                Parsed::Incomplete { missing } => {
                    self.missing = missing.unwrap_or(1);
                    return Ok(input);
                }
                Parsed::Desync(reason) => return Err(format!("it sent {reason}")),
            };
            input = input.get(consumed..).unwrap_or_default();
            self.bytes += consumed as u64;
            let outcome = match response {
                Response::Value { .. } => {
                    self.hits += 1;
                    continue;
                }
                Response::End => Outcome::Got { hits: self.hits },
                Response::Stored => Outcome::Stored,
                Response::NotStored => Outcome::Refused("NOT_STORED".to_owned()),
                Response::Error(text) => refused("ERROR", text),
                Response::ClientError(text) => refused("CLIENT_ERROR", text),
                Response::ServerError(text) => refused("SERVER_ERROR", text),
                _ => return Err("it sent a reply no set or get has".to_owned()),
            };
            let bytes = std::mem::take(&mut self.bytes);
            self.hits = 0;
            take(Reply { outcome, bytes })?;
        }
    }
}

fn refused(kind: &str, text: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(text);
    Outcome::Refused(format!("{kind} {text}").trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONVERSATION: &[u8] = b"STORED\r\n\
        END\r\n\
        VALUE k1 0 5\r\nab\r\nc\r\nEND\r\n\
        VALUE k1 7 3\r\nEND\r\nVALUE k2 4294967295 0\r\n\r\nEND\r\n\
        ERROR\r\n\
        SERVER_ERROR object too large for cache\r\n\
        NOT_STORED\r\n\
        CLIENT_ERROR bad data chunk\r\n\
        STORED\r\n";

    fn conversation() -> Vec<Reply> {
        let refused = |text: &str| Outcome::Refused(text.to_owned());
        [
            (Outcome::Stored, 8),
            (Outcome::Got { hits: 0 }, 5),
            (Outcome::Got { hits: 1 }, 26),
            (Outcome::Got { hits: 2 }, 49),
            (refused("ERROR"), 7),
            (refused("SERVER_ERROR object too large for cache"), 41),
            (refused("NOT_STORED"), 12),
            (refused("CLIENT_ERROR bad data chunk"), 29),
            (Outcome::Stored, 8),
        ]
        .into_iter()
        .map(|(outcome, bytes)| Reply { outcome, bytes })
        .collect()
    }

    fn receive(parts: &[&[u8]]) -> Result<Vec<Reply>, String> {
        let mut inbox = Inbox::default();
        let mut replies = Vec::new();
        for part in parts {
            inbox.receive(part, |reply| {
                replies.push(reply);
                Ok(())
            })?;
        }
        Ok(replies)
    }

    #[test]
    fn replies_are_read_whole() {
        assert_eq!(receive(&[CONVERSATION]).unwrap(), conversation());
    }

    #[test]
    fn where_the_bytes_are_split_does_not_matter() {
        for first in 0..CONVERSATION.len() {
            let (a, rest) = CONVERSATION.split_at(first);
            assert_eq!(receive(&[a, rest]).unwrap(), conversation(), "split at {first}");
            for second in 0..rest.len() {
                let (b, c) = rest.split_at(second);
                assert_eq!(receive(&[a, b, c]).unwrap(), conversation(), "{first} + {second}");
            }
        }
        let bytes: Vec<&[u8]> = CONVERSATION.chunks(1).collect();
        assert_eq!(receive(&bytes).unwrap(), conversation());
    }

    #[test]
    fn a_reply_is_taken_as_soon_as_it_is_whole() {
        assert_eq!(receive(&[b"VALUE k 0 1\r\nx\r\nEND\r"]).unwrap(), []);
        assert_eq!(receive(&[b"VALUE k 0 1\r\nx\r\nEND\r\nVAL"]).unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_reply_fails() {
        for bytes in
            [&b"HELLO\r\n"[..], b"VALUE k 0 1\r\nxyz\r\nEND\r\n", b"STORED\n", b"DELETED\r\n"]
        {
            assert!(receive(&[bytes]).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }
}
