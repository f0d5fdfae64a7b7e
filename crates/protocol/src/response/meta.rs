//! What the meta commands are answered with: a code, flags, and for `me` names and values.

use std::fmt;

use memchr::memchr;

use crate::item::Seconds;
use crate::number::{parse_u32, parse_u64};

/// The code of a meta answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// `HD`: done, or found without its value.
    Done,
    /// `VA`: found, with its value.
    Value,
    /// `EN`: a miss.
    Miss,
    /// `NS`: not stored.
    NotStored,
    /// `EX`: the cas unique did not match.
    Exists,
    /// `NF`: not found.
    NotFound,
}

/// The flags of a meta answer, in the order sent.
///
/// Iterating decodes them; a flag that comes twice is given twice.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Flags<'a> {
    rest: &'a [u8],
}

impl<'a> Flags<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }
}

impl<'a> Iterator for Flags<'a> {
    type Item = Flag<'a>;

    #[inline]
    fn next(&mut self) -> Option<Flag<'a>> {
        loop {
            let len = memchr(b' ', self.rest).unwrap_or(self.rest.len());
            let (token, rest) = self.rest.split_at(len);
            self.rest = rest.get(1..).unwrap_or_default();
            match token.split_first() {
                Some((letter, token)) => return Some(Flag::new(*letter, token)),
                None if self.rest.is_empty() => return None,
                None => {}
            }
        }
    }
}

impl fmt::Debug for Flags<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

/// One flag of a meta answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag<'a> {
    /// `b`: the key is given as base64.
    Base64Key,
    /// `c`: the cas unique.
    Cas(u64),
    /// `f`: the client's own 32 bits.
    ClientFlags(u32),
    /// `h`: whether the item was fetched before.
    Fetched(bool),
    /// `k`: the key, as base64 if [`Base64Key`](Self::Base64Key) is there too.
    Key(&'a [u8]),
    /// `l`: seconds since the item was last used.
    IdleSecs(Seconds),
    /// `O`: the opaque sent with the request.
    Opaque(&'a [u8]),
    /// `s`: the length of the value, in bytes.
    Size(u64),
    /// `t`: seconds left to live; `None` for ever.
    Ttl(Option<Seconds>),
    /// `W`: this client is to recache the item.
    Won,
    /// `X`: the item is stale.
    Stale,
    /// `Z`: another client is recaching the item.
    AlreadyWon,
    /// A letter of some other meaning, or one of the above with a token it cannot have.
    Other(u8, &'a [u8]),
}

impl<'a> Flag<'a> {
    #[inline]
    fn new(letter: u8, token: &'a [u8]) -> Self {
        match (letter, token) {
            (b'O', opaque) => Some(Self::Opaque(opaque)),
            (b'k', key) => Some(Self::Key(key)),
            (b'c', _) => parse_u64(token).map(Self::Cas),
            (b'f', _) => parse_u32(token).map(Self::ClientFlags),
            (b's', _) => parse_u64(token).map(Self::Size),
            (b't', b"-1") => Some(Self::Ttl(None)),
            (b't', _) => parse_u32(token).map(|secs| Self::Ttl(Some(secs))),
            (b'l', _) => parse_u32(token).map(Self::IdleSecs),
            (b'h', b"0") => Some(Self::Fetched(false)),
            (b'h', b"1") => Some(Self::Fetched(true)),
            (b'b', []) => Some(Self::Base64Key),
            (b'W', []) => Some(Self::Won),
            (b'X', []) => Some(Self::Stale),
            (b'Z', []) => Some(Self::AlreadyWon),
            _ => None,
        }
        .unwrap_or(Self::Other(letter, token))
    }
}

/// The answer to `me`: what a server knows of an item but its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debug<'a> {
    /// The key, as base64 if the request's was.
    pub key: &'a [u8],
    fields: &'a [u8],
}

impl<'a> Debug<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        let key_len = memchr(b' ', text).unwrap_or(text.len());
        let (key, fields) = text.split_at(key_len);
        Self { key, fields }
    }

    /// The names and their values, such as `exp` and `-1`.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.fields.split(|b| *b == b' ').filter_map(|field| {
            let equals = memchr(b'=', field)?;
            Some((field.get(..equals)?, field.get(equals + 1..)?))
        })
    }
}
