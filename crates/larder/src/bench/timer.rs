//! Waiting until a request is due.

use std::io;
use std::task::{Context, Poll};
use std::time::Instant;

pub(super) use kind::Timer;

/// The kernel's timers are good to a few microseconds. Tokio's are good to one millisecond, which
/// would be added to the latency of every request: it counts from when the request was due.
#[cfg(target_os = "linux")]
mod kind {
    use std::os::fd::{AsFd as _, OwnedFd};

    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use super::{Context, Instant, Poll, io};

    /// A clock that wakes its task once.
    #[derive(Debug)]
    pub(in super::super) struct Timer {
        clock: TimerFd,
        /// The same clock, under a descriptor of its own for the runtime to watch.
        watch: AsyncFd<OwnedFd>,
        due: Option<Instant>,
    }

    impl Timer {
        pub(in super::super) fn new() -> io::Result<Self> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let clock = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            let watched = clock.as_fd().try_clone_to_owned()?;
            #[expect(
                deprecated,
                reason = "it asks that nobody closes or replaces the descriptor, and an `OwnedFd` \
                          lets nobody; the replacement is unsafe to call"
            )]
            let watch = AsyncFd::with_interest(watched, Interest::READABLE)?;
            Ok(Self { clock, watch, due: None })
        }

        /// Ready once it is `due`.
        pub(in super::super) fn poll(
            &mut self,
            due: Instant,
            cx: &mut Context<'_>,
        ) -> Poll<io::Result<()>> {
            loop {
                let left = due.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Poll::Ready(Ok(()));
                }
                if self.due != Some(due) {
                    // Setting the clock also takes back an earlier expiry.
                    let expiry = Expiration::OneShot(TimeSpec::from_duration(left));
                    self.clock.set(expiry, TimerSetTimeFlags::empty())?;
                    self.due = Some(due);
                }
                match self.watch.poll_read_ready(cx) {
                    Poll::Pending => return Poll::Pending,
                    // Old news, or this expiry a moment early: look at the time again.
                    Poll::Ready(ready) => {
                        ready?.clear_ready();
                        self.due = None;
                    }
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod kind {
    use std::pin::Pin;

    use tokio::time::{Sleep, sleep_until};

    use super::{Context, Instant, Poll, io};

    /// A clock that wakes its task once.
    #[derive(Debug)]
    pub(in super::super) struct Timer {
        sleep: Pin<Box<Sleep>>,
    }

    impl Timer {
        pub(in super::super) fn new() -> io::Result<Self> {
            Ok(Self { sleep: Box::pin(sleep_until(Instant::now().into())) })
        }

        /// Ready once it is `due`.
        pub(in super::super) fn poll(
            &mut self,
            due: Instant,
            cx: &mut Context<'_>,
        ) -> Poll<io::Result<()>> {
            if self.sleep.deadline() != due.into() {
                self.sleep.as_mut().reset(due.into());
            }
            self.sleep.as_mut().poll(cx).map(Ok)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_waits_until_due_and_no_less() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut timer = Timer::new().unwrap();
            for wait_ms in [3, 0, 5] {
                let due = Instant::now() + Duration::from_millis(wait_ms);
                std::future::poll_fn(|cx| timer.poll(due, cx)).await.unwrap();
                assert!(Instant::now() >= due);
            }
        });
    }

    #[test]
    fn a_new_time_replaces_the_old() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut timer = Timer::new().unwrap();
            let never = Instant::now() + Duration::from_hours(1);
            let soon = Instant::now() + Duration::from_millis(2);
            std::future::poll_fn(|cx| {
                assert!(timer.poll(never, cx).is_pending());
                Poll::Ready(())
            })
            .await;
            let wait = std::future::poll_fn(|cx| timer.poll(soon, cx));
            tokio::time::timeout(Duration::from_mins(1), wait).await.unwrap().unwrap();
        });
    }
}
