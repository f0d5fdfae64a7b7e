//! The seam to raft-engine, which keeps bytes on disk.

use std::any::Any;
use std::fmt;
use std::io;
use std::mem;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use protobuf::well_known_types::BytesValue;
use raft_engine::env::FileSystem;
use raft_engine::{Config, LogBatch, ReadableSize, RecoveryMode};

use super::cuts::{Careful, Cuts};
use super::directory::Directory;
use super::options::Options;
use super::record::{self, NUMBER, Record, START, VOTE};
use crate::error::Error;
use crate::types::Entry;

/// A directory and the engine in it. Every call may block for long.
pub(crate) struct Disk {
    engine: Arc<dyn Engine>,
    pub(crate) directory: Directory,
    /// The number of the last write that was there when this was opened.
    pub(crate) found: u64,
}

impl Disk {
    /// Opens a directory, refuses it if anything is missing that was durable, and makes durable what
    /// there is.
    pub(crate) fn open<F: FileSystem + 'static>(
        path: &Path,
        options: &Options,
        file_system: F,
    ) -> Result<Self, Error> {
        let directory = Directory::open(path)?;
        let data = directory.data();
        let there = data.try_exists().map_err(Error::io("look at", &data))?;
        if directory.watermark > 0 && !there {
            // An engine would make it anew, in the way of who wants to put it back.
            let path = directory.path().to_owned();
            return Err(Error::Lost {
                path,
                wanted: directory.watermark,
                found: 0,
                groups: vec![],
            });
        }
        let config = config(&data, options)?;
        let cuts = Arc::new(Cuts::new(&data, directory.copying));
        let file_system = Arc::new(Careful::new(file_system, &cuts));
        let open = || raft_engine::Engine::open_with_file_system(config, file_system);
        let opened = match guard(open) {
            Ok(Ok(engine)) => {
                let mut disk = Self { engine: Arc::new(engine), directory, found: 0 };
                match disk.settle(&cuts) {
                    Ok(()) => Ok(disk),
                    Err(error) => {
                        end(disk);
                        Err(error)
                    }
                }
            }
            Ok(Err(raft_engine::Error::Io(source))) => Err(Error::io("open", &data)(source)),
            Ok(Err(error)) => Err(Error::corrupt(&data, error.to_string())),
            Err(panic) => Err(Error::corrupt(&data, panic)),
        };
        opened.map_err(|error| {
            cuts.put_back();
            cuts.refusal().unwrap_or(error)
        })
    }

    /// Writes and syncs a batch. After an error it is not known what of it is there.
    pub(crate) fn write(&self, batch: &mut LogBatch) -> io::Result<()> {
        match guard(|| self.engine.write(batch)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(raft_engine::Error::Io(error))) => Err(error),
            Ok(Err(error)) => Err(io::Error::other(error.to_string())),
            Err(panic) => Err(io::Error::other(panic)),
        }
    }

    /// Removes files that hold nothing that is still kept, if there are too many. An error without
    /// consequences is the inner one.
    pub(crate) fn purge(&self) -> Result<Result<(), raft_engine::Error>, String> {
        guard(|| self.engine.purge())
    }

    /// Bytes of the files that count: not of those that are only kept to be used again.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.engine.used_bytes()
    }

    /// A group's entries with these indexes; with a limit of bytes maybe fewer, but at least one.
    pub(crate) fn fetch(
        &self,
        group: u64,
        range: Range<u64>,
        limit: Option<usize>,
    ) -> io::Result<Vec<Entry>> {
        let mut tries = 1;
        let records = loop {
            match self.engine.fetch(group, range.clone(), limit) {
                Ok(records) => break records,
                // What is moved to another file while it is read is found there the next time.
                Err(_) if tries < TRIES => tries += 1,
                Err(error) => {
                    let detail = format!("entries {range:?} of group {group}: {error}");
                    return Err(match error {
                        raft_engine::Error::Corruption(_) => {
                            let error = Error::corrupt(&self.directory.data(), detail);
                            io::Error::new(io::ErrorKind::InvalidData, error)
                        }
                        _ => io::Error::other(detail),
                    });
                }
            }
        };
        let wanted = range.end.saturating_sub(range.start);
        let short = limit.is_some() && !records.is_empty();
        if records.len() as u64 != wanted && !short {
            let found = records.len();
            let detail = format!("{found} of the entries {range:?} of group {group} are there");
            return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
        }
        range.zip(records).map(|(index, record)| record::decode(index, record)).collect()
    }

    /// The indexes of a group's entries.
    pub(crate) fn span(&self, group: u64) -> Option<Range<u64>> {
        self.engine.span(group)
    }

    /// The groups of which there is anything.
    pub(crate) fn groups(&self) -> Vec<u64> {
        let is_there = |group: &u64| {
            let mut values = [VOTE, START].into_iter();
            self.span(*group).is_some()
                || values.any(|key| self.engine.value(*group, key).is_some())
        };
        self.engine.groups().into_iter().filter(is_there).collect()
    }

    /// One of a group's values.
    pub(crate) fn value<T: serde::de::DeserializeOwned>(
        &self,
        group: u64,
        key: &[u8],
    ) -> io::Result<Option<T>> {
        self.engine.value(group, key).map(|bytes| record::decode_value(&bytes)).transpose()
    }

    /// Never ends the engine, and keeps the directory: as it ends it syncs again, and panics where
    /// that fails, twice in a row, which aborts the process.
    pub(crate) fn abandon(&self) {
        mem::forget(Arc::clone(&self.engine));
        self.directory.keep();
    }

    fn settle(&mut self, cuts: &Cuts) -> Result<(), Error> {
        let damaged = |error: io::Error| Error::corrupt(&self.directory.data(), error.to_string());
        let groups = self.engine.groups();
        for group in &groups {
            let number: Option<u64> = self.value(*group, NUMBER).map_err(damaged)?;
            self.found = self.found.max(number.unwrap_or(0));
        }
        let wanted = self.directory.watermark;
        if self.found < wanted {
            let last = |group| (group, self.span(group).map(|span| span.end.saturating_sub(1)));
            let mut groups: Vec<_> = groups.into_iter().map(last).collect();
            groups.sort_unstable();
            let path = self.directory.path().to_owned();
            return Err(Error::Lost { path, wanted, found: self.found, groups });
        }
        cuts.let_go();
        self.directory.sync()?;
        // What a process that was killed wrote may be there without being durable, and Raft would
        // count it as such. This is on the same file, so its sync is theirs.
        let Some(group) = groups.first() else { return Ok(()) };
        self.found = self.found.saturating_add(1);
        let mut batch = LogBatch::default();
        let number = record::encode_value(&self.found).map_err(damaged)?;
        batch
            .put(*group, NUMBER.to_vec(), number)
            .map_err(|error| Error::corrupt(&self.directory.data(), error.to_string()))?;
        self.write(&mut batch).map_err(|error| {
            self.abandon();
            Error::io("write to", &self.directory.data())(error)
        })
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// Lets go of a disk. What panics then has synced all that was answered for before.
pub(crate) fn end<T>(disk: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(disk)));
}

