//! What the answer of a node comes to, for who writes it to a client of its own.

use std::sync::Arc;

use larder_protocol::response::Status;
use larder_protocol::{
    Counted, Header, Hit, Marks, Op, Outcome, Pieces, Piecewise, Seconds, Store, Value, parse_u64,
};

use crate::connection::{Answer, Found};
use crate::error::{Error, Violation};

/// What `answer` of `node` comes to, at the moment that `clock` tells. Of a cas unique, an exptime and whatever
/// else was not asked for it says nothing.
pub(crate) fn outcome(
    node: &Arc<str>,
    op: &Op<'_>,
    answer: Answer,
    clock: fn() -> Seconds,
) -> Result<Outcome<'static>, Error> {
    let (status, found) = match answer {
        Answer::Meta(status, found) => (status, found),
        Answer::Error(said) => {
            return match said.as_str() {
                "CLIENT_ERROR cannot increment or decrement non-numeric value" => {
                    Ok(Outcome::NotANumber)
                }
                "SERVER_ERROR object too large for cache" => Ok(Outcome::TooLarge),
                "SERVER_ERROR out of memory storing object" => Ok(Outcome::NoMemory),
                _ => Err(Error::Server { node: Arc::clone(node), said }),
            };
        }
    };
    let read = match (op, status) {
        (Op::Fetch(_), Status::Done | Status::Value) => Some(hit(status, found, clock)),
        (Op::Fetch(_), Status::Miss) => Some(Outcome::Miss),
        (Op::Store(op), Status::Done) => Some(stored(op, &found)),
        (Op::Delete(_), Status::Done) => Some(Outcome::Deleted),
        (Op::Arithmetic(_), Status::Value) => counted(&found, clock),
        (Op::Store(_) | Op::Arithmetic(_), Status::NotStored) => Some(Outcome::NotStored),
        (Op::Fetch(_), _) => None,
        (_, Status::Exists) => Some(Outcome::Exists),
        (_, Status::NotFound) => Some(Outcome::NotFound),
        _ => None,
    };
    read.ok_or_else(|| Error::Violation { node: Arc::clone(node), why: Violation::WrongAnswer })
}

fn hit(status: Status, found: Found, clock: fn() -> Seconds) -> Outcome<'static> {
    let Found { item, won, taken, stale, ttl_secs, idle_secs, fetched, binary_key, len } = found;
    let marks = Marks::default()
        .with_if(Marks::FETCHED, fetched)
        .with_if(Marks::STALE, stale)
        .with_if(Marks::WON, taken)
        .with_if(Marks::BINARY_KEY, binary_key);
    let now = if ttl_secs.is_some() || idle_secs > 0 { clock() } else { 0 };
    let exptime = ttl_secs.map_or(0, |secs| now.saturating_add(secs));
    let last_access = now.saturating_sub(idle_secs);
    let before = Header { cas: item.cas, client_flags: item.flags, exptime, last_access, marks };
    let value = match len {
        Some(len) if status == Status::Done => {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            Value::Long(Pieces(Arc::new(Unsent(len))), Vec::new().into())
        }
        _ => Value::Shared(item.value),
    };
    Outcome::Hit(Hit { before, exptime, created: false, won, value })
}

fn stored(op: &Store<'_>, found: &Found) -> Outcome<'static> {
    let len = found.len.and_then(|len| usize::try_from(len).ok());
    Outcome::Stored { cas: found.item.cas, len: len.unwrap_or(op.value_len()) }
}

fn counted(found: &Found, clock: fn() -> Seconds) -> Option<Outcome<'static>> {
    let exptime = found.ttl_secs.map_or(0, |secs| clock().saturating_add(secs));
    let number = parse_u64(found.item.value.trim_ascii_end())?;
    let cas = found.item.cas;
    let counted = Counted { number, cas, created: false, exptime_before: exptime, exptime };
    Some(Outcome::Counted(counted))
}

/// A value of which only the length was asked for.
#[derive(Debug)]
struct Unsent(usize);

impl Piecewise for Unsent {
    fn len(&self) -> usize {
        self.0
    }

    fn piece(&self, _number: usize) -> Option<&[u8]> {
        None
    }
}
