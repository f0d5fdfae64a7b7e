//! What the commands mean: one pure function from an item, an operation and a moment to an answer
//! and a change. Both engines apply it, so a command means the same on either tier.
//!
//! The source of each rule is memcached 1.6.45's behaviour; where its documentation and its
//! behaviour differ, clients have grown used to the behaviour.

use crate::exptime::Exptime;
use crate::item::{Header, Item, Marks, Seconds, Value};
use crate::number::{Decimal, parse_stored};
use crate::op::{Arithmetic, Delete, Fetch, Mode, Op, Store};
use crate::page::Page;

/// What a client is told.
#[derive(Clone, Debug)]
pub enum Outcome<'a> {
    /// A fetch found the item, or created it.
    Hit(Hit<'a>),
    /// A fetch found nothing.
    Miss,
    /// The value is stored.
    Stored {
        /// The item's new cas unique.
        cas: u64,
        /// The length of its whole value, in bytes.
        len: usize,
    },
    /// The condition of an add or replace did not hold, or there was nothing to append to.
    NotStored,
    /// The cas unique did not match.
    Exists,
    /// There is no item to compare, delete or count with.
    NotFound,
    /// The item is deleted, emptied or marked stale, as asked.
    Deleted,
    /// The number is counted up or down, or created.
    Counted(Counted),
    /// Items of a range. Of those that say where it goes on the next follows.
    Listed(Page),
    /// What was asked of the engine as a whole is done.
    Done,
    /// The value is not a decimal number.
    NotANumber,
    /// The item is larger than the engine takes.
    TooLarge,
    /// There is no room, and nothing may be evicted for it.
    NoMemory,
    /// The engine could not do it, or cannot tell whether it did: the text of a `SERVER_ERROR`.
    Failed(&'static str),
}

impl Outcome<'_> {
    /// Whether it is told as a `SERVER_ERROR`.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::TooLarge | Self::NoMemory | Self::Failed(_))
    }

    /// The same answer, borrowing nothing.
    pub fn into_owned(self) -> Outcome<'static> {
        match self {
            Self::Hit(hit) => Outcome::Hit(Hit { value: hit.value.into_owned(), ..hit }),
            Self::Miss => Outcome::Miss,
            Self::Stored { cas, len } => Outcome::Stored { cas, len },
            Self::NotStored => Outcome::NotStored,
            Self::Exists => Outcome::Exists,
            Self::NotFound => Outcome::NotFound,
            Self::Deleted => Outcome::Deleted,
            Self::Counted(counted) => Outcome::Counted(counted),
            Self::Listed(page) => Outcome::Listed(page),
            Self::Done => Outcome::Done,
            Self::NotANumber => Outcome::NotANumber,
            Self::TooLarge => Outcome::TooLarge,
            Self::NoMemory => Outcome::NoMemory,
            Self::Failed(why) => Outcome::Failed(why),
        }
    }
}

/// A fetched item.
#[derive(Clone, Debug)]
pub struct Hit<'a> {
    /// The header as it was before this fetch: `h` and `l` report the time before.
    pub before: Header,
    /// The exptime after it.
    pub exptime: Seconds,
    /// Whether this fetch created the item (`N`).
    pub created: bool,
    /// Whether this client is to recache the item (`W`).
    pub won: bool,
    /// The value.
    pub value: Value<'a>,
}

/// A counted number.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// The number now.
    pub number: u64,
    /// The item's cas unique now.
    pub cas: u64,
    /// Whether the item was created for it (`N`).
    pub created: bool,
    /// The exptime before; 0 if it was created.
    pub exptime_before: Seconds,
    /// The exptime now.
    pub exptime: Seconds,
}

/// What is to become of the item.
#[derive(Clone, Debug)]
pub enum Change<'a> {
    /// Nothing.
    Keep,
    /// Only the record of its use: an engine that would have to write to disk for it may let it be.
    Use(Header),
    /// The header alone.
    Header(Header),
    /// Header and value.
    Put(Header, NewValue<'a>),
    /// It goes.
    Remove,
}

