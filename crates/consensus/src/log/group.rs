//! One group's log, as openraft uses it.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task;

use super::engine::Disk;
use super::queue::{Done, Job};
use super::record::{self, COMMITTED, START, Start, VOTE};
use super::shared::Shared;
use super::state::{self, State};
use crate::error::Error;
use crate::machine::Mark;
use crate::types::{Entry, LogId, Types, Vote};

/// One group's log. Clones are the same log, and readers of it.
///
/// An error of any call but a read means that the log has failed for good: see
/// [`Log::failure`](super::Log::failure).
#[derive(Clone, Debug)]
pub struct GroupLog {
    group: Arc<Group>,
    shared: Arc<Shared>,
}

/// What the clones share.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: u64,
    pub(crate) state: Mutex<State>,
}

impl GroupLog {
    pub(crate) fn open(shared: &Arc<Shared>, id: u64) -> Result<Self, Error> {
        if shared.failure().is_some() {
            return Err(shared.refusal(""));
        }
        let known = shared.groups.lock().get(&id).map(Arc::clone);
        if let Some(group) = known {
            return Ok(Self { group, shared: Arc::clone(shared) });
        }
        let disk = shared.disk()?;
        let (state, first, leftover) = find(&disk, id).map_err(|error| {
            error.downcast().unwrap_or_else(|error| {
                Error::corrupt(&disk.directory.data(), format!("group {id}: {error}"))
            })
        })?;
        let group = Arc::new(Group { id, state: Mutex::new(state) });
        let group = Arc::clone(shared.groups.lock().entry(id).or_insert(group));
        let log = Self { group, shared: Arc::clone(shared) };
        if leftover {
            let gone = log.job(Some(first), Done::Nobody);
            let gone = shared.push(gone).and_then(|()| shared.write());
            gone.map_err(|_| shared.refusal("it is closed"))?;
        }
        Ok(log)
    }

    /// Whether the history of this log goes on from where a machine of this mark is.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if it does not: the log is not the machine's, or one of the two is older.
    pub fn fits(&self, mark: Option<&[u8]>) -> Result<(), Error> {
        let refused = |detail: String| {
            Error::corrupt(&self.shared.path, format!("group {}: {detail}", self.group.id))
        };
        let mark = mark.map_or_else(|| Ok(Mark::default()), Mark::decode);
        let Mark { applied, membership } =
            mark.map_err(|error| refused(format!("the mark of its machine: {error}")))?;
        let state = self.group.state.lock();
        let [next, begins, ends] = [applied, state.purged, state.last].map(state::after);
        if next < begins {
            let detail =
                format!("its machine wants entry {next}, and those before {begins} are gone");
            return Err(refused(detail));
        }
        // One that has become a view is ahead until what the view has is purged: a crash may come
        // between the two. But a member has voted, and one that is alone becomes nobody's view.
        let viewed = state.vote.is_some() && membership.voter_ids().count() != 1;
        if next > ends && !viewed {
            let detail =
                format!("its machine has done entry {}, and the log ends before {ends}", next - 1);
            return Err(refused(detail));
        }
        Ok(())
    }

    /// Whether [one thread](super::Options::one_thread) does all.
    pub(crate) fn is_on_one_thread(&self) -> bool {
        self.shared.options.one_thread
    }

    fn job(&self, compact: Option<u64>, done: Done) -> Job {
        let (entries, values, forget) = (vec![], vec![], false);
        Job { group: Arc::clone(&self.group), forget, compact, entries, values, done }
    }

    async fn read(&self, range: Range<u64>, limit: Option<usize>) -> io::Result<Vec<Entry>> {
        loop {
            let mut view = self.group.state.lock().view(range.clone(), limit);
            if view.cold.is_empty() {
                return Ok(view.tail);
            }
            let disk = self.shared.disk().map_err(io::Error::other)?;
            let (id, cold) = (self.group.id, view.cold.clone());
            let read = task::spawn_blocking(move || disk.fetch(id, cold, limit)).await;
            // What was taken away meanwhile need not be found, and may have been found.
            if self.group.state.lock().epoch != view.epoch {
                continue;
            }
            let mut entries = read.map_err(io::Error::other)??;
            entries.append(&mut view.tail);
            return Ok(entries);
        }
    }
}

impl RaftLogReader<Types> for GroupLog {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<Entry>> {
        self.read(indexes(&range), None).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start..end, Some(self.shared.options.read_bytes)).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.group.state.lock().vote)
    }
}

