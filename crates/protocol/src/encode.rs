//! Requests, written.
//!
//! [`meta()`] writes any [`Op`](crate::Op); [`classic()`] those that the classic commands can say.
//! Nothing is written if a request is refused, and what is written is always one well-formed
//! request: a key can not smuggle in a second one.

use std::fmt;

use crate::request::MAX_KEY_LEN;

mod classic;
mod meta;
mod wishes;

pub use classic::{classic, get_many};
pub use meta::{debug, meta, noop};
pub use wishes::Wishes;

/// The longest key that has to be sent as base64, in bytes: servers count the encoded ones.
pub const MAX_BINARY_KEY_LEN: usize = MAX_KEY_LEN / 4 * 3;

/// Why a request can not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// The key is empty.
    EmptyKey,
    /// The key is longer than this many bytes.
    KeyTooLong(usize),
    /// The key has a space or a control character, and classic commands have no base64.
    UnprintableKey,
    /// No classic command says this.
    NotClassic,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyKey => f.write_str("the key is empty"),
            Self::KeyTooLong(max) => write!(f, "the key is longer than {max} bytes"),
            Self::UnprintableKey => f.write_str("the key has a space or a control character"),
            Self::NotClassic => f.write_str("no classic command can say this"),
        }
    }
}

impl std::error::Error for Refused {}

/// Whether a key goes over the wire as it is. Others go as base64.
///
/// The border is the protocol's: no white space, no control characters. Bytes above 127 are fine.
#[inline]
pub fn is_printable(key: &[u8]) -> bool {
    key.iter().all(|byte| *byte > b' ' && *byte != 127)
}

/// Whether [`meta()`] takes a key: 1 to 250 bytes, or to 186 if it has to go as base64.
pub fn check_key(key: &[u8]) -> Result<(), Refused> {
    if is_printable(key) {
        return classic_key(key).map(drop);
    }
    if key.len() > MAX_BINARY_KEY_LEN {
        return Err(Refused::KeyTooLong(MAX_BINARY_KEY_LEN));
    }
    Ok(())
}

fn classic_key(key: &[u8]) -> Result<&[u8], Refused> {
    match key {
        [] => Err(Refused::EmptyKey),
        key if key.len() > MAX_KEY_LEN => Err(Refused::KeyTooLong(MAX_KEY_LEN)),
        key if !is_printable(key) => Err(Refused::UnprintableKey),
        key => Ok(key),
    }
}

fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn end_line(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
