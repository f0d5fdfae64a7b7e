//! What of a group's log is in memory: where it begins and ends, and its last entries.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use openraft::EntryPayload;

use super::record::Start;
use crate::types::{Entry, LogId, Vote};

/// What of a group's log is in memory.
///
/// raft-engine shows an entry only when it is durable, but it must be readable once it is appended.
/// So all that is not durable yet is here, and of the rest the end, up to a number of bytes.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The last one that is durable.
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    /// What of it has been given to the writer.
    pub(crate) noted: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    /// The id of the last entry, or of the last purged one if there is none.
    pub(crate) last: Option<LogId>,
    /// The index of the first entry, if there is one.
    pub(crate) first: u64,
    /// Up to the last entry, without holes.
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    /// Entries before this index are durable.
    synced: u64,
    /// How often entries were taken away: what was read from disk meanwhile may be wrong.
    pub(crate) epoch: u64,
}

/// What is to be read where.
#[derive(Debug)]
pub(crate) struct View {
    /// On disk: these indexes.
    pub(crate) cold: Range<u64>,
    /// In memory: the entries after them.
    pub(crate) tail: Vec<Entry>,
    /// When that was so.
    pub(crate) epoch: u64,
}

impl State {
    /// One as it was found on disk.
    pub(crate) fn found(
        vote: Option<Vote>,
        committed: Option<LogId>,
        start: Option<Start>,
        last: Option<LogId>,
    ) -> Self {
        let purged = start.and_then(|start| start.purged);
        let last = last.or(purged);
        Self {
            vote,
            // What it names was durable before it; but it is a hint, and not worth a refusal.
            committed: committed.filter(|id| id.index < after(last)),
            purged,
            last,
            first: start.map_or(0, |start| start.first),
            synced: after(last),
            ..Self::default()
        }
    }

    /// Whether `entries` may be appended: they continue the log.
    pub(crate) fn check(&self, entries: &[Entry]) -> io::Result<()> {
        let mut next = self.last.map(|last| after(Some(last)));
        for entry in entries {
            let index = entry.log_id.index;
            if let Some(next) = next.filter(|next| *next != index) {
                let detail = format!("entry {index} was appended where {next} is next");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, detail));
            }
            next = Some(index.saturating_add(1));
        }
        Ok(())
    }

    pub(crate) fn append(&mut self, entries: Vec<Entry>) {
        if let Some(first) = entries.first()
            && self.last == self.purged
        {
            self.first = first.log_id.index;
        }
        for entry in entries {
            self.last = Some(entry.log_id);
            self.tail_bytes = self.tail_bytes.saturating_add(size(&entry));
            self.tail.push_back(entry);
        }
    }

    /// Takes away what is after `last`.
    pub(crate) fn truncate(&mut self, last: Option<LogId>) {
        let end = after(last).max(after(self.purged));
        self.epoch = self.epoch.wrapping_add(1);
        while let Some(entry) = self.tail.pop_back_if(|entry| entry.log_id.index >= end) {
            self.tail_bytes = self.tail_bytes.saturating_sub(size(&entry));
        }
        self.last = last.filter(|last| Some(last.index) >= self.purged.map(|id| id.index));
        self.last = self.last.or(self.purged);
        self.synced = self.synced.min(end);
    }

    /// Takes away what is not after `upto`, which may be beyond the last entry.
    pub(crate) fn purge(&mut self, upto: LogId) {
        self.epoch = self.epoch.wrapping_add(1);
        let first = after(Some(upto));
        while let Some(entry) = self.tail.pop_front_if(|entry| entry.log_id.index < first) {
            self.tail_bytes = self.tail_bytes.saturating_sub(size(&entry));
        }
        self.purged = Some(upto);
        self.first = first;
        self.synced = self.synced.max(first);
        if after(self.last) <= first {
            self.last = Some(upto);
        }
    }

    /// Entries before `next` are durable, unless some were taken away since `epoch`: then those may
    /// be others. Forgets what needs not be in memory, down to so many bytes.
    pub(crate) fn sync(&mut self, next: u64, epoch: u64, tail_bytes: usize) {
        if epoch == self.epoch {
            self.synced = self.synced.max(next);
        }
        while self.tail_bytes > tail_bytes
            && let Some(entry) = self.tail.pop_front_if(|entry| entry.log_id.index < self.synced)
        {
            self.tail_bytes = self.tail_bytes.saturating_sub(size(&entry));
        }
    }

    /// Where the entries of `range` are that the log has; with a limit of bytes only the first of
    /// them, but at least one.
    pub(crate) fn view(&self, range: Range<u64>, limit: Option<usize>) -> View {
        let epoch = self.epoch;
        let (first, end) = (range.start.max(self.first), range.end.min(after(self.last)));
        let tail_first = self.tail.front().map_or(end, |entry| entry.log_id.index);
        let cold = first..end.min(tail_first);
        let mut tail = Vec::new();
        if first >= end || (limit.is_some() && !cold.is_empty()) {
            return View { cold, tail, epoch };
        }
        let skipped = first.saturating_sub(tail_first);
        let mut bytes = 0_usize;
        for entry in self.tail.iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX)) {
            bytes = bytes.saturating_add(size(entry));
            let full = limit.is_some_and(|limit| bytes > limit) && !tail.is_empty();
            if entry.log_id.index >= end || full {
                break;
            }
            tail.push(entry.clone());
        }
        View { cold, tail, epoch }
    }
}

/// The index after this one.
pub(crate) fn after(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index.saturating_add(1))
}

/// About what an entry takes in memory, in bytes.
fn size(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        EntryPayload::Normal(payload) => payload.0.len(),
        _ => 0,
    };
    payload.saturating_add(size_of::<Entry>())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entries, id};
    use super::*;

    #[test]
    fn what_is_not_durable_stays_in_memory() {
        let mut state = State::default();
        state.append(entries(1, 0..10));
        let epoch = state.epoch;
        state.sync(5, epoch, 0);
        let view = state.view(0..20, None);
        assert_eq!((view.cold, view.tail), (0..5, entries(1, 5..10)));
        // These have the indexes of what is said to be durable, and are others.
        state.truncate(Some(id(1, 6)));
        state.append(entries(2, 7..10));
        state.sync(10, epoch, 0);
        assert_eq!(state.view(5..20, None).tail.len(), 5);
    }
}
