//! Records in fjall, a log-structured merge tree.
//!
//! - A batch is one journal entry. The checksum covers its items, not where it begins: at the first
//!   entry that does not begin like one, recovery takes the journal to end and cuts it off.
//!   `journals` and the watermark show whether that was the end. Blocks of sorted files have their
//!   own checksums.
//! - `commit` writes the journal's buffer and inserts into the table that reads see. The journal is
//!   one sequence, synced by `persist`, and by the engine before it begins another: a crash cuts off
//!   its end and makes no hole. Two changes of one key in a batch would share a version number, so a
//!   batch has each key once.
//! - It sleeps in `commit` when flushes or compactions fall behind, and for ever if the thread that
//!   should catch up has failed. So `commit` is not called then: who proposes waits for `is_behind`,
//!   until the engine has given up. It can still take long: never on a caller's thread.
//! - One keyspace for items and states of all groups: an idle second one would hold back the journals.
//!   Batches of several threads are written one after the other, and seen in that order.
//! - `Keyspace::clear` was undone by recovery in the past and is not used.

use std::any::Any;
use std::io::ErrorKind;
use std::ops::{Bound, RangeBounds};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};

use super::journals::Journals;
use super::{Items, Keys, Storage, Usage, Visit, archive};
use crate::error::Error;
use crate::options::Options;
use crate::placement::GroupId;
use crate::record::Unreadable;
use crate::state::Kept;

/// Records in fjall.
pub(crate) struct Lsm {
    database: Database,
    records: Keyspace,
    path: PathBuf,
    /// Files in the first level at which commits wait.
    crowd: usize,
}

impl Lsm {
    /// Opens the files in `path`, creating them if there are none.
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Self, Error> {
        archive::check(path)?;
        let journals = Journals::look(path)?;
        let lsm = match Self::open_files(path, options) {
            Err(Error::Corrupt { .. }) if journals.cut()? => Self::open_files(path, options),
            opened => opened,
        };
        let lsm = lsm.map_err(|error| named(path, error))?;
        journals.check()?;
        Ok(lsm)
    }

    fn open_files(path: &Path, options: &Options) -> Result<Self, Error> {
        guarded(path, || {
            let database = Database::builder(path)
                .cache_size(options.block_bytes())
                .max_journaling_size(options.journal_bytes.max(MIN_JOURNAL_BYTES))
                // Replay checks a compressed value by compressing it again.
                .journal_compression(CompressionType::None)
                .manual_journal_persist(true)
                .worker_threads(WORKERS)
                .open()?;
            let records = database.keyspace(KEYSPACE, || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(options.write_buffer_bytes.max(MIN_WRITE_BUFFER_BYTES))
            })?;
            let files_per_flush = options.write_buffer_bytes.div_ceil(FILE_BYTES);
            let crowd = usize::try_from(files_per_flush).unwrap_or(1).saturating_mul(MAX_RUNS);
            Ok(Self { database, records, path: path.to_owned(), crowd })
        })
        .map_err(damage)
    }

    fn decode(&self, group: GroupId, kept: Option<fjall::Slice>) -> Result<Kept, Error> {
        let path = &self.path;
        let Some(bytes) = kept else { return Ok(Kept::default()) };
        Kept::decode(&bytes).map_err(|why| match why {
            Unreadable::Version(version) => {
                Error::TooNew { path: path.clone(), format: version.into() }
            }
            Unreadable::Damaged => {
                Error::corrupt(path, format!("the state record of group {group} makes no sense"))
            }
        })
    }
}

impl Storage for Lsm {
    fn read(&self, group: GroupId, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let mut buffer = [0; PREFIX_LEN + MAX_KEY_LEN];
        let end = PREFIX_LEN.saturating_add(key.len());
        let Some((prefix, rest)) =
            buffer.get_mut(..end).and_then(|whole| whole.split_at_mut_checked(PREFIX_LEN))
        else {
            return Ok(None);
        };
        prefix.copy_from_slice(&self::prefix(ITEM, group));
        rest.copy_from_slice(key);
        let found =
            guarded(&self.path, || self.records.get(buffer.get(..end).unwrap_or_default()))?;
        Ok(found.map(into_bytes))
    }

