//! The thread that keeps house: it takes back dead records, notes how far the store is durable,
//! looks how much room there is, and notices an engine that has given up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use larder_protocol::Seconds;
use parking_lot::{Condvar, Mutex};
use tracing::warn;

use crate::apply::is_live;
use crate::command::{Command, SLACK};
use crate::directory::Directory;
use crate::record::Record;
use crate::shared::Shared;
use crate::stats::Condition;

/// Ends the keeper.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(crate) fn stop(&self) {
        *self.stopped.lock() = true;
        self.changed.notify_all();
    }

    /// Waits a while; `true` once stopped.
    fn wait(&self, time: Duration) -> bool {
        let mut stopped = self.stopped.lock();
        if !*stopped {
            self.changed.wait_for(&mut stopped, time);
        }
        *stopped
    }
}

/// The thread that keeps house.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    directory: Arc<Directory>,
    noted: u64,
    sweep: Sweep,
    /// Whether the log was told last that there is no room, and when.
    told_full: bool,
    told_at: Option<Instant>,
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>, directory: Arc<Directory>) -> Self {
        let sweep = Sweep::default();
        Self { shared, directory, noted: 0, sweep, told_full: false, told_at: None }
    }

    pub(crate) fn run(mut self, stop: &Stop) {
        let mut ticks = 0_u32;
        while !stop.wait(TICK) {
            let per_sec = self.shared.options.sweep_per_sec;
            if per_sec > 0 {
                self.sweep.tick(&self.shared, per_sec.div_ceil(TICKS_PER_SEC) as usize);
            }
            self.look();
            ticks = ticks.wrapping_add(1);
            if ticks.is_multiple_of(TICKS_PER_NOTE) {
                self.note();
            }
        }
        self.note();
    }

    /// Publishes what the engine says of itself, and whether there is room.
    pub(crate) fn look(&mut self) {
        let shared = &self.shared;
        let usage = shared.storage.usage();
        *shared.usage.lock() = usage;
        let reserve = shared.health.reserve(usage.sorted_bytes(), &shared.options);
        // A volume that does not tell its room shows by a failing write soon enough.
        let Ok(room) = shared.storage.room() else { return };
        shared.health.admission(room);
        let full = shared.health.condition() == Condition::OutOfSpace;
        let again = self.told_at.is_none_or(|told| told.elapsed() >= BETWEEN_TOLD);
        if full == self.told_full || !again {
            return;
        }
        (self.told_full, self.told_at) = (full, Some(Instant::now()));
        let path = shared.path.display();
        if full {
            let (needs, has) = (reserve.div_ceil(1 << 20), room >> 20);
            warn!(
                "{path}: out of disk space: needs {needs} MiB free, has {has} MiB: writes are \
                 refused until there is room"
            );
        } else if !shared.health.is_poisoned() {
            warn!("{path}: there is room again, {} MiB: writes are taken", room >> 20);
        }
    }

    fn note(&mut self) {
        let shared = &self.shared;
        if shared.health.is_poisoned() {
            return;
        }
        if let Err(error) = shared.storage.check() {
            shared.health.poison(error);
            return;
        }
        let durable = shared.published.state().sequence;
        // A note that fails is made up for by the next; the older one stays true.
        if durable != self.noted && self.directory.note_watermark(durable).is_ok() {
            self.noted = durable;
        }
    }
}

/// A pass over all records, a slice at a time.
#[derive(Debug, Default)]
struct Sweep {
    /// The last key looked at; empty between passes.
    after: Bytes,
    /// The commits there were when the pass began.
    commits: u64,
    /// The time when the pass began.
    began: Seconds,
    /// When the next record dies or may be taken back, as far as the pass has seen; 0 for never.
    next_death: Seconds,
    items: u64,
    item_bytes: u64,
}