/// Where a new value comes from.
#[derive(Clone, Copy, Debug)]
pub enum NewValue<'a> {
    /// These bytes.
    Whole(&'a [u8]),
    /// So many that the engine has already, then these.
    Landed(usize, &'a [u8]),
    /// The old value, then these bytes.
    Append(&'a [u8]),
    /// These bytes, then the old value.
    Prepend(&'a [u8]),
    /// A number in decimal.
    Decimal(Decimal),
}

impl NewValue<'_> {
    /// The length of the new value in bytes, given the old one's.
    pub fn len_after(&self, old: usize) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Landed(landed, bytes) => landed + bytes.len(),
            Self::Append(bytes) | Self::Prepend(bytes) => old + bytes.len(),
            Self::Decimal(decimal) => decimal.width(),
        }
    }

    /// The new value in two parts, one after the other, given the old one: without what has landed.
    pub fn parts<'b>(&'b self, old: &'b [u8]) -> (&'b [u8], &'b [u8]) {
        match self {
            Self::Whole(bytes) | Self::Landed(_, bytes) => (bytes, &[]),
            Self::Append(bytes) => (old, bytes),
            Self::Prepend(bytes) => (bytes, old),
            Self::Decimal(decimal) => (decimal.digits(), decimal.padding()),
        }
    }
}

/// An answer and what it changes.
#[derive(Clone, Debug)]
pub struct Verdict<'item, 'op> {
    /// What the client is told, once the change is made.
    pub outcome: Outcome<'item>,
    /// What the engine is to do before it says so.
    pub change: Change<'op>,
}

/// Decides what `op` does to the item there is now, which has neither expired nor been flushed.
///
/// `next_cas` gives the next cas unique; it is called only if one is used.
#[inline]
pub fn decide<'item, 'op>(
    current: Option<Item<'item>>,
    op: &Op<'op>,
    now: Seconds,
    next_cas: impl FnOnce() -> u64,
) -> Verdict<'item, 'op> {
    match op {
        Op::Fetch(op) => fetch(current, op, now, next_cas),
        Op::Store(op) => store(current.as_ref(), op, now, next_cas),
        Op::Delete(op) => delete(current.as_ref(), op, now, next_cas),
        Op::Arithmetic(op) => arithmetic(current.as_ref(), op, now, next_cas),
    }
}

#[inline]
fn fetch<'item>(
    current: Option<Item<'item>>,
    op: &Fetch,
    now: Seconds,
    next_cas: impl FnOnce() -> u64,
) -> Verdict<'item, 'static> {
    let Some(Item { header: before, value }) = current else {
        return vivify(op, now, next_cas);
    };
    let exptime = op.ttl.map_or(before.exptime, |ttl| ttl.at(now));
    let won = op.may_win
        && !before.marks.has(Marks::WON)
        && (before.marks.has(Marks::STALE) || recache_is_due(op, &before, exptime, now));
    let header = Header {
        exptime,
        last_access: if op.bump { now } else { before.last_access },
        marks: before.marks.with_if(Marks::FETCHED, op.bump).with_if(Marks::WON, won),
        ..before
    };
    let change = if won || op.ttl.is_some() {
        Change::Header(header)
    } else if op.bump {
        Change::Use(header)
    } else {
        Change::Keep
    };
    Verdict { outcome: Outcome::Hit(Hit { before, exptime, created: false, won, value }), change }
}

/// `R`: the item will expire sooner than the client wants.
fn recache_is_due(op: &Fetch, before: &Header, exptime: Seconds, now: Seconds) -> bool {
    let exptime = if op.ttl_before_recache { exptime } else { before.exptime };
    op.recache.is_some_and(|within| exptime != 0 && exptime < within.at(now))
}

