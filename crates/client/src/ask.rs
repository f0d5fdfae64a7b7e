//! What is asked, and how the answer is read.

use std::sync::Arc;
use std::time::SystemTime;

use larder_protocol::encode::Wishes;
use larder_protocol::response::Status;
use larder_protocol::{Arithmetic, Delete, Exptime, Fetch, Mode, Op, Store, parse_u64};

use crate::client::Cas;
use crate::connection::{Answer, Found, Request};
use crate::error::{Error, Violation};
use crate::expiry::Expiry;
use crate::flights::Filled;
use crate::item::{Item, Value};

/// What an answer means, if it fits what was asked.
pub(crate) fn understand<T>(
    answer: Option<Answer>,
    node: &Arc<str>,
    read: impl FnOnce(Status, Found) -> Result<T, Violation>,
) -> Result<T, Error> {
    let understood = match answer {
        Some(Answer::Error(said)) => return Err(Error::Server { node: Arc::clone(node), said }),
        Some(Answer::Meta(status, found)) => read(status, found),
        None => Err(Violation::WrongAnswer),
    };
    understood.map_err(|why| Error::Violation { node: Arc::clone(node), why })
}

/// Fetches an item, and sets its exptime if one is given.
pub(crate) fn fetch(key: &[u8], ttl: Option<Exptime>) -> Request<'_> {
    let wishes = Wishes::VALUE.with(Wishes::CLIENT_FLAGS).with(Wishes::CAS);
    Request { key, op: Op::Fetch(Fetch { ttl, ..Fetch::GET }), wishes }
}

pub(crate) fn found(status: Status, found: Found) -> Result<Option<Item>, Violation> {
    match status {
        // What another client is about to fill is not there yet.
        Status::Value if found.taken && !found.stale && found.item.value.is_empty() => Ok(None),
        Status::Value => Ok(Some(found.item)),
        Status::Miss => Ok(None),
        _ => Err(Violation::WrongAnswer),
    }
}

/// Fetches what a cache is to keep no longer than it lives.
pub(crate) fn source(key: &[u8]) -> Request<'_> {
    let request = fetch(key, None);
    Request { wishes: request.wishes.with(Wishes::TTL), ..request }
}

pub(crate) fn sourced(status: Status, found: Found) -> Result<Option<Filled>, Violation> {
    let ttl_secs = found.ttl_secs;
    let item = self::found(status, found)?;
    Ok(item.map(|Item { value: bytes, flags, .. }| Filled { bytes, flags, ttl_secs }))
}

/// Fetches an item; if there is none, asks to be the one who fills it within so many seconds, and
/// if it has no more than `early` seconds left, to be the one who fills it anew.
pub(crate) fn claim(key: &[u8], lease_secs: u32, early: Option<u32>) -> Request<'_> {
    let secs = |secs: u32| Exptime(secs.into());
    let vivify = Some(secs(lease_secs));
    let op = Op::Fetch(Fetch { vivify, recache: early.map(secs), ..Fetch::GET });
    let wishes = Wishes::VALUE.with(Wishes::CLIENT_FLAGS).with(Wishes::CAS);
    Request { key, op, wishes }
}

/// Whose it is to fill an item. Each that is this client's has the cas unique to store it with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody's: here it is, or at least what it was.
    Found(Filled),
    /// Another client's, and there is no value yet.
    Taken { cas: u64 },
    /// This client's: there was nothing.
    Fill { cas: u64 },
    /// This client's: here is what it was.
    Replace { cas: u64, stale: Filled },
    /// This client's, though here it is: it will expire soon.
    Refresh { cas: u64, value: Filled },
    /// Nobody knows.
    Unknown,
}

impl Claim {
    /// The value for those who do not wait for another.
    pub(crate) fn old(&self) -> Option<&Filled> {
        match self {
            Self::Found(old) | Self::Replace { stale: old, .. } => Some(old),
            Self::Refresh { value, .. } => Some(value),
            Self::Taken { .. } | Self::Fill { .. } | Self::Unknown => None,
        }
    }

    /// The cas unique of what may be overwritten.
    pub(crate) fn cas(&self) -> Option<u64> {
        match self {
            Self::Taken { cas }
            | Self::Fill { cas }
            | Self::Replace { cas, .. }
            | Self::Refresh { cas, .. } => Some(*cas),
            Self::Found(_) | Self::Unknown => None,
        }
    }
}

