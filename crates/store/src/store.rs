//! A store: its directory, its threads, and the handle to them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tracing::warn;

use crate::caution::Caution;
use crate::directory::{Directory, Found};
use crate::error::Error;
use crate::flight::Ways;
use crate::hand::Hand;
use crate::health::{self, Health};
use crate::keeper::Keeper;
use crate::options::Options;
use crate::published::Published;
use crate::queue::Queue;
use crate::reader;
use crate::session::Session;
use crate::shared::{Clock, Shared};
use crate::state::State;
use crate::stats::{Counters, Stats};
use crate::stop::Stop;
use crate::storage::{self, Lsm, Storage};
use crate::watchdog::Watchdog;
use crate::writer::Writer;

/// A durable node's items. Dropping it waits until all it was given is durable.
pub struct Store {
    shared: Arc<Shared>,
    stop: Arc<Stop>,
    keeper: Option<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
    watchdog: Option<JoinHandle<()>>,
    stop_watchdog: Arc<Stop>,
    /// Unlocked last, after the engine has let go of its files.
    _directory: Arc<Directory>,
}

impl Store {
    /// Opens the store in the directory `path`, or makes one if it is empty or not there.
    ///
    /// # Errors
    ///
    /// The directory cannot be used, holds something else, is in use by another process, was
    /// written by a newer version, is damaged, holds less than is known to have been durable, or has
    /// a copy beside it from an opening that did not end, which is not its own. A directory that is
    /// not a store is not changed, and a store that is refused holds afterwards what it held before,
    /// byte for byte, unless the log says that there was no room for a copy.
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
        let (storage, state) = match found {
            Found::Store { watermark, .. } => Self::open_engine(&directory, watermark, &options)?,
            Found::Nothing => {
                drop(Lsm::open(&directory.data_new(), &options)?);
                directory.adopt()?;
                Lsm::open(&directory.data(), &options)?
            }
        };
        Self::start(directory, found, wrap(storage), state, options)
    }

    /// Opens what was in use before, and leaves it as it was if that fails.
    fn open_engine(
        directory: &Directory,
        watermark: u64,
        options: &Options,
    ) -> Result<(Lsm, State), Error> {
        let data = directory.data();
        let room = |sorted| {
            let reserve = health::reserve(sorted, options);
            storage::room(&data).ok().map(|room| room.saturating_sub(reserve))
        };
        let kept = directory.keep(room);
        if let Err(error) = &kept {
            // A full disk above all, and then it is from here that it can be emptied.
            warn!("opened without a copy, what is damaged in it may be cut off: {error}");
            // Half a copy takes the room that the engine may need, and one that there is after all
            // would undo what is about to be acknowledged.
            directory.let_go()?;
        }
        let opened = Lsm::open(&data, options).and_then(|(storage, state)| {
            // The engine takes the first senseless bytes of its journal for the end of it.
            if state.sequence < watermark {
                let detail = format!(
                    "it ends at write {}, but write {watermark} was durable",
                    state.sequence
                );
                return Err(Error::corrupt(&data, detail));
            }
            Ok((storage, state))
        });
        if kept.is_ok() {
            match &opened {
                // Who has the engine's files open without our lock must not lose them.
                Ok(_) | Err(Error::InUse { .. }) => directory.let_go()?,
                Err(_) => {
                    if let Err(error) = directory.put_back() {
                        warn!("the next opening will put back the files as they were: {error}");
                    }
                }
            }
        }
        opened
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
        let (room, reserve) = health.space();
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
            room,
            reserve,
        }
    }

    /// What poisoned it, or else what failed or hung last, for a log. It may be long ago.
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
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn start(
        directory: Directory,
        found: Found,
        storage: Box<dyn Storage>,
        state: State,
        options: Options,
    ) -> Result<Self, Error> {
        let path = directory.data();
        let directory = Arc::new(directory);
        let caution = match found {
            Found::Store { clock, doubt, .. } => Caution::new(clock, doubt),
            Found::Nothing => Caution::none(),
        };
        let shared = Arc::new(Shared {
            path: path.clone(),
            storage,
            ways: Arc::new(Ways { reads: Queue::new(), writes: Queue::new() }),
            writing: Hand::new(),
            reading: (0..options.read_threads.max(1)).map(|_| Hand::new()).collect(),
            clock: Arc::new(Clock::default()),
            published: Published::default(),
            health: Health::default(),
            counters: Counters::default(),
            usage: Mutex::default(),
            options,
        });
        shared.published.publish(state);
        let mut keeper = Keeper::new(Arc::clone(&shared), Arc::clone(&directory), caution);
        keeper.look();
        let mut store = Self {
            shared: Arc::clone(&shared),
            stop: Arc::default(),
            keeper: None,
            readers: Vec::new(),
            writer: None,
            watchdog: None,
            stop_watchdog: Arc::default(),
            _directory: directory,
        };
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(run)
                .map_err(Error::io("start the threads of", &path))
        };
        let limit = shared.options.hang_after;
        if !limit.is_zero() {
            let watchdog = Watchdog::new(Arc::clone(&shared), limit);
            let stop = Arc::clone(&store.stop_watchdog);
            let run = move || watchdog.run(&stop);
            store.watchdog = Some(spawn("store-watchdog", Box::new(run))?);
        }
        for at in 0..shared.reading.len() {
            let shared = Arc::clone(&shared);
            let run = move || {
                if let Some(hand) = shared.reading.get(at) {
                    reader::run(&shared, hand);
                }
            };
            store.readers.push(spawn("store-reader", Box::new(run))?);
        }
        let writer = Writer::new(shared, state);
        store.writer = Some(spawn("store-writer", Box::new(move || writer.run()))?);
        let stop = Arc::clone(&store.stop);
        store.keeper = Some(spawn("store-keeper", Box::new(move || keeper.run(&stop)))?);
        Ok(store)
    }

    /// Readers first: what waits behind a read still goes to the writer. Then the keeper: it notes
    /// how far the store is durable, and holds the lock. The watchdog last: any of them may hang.
    fn end(&mut self) {
        self.shared.ways.reads.close();
        self.readers.drain(..).for_each(join);
        self.shared.ways.writes.close();
        self.writer.take().into_iter().for_each(join);
        self.stop.stop();
        self.keeper.take().into_iter().for_each(join);
        self.stop_watchdog.stop();
        self.watchdog.take().into_iter().for_each(join);
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