/// `N`: a miss creates an empty item, whose creator is to fill it.
fn vivify(op: &Fetch, now: Seconds, next_cas: impl FnOnce() -> u64) -> Verdict<'static, 'static> {
    let Some(exptime) = op.vivify.map(|ttl| ttl.at(now)) else {
        return Verdict { outcome: Outcome::Miss, change: Change::Keep };
    };
    let before = Header {
        cas: op.new_cas.unwrap_or_else(next_cas),
        client_flags: 0,
        exptime: 0,
        last_access: now,
        marks: Marks::default().with_if(Marks::BINARY_KEY, op.binary_key),
    };
    let marks = before.marks.with(Marks::WON).with_if(Marks::FETCHED, op.bump);
    Verdict {
        outcome: Outcome::Hit(Hit {
            before,
            exptime,
            created: true,
            won: true,
            value: Value::Slice(&[]),
        }),
        change: Change::Put(Header { exptime, marks, ..before }, NewValue::Whole(&[])),
    }
}

fn store<'op>(
    current: Option<&Item<'_>>,
    op: &Store<'op>,
    now: Seconds,
    next_cas: impl FnOnce() -> u64,
) -> Verdict<'static, 'op> {
    let fresh = |exptime: Exptime| Header {
        cas: op.new_cas.unwrap_or_else(next_cas),
        client_flags: op.client_flags,
        exptime: exptime.at(now),
        last_access: now,
        marks: Marks::default().with_if(Marks::BINARY_KEY, op.binary_key),
    };
    let refuse = |outcome| Verdict { outcome, change: Change::Keep };
    match (op.mode, current, op.compare) {
        (Mode::Set, _, None) | (Mode::Add, None, _) | (Mode::Replace, Some(_), None) => {
            put(fresh(op.exptime), whole(op), 0)
        }
        (Mode::Set | Mode::Replace, Some(item), Some(cas)) => {
            let stored = item.header;
            if cas == stored.cas {
                put(fresh(op.exptime), whole(op), 0)
            } else if op.invalidate && cas != 0 && cas < stored.cas {
                // The writer has missed a newer version: what it brings is served, as stale, for
                // as long as the newer version would have been.
                let fresh = fresh(op.exptime);
                let marks = fresh.marks.with(Marks::STALE).with(stored.marks.only(Marks::WON));
                let header = Header { exptime: stored.exptime, marks, ..fresh };
                put(header, whole(op), 0)
            } else {
                refuse(Outcome::Exists)
            }
        }
        (Mode::Set | Mode::Replace, None, Some(_)) => refuse(Outcome::NotFound),
        (Mode::Replace, None, None) => refuse(Outcome::NotStored),
        (Mode::Add, Some(item), _) => Verdict {
            outcome: Outcome::NotStored,
            change: Change::Use(Header { last_access: now, ..item.header }),
        },
        (Mode::Append | Mode::Prepend, Some(item), compare) => {
            let stored = item.header;
            if compare.is_some_and(|cas| cas != 0 && cas != stored.cas) {
                return refuse(Outcome::Exists);
            }
            if item.value.len() + op.value.len() > op.max_len {
                return refuse(Outcome::NotStored);
            }
            let header = Header {
                client_flags: stored.client_flags,
                exptime: stored.exptime,
                marks: stored.marks.only(Marks::BINARY_KEY),
                ..fresh(Exptime::NEVER)
            };
            let value = match op.mode {
                Mode::Append => NewValue::Append(op.value),
                _ => NewValue::Prepend(op.value),
            };
            put(header, value, item.value.len())
        }
        (Mode::Append | Mode::Prepend, None, _) => match op.vivify {
            Some(ttl) => put(fresh(ttl), whole(op), 0),
            None => refuse(Outcome::NotStored),
        },
    }
}

fn whole<'op>(op: &Store<'op>) -> NewValue<'op> {
    match op.landed {
        0 => NewValue::Whole(op.value),
        landed => NewValue::Landed(landed, op.value),
    }
}

