//! An engine behind rows in memory, and the thread that gives it what is done.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::backlog::Changes;
use super::{Items, Keys, Rows, Storage, Usage, Visit};
use crate::error::Error;
use crate::placement::GroupId;
use crate::state::Kept;

/// An engine behind rows in memory, which is given what is done a while later, sorted and each key once:
/// that costs it less, and nobody waits for it. After a crash it is done again from the log, as is what
/// the engine had not synced.
///
/// An error of the engine shows with the next commit, or the next check. What it has not taken is seen
/// on.
pub(crate) struct Buffered {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    engine: Box<dyn Storage>,
    rows: Arc<Rows>,
    path: PathBuf,
    /// Bytes that may be to be given; who adds more gives them at once.
    limit: u64,
    /// Held by who gives. Of several, all but one would find the engine behind too late.
    giving: Mutex<()>,
    /// Why the engine takes no more.
    failed: OnceLock<String>,
    state: Mutex<State>,
    called: Condvar,
}

/// How the thread stands.
#[derive(Default)]
struct State {
    /// It has found nothing to be given.
    idle: bool,
    closed: bool,
}

impl Buffered {
    /// One whose engine has its files in `path`, and is to be given at most `limit` bytes; 0 for nothing,
    /// each commit then reaches the engine.
    pub(crate) fn new(
        engine: impl Storage,
        rows: Arc<Rows>,
        path: &Path,
        limit: u64,
    ) -> io::Result<Self> {
        let inner = Arc::new(Inner {
            engine: Box::new(engine),
            rows,
            path: path.to_owned(),
            limit,
            giving: Mutex::default(),
            failed: OnceLock::new(),
            state: Mutex::default(),
            called: Condvar::new(),
        });
        let giver = Arc::clone(&inner);
        let thread = thread::Builder::new().name("store-giver".to_owned());
        let thread = Some(thread.spawn(move || giver.run())?);
        Ok(Self { inner, thread })
    }
}

impl Inner {
    /// Gives from time to time, until it is closed or the engine takes no more.
    fn run(&self) {
        let mut state = self.state.lock();
        while !state.closed {
            if self.rows.backlog.bytes() == 0 {
                state.idle = true;
                self.called.wait(&mut state);
                state.idle = false;
                continue;
            }
            if self.rows.backlog.bytes() < self.much() {
                self.called.wait_for(&mut state, PAUSE);
            }
            if state.closed {
                return;
            }
            drop(state);
            if self.give().is_err() {
                return;
            }
            state = self.state.lock();
        }
    }

    /// With so many bytes to be given the thread waits no longer.
    fn much(&self) -> u64 {
        self.limit / 4
    }

    /// Gives the engine all that was done before.
    fn give(&self) -> Result<(), Error> {
        let _alone = self.giving.lock();
        self.check()?;
        for group in self.rows.backlog.groups() {
            let Some(changes) = self.rows.backlog.seal(group) else { continue };
            if let Err(error) = self.give_some(group, &changes) {
                let _ = self.failed.set(error.to_string());
                return Err(error);
            }
            self.rows.given(group, &changes);
        }
        Ok(())
    }

    fn give_some(&self, group: GroupId, changes: &Changes) -> Result<(), Error> {
        while self.engine.is_behind() {
            self.engine.check()?;
            thread::sleep(BACKGROUND_PAUSE);
        }
        let mut rows: Vec<_> =
            changes.rows.iter().map(|(key, row)| (&**key, row.clone())).collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        self.engine.commit(group, &rows, changes.kept.as_ref())
    }

    fn check(&self) -> Result<(), Error> {
        match self.failed.get() {
            None => Ok(()),
            Some(why) => {
                let source = io::Error::other(format!("an earlier write failed: {why}"));
                Err(Error::io("write the files in", &self.path)(source))
            }
        }
    }
}

impl Storage for Buffered {
    fn read(&self, group: GroupId, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let Inner { engine, rows, .. } = &*self.inner;
        match rows.look(group, key) {
            Ok(row) => Ok(row),
            Err(seals) => {
                let row = engine.read(group, key)?;
                rows.keep(group, key, &row, seals);
                Ok(row)
            }
        }
    }

    fn kept(&self, group: GroupId) -> Result<Kept, Error> {
        self.inner.give()?;
        self.inner.engine.kept(group)
    }

    fn commit(
        &self,
        group: GroupId,
        changes: &[(&[u8], Option<Bytes>)],
        kept: Option<&Kept>,
    ) -> Result<(), Error> {
        let inner = &*self.inner;
        inner.check()?;
        if !inner.rows.backlog.add(group, changes, kept) {
            return Err(Error::corrupt(&inner.path, format!("there is no group {group}")));
        }
        let backlog = inner.rows.backlog.bytes();
        if backlog > inner.limit {
            return inner.give();
        }
        if inner.state.lock().idle || backlog >= inner.much() {
            inner.called.notify_one();
        }
        Ok(())
    }

    fn persist(&self) -> Result<(), Error> {
        self.inner.give()?;
        self.inner.engine.persist()
    }

    fn whole(&self, group: GroupId) -> Result<(Kept, Items), Error> {
        self.inner.give()?;
        self.inner.engine.whole(group)
    }

    /// Waits for nobody who gives: what the engine has not been given is shown among what it has.
    fn walk(&self, group: GroupId, keys: Keys<'_>, visit: &mut Visit<'_>) -> Result<(), Error> {
        let Inner { engine, rows, .. } = &*self.inner;
        let backlog = rows.backlog.between(group, keys);
        let (mut next, mut ended) = (backlog.into_iter().peekable(), false);
        engine.walk(group, keys, &mut |key, record| {
            while let Some((earlier, row)) = next.next_if(|(earlier, _)| earlier < &key) {
                if row.is_some_and(|record| visit(earlier, record).is_break()) {
                    ended = true;
                    return ControlFlow::Break(());
                }
            }
            let record = match next.next_if(|(hidden, _)| hidden == &key) {
                Some((_, row)) => row,
                None => Some(record),
            };
            let went = record.map_or(ControlFlow::Continue(()), |record| visit(key, record));
            ended = went.is_break();
            went
        })?;
        for (key, row) in next {
            if ended || row.is_some_and(|record| visit(key, record).is_break()) {
                break;
            }
        }
        Ok(())
    }

    fn find_damaged(&self, more: &mut dyn FnMut(usize) -> bool) -> Option<Error> {
        self.inner.engine.find_damaged(more)
    }

    fn room(&self) -> Result<u64, Error> {
        self.inner.engine.room()
    }

    fn check(&self) -> Result<(), Error> {
        self.inner.check()?;
        self.inner.engine.check()
    }

    /// While there is room it can be given later.
    fn is_behind(&self) -> bool {
        let Inner { engine, rows, limit, .. } = &*self.inner;
        rows.backlog.bytes() >= limit / 2 && engine.is_behind()
    }

    fn usage(&self) -> Usage {
        self.inner.engine.usage()
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.inner.state.lock().closed = true;
        self.inner.called.notify_one();
        // It has panicked, if anything: then nothing more was given.
        self.thread.take().into_iter().for_each(|thread| drop(thread.join()));
    }
}

/// For so long changes gather before they are given.
const PAUSE: Duration = Duration::from_millis(10);
const BACKGROUND_PAUSE: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests;
