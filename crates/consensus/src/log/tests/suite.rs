//! openraft's own tests of a log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageError};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::*;
use crate::types::Applied;

/// Remembers no more than the suite asks for.
#[derive(Clone, Default)]
struct Machine {
    applied: Option<LogId>,
    members: StoredMembershipOf<Types>,
    /// Shared with what builds it.
    snapshot: Arc<Mutex<Option<SnapshotMetaOf<Types>>>>,
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, ()>> {
        let (last_log_id, last_membership) = (self.applied, self.members.clone());
        let meta = SnapshotMetaOf::<Types> { last_log_id, last_membership };
        *self.snapshot.lock() = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: () })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembershipOf<Types>)> {
        Ok((self.applied, self.members.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.applied = Some(entry.log_id);
            if let EntryPayload::Membership(members) = entry.payload {
                self.members = StoredMembershipOf::<Types>::new(self.applied, members);
            }
            if let Some(responder) = responder {
                responder.send(Applied);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, (): ()) -> io::Result<()> {
        self.applied = meta.last_log_id;
        self.members = meta.last_membership.clone();
        *self.snapshot.lock() = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, ()>>> {
        let snapshot = self.snapshot.lock().clone();
        Ok(snapshot.map(|meta| Snapshot { meta, snapshot: () }))
    }
}

/// All its tests share one log: each is another group of it.
struct Builder {
    log: Log,
    next: AtomicU64,
    _place: TempDir,
}

impl StoreBuilder<Types, GroupLog, Machine, ()> for Builder {
    async fn build(&self) -> Result<((), GroupLog, Machine), StorageError<Types>> {
        let group = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(((), self.log.group(group).unwrap(), Machine::default()))
    }
}

fn run(options: Options) {
    let place = tempfile::tempdir().unwrap();
    let log = Log::open(place.path(), options).unwrap();
    let builder = Builder { log, next: AtomicU64::new(0), _place: place };
    tokio::runtime::Runtime::new().unwrap().block_on(Suite::test_all(builder)).unwrap();
}

#[test]
fn openraft_is_content_with_what_is_in_memory() {
    run(Options::default());
}

#[test]
fn openraft_is_content_with_what_is_on_disk() {
    run(small());
}

#[test]
fn openraft_is_content_with_one_thread() {
    run(alone());
}