fn put(header: Header, value: NewValue<'_>, old_len: usize) -> Verdict<'static, '_> {
    Verdict {
        outcome: Outcome::Stored { cas: header.cas, len: value.len_after(old_len) },
        change: Change::Put(header, value),
    }
}

fn delete(
    current: Option<&Item<'_>>,
    op: &Delete,
    now: Seconds,
    next_cas: impl FnOnce() -> u64,
) -> Verdict<'static, 'static> {
    let Some(Item { header: stored, .. }) = current else {
        return Verdict { outcome: Outcome::NotFound, change: Change::Keep };
    };
    if op.compare.is_some_and(|cas| cas != stored.cas) {
        return Verdict { outcome: Outcome::Exists, change: Change::Keep };
    }
    let cas = match op.new_cas {
        Some(cas) => cas,
        None if op.invalidate => next_cas(),
        None => stored.cas,
    };
    // Emptying alone starts the item afresh, but keeps its cas unique; marking it stale lets the
    // next client that fetches it win.
    let emptied = Header {
        cas,
        client_flags: op.client_flags,
        exptime: op.ttl.map_or(0, |ttl| ttl.at(now)),
        last_access: now,
        marks: stored.marks.only(Marks::BINARY_KEY).with_if(Marks::STALE, op.invalidate),
    };
    let change = match (op.clear, op.invalidate) {
        (true, _) => Change::Put(emptied, NewValue::Whole(&[])),
        (false, true) => Change::Header(Header {
            cas,
            exptime: op.ttl.map_or(stored.exptime, |ttl| ttl.at(now)),
            marks: stored.marks.with(Marks::STALE).without(Marks::WON),
            ..*stored
        }),
        (false, false) => Change::Remove,
    };
    Verdict { outcome: Outcome::Deleted, change }
}

fn arithmetic(
    current: Option<&Item<'_>>,
    op: &Arithmetic,
    now: Seconds,
    next_cas: impl FnOnce() -> u64,
) -> Verdict<'static, 'static> {
    let refuse = |outcome| Verdict { outcome, change: Change::Keep };
    let (number, width, before) = if let Some(Item { header, value }) = current {
        if value.is_empty() {
            return refuse(Outcome::NotANumber);
        }
        if op.compare.is_some_and(|cas| cas != 0 && cas != header.cas) {
            return refuse(Outcome::Exists);
        }
        // No number is so long that its value would be in pieces.
        let Some(number) = value.contiguous().and_then(parse_stored) else {
            return refuse(Outcome::NotANumber);
        };
        let number = if op.decrement {
            number.saturating_sub(op.delta)
        } else {
            number.wrapping_add(op.delta)
        };
        (number, value.len(), *header)
    } else {
        let Some(ttl) = op.vivify else { return refuse(Outcome::NotFound) };
        let fresh = Header {
            cas: 0,
            client_flags: 0,
            exptime: ttl.at(now),
            last_access: now,
            marks: Marks::default().with_if(Marks::BINARY_KEY, op.binary_key),
        };
        (op.initial, 0, fresh)
    };
    // A number that gets shorter keeps its length, padded with spaces; one that gets longer is a
    // new value, no longer stale.
    let decimal = Decimal::padded(number, width);
    let created = current.is_none();
    let grows = decimal.width() > width;
    let header = Header {
        cas: op.new_cas.unwrap_or_else(next_cas),
        exptime: op.ttl.filter(|_| !created).map_or(before.exptime, |ttl| ttl.at(now)),
        last_access: now,
        marks: if grows { before.marks.only(Marks::BINARY_KEY) } else { before.marks },
        ..before
    };
    let exptime_before = if created { 0 } else { before.exptime };
    let counted =
        Counted { number, cas: header.cas, created, exptime_before, exptime: header.exptime };
    Verdict {
        outcome: Outcome::Counted(counted),
        change: Change::Put(header, NewValue::Decimal(decimal)),
    }
}

#[cfg(test)]
mod tests;
