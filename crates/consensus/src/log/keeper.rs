//! The thread that does what is to be done from time to time: it notes how far the log is durable,
//! and removes files that are not needed any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tracing::warn;

use super::engine::Disk;
use super::shared::Shared;
use crate::error::Error;

/// The thread that keeps house. It is not the one that writes, which would keep all groups waiting
/// for a sync of `LARDER`, or for entries that are copied.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    disk: Arc<Disk>,
    noted: u64,
    /// Whether the log was told that a note failed.
    told: bool,
}

impl Keeper {
    pub(crate) fn new(shared: &Arc<Shared>) -> Result<Self, Error> {
        let disk = shared.disk()?;
        let noted = disk.directory.watermark;
        Ok(Self { shared: Arc::clone(shared), disk, noted, told: false })
    }

    pub(crate) fn run(mut self, stopped: &Receiver<()>) {
        let mut ticks = 0_u32;
        loop {
            self.note();
            if ticks.is_multiple_of(TICKS_PER_PURGE) {
                self.purge();
            }
            self.measure();
            ticks = ticks.wrapping_add(1);
            if stopped.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout) {
                return self.note();
            }
        }
    }

    pub(crate) fn note(&mut self) {
        let synced = self.shared.synced();
        if synced == self.noted || self.shared.failure().is_some() {
            return;
        }
        match self.disk.directory.note(synced) {
            Ok(()) => (self.noted, self.told) = (synced, false),
            // The older one stays true, and the next makes up for it: no write depends on it.
            Err(error) if !self.told => {
                warn!("{error}: until this succeeds, a loss of what is durable may not show");
                self.told = true;
            }
            Err(_) => {}
        }
    }

    pub(crate) fn purge(&mut self) {
        let enough = self.disk.used_bytes() <= self.shared.options.disk_bytes;
        if self.shared.failure().is_some() || enough {
            return;
        }
        let synced = self.shared.synced();
        if let Err(error) = self.disk.directory.note_copying(synced) {
            warn!("{error}: until this succeeds, files are not removed");
            return;
        }
        // The next note says that it is over, whatever has been written by then.
        self.noted = 0;
        match self.disk.purge() {
            Ok(Ok(())) => {}
            // Nothing is removed before what is kept of it is durable elsewhere.
            Ok(Err(error)) => {
                warn!("{}: files are not removed: {error}", self.shared.path.display());
            }
            Err(panic) => return self.shared.fail(&format!("removing files failed: {panic}")),
        }
        self.note();
    }

    fn measure(&self) {
        let counters = &self.shared.counters;
        counters.used_bytes.store(self.disk.used_bytes(), Ordering::Relaxed);
        if let Ok(bytes) = self.disk.directory.disk_bytes() {
            counters.disk_bytes.store(bytes, Ordering::Relaxed);
        }
    }
}

/// How far the note is behind, at most. It costs two syncs, of which none keeps a write waiting.
const TICK: Duration = Duration::from_secs(1);
/// It looks at two sizes and does no more unless there is too much. Then raft-engine asks nine times
/// for groups with many old entries to be purged, and copies those entries the tenth time. Ten
/// seconds give the store above a minute and a half for a snapshot.
const TICKS_PER_PURGE: u32 = 10;
