//! What is being filled in this process: callers that ask for one key at once share one answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use crate::error::Error;

/// A value as it is in the cache, or is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filled {
    pub(crate) bytes: Bytes,
    pub(crate) flags: u32,
    /// How long it lives where it comes from, if not for ever.
    pub(crate) ttl_secs: Option<u32>,
}

/// What all get who asked; `None` if there is nothing where values come from.
pub(crate) type Outcome = Result<Option<Filled>, Error>;

/// How far a flight has come.
#[derive(Clone, Debug)]
pub(crate) enum Progress {
    /// The cache is asked, or another client's fill waited for.
    Asking,
    /// The value is made anew. Here is the old one, if there is one, for those who do not make it.
    Filling(Option<Filled>),
    /// It has ended.
    Done(Outcome),
}

/// The flights of a client, by key.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    in_flight: Mutex<HashMap<Box<[u8]>, Flight>>,
    /// How many there are: writes look no further if there is none.
    count: AtomicUsize,
    next_id: AtomicU64,
}

#[derive(Debug)]
struct Flight {
    id: u64,
    progress: watch::Receiver<Progress>,
}

impl Flights {
    /// Gets on the flight for `key`; tells whether it had to be started, which `start` does: a task
    /// that drops what it is given when it has ended.
    pub(crate) fn board(
        self: &Arc<Self>,
        key: &[u8],
        start: impl FnOnce(Landing),
    ) -> (watch::Receiver<Progress>, bool) {
        let mut in_flight = self.in_flight();
        match in_flight.entry(key.into()) {
            Entry::Occupied(flight) => (flight.get().progress.clone(), false),
            Entry::Vacant(place) => {
                let (telling, progress) = watch::channel(Progress::Asking);
                let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                let flights = Arc::clone(self);
                start(Landing { flights, key: key.into(), id, telling });
                place.insert(Flight { id, progress: progress.clone() });
                self.count.fetch_add(1, Ordering::AcqRel);
                (progress, true)
            }
        }
    }

    /// Has nobody more get on the flight for `key`: what it brings may be older than what has been
    /// written.
    pub(crate) fn forget(&self, key: &[u8]) {
        self.remove(key, |_| true);
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let len = self.in_flight().len();
        assert_eq!(len, self.count.load(Ordering::Acquire));
        len
    }

    fn remove(&self, key: &[u8], which: impl FnOnce(&Flight) -> bool) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut in_flight = self.in_flight();
        if in_flight.get(key).is_some_and(which) {
            in_flight.remove(key);
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn in_flight(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, Flight>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a flight, however it comes.
#[derive(Debug)]
pub(crate) struct Landing {
    flights: Arc<Flights>,
    key: Box<[u8]>,
    id: u64,
    telling: watch::Sender<Progress>,
}

impl Landing {
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value is made anew; here is the old one.
    pub(crate) fn filling(&self, old: Option<Filled>) {
        self.telling.send_replace(Progress::Filling(old));
    }

    /// Ends the flight with this.
    pub(crate) fn done(self, outcome: Outcome) {
        // Who comes from now on asks the cache.
        self.take_off_the_board();
        self.telling.send_replace(Progress::Done(outcome));
    }

    fn take_off_the_board(&self) {
        self.flights.remove(&self.key, |flight| flight.id == self.id);
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.take_off_the_board();
    }
}
