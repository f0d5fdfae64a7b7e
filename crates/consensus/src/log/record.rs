//! Entries and values as bytes: the tables are in `log`.

use std::io;

use bytes::{Buf, Bytes};
use openraft::EntryPayload;
use protobuf::well_known_types::BytesValue;
use raft_engine::MessageExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::types::{Entry, LogId};

/// How raft-engine is told the index of an entry. It takes protobuf messages only.
#[derive(Clone, Debug)]
pub(crate) struct Record;

impl MessageExt for Record {
    type Entry = BytesValue;

    fn index(record: &BytesValue) -> u64 {
        record.value.first_chunk().map_or(0, |index| u64::from_le_bytes(*index))
    }
}

/// Where a log begins: the value of [`START`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) purged: Option<LogId>,
    /// The index of the first entry; the greatest if there is none.
    pub(crate) first: u64,
}

pub(crate) fn encode(entry: &Entry) -> io::Result<BytesValue> {
    let payload = match &entry.payload {
        EntryPayload::Normal(payload) => payload.0.len(),
        _ => 0,
    };
    let mut bytes = Vec::with_capacity(ROOM + payload);
    bytes.extend_from_slice(&entry.log_id.index.to_le_bytes());
    bytes.push(VERSION);
    let mut record = BytesValue::new();
    record.value = postcard::to_extend(entry, bytes).map_err(io::Error::other)?;
    Ok(record)
}

/// The entry that was looked for at `index`.
pub(crate) fn decode(index: u64, record: BytesValue) -> io::Result<Entry> {
    let found = Record::index(&record);
    let mut bytes = Bytes::from(record.value);
    if found != index || bytes.len() < INDEX {
        return Err(damaged(format!("entry {index} says it is {found}")));
    }
    bytes.advance(INDEX);
    let entry: Entry = decode_value(&bytes)?;
    if entry.log_id.index != index {
        return Err(damaged(format!("entry {index} has the id {}", entry.log_id)));
    }
    Ok(entry)
}

pub(crate) fn encode_value(value: &impl Serialize) -> io::Result<Vec<u8>> {
    postcard::to_extend(value, vec![VERSION]).map_err(io::Error::other)
}

pub(crate) fn decode_value<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest)
            .map_err(|error| damaged(format!("it cannot be decoded: {error}"))),
        Some((version, _)) => Err(damaged(format!("it has the unknown version {version}"))),
        None => Err(damaged("it is empty".to_owned())),
    }
}

fn damaged(detail: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail)
}

/// The key of a vote.
pub(crate) const VOTE: &[u8] = b"v";
/// The key of a [`Start`].
pub(crate) const START: &[u8] = b"s";
/// The key of the last committed entry's id.
pub(crate) const COMMITTED: &[u8] = b"c";
/// The key of a write's number.
pub(crate) const NUMBER: &[u8] = b"n";
const VERSION: u8 = 1;
const INDEX: usize = 8;
/// For what is not payload of an entry, unless it is a membership.
const ROOM: usize = 64;
