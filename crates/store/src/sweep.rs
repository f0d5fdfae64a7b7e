//! A pass over all records, which counts the living and takes back the dead.

use bytes::Bytes;
use larder_protocol::Seconds;

use crate::apply::is_live;
use crate::command::{Command, SLACK};
use crate::placement::GroupId;
use crate::record::Record;
use crate::shared::Shared;
use crate::state::State;

/// A pass over all records, a slice at a time.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// The group that is looked at; 0 between passes.
    group: GroupId,
    /// The last key of it looked at; empty before the first.
    after: Bytes,
    /// The commits there were when the pass began.
    commits: u64,
    /// How many were forgotten when the pass began.
    forgotten: u64,
    /// The time when the pass began.
    began: Seconds,
    /// When the next record dies or may be taken back, as far as the pass has seen; 0 for never.
    next_death: Seconds,
    items: u64,
    item_bytes: u64,
}

impl Sweep {
    /// Looks at up to `limit` records, and takes back those that were dead at the time `surely`,
    /// 0 if none is known: then only those that were flushed.
    pub(crate) fn tick(&mut self, shared: &Shared, limit: usize, surely: Seconds) {
        if shared.health.is_poisoned() || !self.is_due(shared, surely) {
            return;
        }
        // Clients first.
        if shared.ways.waiting_writes() > limit {
            return;
        }
        let (now, mut left) = (shared.clock.now(), limit);
        while let Some(partition) = shared.ways.partition(self.group) {
            if left == 0 {
                return;
            }
            let slice = match shared.storage.scan(self.group, &self.after, left) {
                Ok(slice) => slice,
                Err(error) => return shared.health.unread(error),
            };
            let is_last = slice.len() < left;
            left -= slice.len();
            if !self.look(shared, partition.published.state(), slice, now, surely) {
                return;
            }
            if is_last {
                (self.group, self.after) = (self.group + 1, Bytes::new());
            }
        }
        shared.counters.items.set(self.items);
        shared.counters.item_bytes.set(self.item_bytes);
        shared.counters.sweeps.add(1);
        let Self { commits, forgotten, began, next_death, .. } = *self;
        *self = Self { commits, forgotten, began, next_death, ..Self::default() };
    }

