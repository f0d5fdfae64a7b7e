//! An engine that does what it is told to do wrong.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use larder_consensus::Log;
use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;

use super::basics::small;
use crate::place::alone;
use crate::placement::GroupId;
use crate::state::Kept;
use crate::storage::{Buffered, Items, Keys, Storage, Usage, Visit};
use crate::{Error, Options, Store};

/// What goes wrong, changed while the store runs.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) commits: Gate,
    pub(super) reads: Gate,
    /// How many commits succeed before one fails.
    pub(super) fail: Mutex<Option<usize>>,
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
    inner: Buffered,
    faults: Arc<Faults>,
}

impl Faulty {
    fn reading(&self) -> Result<(), Error> {
        self.faults.reads.pass();
        if self.faults.unreadable.load(Ordering::Relaxed) {
            return Err(broken());
        }
        assert!(!self.faults.panics.load(Ordering::Relaxed), "as it was told");
        Ok(())
    }
}

impl Storage for Faulty {
    fn read(&self, group: GroupId, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.reading()?;
        self.inner.read(group, key)
    }

    fn kept(&self, group: GroupId) -> Result<Kept, Error> {
        self.inner.kept(group)
    }

    fn commit(
        &self,
        group: GroupId,
        changes: &[(&[u8], Option<Bytes>)],
        kept: Option<&Kept>,
    ) -> Result<(), Error> {
        self.faults.commits.pass();
        let mut fail = self.faults.fail.lock();
        match &mut *fail {
            Some(0) => return Err(broken()),
            Some(more) => *more -= 1,
            None => {}
        }
        self.inner.commit(group, changes, kept)
    }

    fn persist(&self) -> Result<(), Error> {
        self.inner.persist()
    }

    fn whole(&self, group: GroupId) -> Result<(Kept, Items), Error> {
        self.inner.whole(group)
    }

    fn walk(&self, group: GroupId, keys: Keys<'_>, visit: &mut Visit<'_>) -> Result<(), Error> {
        self.reading()?;
        self.inner.walk(group, keys, visit)
    }

    /// The keeper's, which nothing goes wrong with.
    fn scan(
        &self,
        group: GroupId,
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        self.inner.scan(group, after, limit)
    }

    fn find_damaged(&self, more: &mut dyn FnMut(usize) -> bool) -> Option<Error> {
        self.inner.find_damaged(more)
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
    faulty_with(place, |_| {})
}

/// A store on such an engine, which may not take longer than this.
pub(super) fn faulty_watched(place: &TempDir, hang_after: Duration) -> (Store, Held) {
    faulty_with(place, |options| options.hang_after = hang_after)
}

/// A store on such an engine, which nobody watches, with other options.
pub(super) fn faulty_with(place: &TempDir, change: impl FnOnce(&mut Options)) -> (Store, Held) {
    faulty_in(place.path(), change)
}

/// As that, anywhere.
pub(super) fn faulty_in(place: &Path, change: impl FnOnce(&mut Options)) -> (Store, Held) {
    let (held, wrap) = faults();
    let hang_after = Duration::ZERO;
    // Each read asks the engine.
    let (cache_bytes, backlog_bytes) = (0, 0);
    let mut options = Options {
        cache_bytes,
        backlog_bytes,
        reserve_bytes: Some(100),
        sweep_per_sec: 0,
        hang_after,
        ..small()
    };
    change(&mut options);
    let path = place.join("store");
    (Store::open_on(&path, options, alone, wrap, Log::open).unwrap(), held)
}

/// What goes wrong, and how to put it between a store and its engine.
pub(super) fn faults() -> (Held, impl FnOnce(Buffered) -> Box<dyn Storage>) {
    let faults = Arc::new(Faults { room: AtomicU64::new(1000), ..Faults::default() });
    let held = Held(Arc::clone(&faults));
    (held, |inner| Box::new(Faulty { inner, faults }))
}
