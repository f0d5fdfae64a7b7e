//! What the store's threads and its handle share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use larder_protocol::Seconds;
use parking_lot::Mutex;

use crate::error::Error;
use crate::failure;
use crate::hand::Hand;
use crate::health::Health;
use crate::options::Options;
use crate::placement::GroupId;
use crate::record::{Record, Unreadable};
use crate::state::Kept;
use crate::stats::Counters;
use crate::storage::{Storage, Usage};
use crate::ways::Ways;

/// What the store's threads and its handle share. Sessions hold only the ways and the clock, so
/// that a closed store lets go of its files whoever still holds a session. The machine has it
/// too, and ends with the group: so the group is not in it.
pub(crate) struct Shared {
    /// Where the engine's files are, for errors.
    pub(crate) path: PathBuf,
    pub(crate) storage: Box<dyn Storage>,
    pub(crate) ways: Arc<Ways>,
    /// One for each reading thread.
    pub(crate) reading: Vec<Hand>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) health: Health,
    pub(crate) counters: Counters,
    /// What the engine said last of what it holds.
    pub(crate) usage: Mutex<Usage>,
    pub(crate) options: Options,
}

impl Shared {
    /// Whether other nodes may have the same items.
    pub(crate) fn is_among_others(&self) -> bool {
        self.ways.is_among_others()
    }

    /// The record of a key, or what to tell the client instead; why goes to the log.
    pub(crate) fn record(
        &self,
        group: GroupId,
        key: &[u8],
    ) -> Result<Option<Record>, &'static str> {
        let (told, error) = match self.storage.read(group, key) {
            Ok(None) => return Ok(None),
            Ok(Some(bytes)) => return self.decoded(key, bytes).map(Some),
            Err(error) => (failure::UNREAD, error),
        };
        self.health.unread(error);
        Err(told)
    }

    /// The record that the bytes of a key are, or what to tell the client instead; why goes to the log.
    pub(crate) fn decoded(&self, key: &[u8], bytes: Bytes) -> Result<Record, &'static str> {
        let (told, error) = match Record::decode(bytes) {
            Ok(record) => return Ok(record),
            Err(Unreadable::Version(version)) => {
                let format = version.into();
                (failure::NEWER, Error::TooNew { path: self.path.clone(), format })
            }
            Err(Unreadable::Damaged) => {
                let detail = format!("the record of key \"{}\" is none", key.escape_ascii());
                (failure::DAMAGED, Error::corrupt(&self.path, detail))
            }
        };
        self.health.unread(error);
        Err(told)
    }

    /// Takes all items of a group away, and leaves `kept` in their place. After a crash, and until the
    /// engine is made durable, some of them may be there, and what was kept before.
    pub(crate) fn erase(&self, group: GroupId, kept: Option<&Kept>) -> Result<(), Error> {
        self.storage.commit(group, &[], kept)?;
        loop {
            let slice = self.storage.scan(group, &[], SLICE)?;
            if slice.is_empty() {
                return Ok(());
            }
            let removals: Vec<_> = slice.iter().map(|(key, _)| (&key[..], None)).collect();
            self.storage.commit(group, &removals, kept)?;
        }
    }
}

/// The node's own time, once anything is asked; of one that has none, the moment a caller has told last. Not
/// the latest ever told: one wrong moment in the future must not count for good.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    own: Option<fn() -> Seconds>,
    told: AtomicU32,
}

impl Clock {
    pub(crate) fn new(own: Option<fn() -> Seconds>) -> Self {
        Self { own, told: AtomicU32::default() }
    }

    pub(crate) fn tell(&self, now: Seconds) {
        // A load first: a shared line that nobody writes is cheap to look at.
        if self.told.load(Ordering::Relaxed) != now {
            self.told.store(now, Ordering::Relaxed);
        }
    }

    /// 0 before anything was asked: no time is acted upon that nobody goes by.
    pub(crate) fn now(&self) -> Seconds {
        match self.told.load(Ordering::Relaxed) {
            0 => 0,
            told => self.own().unwrap_or(told),
        }
    }

    /// What the node's own clock says, if it has one.
    pub(crate) fn own(&self) -> Option<Seconds> {
        self.own.map(|own| own())
    }
}

/// Items that are taken away together.
const SLICE: usize = 1000;
