//! Which node owns a key.
//!
//! Placement is libmemcached's weighted ketama (`MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED`; in pylibmc
//! `ketama_weighted`, in php-memcached `OPT_LIBKETAMA_COMPATIBLE`, in twemproxy `distribution:
//! ketama` with `hash: md5`), point for point, so all of these agree on every key. It is not
//! libmemcached's unweighted `MEMCACHED_BEHAVIOR_KETAMA`, which has other points and hashes.
//!
//! - `server`: a node's address and weight
//! - `ring`: the circle
//! - `ketama`: where points and keys are on it
mod ketama;
mod ring;
mod server;

pub use ring::{MAX_CANDIDATES, Ring};
pub use server::{BadAddress, Server};

#[cfg(test)]
mod tests;
