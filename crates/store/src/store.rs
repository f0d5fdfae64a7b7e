//! A store: its directory, its threads, and the handle to them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::directory::{Directory, Found};
use crate::error::Error;
use crate::flight::Ways;
use crate::health::Health;
use crate::keeper::{Keeper, Stop};
use crate::options::Options;
use crate::published::Published;
use crate::queue::Queue;
use crate::reader;
use crate::session::Session;
use crate::shared::{Clock, Shared};
use crate::state::State;
use crate::stats::{Counters, Stats};
use crate::storage::{Lsm, Storage};
use crate::writer::Writer;

/// A durable node's items. Dropping it waits until all it was given is durable.
pub struct Store {
    shared: Arc<Shared>,
    stop: Arc<Stop>,
    keeper: Option<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
    /// Unlocked last, after the engine has let go of its files.
    _directory: Arc<Directory>,
}

impl Store {
    /// Opens the store in the directory `path`, or makes one if it is empty or not there.
    ///
    /// # Errors
    ///
    /// The directory cannot be used, holds something else, is in use by another process, was
    /// written by a newer version, or holds less than is known to have been durable. Nothing is
    /// changed in a directory that is not a store.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        Self::open_on(path.as_ref(), options, |lsm| Box::new(lsm))
    }

    /// As [`open`](Self::open), with something between the threads and the engine.
    pub(crate) fn open_on(
        path: &Path,
        options: Options,
        wrap: impl FnOnce(Lsm) -> Box<dyn Storage>,
    ) -> Result<Self, Error> {
        let (directory, found) = Directory::open(path)?;
        let watermark = match found {
            Found::Store(watermark) => watermark,
            Found::Nothing => {
                drop(Lsm::open(&directory.data_new(), &options)?);
                directory.adopt()?;
                0
            }
        };
        let (storage, state) = Lsm::open(&directory.data(), &options)?;
        // The engine takes the first senseless bytes of its journal for the end of it.
        if state.sequence < watermark {
            let detail =
                format!("it ends at write {}, but write {watermark} was durable", state.sequence);
            return Err(Error::corrupt(&directory.data(), detail));
        }
        Self::start(directory, wrap(storage), state, options)
    }

    /// A session for a new connection.
    pub fn session(&self) -> Session {
        Session::new(Arc::clone(&self.shared.ways), Arc::clone(&self.shared.clock))
    }

    /// What it counts. Sizes are those of a moment ago: it does not ask the engine, and waits for
    /// nothing.
    pub fn stats(&self) -> Stats {
        let Shared { counters, ways, health, published, usage, .. } = &*self.shared;
        let usage = *usage.lock();
        let swept = counters.sweeps.value() > 0;
        Stats {
            condition: health.condition(),
            items: swept.then(|| counters.items.value()),
            item_bytes: swept.then(|| counters.item_bytes.value()),
            records: usage.records,
            disk_bytes: usage.disk_bytes,
            journal_bytes: usage.journal_bytes,
            reads: counters.reads.value(),
            writes: counters.writes.value(),
            changes: counters.changes.value(),
            commits: counters.commits.value(),
            largest_batch: counters.largest_batch.value(),
            commit_micros: counters.commit_micros.value(),
            longest_commit_micros: counters.longest_commit_micros.value(),
            decide_micros: counters.decide_micros.value(),
            failures: counters.failures.value(),
            reclaimed: counters.reclaimed.value(),
            waiting_writes: ways.writes.len() as u64,
            waiting_reads: ways.reads.len() as u64,
            sequence: published.state().sequence,
        }
    }

    /// What poisoned it, or else the last failure to read, for a log.
    pub fn failure(&self) -> Option<Arc<Error>> {
        self.shared.health.failure()
    }

    /// Does what it was given, makes it durable, lets go of the directory. Sessions that are left
    /// answer that the store is closing.
    ///
    /// # Errors
    ///
    /// What poisoned it, if something did: some answers were then failures.
    pub fn close(mut self) -> Result<(), Arc<Error>> {
        self.end();
        match self.failure() {
            Some(error) if self.shared.health.is_poisoned() => Err(error),
            _ => Ok(()),
        }
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    fn start(
        directory: Directory,
        storage: Box<dyn Storage>,
        state: State,
        options: Options,
    ) -> Result<Self, Error> {
        let path = directory.data();
        let directory = Arc::new(directory);
        let read_threads = options.read_threads.max(1);
        let shared = Arc::new(Shared {
            path: path.clone(),
            storage,
            ways: Arc::new(Ways { reads: Queue::new(), writes: Queue::new() }),
            clock: Arc::new(Clock::default()),
            published: Published::default(),
            health: Health::default(),
            counters: Counters::default(),
            usage: Mutex::default(),
            options,
        });
        shared.published.publish(state);
        let mut keeper = Keeper::new(Arc::clone(&shared), Arc::clone(&directory));
        keeper.look();
        let mut store = Self {
            shared: Arc::clone(&shared),
            stop: Arc::default(),
            keeper: None,
            readers: Vec::new(),
            writer: None,
            _directory: directory,
        };
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(run)
                .map_err(Error::io("start the threads of", &path))
        };
        for _ in 0..read_threads {
            let shared = Arc::clone(&shared);
            store.readers.push(spawn("store-reader", Box::new(move || reader::run(&shared)))?);
        }
        let writer = Writer::new(shared, state);
        store.writer = Some(spawn("store-writer", Box::new(move || writer.run()))?);
        let stop = Arc::clone(&store.stop);
        store.keeper = Some(spawn("store-keeper", Box::new(move || keeper.run(&stop)))?);
        Ok(store)
    }

    /// Readers first: what waits behind a read still goes to the writer. The keeper last: it notes
    /// how far the store is durable, and holds the lock.
    fn end(&mut self) {
        self.shared.ways.reads.close();
        self.readers.drain(..).for_each(join);
        self.shared.ways.writes.close();
        self.writer.take().into_iter().for_each(join);
        self.stop.stop();
        self.keeper.take().into_iter().for_each(join);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("condition", &self.shared.health.condition())
            .finish_non_exhaustive()
    }
}

/// A thread that panicked has dropped its tickets, which tells those who wait.
fn join(thread: JoinHandle<()>) {
    let _ = thread.join();
}