    /// Looks at records of the group. `false` if the store is being closed.
    fn look(
        &mut self,
        shared: &Shared,
        state: State,
        slice: Vec<(Bytes, Bytes)>,
        now: Seconds,
        surely: Seconds,
    ) -> bool {
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
            if live || is_live(&record, state, surely.saturating_sub(SLACK)) {
                let after = if live { 0 } else { SLACK };
                let death = [record.header.exptime, state.flush_at].into_iter();
                let death = death.filter(|at| *at > 0).min().map(|at| at.saturating_add(after));
                let earliest = death.into_iter().chain([self.next_death]).filter(|at| *at > 0);
                self.next_death = earliest.min().unwrap_or(0);
            } else {
                let reclaim = Command::reclaim(&self.after, record.sequence, surely);
                if shared.ways.write(reclaim.of_group(self.group)).is_some() {
                    return false;
                }
            }
        }
        true
    }

    /// Whether a pass is under way, or something may have died or changed since the last began.
    fn is_due(&mut self, shared: &Shared, surely: Seconds) -> bool {
        if self.group > 0 {
            return true;
        }
        let commits = shared.counters.commits.value();
        let now = shared.clock.now();
        let died = self.next_death != 0 && self.next_death <= surely;
        // What the last pass saw dead may live.
        let set_back = now < self.began.saturating_sub(SLACK);
        let forgotten = shared.counters.forgotten.value();
        let same = (commits, forgotten) == (self.commits, self.forgotten);
        if same && !died && !set_back && shared.counters.sweeps.value() > 0 {
            return false;
        }
        self.commits = commits;
        self.forgotten = forgotten;
        self.began = now;
        self.next_death = 0;
        self.group = 1;
        true
    }
}

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
        let options =
            Options { groups: 1, sweep_per_sec: 0, reserve_bytes: Some(0), ..Options::default() };
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
        let group = shared.ways.group_of(b"k");
        let stale = Command::reclaim(b"k", 1, shared.clock.now()).of_group(group);
        ask(b"k", &get, NOW + 1);
        assert!(shared.ways.write(stale).is_none());
        let mut sweep = Sweep::default();
        sweep.tick(shared, 100, shared.clock.now());
        assert_eq!(shared.counters.items.value(), 1);
        ask(b"none", &delete, NOW + 1);
        assert!(matches!(ask(b"k", &get, NOW + 1), Outcome::Hit(_)));

        // Dead but not for long; then dead for good.
        for (now, there) in [(NOW + 3600, true), (NOW + 3659, true), (NOW + 3660, false)] {
            ask(b"k", &get, now);
            sweep.tick(shared, 100, shared.clock.now());
            ask(b"none", &delete, now);
            assert_eq!(shared.storage.read(group, b"k").unwrap().is_some(), there, "{now}");
        }
    }

    #[test]
    fn what_was_found_dead_and_forgotten_is_found_again() {
        let place = TempDir::new().unwrap();
        let options =
            Options { groups: 1, sweep_per_sec: 0, reserve_bytes: Some(0), ..Options::default() };
        let store = Store::open(place.path(), options).unwrap();
        let shared = store.shared();
        let put = Put { value: b"v", exptime: Exptime(60), ..Put::SET };
        block_on(store.session().execute(b"k", &Op::Store(put), NOW));
        let mut sweep = Sweep::default();
        let mut passes = || {
            sweep.tick(shared, 100, NOW);
            shared.counters.sweeps.value()
        };
        assert_eq!([passes(), passes()], [1, 1]);
        shared.counters.forgotten.add(1);
        assert_eq!([passes(), passes()], [2, 2]);
    }

    #[test]
    fn a_clock_that_jumped_while_the_store_was_closed_takes_nothing_at_once() {
        let place = TempDir::new().unwrap();
        let clock = || std::fs::read_to_string(place.path().join("CLOCK")).unwrap();
        let options = Options { groups: 1, reserve_bytes: Some(0), ..Options::default() };
        let open = || Store::open(place.path(), options.clone()).unwrap();
        let until = |store: &Store, items, reclaimed| {
            let patience = std::time::Instant::now();
            loop {
                let stats = store.stats();
                if (stats.items, stats.reclaimed) == (Some(items), reclaimed) {
                    return;
                }
                assert!(patience.elapsed().as_secs() < 20, "{stats:?}");
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        };
        let put = |exptime| Op::Store(Put { value: b"v", exptime, ..Put::SET });
        let store = open();
        block_on(store.session().execute(b"k", &put(Exptime(3600)), NOW));
        store.close().unwrap();
        assert_eq!(clock(), format!("{NOW}\n"));

        let late = NOW + 2 * 3600;
        // However often it is opened at that time.
        for _ in 0..2 {
            let store = open();
            let mut session = store.session();
            let get = session.execute(b"k", &Op::Fetch(Fetch::GET), late);
            assert!(matches!(block_on(get), Outcome::Miss), "it is hidden");
            // The sweep has been over everything at that time, and what it sent is done.
            block_on(session.execute(b"other", &put(Exptime::NEVER), late));
            until(&store, 1, 0);
            block_on(session.execute(b"other", &put(Exptime::NEVER), late));
            assert_eq!(store.stats().reclaimed, 0);
            let get = session.execute(b"k", &Op::Fetch(Fetch::GET), NOW + 1);
            assert!(matches!(block_on(get), Outcome::Hit(_)), "it is there, with the clock set");
            store.close().unwrap();
            assert_eq!(clock(), format!("{NOW}\n"));
        }
        // It was doubted for long enough, in all.
        let note = |clock, doubted| {
            let doubt = format!("{NOW} {late} {doubted}\n");
            std::fs::write(place.path().join("CLOCK"), format!("{clock}\n")).unwrap();
            std::fs::write(place.path().join("DOUBT"), doubt).unwrap();
        };
        note(NOW, 3599);
        let (store, at) = (open(), late + 1);
        block_on(store.session().execute(b"other", &put(Exptime::NEVER), at));
        until(&store, 1, 1);
        store.close().unwrap();
        assert_eq!(clock(), format!("{at}\n"));
        assert!(!place.path().join("DOUBT").exists());
        // Or there is nothing to doubt.
        let store = open();
        block_on(store.session().execute(b"k", &put(Exptime(1)), NOW));
        store.close().unwrap();
        note(late - 60, 0);
        let store = open();
        block_on(store.session().execute(b"other", &put(Exptime::NEVER), late));
        until(&store, 1, 1);
    }
}
