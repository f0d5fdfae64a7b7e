//! The narrow seam to what keeps bytes on disk. Only `storage::lsm` knows which engine that is.

mod journals;
mod lsm;

use std::path::Path;

use bytes::Bytes;

use crate::error::Error;
use crate::state::State;

pub(crate) use lsm::Lsm;

/// Keeps records by key. Any call may block for long: only the store's own threads make it.
pub(crate) trait Storage: Send + Sync + 'static {
    /// The record of a key, as it is on disk.
    fn read(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// Makes `changes` and `state` durable, all or nothing. No [`read`](Self::read) sees any of it
    /// before it is. After an error nothing may be committed any more. Not to be called while it is
    /// behind.
    fn commit(&self, changes: &[(&[u8], Option<Bytes>)], state: State) -> Result<(), Uncommitted>;

    /// Up to `limit` keys after `after` and their records, in order.
    fn scan(&self, after: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, Error>;

    /// Free bytes on the volume.
    fn room(&self) -> Result<u64, Error>;

    /// Whether commits are still possible as far as is known.
    fn check(&self) -> Result<(), Error>;

    /// Whether its background work is so far behind that a commit would wait for it.
    fn is_behind(&self) -> bool;

    /// What it holds.
    fn usage(&self) -> Usage;
}

/// Free bytes on the volume that `path` is on.
pub(crate) fn room(path: &Path) -> Result<u64, Error> {
    let volume = nix::sys::statvfs::statvfs(path)
        .map_err(|errno| Error::io("ask for the free space of", path)(errno.into()))?;
    Ok(volume.blocks_available().saturating_mul(volume.fragment_size()))
}

/// A commit that failed.
#[derive(Debug)]
pub(crate) struct Uncommitted {
    pub(crate) error: Error,
    /// Whether the changes may nevertheless be there after a restart.
    pub(crate) unknown: bool,
}

/// What a storage holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Bytes of all files.
    pub(crate) disk_bytes: u64,
    /// Bytes of journals among them.
    pub(crate) journal_bytes: u64,
    /// Records, counting older versions that are not yet compacted away.
    pub(crate) records: u64,
}

impl Usage {
    /// Bytes of all files but journals.
    pub(crate) fn sorted_bytes(&self) -> u64 {
        self.disk_bytes.saturating_sub(self.journal_bytes)
    }
}
