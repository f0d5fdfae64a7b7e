//! Records in memory: those that the engine is still to be given, and those it was asked for.
//!
//! A row is what the engine has, or will have: a key belongs to one group. What is still to be given
//! comes before what was read, so a row of the cache may be older than what hides it. It is made new
//! when the engine has what was sealed; and what was read of the engine is kept only if nothing of the
//! group was sealed since it was asked.

use std::fmt;
use std::sync::Arc;

use ahash::RandomState;
use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use super::backlog::{Backlog, Changes};
use crate::placement::GroupId;

/// Records in memory.
pub(crate) struct Rows {
    pub(super) backlog: Backlog,
    cache: Cache<Arc<[u8]>, Row, Weight, RandomState>,
}

/// A record as it is on disk; that there is none is known too.
pub(super) type Row = Option<Bytes>;

/// How often anything of a group was sealed when a key was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seals(u64);

/// Bytes that a row takes, about.
#[derive(Clone)]
struct Weight;

impl Rows {
    /// None yet, of the groups up to this one; and never more than so many bytes of those that were
    /// read, keys included; about.
    pub(crate) fn new(groups: u16, bytes: u64) -> Self {
        let usual = usize::try_from(bytes / USUAL_BYTES).unwrap_or(usize::MAX);
        let (hasher, lifecycle) = (RandomState::new(), DefaultLifecycle::default());
        let cache = Cache::with(usual, bytes, Weight, hasher, lifecycle);
        Self { backlog: Backlog::new(groups), cache }
    }

    /// What a key has, if it is known.
    pub(crate) fn get(&self, group: GroupId, key: &[u8]) -> Option<Row> {
        self.look(group, key).ok()
    }

    /// Forgets all that the engine has.
    pub(crate) fn clear(&self) {
        self.cache.clear();
    }

    /// What a key has, or with what it is to be [kept](Self::keep) once it was read.
    pub(super) fn look(&self, group: GroupId, key: &[u8]) -> Result<Row, Seals> {
        let mut seals = 0;
        if let Some(part) = self.backlog.part(group) {
            if let Some(row) = part.get(key) {
                return Ok(row);
            }
            seals = part.seals();
        }
        self.cache.get(key).ok_or(Seals(seals))
    }

    /// Keeps what was read, unless it may have changed since.
    pub(super) fn keep(&self, group: GroupId, key: &[u8], row: &Row, looked: Seals) {
        // Nothing is sealed while this is held.
        if let Some(part) = self.backlog.part(group)
            && Seals(part.seals()) == looked
        {
            self.put(key.into(), row);
        }
    }

    /// The engine has what was sealed of a group. What was written is likely to be read soon, and the cache lets go first of
    /// what was not.
    pub(super) fn given(&self, group: GroupId, changes: &Changes) {
        for (key, row) in &changes.rows {
            if row.is_some() {
                self.put(Arc::clone(key), row);
            } else {
                self.cache.remove(&**key);
            }
        }
        self.backlog.given(group);
    }

    fn put(&self, key: Arc<[u8]>, row: &Row) {
        if row.as_ref().map_or(0, Bytes::len) <= MAX_LEN {
            self.cache.insert(key, row.clone());
        } else {
            self.cache.remove(&*key);
        }
    }
}

impl Weighter<Arc<[u8]>, Row> for Weight {
    fn weight(&self, key: &Arc<[u8]>, row: &Row) -> u64 {
        weight(key, row)
    }
}

/// Bytes that a row takes, about.
pub(super) fn weight(key: &[u8], row: &Row) -> u64 {
    (key.len() + row.as_ref().map_or(0, Bytes::len)) as u64 + OVERHEAD
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("len", &self.cache.len()).finish_non_exhaustive()
    }
}

/// Longer ones are left to the engine's own cache of blocks: copying them is most of what they cost.
const MAX_LEN: usize = 64 << 10;
/// What a row takes besides key and record: its place, how it is found, and two allocations.
const OVERHEAD: u64 = 120;
const USUAL_BYTES: u64 = 256;
