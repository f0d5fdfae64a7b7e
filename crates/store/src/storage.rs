//! The narrow seam to what keeps bytes on disk. Only `storage::lsm` knows which engine that is.

mod archive;
mod backlog;
mod buffered;
mod journals;
mod lsm;
mod rows;

use std::ops::{Bound, ControlFlow};
use std::path::Path;

use bytes::Bytes;

use crate::error::Error;
use crate::placement::GroupId;
use crate::state::Kept;

pub(crate) use buffered::Buffered;
pub(crate) use lsm::Lsm;
pub(crate) use rows::Rows;

/// Keeps records by key, those of each group by themselves. Any call may block for long: only the
/// store's own threads make it.
pub(crate) trait Storage: Send + Sync + 'static {
    /// The record of a key of a group, as it is on disk.
    fn read(&self, group: GroupId, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// What is kept of a group; nothing if there is none of it.
    fn kept(&self, group: GroupId) -> Result<Kept, Error>;

    /// Makes `changes` of a group and what is kept with them seen, all or nothing; with `None` nothing
    /// is kept any more. After a crash they may be gone until [`persist`](Self::persist) has returned, but
    /// what was committed of the group later is then gone too. After an error nothing may be committed
    /// any more. Waits while it is behind.
    fn commit(
        &self,
        group: GroupId,
        changes: &[(&[u8], Option<Bytes>)],
        kept: Option<&Kept>,
    ) -> Result<(), Error>;

    /// Returns when all that was committed is durable. After an error nothing may be committed any
    /// more.
    fn persist(&self) -> Result<(), Error>;

    /// What is kept of a group, and all its keys and their records in order, as they are at one moment
    /// whatever is committed later.
    fn whole(&self, group: GroupId) -> Result<(Kept, Items), Error>;

    /// Shows the keys of a group between two and their records, in order, until `visit` breaks off.
    fn walk(&self, group: GroupId, keys: Keys<'_>, visit: &mut Visit<'_>) -> Result<(), Error>;

    /// Up to `limit` keys of a group after `after` and their records, in order.
    fn scan(
        &self,
        group: GroupId,
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let mut found = Vec::new();
        self.walk(group, (Bound::Excluded(after), Bound::Unbounded), &mut |key, record| {
            if found.len() < limit {
                found.push((key, record));
            }
            if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(found)
    }

    /// What of its files is not what was written, if that can be told, by file and offset. It reads all
    /// of them while `more` says so, which is told how many bytes it has read since it was asked last.
    fn find_damaged(&self, more: &mut dyn FnMut(usize) -> bool) -> Option<Error>;

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

/// Between which keys [`Storage::walk`] goes.
pub(crate) type Keys<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Is shown a key and its record.
pub(crate) type Visit<'a> = dyn FnMut(Bytes, Bytes) -> ControlFlow<()> + 'a;

/// The keys and records that [`Storage::whole`] gives.
pub(crate) type Items = Box<dyn Iterator<Item = Result<(Bytes, Bytes), Error>> + Send>;

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
