//! The server's clock: the only one on a request's way.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use larder_protocol::Seconds;
use nix::time::{ClockId, clock_gettime};

/// The second it is, since the Unix epoch: by the wall clock at the first call, and monotonic from
/// there. A wall clock that is set does not make items expire, or come back.
///
/// It may be late by a tick of the kernel, 10 ms at most.
pub fn now() -> Seconds {
    Seconds::try_from(precisely().as_secs()).unwrap_or(Seconds::MAX)
}

/// The same, with its fractions.
pub(crate) fn precisely() -> Duration {
    static START: OnceLock<(Duration, Duration)> = OnceLock::new();
    let (start, since_epoch) = START.get_or_init(|| {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (monotonic(), since_epoch)
    });
    *since_epoch + monotonic().saturating_sub(*start)
}

/// As of the kernel's last tick: that is read from memory, where an exact time would be worked out
/// from the processor's counter, for every request.
fn monotonic() -> Duration {
    clock_gettime(CLOCK).map(Duration::from).unwrap_or_default()
}

#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC_COARSE;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;
