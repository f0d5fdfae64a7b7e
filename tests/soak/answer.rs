//! What a command is answered, whichever way it was spelled.

use larder_protocol::response::{Flag, Flags, Response, Status};

use super::command::{Ask, Command};
use super::moment::Left;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// It was done, or the item was found.
    Done(Told<'a>),
    NotFound,
    NotStored,
    Exists,
    NotANumber,
    TooLarge,
    NoMemory,
    /// Nothing, as was asked for.
    Silence,
}

/// What an answer tells, as far as it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told<'a> {
    pub(super) value: Option<&'a [u8]>,
    pub(super) number: Option<u64>,
    pub(super) cas: Option<u64>,
    pub(super) client_flags: Option<u32>,
    pub(super) len: Option<u64>,
    pub(super) left: Option<Left>,
    pub(super) stale: bool,
    pub(super) won: bool,
    pub(super) already_won: bool,
}

impl<'a> Answer<'a> {
    /// Reads a server's answer to `command`; `None` if it is none.
    pub(super) fn read(command: &Command, response: &Response<'a>) -> Option<Self> {
        let done = Self::Done(Told::default());
        let is_fetch = matches!(command.ask, Ask::Fetch(_));
        Some(match (&command.ask, response) {
            (Ask::Fetch(_), Response::Value { client_flags, cas, data, .. }) => Self::Done(Told {
                value: Some(data),
                client_flags: Some(*client_flags),
                cas: *cas,
                ..Told::default()
            }),
            (Ask::Fetch(_), Response::Touched)
            | (Ask::Store(..), Response::Stored)
            | (Ask::Delete(_), Response::Deleted) => done,
            (Ask::Store(..), Response::NotStored) => Self::NotStored,
            (Ask::Store(..), Response::Exists) => Self::Exists,
            (Ask::Count(_), Response::Number(number)) => {
                Self::Done(Told { number: Some(*number), ..Told::default() })
            }
            (Ask::Count(_), Response::ClientError(_)) => Self::NotANumber,
            (Ask::Fetch(_), Response::End) | (_, Response::NotFound) => Self::NotFound,
            (_, Response::Meta { status, flags, data }) if command.is_meta() => match status {
                Status::Done | Status::Value => Self::Done(Told::new(command, flags, *data)?),
                Status::Miss if is_fetch => Self::NotFound,
                Status::NotFound if !is_fetch => Self::NotFound,
                Status::NotStored => Self::NotStored,
                Status::Exists => Self::Exists,
                Status::Miss | Status::NotFound => return None,
            },
            (_, Response::ServerError(b"object too large for cache")) => Self::TooLarge,
            (_, Response::ServerError(text)) if text.starts_with(OUT_OF_MEMORY) => Self::NoMemory,
            _ => return None,
        })
    }
}

impl<'a> Told<'a> {
    fn new(command: &Command, flags: &Flags<'a>, data: Option<&'a [u8]>) -> Option<Self> {
        let mut told = Self::default();
        match (&command.ask, data) {
            (Ask::Count(_), Some(digits)) => {
                told.number = Some(std::str::from_utf8(digits).ok()?.parse().ok()?);
            }
            _ => told.value = data,
        }
        for flag in flags.clone() {
            match flag {
                Flag::Cas(cas) => told.cas = Some(cas),
                Flag::ClientFlags(bits) => told.client_flags = Some(bits),
                Flag::Size(len) => told.len = Some(len),
                Flag::Ttl(left) => told.left = Some(left.map_or(Left::Ever, Left::Secs)),
                Flag::Stale => told.stale = true,
                Flag::Won => told.won = true,
                Flag::AlreadyWon => told.already_won = true,
                Flag::Opaque(_) | Flag::Key(_) | Flag::Fetched(_) | Flag::IdleSecs(_) => {}
                Flag::Base64Key | Flag::Other(..) => return None,
            }
        }
        Some(told)
    }
}

/// How the error of a server begins that has no room.
pub(super) const OUT_OF_MEMORY: &[u8] = b"out of memory";
