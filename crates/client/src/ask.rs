//! What is asked, and how the answer is read.

use std::sync::Arc;
use std::time::SystemTime;

use larder_protocol::encode::Wishes;
use larder_protocol::response::Status;
use larder_protocol::{Arithmetic, Delete, Exptime, Fetch, Mode, Op, Store, parse_u64};

use crate::client::Cas;
use crate::connection::{Answer, Request};
use crate::error::{Error, Violation};
use crate::expiry::Expiry;
use crate::item::{Item, Value};

/// What an answer means, if it fits what was asked.
pub(crate) fn understand<T>(
    answer: Option<Answer>,
    node: &Arc<str>,
    read: impl FnOnce(Status, Item) -> Result<T, Violation>,
) -> Result<T, Error> {
    let understood = match answer {
        Some(Answer::Error(said)) => return Err(Error::Server { node: Arc::clone(node), said }),
        Some(Answer::Meta(status, item)) => read(status, item),
        None => Err(Violation::WrongAnswer),
    };
    understood.map_err(|why| Error::Violation { node: Arc::clone(node), why })
}

/// Fetches an item, and sets its exptime if one is given.
pub(crate) fn fetch(key: &[u8], ttl: Option<Exptime>) -> Request<'_> {
    let wishes = Wishes::VALUE.with(Wishes::CLIENT_FLAGS).with(Wishes::CAS);
    Request { key, op: Op::Fetch(Fetch { ttl, ..Fetch::GET }), wishes }
}

pub(crate) fn found(status: Status, item: Item) -> Result<Option<Item>, Violation> {
    match status {
        Status::Value => Ok(Some(item)),
        Status::Miss => Ok(None),
        _ => Err(Violation::WrongAnswer),
    }
}

/// Sets an item's exptime.
pub(crate) fn touch(key: &[u8], ttl: Exptime) -> Request<'_> {
    let op = Op::Fetch(Fetch { ttl: Some(ttl), ..Fetch::GET });
    Request { key, op, wishes: Wishes::NONE }
}

pub(crate) fn touched(status: Status, _: Item) -> Result<bool, Violation> {
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

pub(crate) fn stored(status: Status, _: Item) -> Result<(), Violation> {
    if status == Status::Done { Ok(()) } else { Err(Violation::WrongAnswer) }
}

pub(crate) fn stored_or_not(status: Status, _: Item) -> Result<bool, Violation> {
    match status {
        Status::Done => Ok(true),
        Status::NotStored => Ok(false),
        _ => Err(Violation::WrongAnswer),
    }
}

pub(crate) fn compared(status: Status, _: Item) -> Result<Cas, Violation> {
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

pub(crate) fn deleted(status: Status, _: Item) -> Result<bool, Violation> {
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

pub(crate) fn counted(status: Status, item: Item) -> Result<Option<u64>, Violation> {
    let Item { value, .. } = item;
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
