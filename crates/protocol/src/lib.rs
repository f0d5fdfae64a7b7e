//! What memcache says and means.
//!
//! Parse and write memcached's text protocol (classic and meta commands), and decide what each
//! command does to an item. Nothing here touches a socket, reads a clock or keeps state: parsers
//! borrow from the buffer they are given, rules are pure functions.
//!
//! It is not a server, a client or a cache; those build on it.
//!
//! - `item`: header and value of an item, as both engines know it
//! - `exptime`: expiration times as clients write them
//! - `number`: decimal numbers, on the wire and in values
//! - `op`: what a command asks of one item
//! - `rules`: what that does, given the item there is
//! - `request`, `interval`: a request, parsed; the keys that `rget` names
//! - `parse`: from bytes to requests, in one pass
//! - `meta`: the flags of the meta commands
//! - `ahead`: a glance at the keys of requests that follow
//! - `page`: items in the order of their keys
//! - `reply`: from answers to bytes
//! - [`told`]: the same, for another node
//! - [`response`]: from a server's bytes to answers, for clients
//! - [`encode`]: requests, written, for clients
mod ahead;
pub mod encode;
mod exptime;
mod interval;
mod item;
mod meta;
mod number;
mod op;
mod page;
mod parse;
mod reply;
mod request;
pub mod response;
mod rules;
#[cfg(feature = "serde")]
pub mod told;

pub use ahead::keys_ahead;
pub use exptime::Exptime;
pub use interval::Interval;
pub use item::{Header, Item, Landing, Marks, Pieces, Piecewise, Seconds, Value};
pub use number::{Decimal, parse_i64, parse_u32, parse_u64};
pub use op::{Arithmetic, Delete, Fetch, Mode, Op, Store};
pub use page::{Listed, Page};
pub use parse::{Limits, Parsed, parse, parse_landed};
pub use reply::{Output, write_reply};
pub use request::{
    Command, Fault, Form, Get, Key, Keys, MAX_KEY_LEN, Refusal, Request, Shape, Then,
};
pub use rules::{Change, Counted, Hit, NewValue, Outcome, Verdict, decide};
