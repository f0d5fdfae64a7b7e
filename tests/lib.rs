//! Tests that cross crates, and what the instruments in `examples` are made of.
//!
//! - `client`: the client against a real memcached
//! - `conversations`: what servers must answer, word for word, held with Larder and memcached
//! - `ketama`: the ring against libmemcached itself
//! - `notation`: how conversations are written down
//! - `differential`: random commands, said to two servers
//! - `differences`: where they are known to answer differently
//! - `model`: memcache, naively
//! - `engines`: both engines against it
//! - `node`: a Larder node, started for a test
//! - `splits`: what is sent may arrive in any pieces
//! - `landing`: large values on their way in
//! - `process`: a real memcached, started for a test
//! - `trio`: three cache nodes that are one cache, started for a test
//! - `wire`: the client's end of a connection
//! - [`soak`]: everything at random, for as long as one likes, and every answer judged
//! - [`connection`]: the client's end of a connection, for instruments
//! - [`filler`]: bytes for values
//! - [`linearizability`]: whether what clients saw can have been
//! - [`network`]: ways between processes, each of which can be cut
//! - [`outages`]: stores as processes, on which and between which all kinds of things fail
//! - [`resident`]: the memory that a process holds
//! - [`staleness`]: whether what may be old was no older

pub mod connection;
pub mod filler;
pub mod linearizability;
pub mod network;
pub mod outages;
pub mod resident;
pub mod soak;
pub mod staleness;

#[cfg(test)]
mod client;
#[cfg(test)]
mod conversations;
#[cfg(test)]
mod differences;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod engines;
#[cfg(test)]
mod ketama;
#[cfg(test)]
mod landing;
#[cfg(test)]
mod model;
#[cfg(test)]
mod node;
#[cfg(test)]
mod notation;
#[cfg(test)]
mod process;
#[cfg(test)]
mod splits;
#[cfg(test)]
mod trio;
#[cfg(test)]
mod wire;
