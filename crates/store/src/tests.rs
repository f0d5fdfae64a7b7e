//! What the whole store promises.
mod basics;
mod cluster;
mod cuts;
mod damage;
mod faults;
mod faulty;
mod groups;
mod handing;
mod hanging;
mod histories;
mod kinds;
mod leaving;
mod log;
mod membership;
mod model;
mod ranges;
mod replay;
mod replicas;
mod stale;

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

/// Runs a future on this thread.
pub(crate) fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match std::pin::Pin::new(&mut future).poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Whether a future has come to its end by now.
pub(crate) fn ready<F: Future + Unpin>(future: &mut F) -> bool {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
