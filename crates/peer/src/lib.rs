//! Carries calls between the nodes of one cluster: bytes there, bytes back.
//!
//! A node holds one [`Link`] to each other node and makes many calls on it at once; [`serve`]
//! answers the calls of others. Whoever is connected has proved that it knows the cluster's secret,
//! and nothing that was altered, repeated or left out on the way is taken for a call or an answer.
//! An answer goes to the call it belongs to or to nobody. A call that has none tells whether it may
//! have been carried out ([`CallError`]). All memory is bounded.
//!
//! It is not secret: who can read the wire reads the calls. It does not retry, does not keep calls in
//! order (they leave in the order they were made, and are handled at the same time), and does not know
//! what they mean.
//!
//! - `link`: the side that calls; `link/queue`: its calls, `link/drive`: its task
//! - `server`: the side that answers; `server/desk`: what it has in hand, `server/connection`: one
//!   peer
//! - `credentials`, `secret`: who a node is, and what it proves that with
//! - `handshake`, `hello`: how two nodes meet
//! - `frame`, `seal`: what they exchange then, and how it is kept from being tampered with
//! - `outgoing`, `writer`, `reader`: frames to bytes and back
//! - `backoff`, `complaints`: when to try again, and when to say so
//! - `settings`, `stats`, `error`, `failure`: what goes in and what comes out
//!
//! # The wire
//!
//! Integers are little-endian. Each side sends its hello at once:
//!
//! | hello | bytes | |
//! |---|---|---|
//! | magic | 7 | `larder` and a zero byte |
//! | version | 1 | 1; what follows depends on it |
//! | length | 2 | of what follows |
//! | longest body | 4 | that this side takes, in bytes |
//! | patience | 4 | how long a silence this side bears, in milliseconds |
//! | node id | 8 | |
//! | nonce | 32 | random, never used twice |
//! | cluster id | 8 | drawn when the cluster was founded; 0 of who does not belong to it |
//! | cluster | 1 + n | its length, and its name in UTF-8 |
//! | node name | 1 + n | likewise |
//!
//! Then the dialer sends its proof, 32 bytes, and the listener answers with its own, or with 32 zero
//! bytes if the dialer's is wrong: it tells strangers nothing that a secret could be guessed from.
//! With `root` = BLAKE3 `derive_key("larder peer 1: cluster secret", secret)`, each proof and key is
//! BLAKE3 `keyed_hash(root, purpose ‖ hello of the dialer ‖ hello of the listener)`, where the purpose
//! is one byte: 1 and 2 for the proofs of dialer and listener, 3 and 4 for the keys of what each of
//! them sends from then on, which are frames:
//!
//! | frame | bytes | |
//! |---|---|---|
//! | length | 4 | of what follows: 25 and the body's |
//! | call | 8 | 0 for a sign of life, which asks for nothing |
//! | kind | 1 | of a call: the caller's; of its answer: 0 the answer, 1 refused, 2 lost |
//! | body | n | of refused and lost: why, in UTF-8 |
//! | tag | 16 | the first bytes of `keyed_hash(key, count ‖ length ‖ call ‖ kind ‖ body)` |
//!
//! The count, 8 bytes, is how many frames were sent before in this direction. The dialer calls, the
//! listener answers, in any order. Each side sends a sign of life at least four times within the
//! other's patience, and closes when it has waited for bytes longer than its own. A frame that breaks
//! a rule closes the connection.

mod backoff;
mod complaints;
mod credentials;
mod error;
mod failure;
mod frame;
mod handshake;
mod hello;
mod link;
mod outgoing;
mod reader;
mod seal;
mod secret;
mod server;
mod settings;
mod stats;
mod writer;

pub use credentials::{Credentials, PeerId};
pub use error::{BadCredentials, CallError};
pub use link::Link;
pub use secret::Secret;
pub use server::{Handler, Refusal, serve};
pub use settings::Settings;
pub use stats::Stats;

#[cfg(test)]
mod tests;
