//! An engine that does what it is told to do wrong.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;

use super::basics::small;
use crate::state::State;
use crate::storage::{Lsm, Storage, Uncommitted, Usage};
use crate::{Error, Options, Store};

/// What goes wrong, changed while the store runs.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) commits: Gate,
    pub(super) reads: Gate,
    /// How many commits succeed before one fails, and whether its outcome is then unknown.
    pub(super) fail: Mutex<Option<(usize, bool)>>,
    pub(super) unreadable: AtomicBool,
    /// Reads panic.
    pub(super) panics: AtomicBool,
    /// Background work is behind.
    pub(super) behind: AtomicBool,
    /// Free bytes there are said to be.
    pub(super) room: AtomicU64,
}

/// Calls wait before it while it is shut.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<Calls>,
    changed: Condvar,
}

#[derive(Default)]
struct Calls {
    shut: bool,
    waiting: usize,
    /// How many may pass all the same.
    let_in: usize,
}

impl Gate {
    pub(super) fn shut(&self) {
        self.state.lock().shut = true;
    }

    pub(super) fn open(&self) {
        self.state.lock().shut = false;
        self.changed.notify_all();
    }

    /// Lets so many calls pass while it is shut.
    pub(super) fn let_in(&self, calls: usize) {
        self.state.lock().let_in += calls;
        self.changed.notify_all();
    }

    /// Returns when so many calls wait.
    pub(super) fn until(&self, waiting: usize) {
        let mut state = self.state.lock();
        while state.waiting != waiting {
            let late = self.changed.wait_for(&mut state, Duration::from_secs(20)).timed_out();
            assert!(!late, "{} calls wait, not {waiting}", state.waiting);
        }
    }

    fn pass(&self) {
        let mut state = self.state.lock();
        state.waiting += 1;
        self.changed.notify_all();
        while state.shut && state.let_in == 0 {
            self.changed.wait(&mut state);
        }
        state.let_in = state.let_in.saturating_sub(1);
        state.waiting -= 1;
        self.changed.notify_all();
    }
}

/// What goes wrong, held by a test: when it ends nothing waits any more, so that the store can.
pub(super) struct Held(Arc<Faults>);

impl Deref for Held {
    type Target = Faults;

    fn deref(&self) -> &Faults {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.commits.open();
        self.0.reads.open();
        self.0.behind.store(false, Ordering::Relaxed);
    }
}

struct Faulty {
    inner: Lsm,
    faults: Arc<Faults>,
}

impl Storage for Faulty {
    fn read(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.faults.reads.pass();
        if self.faults.unreadable.load(Ordering::Relaxed) {
            return Err(broken());
        }
        assert!(!self.faults.panics.load(Ordering::Relaxed), "as it was told");
        self.inner.read(key)
    }

    fn commit(&self, changes: &[(&[u8], Option<Bytes>)], state: State) -> Result<(), Uncommitted> {
        self.faults.commits.pass();
        let mut fail = self.faults.fail.lock();
        match *fail {
            Some((0, unknown)) => Err(Uncommitted { error: broken(), unknown }),
            Some((more, unknown)) => {
                *fail = Some((more - 1, unknown));
                self.inner.commit(changes, state)
            }
            None => self.inner.commit(changes, state),
        }
    }

    fn scan(&self, after: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, Error> {
        self.inner.scan(after, limit)
    }

    fn room(&self) -> Result<u64, Error> {
        Ok(self.faults.room.load(Ordering::Relaxed))
    }

    fn check(&self) -> Result<(), Error> {
        self.inner.check()
    }

    fn is_behind(&self) -> bool {
        self.faults.behind.load(Ordering::Relaxed) || self.inner.is_behind()
    }

    fn usage(&self) -> Usage {
        self.inner.usage()
    }
}

fn broken() -> Error {
    Error::io("sync", Path::new("/broken"))(std::io::Error::from_raw_os_error(5))
}

/// A store on such an engine, which nobody watches.
pub(super) fn faulty(place: &TempDir) -> (Store, Held) {
    faulty_watched(place, Duration::ZERO)
}

/// A store on such an engine, which may not take longer than this.
pub(super) fn faulty_watched(place: &TempDir, hang_after: Duration) -> (Store, Held) {
    let faults = Arc::new(Faults { room: AtomicU64::new(1000), ..Faults::default() });
    let options = Options { reserve_bytes: Some(100), sweep_per_sec: 0, hang_after, ..small() };
    let path = place.path().join("store");
    let held = Arc::clone(&faults);
    let wrap = |inner| -> Box<dyn Storage> { Box::new(Faulty { inner, faults: held }) };
    (Store::open_on(&path, options, wrap).unwrap(), Held(faults))
}
