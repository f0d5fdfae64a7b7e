//! What a group's history is applied to, and who does it.
//!
//! Raft decides what is committed and in which order. A [`Machine`] does it, and keeps with each
//! change a *mark*: how far the history is in it, and who belonged to the group then. So the machine
//! alone, whatever of it survived a crash, tells from where its history has to be repeated.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::spool::Spooled;
use crate::types::{Applied, Entry, LogId, Membership, SnapshotMeta, Types};

/// Something that replicas keep equal copies of, by doing the same to it in the same order.
///
/// One at a time makes calls, and they may block. What fails once is not tried
/// again: the group stops on this node.
pub trait Machine: Send + 'static {
    /// The mark kept with the last change; `None` if there was none.
    fn mark(&mut self) -> io::Result<Option<Bytes>>;

    /// Does what the entries say, in their order, and keeps each entry's mark with what it changes,
    /// or with what a later one changes: all or nothing. It need not survive a crash yet, but of two
    /// changes never the later alone.
    fn apply(&mut self, committed: Vec<Committed>) -> io::Result<()>;

    /// Returns when all that was applied survives a crash. Until then the history is kept.
    fn persist(&mut self) -> io::Result<()>;

    /// All that it holds as it is now. What is applied later does not show in it.
    fn view(&mut self) -> io::Result<Box<dyn View>>;

    /// Becomes what the parts of a view of another replica say, whatever it was before. When it
    /// returns, that and the mark survive a crash; after a crash before that, `mark` is `None`. A part that
    /// is [`Interrupted`](io::ErrorKind::Interrupted) comes no more in this process: that is no failure of
    /// the machine's, of which nothing else is asked then.
    fn install(&mut self, view: &mut dyn View) -> io::Result<()>;
}

/// What a machine held at a moment, in parts.
pub trait View: Send + 'static {
    /// The mark that belongs to it.
    fn mark(&self) -> Bytes;

    /// The next part, of no more than about a megabyte; `None` after the last.
    fn next_part(&mut self) -> io::Result<Option<Bytes>>;
}

/// An entry that a majority has on disk.
#[derive(Clone, Debug)]
pub struct Committed {
    /// What was proposed; empty for an entry of the group's own.
    pub entry: Bytes,
    /// What is to be kept with it.
    pub mark: Bytes,
}

/// How far a history is in a machine, and who belonged to the group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: Membership,
}

pub(crate) type Snapshot = openraft::type_config::alias::SnapshotOf<Types, Parts>;

/// A machine as openraft knows it.
#[derive(Clone)]
pub(crate) struct Operator {
    machine: Reached,
    /// The mark of the last entry that was given to the machine.
    mark: Mark,
    directory: PathBuf,
    installing: Arc<Installing>,
}

/// Whether a machine is becoming a view.
#[derive(Debug, Default)]
pub(crate) struct Installing {
    /// From when it begins until it has succeeded.
    pub(crate) is_under_way: AtomicBool,
    /// No view is gone on with in this process.
    pub(crate) is_abandoned: AtomicBool,
}

/// A view that gives nothing more once it is abandoned.
struct Abandonable {
    view: Box<dyn View>,
    installing: Arc<Installing>,
}

/// How a machine is reached.
#[derive(Clone)]
enum Reached {
    /// By its thread, which ends after the last of these.
    Thread(mpsc::Sender<Job>),
    /// By whoever asks.
    Here(Arc<Mutex<dyn Machine>>),
}

/// A view on its way to another replica, or come from one.
pub(crate) struct Parts {
    pub(crate) view: Box<dyn View>,
    /// Whether a machine is becoming it, or has.
    pub(crate) taken: Arc<AtomicBool>,
}

/// What the machine's thread is asked. Who asks may have gone by the time of the answer.
enum Job {
    Apply(Vec<Committed>, Answer<()>),
    /// Persist, then view.
    Capture(Answer<Box<dyn View>>),
    View(Answer<Box<dyn View>>),
    Install(Box<dyn View>, PathBuf, Answer<()>),
}

type Answer<T> = oneshot::Sender<io::Result<T>>;

impl Operator {
    /// Starts the machine's thread, which ends after the last clone of this, unless the machine is to be
    /// worked `here`. `directory` is where views of other replicas come.
    pub(crate) fn start(
        name: String,
        mut machine: impl Machine,
        directory: &Path,
        here: bool,
    ) -> io::Result<Self> {
        let mut mark = machine.mark()?;
        if let Some(mut view) = Spooled::left(directory, mark.as_deref())? {
            machine.install(&mut view)?;
            mark = machine.mark()?;
        }
        Spooled::remove(directory)?;
        let mark = mark.map_or_else(|| Ok(Mark::default()), |bytes| Mark::decode(&bytes))?;
        let machine = if here {
            Reached::Here(Arc::new(Mutex::new(machine)))
        } else {
            let (jobs, asked) = mpsc::channel();
            thread::Builder::new().name(name).spawn(move || {
                for job in asked {
                    do_job(&mut machine, job);
                }
            })?;
            Reached::Thread(jobs)
        };
        let (directory, installing) = (directory.to_owned(), Arc::default());
        Ok(Self { machine, mark, directory, installing })
    }

