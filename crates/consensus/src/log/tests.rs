//! What a log promises, on disks of all sorts.

mod basics;
mod bytes;
mod damage;
mod faults;
mod obstinate;
mod power;
mod suite;

use std::ops::Range;
use std::path::Path;

use openraft::EntryPayload;
use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{LeaderIdOf, OneshotReceiverOf};
use openraft::vote::RaftLeaderIdExt;

use crate::types::{Entry, LogId, Payload, Types, Vote};
use crate::{Error, GroupLog, Log, Options};

type Written = OneshotReceiverOf<Types, std::io::Result<()>>;

/// Files so small that a few writes need another, and nothing but what is not synced in memory.
fn small() -> Options {
    Options {
        file_bytes: 16 << 10,
        disk_bytes: 48 << 10,
        tail_bytes: 0,
        read_bytes: 1 << 10,
        ..Options::default()
    }
}

/// As a node alone has it.
fn alone() -> Options {
    Options { one_thread: true, ready_bytes: 32 << 10, ..small() }
}

fn open(path: &Path) -> Log {
    Log::open(path, small()).unwrap()
}

pub(super) fn id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderIdOf::<Types>::new_committed(term, 1), index)
}

fn entry(term: u64, index: u64) -> Entry {
    large(term, index, 40)
}

fn large(term: u64, index: u64, bytes: usize) -> Entry {
    let byte = u8::try_from((index + term) % 251).unwrap();
    Entry {
        log_id: id(term, index),
        payload: EntryPayload::Normal(Payload(vec![byte; bytes].into())),
    }
}

pub(super) fn entries(term: u64, range: Range<u64>) -> Vec<Entry> {
    range.map(|index| entry(term, index)).collect()
}

/// Appends without waiting.
async fn begin(log: &mut GroupLog, entries: Vec<Entry>) -> std::io::Result<Written> {
    let (sender, written) = Types::oneshot();
    log.append(entries, IOFlushed::signal(sender)).await?;
    Ok(written)
}

async fn append(log: &mut GroupLog, entries: Vec<Entry>) -> std::io::Result<()> {
    begin(log, entries).await?.await.expect("it is answered")
}

/// The ids of the last purged entry and the last one.
async fn ends(log: &mut GroupLog) -> (Option<LogId>, Option<LogId>) {
    let state = log.get_log_state().await.unwrap();
    (state.last_purged_log_id, state.last_log_id)
}

async fn all(log: &mut GroupLog) -> Vec<Entry> {
    log.try_get_log_entries(..).await.unwrap()
}