impl RaftLogStorage<Types> for GroupLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.group.state.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (reply, replied) = oneshot::channel();
        let mut job = self.job(None, Done::Reply(reply));
        job.values.push((VOTE, record::encode_value(vote)?));
        self.shared.push(job)?;
        self.shared.write()?;
        replied.await.map_err(io::Error::other)??;
        self.group.state.lock().vote = Some(*vote);
        Ok(())
    }

    /// Written with the next append: it is worth no sync, for what it tells is known again soon.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.group.state.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.group.state.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        // Here and not by the thread that writes for all groups.
        let records = entries.iter().map(record::encode).collect::<io::Result<_>>()?;
        let mut state = self.group.state.lock();
        state.check(&entries)?;
        let next = state::after(entries.last().map(|entry| entry.log_id));
        let mut job = self.job(None, Done::Append { callback, next, epoch: state.epoch });
        job.entries = records;
        if let Some(entry) = entries.first()
            && state.last == state.purged
        {
            let start = Start { purged: state.purged, first: entry.log_id.index };
            job.values.push((START, record::encode_value(&start)?));
        }
        if state.committed != state.noted
            && let Some(committed) = state.committed
        {
            job.values.push((COMMITTED, record::encode_value(&committed)?));
        }
        // Under the state's lock, so that writes are queued in the order in which it changes.
        self.shared.push(job)?;
        state.noted = state.committed;
        state.append(entries);
        drop(state);
        self.shared.write()
    }

    /// raft-engine cannot: entries that are only forgotten are there again after a restart. But an
    /// entry that is written again takes what follows it away, so the last that is kept is. If none
    /// is, all are compacted away: not only those the log has, for of those truncated before it
    /// copies may be left.
    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let end = state::after(last);
        let kept = {
            let state = self.group.state.lock();
            if end >= state::after(state.last) {
                return Ok(());
            }
            state.first..end
        };
        let kept = if kept.is_empty() {
            vec![]
        } else {
            self.read(end.saturating_sub(1)..end, None).await?
        };
        let records = kept.iter().map(record::encode).collect::<io::Result<Vec<_>>>()?;
        let (reply, replied) = oneshot::channel();
        {
            let mut state = self.group.state.lock();
            let mut job = self.job(None, Done::Reply(reply));
            if records.is_empty() {
                let start = Start { purged: state.purged, first: NONE };
                job.compact = Some(start.first);
                job.values.push((START, record::encode_value(&start)?));
            }
            job.entries = records;
            self.shared.push(job)?;
            state.truncate(last);
        }
        self.shared.write()?;
        replied.await.map_err(io::Error::other)?
    }

    /// Does not wait until it is durable: what comes back after a crash is purged anew.
    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let mut state = self.group.state.lock();
        let first = state::after(Some(upto));
        if first <= state::after(state.purged) {
            return Ok(());
        }
        let first = if first < state::after(state.last) { first } else { NONE };
        let start = Start { purged: Some(upto), first };
        let mut job = self.job(Some(start.first), Done::Nobody);
        job.values.push((START, record::encode_value(&start)?));
        self.shared.push(job)?;
        state.purge(upto);
        drop(state);
        self.shared.write()
    }
}

/// What is on disk of a group, the index of its first entry, and whether there are entries that do not
/// count besides.
///
/// There may be: raft-engine forgets a compaction when it removes the file that told of it, though it
/// has older copies of what was compacted in another file. Where it looks for holes it counts them.
fn find(disk: &Disk, id: u64) -> io::Result<(State, u64, bool)> {
    let damaged = |detail: String| io::Error::new(io::ErrorKind::InvalidData, detail);
    let start: Option<Start> = disk.value(id, START)?;
    let span = disk.span(id).unwrap_or(0..0);
    let first = match start {
        Some(start) => start.first,
        None if span.is_empty() => NONE,
        None => return Err(damaged(format!("it does not say where its entries {span:?} begin"))),
    };
    let mut last = None;
    if first != NONE {
        let (end, found) = (span.end, span.start);
        if first < found || first >= end {
            let there = format!("its entries begin at {first}, of these {found}..{end} are there");
            return Err(damaged(there));
        }
        last = disk.fetch(id, end.saturating_sub(1)..end, None)?.pop().map(|entry| entry.log_id);
    }
    let state = State::found(disk.value(id, VOTE)?, disk.value(id, COMMITTED)?, start, last);
    Ok((state, first, span.start < first && !span.is_empty()))
}

fn indexes(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

/// The index of the first entry where there is none, and so after all that were.
const NONE: u64 = u64::MAX;
