//! What a server is told.

use std::time::Duration;

use larder_protocol::Limits;

/// What a server is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Worker threads. Default: 4, as memcached's `-t`.
    pub workers: usize,
    /// Most connections at once. Default: 1024, as memcached's `-c`.
    pub max_connections: usize,
    /// What becomes of a connection too many. Default: refused with an error line.
    pub overflow: Overflow,
    /// Requests carried out for one connection before the others have their turn. Default: 20, as
    /// memcached's `-R`.
    pub requests_per_turn: usize,
    /// A connection without a request for so long is closed. Default: never.
    pub idle_timeout: Option<Duration>,
    /// How long a stop waits for clients to take their replies. Default: 5 s.
    pub drain_timeout: Duration,
    /// What lines and values are taken. Default: [`Limits::default`].
    pub limits: Limits,
    /// Bytes that buffers of all connections may hold together, beyond 18 KiB of input and 18 KiB
    /// of replies each. Past it a value is refused instead of waited for, and the client that has
    /// let most replies lie is disconnected. Default: 64 MiB.
    pub buffer_memory: u64,
    /// Whether clients may stop the server. Default: false, as without memcached's `-A`.
    pub shutdown_command: bool,
    /// Whether clients may flush. Default: true, as without memcached's `-F`.
    pub flush_command: bool,
    /// Whether clients may list items. Default: true, as without memcached's `-X`.
    pub dump_command: bool,
    /// The level `verbosity` begins with. Default: 0.
    pub verbosity: u32,
    /// Called when a client changes the level by `verbosity`. Default: nothing.
    pub on_verbosity: fn(u32),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: 4,
            max_connections: 1024,
            overflow: Overflow::Refuse,
            requests_per_turn: 20,
            idle_timeout: None,
            drain_timeout: Duration::from_secs(5),
            limits: Limits::default(),
            buffer_memory: 64 << 20,
            shutdown_command: false,
            flush_command: true,
            dump_command: true,
            verbosity: 0,
            on_verbosity: |_| {},
        }
    }
}

/// What becomes of a connection past the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// An error line, and closed (memcached's `maxconns_fast`).
    Refuse,
    /// It waits to be accepted until another closes (memcached's `no_maxconns_fast`).
    Wait,
}
