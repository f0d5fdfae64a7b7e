//! The server's clock: the only one on a request's way.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use larder_protocol::Seconds;

/// The second it is, since the Unix epoch: by the wall clock at the first call, and monotonic from
/// there. A wall clock that is set does not make items expire, or come back.
pub fn now() -> Seconds {
    static START: OnceLock<(Instant, Duration)> = OnceLock::new();
    let (start, since_epoch) = START.get_or_init(|| {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (Instant::now(), since_epoch)
    });
    let now = *since_epoch + start.elapsed();
    Seconds::try_from(now.as_secs()).unwrap_or(Seconds::MAX)
}
