//! A server's answer, parsed.
//!
//! One pass over a buffer that may hold less than one answer or many; everything in a [`Response`]
//! borrows from it. A caller reads until [`Parsed::Done`], drops `consumed` bytes and asks again.
//! An answer of several lines (`VALUE`s or `STAT`s up to `END`) is that many responses.
//!
//! Whatever a server sends, a parser holds nothing and a caller never has to buffer more than
//! [`Limits`] allow.
//!
//! Source: memcached's `doc/protocol.txt`; where servers are looser (empty columns between
//! tokens, as memcached before 1.6.18 wrote them), so is this.

use std::fmt;

use memchr::memchr;

use crate::number::{parse_u32, parse_u64};

mod meta;

pub use meta::{Debug, Flag, Flags, Status};

/// What the bytes so far amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A whole answer.
    Done {
        /// The answer.
        response: Response<'a>,
        /// How many bytes of the input it took.
        consumed: usize,
    },
    /// The beginning of an answer.
    Incomplete {
        /// How many bytes are missing, once the line that says so is there.
        missing: Option<usize>,
    },
    /// No answer, and no telling where the next one begins: the connection is of no more use.
    Desync(Desync),
}

/// One answer, or one line of an answer that ends with [`End`](Response::End).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response<'a> {
    /// `VALUE`: an item, from `get gets gat gats`.
    Value {
        /// Its key.
        key: &'a [u8],
        /// The client's own 32 bits.
        client_flags: u32,
        /// Its cas unique, from `gets` and `gats`.
        cas: Option<u64>,
        /// Its value.
        data: &'a [u8],
    },
    /// `END`
    End,
    /// `STORED`
    Stored,
    /// `NOT_STORED`
    NotStored,
    /// `EXISTS`
    Exists,
    /// `NOT_FOUND`
    NotFound,
    /// `DELETED`
    Deleted,
    /// `TOUCHED`
    Touched,
    /// `OK`
    Ok,
    /// `RESET`
    Reset,
    /// `VERSION` and its text.
    Version(&'a [u8]),
    /// A number, from `incr` and `decr`.
    Number(u64),
    /// `STAT`
    Stat {
        /// Its name.
        name: &'a [u8],
        /// The rest of the line.
        value: &'a [u8],
    },
    /// `HD VA EN NS EX NF`: the answer to a meta command.
    Meta {
        /// Its code.
        status: Status,
        /// Its flags.
        flags: Flags<'a>,
        /// Its value, present with [`Status::Value`].
        data: Option<&'a [u8]>,
    },
    /// `ME`
    Debug(Debug<'a>),
    /// `MN`
    Noop,
    /// `ERROR`: the server does not know the command. The text is most often empty.
    Error(&'a [u8]),
    /// `CLIENT_ERROR` and its text.
    ClientError(&'a [u8]),
    /// `SERVER_ERROR` and its text.
    ServerError(&'a [u8]),
}

/// The longest line and value taken from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest line, in bytes, with its end. Default: 8192.
    pub line: usize,
    /// The longest value, in bytes, without its end. Default: 1 GiB, the largest item a memcached
    /// can be told to take.
    pub value: usize,
}

impl Limits {
    /// The defaults, as a constant.
    pub const DEFAULT: Self = Self { line: 8192, value: 1 << 30 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why what a server sent is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Desync {
    /// No line ends within [`Limits::line`] bytes.
    LineTooLong,
    /// A line ends with `\n` alone.
    BareNewline,
    /// A line that no command is answered with.
    UnknownLine,
    /// A value longer than [`Limits::value`] was announced.
    ValueTooLong,
    /// A value is not followed by `\r\n`: it is longer or shorter than announced.
    ValueEnd,
}

impl fmt::Display for Desync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LineTooLong => "a line longer than the limit",
            Self::BareNewline => "a line that ends without a carriage return",
            Self::UnknownLine => "a line that is no answer",
            Self::ValueTooLong => "a value longer than the limit",
            Self::ValueEnd => "a value that does not end where it was said to",
        })
    }
}

impl std::error::Error for Desync {}

/// Parses the answer at the beginning of `input`, with the default [`Limits`].
#[inline]
pub fn parse(input: &[u8]) -> Parsed<'_> {
    parse_within(input, &Limits::DEFAULT)
}

