//! The durable engine as a server knows it.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;

use larder_protocol::{Form, Interval, Op, Outcome, Seconds};
use larder_server::{Backend, Session, StatsGroup};
use larder_store::{Condition, Pending, Store};

use super::memcachedb;

/// A store, served.
#[derive(Debug)]
pub struct StoreBackend {
    store: Arc<Store>,
}

/// One connection's commands to a store.
#[derive(Debug)]
pub struct StoreSession(larder_store::Session);

impl StoreBackend {
    /// Serves this store.
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

impl Session for StoreSession {
    type Pending = Pending;
    type Landing = Infallible;

    fn execute<R>(
        &mut self,
        key: &[u8],
        op: &Op<'_>,
        _form: &Form<'_>,
        _landed: Option<Infallible>,
        now: Seconds,
        respond: R,
    ) -> Option<Self::Pending>
    where
        R: FnOnce(Outcome<'_>),
    {
        let mut pending = self.0.execute(key, op, now);
        match pending.take() {
            Some(outcome) => respond(outcome),
            None => return Some(pending),
        }
        None
    }

    fn refused(&mut self, _key: &[u8], _now: Seconds) {}

    fn flush_all(&mut self, at: Seconds, now: Seconds) -> Option<Self::Pending> {
        Some(self.0.flush_all(at, now))
    }

    fn range(&mut self, interval: &Interval<'_>, now: Seconds) -> Option<Self::Pending> {
        Some(self.0.range(interval, now))
    }

    fn checkpoint(&mut self) -> Option<Self::Pending> {
        Some(self.0.checkpoint())
    }
}

impl Backend for StoreBackend {
    type Worker = ();
    type Session = StoreSession;

    const LISTS: bool = true;

    fn worker(&self) {}

    fn session(&self, (): &()) -> StoreSession {
        StoreSession(self.store.session())
    }

    /// What is durable stays until it is replaced.
    fn stats(&self, group: StatsGroup, _now: Seconds, emit: &mut dyn FnMut(&str, &str)) {
        let mut stat = |name: &str, value: &dyn Display| emit(name, &value.to_string());
        let stats = self.store.stats();
        match group {
            StatsGroup::General => {
                // Exact once the first sweep has been through; until then all that is known is
                // how many records there are.
                stat("curr_items", &stats.items.unwrap_or(stats.records));
                stat("bytes", &stats.item_bytes.unwrap_or(stats.disk_bytes));
                stat("total_items", &stats.changes);
                stat("evictions", &0);
                stat("reclaimed", &stats.reclaimed);
                let condition = match stats.condition {
                    Condition::Serving => "serving",
                    Condition::OutOfSpace => "out_of_space",
                    Condition::Hanging => "hanging",
                    Condition::Poisoned => "poisoned",
                };
                stat("store_condition", &condition);
                if let Some(failure) = self.store.failure() {
                    stat("store_failure", &one_line(&failure.to_string()));
                }
                if let Some(room) = stats.room {
                    stat("store_room_bytes", &room);
                }
                stat("store_reserve_bytes", &stats.reserve);
                stat("store_sequence", &stats.sequence);
                stat("store_groups", &stats.groups.len());
                let leads = stats.groups.iter().filter(|group| group.leads).count();
                stat("store_groups_led", &leads);
                let leaderless = stats.groups.iter().filter(|group| group.leader.is_none()).count();
                stat("store_groups_without_leader", &leaderless);
                stat("store_disk_bytes", &stats.disk_bytes);
                stat("store_journal_bytes", &stats.journal_bytes);
                stat("store_reads", &stats.reads);
                stat("store_stale_reads", &stats.stale_reads);
                stat("store_writes", &stats.writes);
                stat("store_commits", &stats.commits);
                stat("store_largest_batch", &stats.largest_batch);
                stat("store_commit_micros", &stats.commit_micros);
                stat("store_longest_commit_micros", &stats.longest_commit_micros);
                stat("store_decide_micros", &stats.decide_micros);
                stat("store_log_syncs", &stats.log.writes);
                stat("store_log_entries", &stats.log.entries);
                stat("store_log_micros", &stats.log.write_micros);
                stat("store_longest_log_micros", &stats.log.longest_write_micros);
                stat("store_log_bytes", &stats.log.disk_bytes);
                stat("store_failures", &stats.failures);
                stat("store_waiting_writes", &stats.waiting_writes);
                stat("store_waiting_reads", &stats.waiting_reads);
            }
            StatsGroup::Settings => stat("evictions", &"off"),
            StatsGroup::Engine => {
                for of in &stats.groups {
                    let mut stat = |name: &str, value: &dyn Display| {
                        stat(&format!("group_{}_{name}", of.group), value);
                    };
                    // No node has the number 0.
                    stat("leader", &of.leader.unwrap_or(0));
                    stat("term", &of.term.unwrap_or(0));
                    stat("leads", &u8::from(of.leads));
                    if let Some(applied) = of.applied {
                        stat("applied", &applied);
                        stat("sequence", &of.sequence);
                    }
                    if let Some(staleness) = of.staleness {
                        stat("staleness_ms", &staleness.as_millis());
                    }
                }
            }
            StatsGroup::Bdb => memcachedb::files(&self.store, &mut stat),
            StatsGroup::Rep => memcachedb::replication(&self.store, &mut stat),
            StatsGroup::RepCfg => memcachedb::configuration(&self.store, &mut stat),
            StatsGroup::RepMs => memcachedb::sites(&self.store, &mut stat),
            // A log-structured tree has no slabs, and counting sizes would read all of it. Who is of its
            // cluster is in MemcacheDB's groups.
            StatsGroup::Items | StatsGroup::Slabs | StatsGroup::Sizes | StatsGroup::Cluster => {}
        }
    }

    /// It would have to be read from disk.
    fn list(&self, _most: usize, _now: Seconds, _emit: &mut dyn FnMut(&[u8], usize, Seconds)) {}

    /// A store's memory is a cache of blocks, whose size is set at start.
    fn lend(&self, _change: i64, _now: Seconds) {}

    /// What a store counts is how it is doing, since it was opened.
    fn reset_stats(&self) {}

    fn set_memory_limit(&self, _bytes: u64, _now: Seconds) -> Result<(), &'static str> {
        Err("MEMLIMIT_ADJUST_FAILED a store keeps everything; -m sets its read cache at start")
    }
}

/// What fits into a line of the protocol: errors have file names in them, which may be anything.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_TEXT).collect()
}

/// In characters.
const LONGEST_TEXT: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_of_bounded_length() {
        assert_eq!(one_line("/a\r\nSTAT b\0: no"), "/a  STAT b : no");
        assert_eq!(one_line(&"ü".repeat(900)), "ü".repeat(LONGEST_TEXT));
    }
}
