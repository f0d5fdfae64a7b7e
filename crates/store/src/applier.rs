//! What a partition is to its group: the machine that the group's history is applied to.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Instant;

use bytes::Bytes;
use larder_consensus::{Committed, Machine, View};

use crate::answers::Answers;
use crate::apply::{Admission, Answer, Batch};
use crate::entry::{Entry, Proposal};
use crate::error::Error;
use crate::failure;
use crate::partition::Partition;
use crate::record::Unreadable;
use crate::shared::Shared;
use crate::state::{Kept, State};
use crate::stats::micros;
use crate::view::{self, Whole};

/// Does what was agreed on, on every replica alike, and answers what was proposed here.
pub(crate) struct Applier {
    shared: Arc<Shared>,
    partition: Arc<Partition>,
    /// What is done.
    done: Kept,
    /// Whether the engine was told so: it need not be when nothing else has changed.
    is_kept: bool,
    /// Dropped last: who has the other end knows that the engine's files are let go.
    _ended: Sender<()>,
}

/// What commands of one proposal come to.
struct Came {
    proposal: Proposal,
    answers: Vec<Answer>,
}

impl Applier {
    /// One that has done what is kept.
    pub(crate) fn new(
        shared: Arc<Shared>,
        partition: Arc<Partition>,
        kept: Kept,
        ended: Sender<()>,
    ) -> Self {
        Self { shared, partition, done: kept, is_kept: true, _ended: ended }
    }

    /// Does commands of `committed` until they have written enough, and has the engine keep what comes
    /// of it. Gives how many entries are done.
    fn apply_some(&mut self, committed: &[Committed]) -> Result<usize, Error> {
        let shared = Arc::clone(&self.shared);
        let (group, unread) = (self.partition.group, Cell::new(false));
        let read = |key: &[u8]| shared.record(group, key).inspect_err(|_| unread.set(true));
        let began = Instant::now();
        let mut batch = Batch::new(self.done.state, &read);
        let (mut came, mut entries, mut mark) = (Vec::new(), 0, self.done.mark.clone());
        for Committed { entry, mark: of_entry } in committed {
            if !self.step(entry, &mut batch, &mut came)? {
                break;
            }
            batch.state.done = 0;
            shared.counters.logged_bytes.add(entry.len() as u64);
            mark = of_entry.clone();
            entries += 1;
        }
        let Batch { changes, state, .. } = batch;
        if unread.get() && shared.is_among_others() {
            // They can read it, and decide otherwise.
            return Err(Error::corrupt(
                &shared.path,
                "a record that a command is about is unreadable",
            ));
        }
        let decided = Instant::now();
        let changed = !changes.is_empty() || state != self.done.state || unread.get();
        self.done = Kept { state, mark };
        self.is_kept = changed;
        if changed {
            self.commit(&changes, &self.done)?;
            let (counters, took) = (&shared.counters, micros(decided.elapsed()));
            counters.decide_micros.add(micros(decided - began));
            counters.commits.add(1);
            counters.changes.add(changes.len() as u64);
            counters.commit_micros.add(took);
            counters.longest_commit_micros.raise(took);
        }
        if unread.get() {
            // What could not be read now might be another time, when this is done again after a
            // crash; but what it was answered then stands, and so do the places given out since.
            shared.storage.persist()?;
        }
        self.partition.published.publish(state);
        self.answer(came);
        Ok(entries)
    }

