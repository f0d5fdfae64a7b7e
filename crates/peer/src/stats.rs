//! What a link has done.

use std::sync::Arc;
use std::time::Duration;

use crate::credentials::PeerId;

/// What a link has done since it was opened.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Whether it is connected now.
    pub connected: bool,
    /// Whom it is or was connected to last.
    pub peer: Option<PeerId>,
    /// Calls accepted.
    pub calls: u64,
    /// Calls that are neither answered nor given up.
    pub outstanding: usize,
    /// Bytes of the bodies of calls that were given to the connection.
    pub bytes_out: u64,
    /// Bytes of the bodies of answers.
    pub bytes_in: u64,
    /// Connections made after the first.
    pub reconnects: u64,
    /// Why the last connection ended, or the last attempt failed.
    pub last_error: Option<Arc<str>>,
    /// How long calls take, from being made to being answered, with what the handler does: a mean in
    /// which the last call counts an eighth.
    pub round_trip: Option<Duration>,
}
