//! The thread that keeps house: it takes back dead records, notes how far the store is durable,
//! and notices an engine that has given up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use larder_protocol::Seconds;
use parking_lot::{Condvar, Mutex};

use crate::apply::is_live;
use crate::command::Command;
use crate::directory::Directory;
use crate::record::Record;
use crate::shared::Shared;

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
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>, directory: Arc<Directory>) -> Self {
        Self { shared, directory, noted: 0, sweep: Sweep::default() }
    }

    pub(crate) fn run(mut self, stop: &Stop) {
        let mut ticks = 0_u32;
        while !stop.wait(TICK) {
            if self.shared.options.sweep_per_sec > 0 {
                self.sweep.tick(&self.shared);
            }
            let sorted_bytes = self.shared.storage.usage().sorted_bytes();
            self.shared.health.reserve(sorted_bytes, &self.shared.options);
            ticks = ticks.wrapping_add(1);
            if ticks.is_multiple_of(TICKS_PER_NOTE) {
                self.note();
            }
        }
        self.note();
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
    /// When the next record dies, as far as the pass has seen; 0 for never.
    next_death: Seconds,
    items: u64,
    item_bytes: u64,
}

impl Sweep {
    fn tick(&mut self, shared: &Shared) {
        if shared.health.is_poisoned() || !self.is_due(shared) {
            return;
        }
        let limit = shared.options.sweep_per_sec.div_ceil(TICKS_PER_SEC) as usize;
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
            if is_live(&record, state, now) {
                self.items += 1;
                self.item_bytes += len;
                let death = [record.header.exptime, state.flush_at];
                let earliest =
                    death.into_iter().chain([self.next_death]).filter(|at| *at > 0).min();
                self.next_death = earliest.unwrap_or(0);
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
            let (commits, next_death) = (self.commits, self.next_death);
            *self = Self { commits, next_death, ..Self::default() };
        }
    }

    /// Whether a pass is under way, or something may have died or changed since the last began.
    fn is_due(&mut self, shared: &Shared) -> bool {
        if !self.after.is_empty() {
            return true;
        }
        let commits = shared.counters.commits.value();
        let died = self.next_death != 0 && self.next_death <= shared.clock.now();
        if commits == self.commits && !died && shared.counters.sweeps.value() > 0 {
            return false;
        }
        self.commits = commits;
        self.next_death = 0;
        true
    }
}

const TICK: Duration = Duration::from_millis(100);
const TICKS_PER_SEC: u32 = 10;
const TICKS_PER_NOTE: u32 = 10;
