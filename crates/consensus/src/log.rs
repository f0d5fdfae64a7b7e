//! The Raft logs of all groups of a node, in one directory: their entries, votes and bounds.
//!
//! All groups' writes go through one queue to one thread, which takes what there is, writes it as
//! one batch with one sync, and then answers in the order of the queue. So a sync is shared by all
//! groups, and every batch is synced before the next is written: a crash can tear the last only. Of a
//! node alone who queues something writes it (`Options::one_thread`).
//!
//! The files are raft-engine's. It has no truncation, panics where a sync fails, shows an entry only
//! after its sync, and takes a torn tail for the end of the log even where it was synced: the modules
//! below say what is done about each.
//!
//! - `group`, `state`: one group's log as openraft uses it, and what of it is in memory
//! - `queue`, `writer`: how writes reach the disk; `keeper`: what else is to be done from time to time
//! - `shared`: what the threads and the groups share, and that a failure is for good
//! - `engine`: the seam to raft-engine; `cuts`: what that cuts off as it opens its files
//! - `directory`: whose the directory is, who has it open, how far it was durable
//! - `record`: entries and values as bytes
//!
//! # What is on disk
//!
//! | name | what |
//! |---|---|
//! | `LARDER` | that this is a log, its format, the number of a write that was durable then, and `copying` while entries are copied from old files |
//! | `data/` | raft-engine's files, version 2, not compressed; a group's id is its region |
//!
//! raft-engine checksums each batch. An unknown version is refused. An entry is a protobuf
//! `BytesValue` (that is `0x0a` and a varint of the length before it), in it
//!
//! | entry | bytes | |
//! |---|---|---|
//! | index | 8 | little-endian |
//! | version | 1 | 1 |
//! | entry | rest | postcard of openraft's entry: leader's term and node, index, kind, payload |
//!
//! and each group has values, by a key of one letter: a byte of version, 1, and the postcard of
//!
//! | key | value | written |
//! |---|---|---|
//! | `v` | the vote | when it is cast, and synced before it counts |
//! | `s` | the id of the last purged entry, if any, and the index of the first that is kept, 2^64 - 1 for none | when either changes |
//! | `c` | the id of the last entry known as committed | with the next append: it costs no sync |
//! | `n` | the number of a write | with one of the groups of each |
//!
//! Writes have numbers: 1, 2, 3 in the order of batches. As the files are one sequence and each batch
//! is synced, the highest `n` that is found tells that all before it is there, votes and
//! truncations as well as entries. `LARDER` is at most a second behind, or exact after
//! [`Log::close`]. A log that ends before it is refused: [`Error::Lost`].
//!
//! Always: purged < first <= committed <= last, as far as they are there.

mod cuts;
mod directory;
mod engine;
mod group;
mod keeper;
mod options;
mod queue;
mod record;
mod shared;
mod state;
mod stats;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use raft_engine::env::{DefaultFileSystem, FileSystem};
use tokio::sync::oneshot;

use self::engine::Disk;
use self::group::Group;
use self::keeper::Keeper;
use self::queue::{Done, Job};
use self::shared::Shared;
use self::writer::Writer;
use crate::error::Error;

pub use group::GroupLog;
pub use options::Options;
pub use stats::Stats;

/// The Raft logs of a node. Its groups' logs stay usable until it is dropped or
/// [closed](Self::close), which is the same.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    /// It ends when the sender does.
    keeper: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Log {
    /// Opens the logs in `directory`, or makes it a directory of logs if it is empty or not there.
    /// Reads all files: not for an async worker.
    ///
    /// # Errors
    ///
    /// As [`Error`] says. A log that has lost what was durable is refused for ever.
    pub fn open(directory: &Path, options: Options) -> Result<Self, Error> {
        let mut log = Self::open_with(directory, options, DefaultFileSystem)?;
        let (stop, stopped) = mpsc::channel();
        let keeper = Keeper::new(&log.shared)?;
        log.keeper = Some((stop, log.spawn("log keeper", move || keeper.run(&stopped))?));
        Ok(log)
    }

    /// One on a file system that does what a test tells it, without a thread that keeps house.
    ///
    /// # Errors
    ///
    /// As those of [`open`](Self::open).
    #[cfg(feature = "faults")]
    pub fn open_on<F: FileSystem + 'static>(
        directory: &Path,
        options: Options,
        file_system: F,
    ) -> Result<Self, Error> {
        Self::open_with(directory, options, file_system)
    }

    /// One without a keeper, on a file system that may be strange.
    fn open_with<F: FileSystem + 'static>(
        directory: &Path,
        options: Options,
        file_system: F,
    ) -> Result<Self, Error> {
        let disk = Disk::open(directory, &options, file_system)?;
        let shared = Arc::new(Shared::new(disk, options));
        let mut log = Self { shared, writer: None, keeper: None };
        if !log.shared.options.one_thread {
            let writer = Writer::new(Arc::clone(&log.shared))?;
            log.writer = Some(log.spawn("log sync", move || writer.run())?);
        }
        Ok(log)
    }

    /// The log of a group, empty if there is none yet. Asked again it gives the same one: there are
    /// never two ideas of where it ends. Reads one entry from disk.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if entries are missing at its beginning, or cannot be read;
    /// [`Error::Failed`] after a failure.
    pub fn group(&self, id: u64) -> Result<GroupLog, Error> {
        GroupLog::open(&self.shared, id)
    }

    /// The groups of which there is anything, opened or not.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] after a failure.
    pub fn groups(&self) -> Result<Vec<u64>, Error> {
        Ok(self.shared.disk()?.groups())
    }

    /// Forgets all of a group, its vote too. When this returns that is durable, and what is opened of the
    /// group is empty; what was opened of it before must have been stopped. Blocks for a sync: not for
    /// an async worker.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`]: it may be there, or not.
    pub fn forget(&self, id: u64) -> Result<(), Error> {
        let opened = self.shared.groups.lock().remove(&id);
        let group = opened.unwrap_or_else(|| Arc::new(Group { id, state: Mutex::default() }));
        let (reply, replied) = oneshot::channel();
        let (entries, values, done) = (vec![], vec![], Done::Reply(reply));
        let job = Job { group, forget: true, compact: None, entries, values, done };
        let failed = |_| self.shared.refusal("it is closed");
        self.shared.push(job).and_then(|()| self.shared.write()).map_err(failed)?;
        // Who writes answers all it was given, unless it panicked.
        let told =
            replied.blocking_recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
        told.map_err(failed)
    }

    /// Why nothing is written any more, once that is so: a write or sync failed, so what is on disk
    /// is not known. It is for good, for a sync that succeeds after one that failed proves nothing.
    /// The node must stop: it can be started anew, which finds out what is there.
    pub fn failure(&self) -> Option<&str> {
        self.shared.failure()
    }

    /// What it counts.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Writes what is queued, then lets go of the directory. Groups' logs that are left answer with
    /// errors, but for what is in memory; a read from disk that is under way ends first, and keeps
    /// the directory so long. After a failure the directory is in use until the process ends.
    /// Blocks for a sync or two: not for an async worker.
    pub fn close(self) {
        drop(self);
    }

    fn spawn(
        &self,
        name: &str,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<JoinHandle<()>, Error> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
        thread.map_err(Error::io("start a thread for", &self.shared.path))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.queue.close();
        // What a thread that panicked has to say it has said.
        let _ = self.writer.take().map(JoinHandle::join);
        // After the last write, to note it.
        let _ = self.keeper.take().map(|(stop, thread)| {
            drop(stop);
            thread.join()
        });
        engine::end(self.shared.let_go());
    }
}

#[cfg(test)]
mod tests;