/// Parses the answer at the beginning of `input`.
///
/// How the bytes came in does not matter: what a part of an answer gives is either
/// [`Parsed::Incomplete`] or what the whole gives.
pub fn parse_within<'a>(input: &'a [u8], limits: &Limits) -> Parsed<'a> {
    let window = input.get(..limits.line).unwrap_or(input);
    let Some(newline) = memchr(b'\n', window) else {
        return if input.len() < limits.line {
            Parsed::Incomplete { missing: None }
        } else {
            Parsed::Desync(Desync::LineTooLong)
        };
    };
    let (line, rest) = input.split_at(newline + 1);
    let Some(text) = line.strip_suffix(END_OF_LINE) else {
        return Parsed::Desync(Desync::BareNewline);
    };
    match parse_line(text) {
        Line::Whole(response) => Parsed::Done { response, consumed: line.len() },
        Line::Unknown => Parsed::Desync(Desync::UnknownLine),
        Line::Block(head, announced) => {
            let len = match usize::try_from(announced) {
                Ok(len) if len <= limits.value => len,
                _ => return Parsed::Desync(Desync::ValueTooLong),
            };
            let block_len = len.saturating_add(END_OF_LINE.len());
            match rest.get(..block_len) {
                None => Parsed::Incomplete { missing: Some(block_len - rest.len()) },
                Some(block) => match block.strip_suffix(END_OF_LINE) {
                    None => Parsed::Desync(Desync::ValueEnd),
                    Some(data) => Parsed::Done {
                        response: head.with(data),
                        consumed: line.len().saturating_add(block_len),
                    },
                },
            }
        }
    }
}

/// What one line is.
enum Line<'a> {
    /// An answer.
    Whole(Response<'a>),
    /// The head of a value of this many bytes.
    Block(Head<'a>, u64),
    /// No answer.
    Unknown,
}

/// What stands before a value.
enum Head<'a> {
    Value { key: &'a [u8], client_flags: u32, cas: Option<u64> },
    Meta(Flags<'a>),
}

impl<'a> Head<'a> {
    fn with(self, data: &'a [u8]) -> Response<'a> {
        match self {
            Self::Value { key, client_flags, cas } => {
                Response::Value { key, client_flags, cas, data }
            }
            Self::Meta(flags) => Response::Meta { status: Status::Value, flags, data: Some(data) },
        }
    }
}

fn parse_line(line: &[u8]) -> Line<'_> {
    let (word, rest) = match memchr(b' ', line) {
        Some(space) => (line.get(..space).unwrap_or_default(), line.get(space + 1..)),
        None => (line, None),
    };
    let text = rest.unwrap_or_default();
    let meta = |status| Response::Meta { status, flags: Flags::new(text), data: None };
    Line::Whole(match word {
        b"HD" => meta(Status::Done),
        b"VA" => return meta_head(text),
        b"EN" => meta(Status::Miss),
        b"NS" => meta(Status::NotStored),
        b"EX" => meta(Status::Exists),
        b"NF" => meta(Status::NotFound),
        b"VALUE" => return value_head(text),
        b"STAT" => {
            let mut parts = text.splitn(2, |b| *b == b' ');
            let name = parts.next().unwrap_or_default();
            Response::Stat { name, value: parts.next().unwrap_or_default() }
        }
        b"ME" => Response::Debug(Debug::new(text)),
        b"VERSION" => Response::Version(text),
        b"ERROR" => Response::Error(text),
        b"CLIENT_ERROR" => Response::ClientError(text),
        b"SERVER_ERROR" => Response::ServerError(text),
        _ if rest.is_some() => return Line::Unknown,
        b"END" => Response::End,
        b"STORED" => Response::Stored,
        b"NOT_STORED" => Response::NotStored,
        b"EXISTS" => Response::Exists,
        b"NOT_FOUND" => Response::NotFound,
        b"DELETED" => Response::Deleted,
        b"TOUCHED" => Response::Touched,
        b"OK" => Response::Ok,
        b"RESET" => Response::Reset,
        b"MN" => Response::Noop,
        number => match parse_u64(number) {
            Some(number) => Response::Number(number),
            None => return Line::Unknown,
        },
    })
}

/// `<size> <flag>*`
fn meta_head(text: &[u8]) -> Line<'_> {
    let size_len = memchr(b' ', text).unwrap_or(text.len());
    let (size, flags) = text.split_at(size_len);
    parse_u64(size).map_or(Line::Unknown, |len| Line::Block(Head::Meta(Flags::new(flags)), len))
}

/// `<key> <flags> <bytes> [<cas unique>]`
fn value_head(text: &[u8]) -> Line<'_> {
    let mut tokens = text.split(|b| *b == b' ').filter(|token| !token.is_empty());
    let (Some(key), Some(client_flags), Some(len)) =
        (tokens.next(), tokens.next().and_then(parse_u32), tokens.next().and_then(parse_u64))
    else {
        return Line::Unknown;
    };
    let cas = match tokens.next().map(parse_u64) {
        None => None,
        Some(Some(cas)) => Some(cas),
        Some(None) => return Line::Unknown,
    };
    if tokens.next().is_some() {
        return Line::Unknown;
    }
    Line::Block(Head::Value { key, client_flags, cas }, len)
}

const END_OF_LINE: &[u8] = b"\r\n";

#[cfg(test)]
mod tests;
