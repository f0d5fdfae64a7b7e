//! What the store's threads and its handle share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use larder_protocol::Seconds;
use parking_lot::Mutex;

use crate::error::Error;
use crate::failure;
use crate::flight::Ways;
use crate::hand::Hand;
use crate::health::Health;
use crate::options::Options;
use crate::published::Published;
use crate::record::{Record, Unreadable};
use crate::stats::Counters;
use crate::storage::{Storage, Usage};

/// What the store's threads and its handle share. Sessions hold only the ways and the clock, so
/// that a closed store lets go of its files whoever still holds a session.
pub(crate) struct Shared {
    /// Where the engine's files are, for errors.
    pub(crate) path: PathBuf,
    pub(crate) storage: Box<dyn Storage>,
    pub(crate) ways: Arc<Ways>,
    pub(crate) writing: Hand,
    /// One for each reading thread.
    pub(crate) reading: Vec<Hand>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) published: Published,
    pub(crate) health: Health,
    pub(crate) counters: Counters,
    /// What the engine said last of what it holds.
    pub(crate) usage: Mutex<Usage>,
    pub(crate) options: Options,
}

impl Shared {
    /// The durable record of a key, or what to tell the client instead; why goes to the log.
    pub(crate) fn record(&self, key: &[u8]) -> Result<Option<Record>, &'static str> {
        let (told, error) = match self.storage.read(key) {
            Ok(None) => return Ok(None),
            Ok(Some(bytes)) => match Record::decode(bytes) {
                Ok(record) => return Ok(Some(record)),
                Err(Unreadable::Version(version)) => {
                    let format = version.into();
                    (failure::NEWER, Error::TooNew { path: self.path.clone(), format })
                }
                Err(Unreadable::Damaged) => {
                    let detail = format!("the record of key \"{}\" is none", key.escape_ascii());
                    (failure::DAMAGED, Error::corrupt(&self.path, detail))
                }
            },
            Err(error) => (failure::UNREAD, error),
        };
        self.health.unread(error);
        Err(told)
    }
}

/// The moment a caller has told last. Not the latest ever told: one wrong moment in the future must
/// not count for good.
#[derive(Debug, Default)]
pub(crate) struct Clock(AtomicU32);

impl Clock {
    pub(crate) fn tell(&self, now: Seconds) {
        // A load first: a shared line that nobody writes is cheap to look at.
        if self.0.load(Ordering::Relaxed) != now {
            self.0.store(now, Ordering::Relaxed);
        }
    }

    pub(crate) fn now(&self) -> Seconds {
        self.0.load(Ordering::Relaxed)
    }
}