    fn kept(&self, group: GroupId) -> Result<Kept, Error> {
        let found = guarded(&self.path, || self.records.get(prefix(STATE, group)));
        let found = found.map_err(|error| named(&self.path, damage(error)))?;
        self.decode(group, found)
    }

    fn commit(
        &self,
        group: GroupId,
        changes: &[(&[u8], Option<Bytes>)],
        kept: Option<&Kept>,
    ) -> Result<(), Error> {
        guarded(&self.path, || {
            let items = changes.len().saturating_add(1);
            let mut batch = fjall::OwnedWriteBatch::with_capacity(self.database.clone(), items);
            for (key, record) in changes {
                match record {
                    Some(record) => batch.insert(&self.records, item_key(group, key), &record[..]),
                    None => batch.remove(&self.records, item_key(group, key)),
                }
            }
            let state = prefix(STATE, group);
            match kept {
                Some(kept) => batch.insert(&self.records, state, kept.encode()),
                None => batch.remove(&self.records, state),
            }
            batch.commit()
        })
    }

    fn persist(&self) -> Result<(), Error> {
        guarded(&self.path, || self.database.persist(PersistMode::SyncAll))
    }

    fn whole(&self, group: GroupId) -> Result<(Kept, Items), Error> {
        let path = self.path.clone();
        let (kept, items) = guarded(&path, || {
            let snapshot = self.database.snapshot();
            let kept = snapshot.get(&self.records, prefix(STATE, group))?;
            Ok((kept, snapshot.prefix(&self.records, prefix(ITEM, group))))
        })?;
        let items = items.map(move |item| {
            let (key, record) = guarded(&path, || item.into_inner())?;
            Ok((into_bytes(key).slice(PREFIX_LEN..), into_bytes(record)))
        });
        Ok((self.decode(group, kept)?, Box::new(items)))
    }

    fn walk(&self, group: GroupId, keys: Keys<'_>, visit: &mut Visit<'_>) -> Result<(), Error> {
        let prefix = prefix(ITEM, group);
        // Where it ends is seen as it is reached: one that ends before it begins the engine would not take.
        let range = (keys.0.map(|key| item_key(group, key)), Bound::<Vec<u8>>::Unbounded);
        guarded(&self.path, || {
            for entry in self.records.range(range) {
                let (key, record) = entry.into_inner()?;
                if !key.starts_with(&prefix) {
                    break;
                }
                let key = into_bytes(key).slice(PREFIX_LEN..);
                if !RangeBounds::<[u8]>::contains(&keys, &key[..])
                    || visit(key, into_bytes(record)).is_break()
                {
                    break;
                }
            }
            Ok(())
        })
    }

    fn find_damaged(&self, more: &mut dyn FnMut(usize) -> bool) -> Option<Error> {
        archive::find_damaged(&self.path, more)
    }

    fn room(&self) -> Result<u64, Error> {
        super::room(&self.path)
    }

    fn check(&self) -> Result<(), Error> {
        guarded(&self.path, || self.database.persist(PersistMode::Buffer))
    }

    fn is_behind(&self) -> bool {
        self.records.sealed_memtable_count() >= MAX_SEALED
            || self.records.l0_table_count() >= self.crowd
    }

    fn usage(&self) -> Usage {
        Usage {
            disk_bytes: self.database.disk_space().unwrap_or_default(),
            journal_bytes: self.database.journal_disk_space().unwrap_or_default(),
            records: self.records.approximate_len() as u64,
        }
    }
}

/// Calls into the engine; what it asserts about damaged files must not take a thread along.
fn guarded<T>(path: &Path, call: impl FnOnce() -> fjall::Result<T>) -> Result<T, Error> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(into_error(path, error)),
        Err(panic) => Err(panicked(path, &panic)),
    }
}

