//! Changes that are done, and that the engine is still to be given.

use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::AHashMap;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use super::Keys;
use super::rows::{Row, weight};
use crate::placement::GroupId;
use crate::state::Kept;

/// Changes that are done, and that the engine is still to be given, by group.
///
/// They are *sealed* to be given: what comes then is for the next time. Until the engine has them all,
/// whoever reads finds them here.
pub(super) struct Backlog {
    /// By the group's number.
    groups: Box<[Group]>,
    bytes: AtomicU64,
}

#[derive(Default)]
struct Group {
    /// Held while changes are added, or sealed: the engine is given all of a commit, with what is to be
    /// kept with it, or nothing.
    whole: Mutex<()>,
    part: RwLock<Part>,
}

/// What is to come of one group's items.
#[derive(Default)]
pub(super) struct Part {
    open: Changes,
    sealed: Option<Arc<Changes>>,
    /// How often any were sealed.
    seals: u64,
}

/// What the engine is to be given at once.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) rows: AHashMap<Arc<[u8]>, Row>,
    /// What is to be kept with them, if anything.
    pub(super) kept: Option<Kept>,
    /// Whether there are any, of either.
    there: bool,
    bytes: u64,
}

impl Backlog {
    /// Of the groups up to this one.
    pub(super) fn new(last: u16) -> Self {
        let groups = (0..=last).map(|_| Group::default()).collect();
        Self { groups, bytes: AtomicU64::new(0) }
    }

    /// Bytes of all that there is, about.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Those of which there may be any.
    pub(super) fn groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        0..self.groups.len() as GroupId
    }

    /// What there is of the keys of a group between two, in their order.
    pub(super) fn between(&self, group: GroupId, keys: Keys<'_>) -> Vec<(Bytes, Row)> {
        let mut rows = self.part(group).map_or_else(Vec::new, |part| part.between(keys));
        rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        rows
    }

    /// What there is of a group.
    pub(super) fn part(&self, group: GroupId) -> Option<RwLockReadGuard<'_, Part>> {
        Some(self.group(group)?.part.read())
    }

    /// Adds changes of a group, which are seen from then on, if there is such a group.
    pub(super) fn add(
        &self,
        group: GroupId,
        changes: &[(&[u8], Row)],
        kept: Option<&Kept>,
    ) -> bool {
        let Some(Group { whole, part }) = self.group(group) else { return false };
        let _whole = whole.lock();
        // Readers are let in between: many changes take as long as a request.
        for some in changes.chunks(AT_ONCE) {
            let mut part = part.write();
            let added = some.iter().map(|(key, row)| part.open.put(key, row)).sum();
            self.bytes.fetch_add(added, Ordering::AcqRel);
        }
        let open = &mut part.write().open;
        open.kept = kept.cloned();
        if !std::mem::replace(&mut open.there, true) {
            open.bytes += KEPT_BYTES;
            self.bytes.fetch_add(KEPT_BYTES, Ordering::AcqRel);
        }
        true
    }

    /// Seals what there is of a group, if there is anything. One at a time does so, and has it
    /// [given](Self::given) before it does again.
    pub(super) fn seal(&self, group: GroupId) -> Option<Arc<Changes>> {
        let Group { whole, part } = self.group(group)?;
        let _whole = whole.lock();
        if !part.read().open.there {
            return None;
        }
        let mut part = part.write();
        part.seals += 1;
        let sealed = Arc::new(std::mem::take(&mut part.open));
        part.sealed = Some(Arc::clone(&sealed));
        Some(sealed)
    }

    /// The engine has what was sealed of a group.
    pub(super) fn given(&self, group: GroupId) {
        let sealed = self.group(group).and_then(|group| group.part.write().sealed.take());
        let Some(sealed) = sealed else { return };
        self.bytes.fetch_sub(sealed.bytes, Ordering::AcqRel);
    }

    fn group(&self, group: GroupId) -> Option<&Group> {
        self.groups.get(usize::try_from(group).ok()?)
    }
}

impl Part {
    /// What a key has, if it is here.
    pub(super) fn get(&self, key: &[u8]) -> Option<Row> {
        let sealed = || self.sealed.as_ref()?.rows.get(key);
        self.open.rows.get(key).or_else(sealed).cloned()
    }

    /// What is here of the keys between two, in any order.
    fn between(&self, keys: Keys<'_>) -> Vec<(Bytes, Row)> {
        let sealed = self.sealed.iter().flat_map(|sealed| &sealed.rows);
        let sealed = sealed.filter(|(key, _)| !self.open.rows.contains_key(*key));
        let wanted = |key: &[u8]| RangeBounds::<[u8]>::contains(&keys, key);
        let rows = self.open.rows.iter().chain(sealed).filter(|(key, _)| wanted(key));
        rows.map(|(key, row)| (Bytes::copy_from_slice(key), row.clone())).collect()
    }

    pub(super) fn seals(&self) -> u64 {
        self.seals
    }
}

impl Changes {
    /// Gives how many bytes that is more. What is overwritten is given back when all is given: until
    /// then its memory may be in use elsewhere.
    fn put(&mut self, key: &[u8], row: &Row) -> u64 {
        let added = if let Some(there) = self.rows.get_mut(key) {
            there.clone_from(row);
            row.as_ref().map_or(0, Bytes::len) as u64
        } else {
            self.rows.insert(key.into(), row.clone());
            weight(key, row)
        };
        self.bytes += added;
        added
    }
}

const AT_ONCE: usize = if cfg!(test) { 1 } else { 64 };
const KEPT_BYTES: u64 = 64;