    /// Does commands of an entry, from the first that is not done on. Whether all are done.
    fn step<'a>(
        &self,
        entry: &'a [u8],
        batch: &mut Batch<'a, '_>,
        came: &mut Vec<Came>,
    ) -> Result<bool, Error> {
        if entry.is_empty() {
            return Ok(true);
        }
        let Entry { proposal, admission, commands } =
            Entry::decode(entry).map_err(|why| self.senseless(why))?;
        let mut answers = Vec::new();
        let mut is_done = true;
        for asked in commands.skip(batch.state.done as usize) {
            if batch.is_full(self.shared.options.batch_bytes) {
                is_done = false;
                break;
            }
            answers.push(batch.step(&asked.map_err(|why| self.senseless(why))?, admission));
            batch.state.done += 1;
        }
        came.push(Came { proposal, answers });
        Ok(is_done)
    }

    fn answer(&self, came: Vec<Came>) {
        let mut given = Answers::default();
        for Came { proposal, answers } in came {
            if proposal.proposer != self.partition.proposer {
                continue;
            }
            let commands = self.partition.proposals.take(proposal.number, answers.len());
            for (command, answer) in commands.into_iter().zip(answers) {
                given.give(command, answer, &self.shared);
            }
        }
        given.wake();
    }

    /// Nothing is done any more: what `committed` has besides is done when the store is opened anew.
    fn give_up(&self, committed: &[Committed], error: Error) -> io::Error {
        let why = self.fail(error);
        let shared = Arc::clone(&self.shared);
        let read = |key: &[u8]| shared.record(self.partition.group, key);
        let mut batch = Batch::new(self.partition.published.state(), &read);
        let mut came = Vec::new();
        // Of the first those that are done have been answered.
        let mut done = self.done.state.done as usize;
        for Committed { entry, .. } in committed {
            let Ok(Entry { proposal, commands, .. }) = Entry::decode(entry) else { continue };
            let step = |asked| batch.step(&asked, Admission::Nothing(failure::UNKNOWN));
            let answers = commands.skip(std::mem::take(&mut done)).flatten().map(step).collect();
            came.push(Came { proposal, answers });
        }
        self.answer(came);
        why
    }

    /// Has the engine keep how far all is done.
    fn keep(&mut self) -> Result<(), Error> {
        if !self.is_kept {
            self.commit(&[], &self.done)?;
            self.is_kept = true;
        }
        Ok(())
    }

    fn become_view(&mut self, view: &mut dyn View) -> Result<Kept, Error> {
        // What is read from now on is asked anew.
        self.partition.freshness.end_tenure();
        // Without a mark nobody takes for something what there is until all is there. But it has not
        // lost what was durable.
        let sequence = self.done.state.sequence;
        let nothing = Kept { state: State { sequence, ..State::default() }, ..Kept::default() };
        let (shared, group) = (&self.shared, self.partition.group);
        (self.done, self.is_kept) = (nothing.clone(), true);
        shared.erase(group, Some(&nothing))?;
        shared.storage.persist()?;
        let kept = view::read(view, &shared.path, |items| self.commit(items, &nothing))?;
        self.commit(&[], &kept)?;
        shared.storage.persist()?;
        Ok(kept)
    }

    fn commit(&self, changes: &[(&[u8], Option<Bytes>)], kept: &Kept) -> Result<(), Error> {
        self.shared.storage.commit(self.partition.group, changes, Some(kept))
    }

    fn fail(&self, error: Error) -> io::Error {
        // What there is may be anything between two entries, and stays so.
        self.partition.freshness.end_tenure();
        let why = io::Error::other(error.to_string());
        self.shared.health.poison(error);
        why
    }

    fn senseless(&self, why: Unreadable) -> Error {
        let path = self.shared.path.clone();
        match why {
            Unreadable::Version(version) => Error::TooNew { path, format: version.into() },
            Unreadable::Damaged => Error::corrupt(&path, "an entry of its log makes no sense"),
        }
    }
}

impl Machine for Applier {
    fn mark(&mut self) -> io::Result<Option<Bytes>> {
        Ok(Some(self.done.mark.clone()).filter(|mark| !mark.is_empty()))
    }

    fn apply(&mut self, committed: Vec<Committed>) -> io::Result<()> {
        let mut rest = committed.as_slice();
        while !rest.is_empty() {
            let before = self.done.clone();
            let applied = catch_unwind(AssertUnwindSafe(|| self.apply_some(rest)));
            let applied = applied.unwrap_or_else(|_| {
                let source = io::Error::other("the thread that applies the log panicked");
                Err(Error::io("write to", &self.shared.path)(source))
            });
            match applied {
                Ok(entries) => rest = rest.get(entries..).unwrap_or_default(),
                Err(error) => {
                    self.done = before;
                    return Err(self.give_up(rest, error));
                }
            }
        }
        Ok(())
    }

    fn persist(&mut self) -> io::Result<()> {
        let persisted = self.keep().and_then(|()| self.shared.storage.persist());
        persisted.map_err(|error| self.fail(error))?;
        self.partition.durable.store(self.done.state.sequence, Ordering::Release);
        Ok(())
    }

    fn view(&mut self) -> io::Result<Box<dyn View>> {
        let whole = self.keep().and_then(|()| self.shared.storage.whole(self.partition.group));
        let (_, items) = whole.map_err(|error| self.fail(error))?;
        Ok(Box::new(Whole::new(&self.done, items)))
    }

    fn install(&mut self, view: &mut dyn View) -> io::Result<()> {
        let kept = match self.become_view(view) {
            Ok(kept) => kept,
            // The store is about to be closed.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::Interrupted => {
                return Err(source);
            }
            Err(error) => return Err(self.fail(error)),
        };
        self.partition.begin(kept.state);
        // And what was read until now is asked anew too.
        self.partition.freshness.end_tenure();
        (self.done, self.is_kept) = (kept, true);
        Ok(())
    }
}