fn into_error(path: &Path, error: fjall::Error) -> Error {
    match error {
        fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source)) => {
            Error::Io { action: "use the files in", path: path.to_owned(), source }
        }
        fjall::Error::Locked => Error::InUse { path: path.to_owned() },
        fjall::Error::Poisoned => gave_up(path),
        other => Error::corrupt(path, other.to_string()),
    }
}

/// What the engine says while it opens its files if one is missing or breaks off.
fn damage(error: Error) -> Error {
    match error {
        Error::Io { path, source, .. }
            if matches!(
                source.kind(),
                ErrorKind::UnexpectedEof
                    | ErrorKind::InvalidData
                    | ErrorKind::InvalidInput
                    | ErrorKind::NotFound
                    | ErrorKind::AlreadyExists
            ) =>
        {
            let detail = format!("a file in it is missing or makes no sense: {source}");
            Error::corrupt(&path, detail)
        }
        other => other,
    }
}

/// Names the block that is damaged, if it is found soon, in place of the directory: who opens a store
/// waits for it.
fn named(path: &Path, error: Error) -> Error {
    let begun = Instant::now();
    match error {
        Error::Corrupt { .. } => {
            archive::find_damaged(path, &mut |_| begun.elapsed() < SOON).unwrap_or(error)
        }
        other => other,
    }
}

fn gave_up(path: &Path) -> Error {
    let source = std::io::Error::other("an earlier write, flush or compaction failed");
    Error::Io { action: "write the files in", path: path.to_owned(), source }
}

fn panicked(path: &Path, panic: &Box<dyn Any + Send>) -> Error {
    let why = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    Error::corrupt(path, format!("the engine stopped: {}", why.unwrap_or("no reason given")))
}

/// What keys of a group begin with.
fn prefix(kind: u8, group: GroupId) -> [u8; PREFIX_LEN] {
    // There are no more groups than slots.
    let [low, high, ..] = group.to_le_bytes();
    [kind, high, low]
}

fn item_key(group: GroupId, key: &[u8]) -> Vec<u8> {
    let mut prefixed = Vec::with_capacity(key.len() + PREFIX_LEN);
    prefixed.extend_from_slice(&prefix(ITEM, group));
    prefixed.extend_from_slice(key);
    prefixed
}

/// Small values are copied, so that they do not keep a whole block in memory; large ones are not.
fn into_bytes(slice: fjall::Slice) -> Bytes {
    if slice.len() > COPIED_LEN {
        return Bytes::from_owner(slice);
    }
    let mut bytes = BytesMut::with_capacity(slice.len());
    bytes.put_slice(&slice);
    bytes.freeze()
}

const KEYSPACE: &str = "records";
/// Keys of groups' states begin so, and sort before all items.
const STATE: u8 = 0;
/// Keys of items begin so.
const ITEM: u8 = 1;
/// That, and the group, big-endian: the items of one follow each other.
const PREFIX_LEN: usize = 3;
const MAX_KEY_LEN: usize = 250;
const COPIED_LEN: usize = 4096;
/// The engine's own limits are 4 and 20. One more may be sealed by the time of the commit, and those
/// that are become runs.
const MAX_SEALED: usize = 3;
const MAX_RUNS: usize = 16;
/// The engine's threads. The first only flushes, and puts back at once what asks for a compaction: with
/// one other, which is busy with the last, it does nothing else until that is done.
const WORKERS: usize = 4;
/// How large the engine lets a sorted file become.
const FILE_BYTES: u64 = 64 << 20;
/// How long who opens a store waits to be told which block is damaged.
const SOON: Duration = Duration::from_secs(10);
const MIN_JOURNAL_BYTES: u64 = 64 << 20;
const MIN_WRITE_BUFFER_BYTES: u64 = 1 << 20;
