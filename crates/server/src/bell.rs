//! Wake-ups from other threads, gathered.
//!
//! An engine that has answers for many connections at once wakes each of them. To wake what another
//! thread runs takes a call of the system, each time, and that thread would run for the first
//! connection and sleep again before it hears of the next. So the engine's threads leave word which
//! connections are to go on, and only the first wakes the worker.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use parking_lot::Mutex;

/// What wakes a worker.
#[derive(Debug, Default)]
pub(crate) struct Bell(Mutex<Rung>);

#[derive(Debug, Default)]
struct Rung {
    /// Those that are to go on.
    connections: Vec<Waker>,
    worker: Option<Waker>,
}

/// A connection's way to ring.
#[derive(Debug)]
pub(crate) struct Cord {
    bell: Arc<Bell>,
    /// The waker of the connection, and the one that rings.
    wakers: Option<(Waker, Waker)>,
}

/// What rings for a connection.
struct Pull {
    bell: Arc<Bell>,
    connection: Waker,
}

impl Bell {
    /// Has connections go on, for as long as it is polled by their worker.
    pub(crate) async fn listen(&self) -> Infallible {
        let mut woken = Vec::new();
        poll_fn(|cx| {
            let mut rung = self.0.lock();
            if !rung.worker.as_ref().is_some_and(|worker| worker.will_wake(cx.waker())) {
                rung.worker = Some(cx.waker().clone());
            }
            std::mem::swap(&mut rung.connections, &mut woken);
            drop(rung);
            woken.drain(..).for_each(Waker::wake);
            Poll::Pending
        })
        .await
    }

    fn ring(&self, connection: Waker) {
        let mut rung = self.0.lock();
        rung.connections.push(connection);
        let worker = if rung.connections.len() == 1 { rung.worker.clone() } else { None };
        drop(rung);
        if let Some(worker) = worker {
            worker.wake();
        }
    }
}

impl Cord {
    pub(crate) fn new(bell: Arc<Bell>) -> Self {
        Self { bell, wakers: None }
    }

    /// What has `connection` go on, to be given to other threads.
    pub(crate) fn waker(&mut self, connection: &Waker) -> &Waker {
        let wakers = self.wakers.take().filter(|(own, _)| own.will_wake(connection));
        let bell = &self.bell;
        let (_, pull) = self.wakers.insert(wakers.unwrap_or_else(|| {
            let pull = Pull { bell: Arc::clone(bell), connection: connection.clone() };
            (connection.clone(), Arc::new(pull).into())
        }));
        pull
    }
}

impl Wake for Pull {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.bell.ring(self.connection.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Context;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Count {
        fn take(&self) -> usize {
            self.0.swap(0, Ordering::Relaxed)
        }
    }

    #[test]
    fn the_worker_is_woken_once_and_then_each_connection() {
        let bell = Arc::new(Bell::default());
        let connections: [Arc<Count>; 3] = Default::default();
        let mut cords = [(); 3].map(|()| Cord::new(Arc::clone(&bell)));
        let mut ring = |at: usize| {
            cords[at].waker(&Arc::clone(&connections[at]).into()).wake_by_ref();
        };
        let worker = Arc::new(Count::default());
        let waker = Arc::clone(&worker).into();
        let mut context = Context::from_waker(&waker);
        let mut listening = pin!(bell.listen());

        // Before anybody listens nothing is lost.
        ring(0);
        assert!(listening.as_mut().poll(&mut context).is_pending());
        assert_eq!(connections[0].take(), 1);

        for at in 0..3 {
            ring(at);
        }
        assert_eq!(worker.take(), 1);
        assert_eq!(connections.each_ref().map(|connection| connection.take()), [0; 3]);
        assert!(listening.as_mut().poll(&mut context).is_pending());
        assert_eq!(connections.each_ref().map(|connection| connection.take()), [1; 3]);

        ring(1);
        assert_eq!(worker.take(), 1);
    }
}
