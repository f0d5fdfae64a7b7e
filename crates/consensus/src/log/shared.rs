//! What a log's threads and its groups share.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tracing::error;

use super::engine::Disk;
use super::group::Group;
use super::options::Options;
use super::queue::{Job, Queue};
use super::stats::{Counters, Stats};
use super::writer::Writer;
use crate::error::Error;

/// What a log's threads and its groups share. Locks are taken in the order of: a group's state, the
/// queue; and none of these is held while the disk is waited for.
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) options: Options,
    pub(crate) queue: Queue,
    /// Held by who writes, if that is who appends.
    pub(crate) writing: Mutex<()>,
    pub(crate) counters: Counters,
    /// The number of the last write that is durable.
    pub(crate) synced: AtomicU64,
    /// Those that were opened.
    pub(crate) groups: Mutex<HashMap<u64, Arc<Group>>>,
    failure: OnceLock<String>,
    /// Until it is closed.
    disk: Mutex<Option<Arc<Disk>>>,
}

impl Shared {
    pub(crate) fn new(disk: Disk, options: Options) -> Self {
        Self {
            path: disk.directory.path().to_owned(),
            options,
            queue: Queue::default(),
            writing: Mutex::default(),
            counters: Counters::default(),
            synced: AtomicU64::new(disk.found),
            groups: Mutex::default(),
            failure: OnceLock::new(),
            disk: Mutex::new(Some(Arc::new(disk))),
        }
    }

    /// Gives a write to who does it, unless there is no hope.
    pub(crate) fn push(&self, job: Job) -> io::Result<()> {
        self.check()?;
        self.queue.push(job)
    }

    /// Has what is queued written, if no thread does so: not while a group's state is locked.
    pub(crate) fn write(&self) -> io::Result<()> {
        if self.options.one_thread {
            Writer::new(self).map_err(io::Error::other)?.run_now();
        }
        Ok(())
    }

    /// Nothing is written after this.
    pub(crate) fn fail(&self, reason: &str) {
        if self.failure.set(reason.to_owned()).is_ok() {
            error!("{}: the log has failed and takes no more: {reason}", self.path.display());
            if let Some(disk) = &*self.disk.lock() {
                disk.abandon();
            }
        }
    }

    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// What a write is answered with, as far as it is up to failures.
    pub(crate) fn check(&self) -> io::Result<()> {
        match self.failure() {
            Some(reason) => Err(io::Error::other(format!("the log has failed: {reason}"))),
            None => Ok(()),
        }
    }

    /// What is read from.
    pub(crate) fn disk(&self) -> Result<Arc<Disk>, Error> {
        self.disk.lock().clone().ok_or_else(|| self.refusal("it is closed"))
    }

    /// Why no group can be opened: an earlier failure, or else this.
    pub(crate) fn refusal(&self, reason: &str) -> Error {
        let reason = self.failure().unwrap_or(reason).to_owned();
        Error::Failed { path: self.path.clone(), reason }
    }

    pub(crate) fn let_go(&self) -> Option<Arc<Disk>> {
        self.disk.lock().take()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.counters.read()
    }

    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("path", &self.path).finish_non_exhaustive()
    }
}
