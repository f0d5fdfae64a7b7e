//! Limits.

use std::time::Duration;

/// Limits of links and of what serves them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The longest body of a call or an answer, in bytes, up to 4,294,967,270. A node sends none that
    /// is longer than the other's limit either.
    ///
    /// Default: 32 MiB.
    pub max_body: usize,
    /// Calls outstanding on a link; more are refused. Of a connection that is served, calls in hand
    /// and answers unsent: more are not read.
    ///
    /// Default: 16,384.
    pub max_calls: usize,
    /// Bytes of bodies that a link may have to send; more are refused. Of a connection that is served,
    /// of calls in hand and answers unsent: more are not read. A body goes alone where it is longer.
    ///
    /// Default: 64 MiB.
    pub max_bytes: usize,
    /// How long nothing may be heard from a peer before it is taken for dead. A runtime that is busy
    /// with one thing for longer is, too.
    ///
    /// Default: 2 seconds.
    pub patience: Duration,
    /// How long it may take to resolve a name and connect to what it stands for.
    ///
    /// Default: 2 seconds.
    pub connect_timeout: Duration,
    /// How long two nodes may take from there to have proved who they are.
    ///
    /// Default: 2 seconds.
    pub handshake_timeout: Duration,
    /// The first and the longest wait before another attempt to connect. Less of it, down to a half,
    /// is waited by chance. A link that was connected for the longest wait tries again at once.
    ///
    /// Default: 50 milliseconds and 1 second.
    pub backoff: (Duration, Duration),
    /// What chance begins with, for tests; `None` for what the system gives.
    ///
    /// Default: `None`.
    pub seed: Option<u64>,
    /// Connections that have not proved anything yet. One more, and the oldest of them is closed.
    ///
    /// Default: 64.
    pub max_strangers: usize,
    /// How long what is in hand may take when serving ends.
    ///
    /// Default: 5 seconds.
    pub drain_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_body: 32 << 20,
            max_calls: 16_384,
            max_bytes: 64 << 20,
            patience: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(2),
            backoff: (Duration::from_millis(50), Duration::from_secs(1)),
            seed: None,
            max_strangers: 64,
            drain_timeout: Duration::from_secs(5),
        }
    }
}