pub(crate) fn claimed(status: Status, found: Found) -> Result<Claim, Violation> {
    let Found { item: Item { value: bytes, flags, cas }, won, taken, stale, .. } = found;
    let is_empty = bytes.is_empty();
    let value = Filled { bytes, flags, ttl_secs: None };
    match (status, won) {
        (Status::Value, true) if stale => Ok(Claim::Replace { cas, stale: value }),
        (Status::Value, true) if is_empty => Ok(Claim::Fill { cas }),
        (Status::Value, true) => Ok(Claim::Refresh { cas, value }),
        (Status::Value, false) if taken && is_empty && !stale => Ok(Claim::Taken { cas }),
        (Status::Value, false) => Ok(Claim::Found(value)),
        _ => Err(Violation::WrongAnswer),
    }
}

/// Lets another client fill at once what this one has not. A value that will expire soon is left as
/// it is.
pub(crate) fn give_back<'k>(key: &'k [u8], claim: &Claim) -> Option<Request<'k>> {
    let op = match *claim {
        Claim::Fill { cas } => Delete { compare: Some(cas), ..Delete::default() },
        Claim::Replace { cas, .. } => {
            Delete { compare: Some(cas), invalidate: true, ..Delete::default() }
        }
        _ => return None,
    };
    Some(Request { key, op: Op::Delete(op), wishes: Wishes::NONE })
}

/// Marks an item stale, for so many seconds at most.
pub(crate) fn invalidate(key: &[u8], ttl: Exptime) -> Request<'_> {
    let op = Op::Delete(Delete { invalidate: true, ttl: Some(ttl), ..Delete::default() });
    Request { key, op, wishes: Wishes::NONE }
}

/// Sets an item's exptime.
pub(crate) fn touch(key: &[u8], ttl: Exptime) -> Request<'_> {
    let op = Op::Fetch(Fetch { ttl: Some(ttl), ..Fetch::GET });
    Request { key, op, wishes: Wishes::NONE }
}

pub(crate) fn touched(status: Status, _: Found) -> Result<bool, Violation> {
    match status {
        Status::Done => Ok(true),
        Status::Miss => Ok(false),
        _ => Err(Violation::WrongAnswer),
    }
}

/// Stores a value.
pub(crate) fn store<'r>(
    key: &'r [u8],
    mode: Mode,
    value: Value<'r>,
    expiry: Expiry,
    compare: Option<u64>,
) -> Request<'r> {
    let op = Op::Store(Store {
        mode,
        value: value.bytes,
        client_flags: value.flags,
        exptime: exptime(expiry),
        compare,
        ..Store::SET
    });
    Request { key, op, wishes: Wishes::NONE }
}

pub(crate) fn stored(status: Status, _: Found) -> Result<(), Violation> {
    if status == Status::Done { Ok(()) } else { Err(Violation::WrongAnswer) }
}

pub(crate) fn stored_or_not(status: Status, _: Found) -> Result<bool, Violation> {
    match status {
        Status::Done => Ok(true),
        Status::NotStored => Ok(false),
        _ => Err(Violation::WrongAnswer),
    }
}

pub(crate) fn compared(status: Status, _: Found) -> Result<Cas, Violation> {
    match status {
        Status::Done => Ok(Cas::Stored),
        Status::Exists => Ok(Cas::Changed),
        Status::NotFound => Ok(Cas::Gone),
        _ => Err(Violation::WrongAnswer),
    }
}

/// Deletes an item.
pub(crate) fn delete(key: &[u8]) -> Request<'_> {
    Request { key, op: Op::Delete(Delete::default()), wishes: Wishes::NONE }
}

pub(crate) fn deleted(status: Status, _: Found) -> Result<bool, Violation> {
    match status {
        Status::Done => Ok(true),
        Status::NotFound => Ok(false),
        _ => Err(Violation::WrongAnswer),
    }
}

/// Adds to a number, or subtracts from it.
pub(crate) fn count(key: &[u8], delta: u64, decrement: bool) -> Request<'_> {
    let op = Op::Arithmetic(Arithmetic { decrement, delta, ..Arithmetic::INCR });
    Request { key, op, wishes: Wishes::VALUE }
}

/// Adds to a number, which begins at 0 with this expiry if it is not there.
pub(crate) fn count_up(key: &[u8], delta: u64, expiry: Expiry) -> Request<'_> {
    let vivify = Some(exptime(expiry));
    let op = Arithmetic { delta, vivify, initial: delta, ..Arithmetic::INCR };
    Request { key, op: Op::Arithmetic(op), wishes: Wishes::VALUE }
}

pub(crate) fn counted(status: Status, found: Found) -> Result<Option<u64>, Violation> {
    let Item { value, .. } = found.item;
    match status {
        Status::Value => parse_u64(&value).map(Some).ok_or(Violation::WrongAnswer),
        Status::NotFound => Ok(None),
        _ => Err(Violation::WrongAnswer),
    }
}

/// An expiry as it is sent now.
pub(crate) fn exptime(expiry: Expiry) -> Exptime {
    expiry.exptime(SystemTime::now())
}