impl Sweep {
    fn tick(&mut self, shared: &Shared, limit: usize) {
        if shared.health.is_poisoned() || !self.is_due(shared) {
            return;
        }
        // Clients first.
        if shared.ways.writes.len() > limit {
            return;
        }
        let now = shared.clock.now();
        let state = shared.published.state();
        let slice = match shared.storage.scan(&self.after, limit) {
            Ok(slice) => slice,
            Err(error) => return shared.health.unread(error),
        };
        let ends = slice.len() < limit;
        for (key, bytes) in slice {
            let len = (key.len() + bytes.len()) as u64;
            self.after = key;
            // A damaged record is for the command that wants it to report.
            let Ok(record) = Record::decode(bytes) else { continue };
            let live = is_live(&record, state, now);
            if live {
                self.items += 1;
                self.item_bytes += len;
            }
            if live || is_live(&record, state, now.saturating_sub(SLACK)) {
                let after = if live { 0 } else { SLACK };
                let death = [record.header.exptime, state.flush_at].into_iter();
                let death = death.filter(|at| *at > 0).min().map(|at| at.saturating_add(after));
                let earliest = death.into_iter().chain([self.next_death]).filter(|at| *at > 0);
                self.next_death = earliest.min().unwrap_or(0);
            } else {
                let reclaim = Command::reclaim(&self.after, record.sequence, now);
                if shared.ways.writes.push(reclaim).is_err() {
                    return;
                }
            }
        }
        if ends {
            shared.counters.items.set(self.items);
            shared.counters.item_bytes.set(self.item_bytes);
            shared.counters.sweeps.add(1);
            let (commits, began, next_death) = (self.commits, self.began, self.next_death);
            *self = Self { commits, began, next_death, ..Self::default() };
        }
    }

    /// Whether a pass is under way, or something may have died or changed since the last began.
    fn is_due(&mut self, shared: &Shared) -> bool {
        if !self.after.is_empty() {
            return true;
        }
        let commits = shared.counters.commits.value();
        let now = shared.clock.now();
        let died = self.next_death != 0 && self.next_death <= now;
        // What the last pass saw dead may live.
        let set_back = now < self.began.saturating_sub(SLACK);
        if commits == self.commits && !died && !set_back && shared.counters.sweeps.value() > 0 {
            return false;
        }
        self.commits = commits;
        self.began = now;
        self.next_death = 0;
        true
    }
}

const TICK: Duration = Duration::from_millis(100);
const TICKS_PER_SEC: u32 = 10;
const TICKS_PER_NOTE: u32 = 10;
/// A volume whose room goes up and down around the reserve does not fill the log.
const BETWEEN_TOLD: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use larder_protocol::{Delete, Exptime, Fetch, Op, Outcome, Store as Put};
    use tempfile::TempDir;

    use super::*;
    use crate::tests::block_on;
    use crate::{Options, Store};

    const NOW: Seconds = 1_700_000_000;

    #[test]
    fn one_wrong_moment_in_the_future_takes_nothing_alive() {
        let place = TempDir::new().unwrap();
        let options = Options { sweep_per_sec: 0, reserve_bytes: 0, ..Options::default() };
        let store = Store::open(place.path(), options).unwrap();
        let shared = store.shared();
        let mut session = store.session();
        let mut ask = |key: &[u8], op: &Op<'_>, now| block_on(session.execute(key, op, now));
        // An answer from the writer, which has then done all it was given before.
        let delete = Op::Delete(Delete::default());
        let put = Put { value: b"v", exptime: Exptime(3600), ..Put::SET };
        ask(b"k", &Op::Store(put), NOW);
        let get = Op::Fetch(Fetch::GET);
        ask(b"k", &get, NOW + 7200);
        // Swept in this moment; but the writer hears of a better time first.
        let stale = Command::reclaim(b"k", 1, shared.clock.now());
        ask(b"k", &get, NOW + 1);
        assert!(shared.ways.writes.push(stale).is_ok());
        let mut sweep = Sweep::default();
        sweep.tick(shared, 100);
        assert_eq!(shared.counters.items.value(), 1);
        ask(b"none", &delete, NOW + 1);
        assert!(matches!(ask(b"k", &get, NOW + 1), Outcome::Hit(_)));

        // Dead but not for long; then dead for good.
        for (now, there) in [(NOW + 3600, true), (NOW + 3659, true), (NOW + 3660, false)] {
            ask(b"k", &get, now);
            sweep.tick(shared, 100);
            ask(b"none", &delete, now);
            assert_eq!(shared.storage.read(b"k").unwrap().is_some(), there, "{now}");
        }
    }
}
