//! The server's clock: the only one on a request's way.

use std::time::{SystemTime, UNIX_EPOCH};

use larder_protocol::Seconds;

/// The second it is, since the Unix epoch.
pub(crate) fn now() -> Seconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Seconds::try_from(since.as_secs()).unwrap_or(Seconds::MAX)
}