    pub(crate) fn installing(&self) -> Arc<Installing> {
        Arc::clone(&self.installing)
    }

    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> io::Result<T> {
        let (answer, asked) = oneshot::channel();
        let gone = || io::Error::other("the machine has ended");
        match &self.machine {
            Reached::Thread(jobs) => jobs.send(job(answer)).map_err(|_| gone())?,
            // Whoever asks is told that it is gone, as by a thread that panicked.
            Reached::Here(machine) => drop(catch_unwind(AssertUnwindSafe(|| {
                do_job(&mut *machine.lock(), job(answer));
            }))),
        }
        asked.await.map_err(|_| gone())?
    }

    async fn apply_some(&self, batch: &mut Batch) -> io::Result<()> {
        let committed = std::mem::take(&mut batch.committed);
        if committed.is_empty() {
            return Ok(());
        }
        batch.bytes = 0;
        self.ask(|answer| Job::Apply(committed, answer)).await?;
        for responder in batch.responders.drain(..) {
            responder.send(Applied);
        }
        Ok(())
    }
}

/// Entries that are given to the machine together.
#[derive(Default)]
struct Batch {
    committed: Vec<Committed>,
    bytes: usize,
    responders: Vec<ApplyResponder<Types>>,
}

fn do_job(machine: &mut dyn Machine, job: Job) {
    // Who has gone wants no answer.
    match job {
        Job::Apply(committed, answer) => drop(answer.send(machine.apply(committed))),
        Job::Capture(answer) => {
            drop(answer.send(machine.persist().and_then(|()| machine.view())));
        }
        Job::View(answer) => drop(answer.send(machine.view())),
        Job::Install(mut view, directory, answer) => {
            let installed = machine.install(&mut *view);
            drop(answer.send(installed.and_then(|()| Spooled::remove(&directory))));
        }
    }
}

impl View for Abandonable {
    fn mark(&self) -> Bytes {
        self.view.mark()
    }

    fn next_part(&mut self) -> io::Result<Option<Bytes>> {
        if self.installing.is_abandoned.load(Ordering::Acquire) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.view.next_part()
    }
}

impl Mark {
    fn encode(&self) -> io::Result<Bytes> {
        postcard::to_stdvec(self).map(Bytes::from).map_err(io::Error::other)
    }

    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Self> {
        postcard::from_bytes(bytes).map_err(io::Error::other)
    }

    /// The history went on by this entry.
    fn advance(&mut self, entry: &Entry) {
        self.applied = Some(entry.log_id);
        if let EntryPayload::Membership(membership) = &entry.payload {
            self.membership = Membership::new(Some(entry.log_id), membership.clone());
        }
    }
}

impl RaftStateMachine<Types> for Operator {
    type SnapshotData = Parts;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, Membership)> {
        Ok((self.mark.applied, self.mark.membership.clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut entries = entries.ready_chunks(MAX_ENTRIES);
        let mut batch = Batch::default();
        while let Some(chunk) = entries.next().await {
            for entry in chunk {
                let (entry, responder) = entry?;
                self.mark.advance(&entry);
                let mark = self.mark.encode()?;
                let entry = match entry.payload {
                    EntryPayload::Normal(payload) => payload.0,
                    EntryPayload::Blank | EntryPayload::Membership(_) => Bytes::new(),
                };
                batch.bytes += entry.len();
                batch.committed.push(Committed { entry, mark });
                batch.responders.extend(responder);
                if batch.bytes >= MAX_BYTES {
                    self.apply_some(&mut batch).await?;
                }
            }
            self.apply_some(&mut batch).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, _: &SnapshotMeta, parts: Parts) -> io::Result<()> {
        parts.taken.store(true, Ordering::Release);
        let mark = Mark::decode(&parts.view.mark())?;
        let (directory, installing) = (self.directory.clone(), self.installing());
        installing.is_under_way.store(true, Ordering::Release);
        let view = Box::new(Abandonable { view: parts.view, installing });
        self.ask(|answer| Job::Install(view, directory, answer)).await?;
        self.installing.is_under_way.store(false, Ordering::Release);
        self.mark = mark;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        if self.mark.applied.is_none() {
            return Ok(None);
        }
        self.ask(Job::View).await.and_then(into_snapshot).map(Some)
    }
}

impl RaftSnapshotBuilder<Types> for Operator {
    type SnapshotData = Parts;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        self.ask(Job::Capture).await.and_then(into_snapshot)
    }
}

fn into_snapshot(view: Box<dyn View>) -> io::Result<Snapshot> {
    let Mark { applied, membership } = Mark::decode(&view.mark())?;
    let meta = SnapshotMeta { last_log_id: applied, last_membership: membership };
    Ok(Snapshot { meta, snapshot: Parts { view, taken: Arc::default() } })
}

/// So many entries at most are given to a machine at once.
const MAX_ENTRIES: usize = 256;

/// And no more once they have so many bytes.
const MAX_BYTES: usize = 4 << 20;