/// What is needed of raft-engine, on whatever file system.
trait Engine: Send + Sync {
    fn write(&self, batch: &mut LogBatch) -> Result<(), raft_engine::Error>;
    fn purge(&self) -> Result<(), raft_engine::Error>;
    fn fetch(
        &self,
        group: u64,
        range: Range<u64>,
        limit: Option<usize>,
    ) -> Result<Vec<BytesValue>, raft_engine::Error>;
    fn span(&self, group: u64) -> Option<Range<u64>>;
    fn value(&self, group: u64, key: &[u8]) -> Option<Vec<u8>>;
    fn groups(&self) -> Vec<u64>;
    fn used_bytes(&self) -> u64;
}

impl<F: FileSystem + 'static> Engine for raft_engine::Engine<F> {
    fn write(&self, batch: &mut LogBatch) -> Result<(), raft_engine::Error> {
        self.write(batch, true).map(drop)
    }

    fn purge(&self) -> Result<(), raft_engine::Error> {
        self.purge_expired_files().map(drop)
    }

    fn fetch(
        &self,
        group: u64,
        range: Range<u64>,
        limit: Option<usize>,
    ) -> Result<Vec<BytesValue>, raft_engine::Error> {
        let fetch = || {
            let mut records = Vec::new();
            self.fetch_entries_to::<Record>(group, range.start, range.end, limit, &mut records)?;
            Ok(records)
        };
        // raft-engine keeps for each thread the block that it has read last, by its place in files and
        // not by whose files they are: a thread that reads two logs may be given the entries of the
        // one for those of the other. One that is new has read none.
        thread::scope(|scope| {
            let reader = thread::Builder::new().name("log read".to_owned());
            let fetched = reader.spawn_scoped(scope, fetch)?.join();
            fetched.map_err(|panic| io::Error::other(message(panic.as_ref())))?
        })
    }

    fn span(&self, group: u64) -> Option<Range<u64>> {
        Some(self.first_index(group)?..self.last_index(group)?.saturating_add(1))
    }

    fn value(&self, group: u64, key: &[u8]) -> Option<Vec<u8>> {
        self.get(group, key)
    }

    fn groups(&self) -> Vec<u64> {
        self.raft_groups()
    }

    fn used_bytes(&self) -> u64 {
        self.get_used_size() as u64
    }
}

fn config(data: &Path, options: &Options) -> Result<Config, Error> {
    let dir = data.to_str().ok_or_else(|| {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8");
        Error::io("use", data)(source)
    })?;
    let file_bytes = options.file_bytes.max(MIN_FILE);
    Ok(Config {
        dir: dir.to_owned(),
        // A torn tail is what a crash leaves. One that was synced shows by the watermark.
        recovery_mode: RecoveryMode::TolerateTailCorruption,
        target_file_size: ReadableSize(file_bytes),
        purge_threshold: ReadableSize(options.disk_bytes.max(file_bytes)),
        // Values come encoded, and nobody should wait for a sync and a compressor.
        batch_compression_threshold: ReadableSize(0),
        enable_log_recycle: options.ready_bytes > 0,
        prefill_for_recycle: options.ready_bytes > 0,
        prefill_limit: Some(ReadableSize(options.ready_bytes)),
        ..Config::default()
    })
}

/// A panic of raft-engine is its way to say that a sync failed, and many other things.
fn guard<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| message(panic.as_ref()))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("raft-engine panicked: {}", text.unwrap_or("it did not say why"))
}

const TRIES: u32 = 3;
/// Below this raft-engine would begin a file for nearly every batch.
const MIN_FILE: u64 = 4096;
