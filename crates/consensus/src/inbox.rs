//! What a replica is asked by the others of its group.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::coming::Coming;
use crate::machine::{Mark, Operator, Parts, Snapshot, View};
use crate::network::{Answer, Beginning, Ending, Kind, Part};
use crate::spool::Spooled;
use crate::types::{SnapshotMeta, Types};

type Raft = openraft::Raft<Types, Operator>;

/// What a replica is asked by the others of its group.
pub(crate) struct Inbox {
    raft: Raft,
    /// Requests to append, by who asks: their order is kept.
    appends: Mutex<HashMap<u64, mpsc::Sender<Append>>>,
    coming: Arc<Coming>,
    /// How many have come, whether they were taken over or not.
    views: Arc<AtomicU64>,
    /// Where views are kept while they come.
    spools: PathBuf,
    /// No vote is given while there is nothing of the history here.
    abstains_while_empty: AtomicBool,
}

struct Append {
    request: AppendEntriesRequest<Types>,
    answer: oneshot::Sender<io::Result<Bytes>>,
}

impl Inbox {
    pub(crate) fn new(raft: Raft, spools: &Path) -> Self {
        Self {
            raft,
            appends: Mutex::default(),
            coming: Arc::new(Coming::new(spools.to_owned())),
            views: Arc::default(),
            spools: spools.to_owned(),
            abstains_while_empty: AtomicBool::new(false),
        }
    }

    pub(crate) fn abstain_while_empty(&self) {
        self.abstains_while_empty.store(true, Ordering::Release);
    }

    /// How many views have come. Counted before what one has shows in anything.
    pub(crate) fn views(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.views)
    }

    /// Answers a call of another node. It takes its turn when this returns, whenever the answer is
    /// waited for.
    pub(crate) fn receive(&self, from: u64, kind: Kind, message: Bytes) -> Answer {
        let raft = self.raft.clone();
        // Who leads goes on asking: this node may come back. openraft would log each time that it stopped.
        if raft.metrics().borrow_watched().running_state.is_err() {
            return Box::pin(async { Err(io::Error::other("it takes part no longer")) });
        }
        let abstains = self.abstains_while_empty.load(Ordering::Acquire);
        let answer: Answer = match kind {
            Kind::Append => self.append(from, &message),
            Kind::Vote => Box::pin(async move {
                let request = read(&message)?;
                if abstains && raft.metrics().borrow_watched().last_log_index.is_none() {
                    return Err(io::Error::other(
                        "it has nothing of the history, and gives no vote",
                    ));
                }
                write(&raft.vote(request).await.map_err(io::Error::other)?)
            }),
            Kind::PreVote => Box::pin(async move {
                let request = read(&message)?;
                write(&raft.pre_vote(request).await.map_err(io::Error::other)?)
            }),
            Kind::TakeOver => Box::pin(async move {
                let request = read(&message)?;
                write(&raft.handle_transfer_leader(request).await.map_err(io::Error::other)?)
            }),
            Kind::View | Kind::Part | Kind::Install => return self.become_view(kind, message),
        };
        Box::pin(in_time(answer))
    }

    /// Has this node become a view of who leads.
    fn become_view(&self, kind: Kind, message: Bytes) -> Answer {
        let coming = Arc::clone(&self.coming);
        match kind {
            Kind::View => Box::pin(blocking(move || {
                let Beginning { delivery, mark } = read(&message)?;
                coming.begin(delivery, &mark).map(|()| Bytes::new())
            })),
            Kind::Part => Box::pin(blocking(move || {
                let Part { delivery, number, bytes } = read(&message)?;
                coming.add(delivery, number, &bytes).map(|()| Bytes::new())
            })),
            _ => {
                let (raft, spools) = (self.raft.clone(), self.spools.clone());
                self.views.fetch_add(1, Ordering::AcqRel);
                Box::pin(async move {
                    let Ending { delivery, parts } = read(&message)?;
                    let view = blocking(move || coming.finish(delivery, parts)).await?;
                    let Mark { applied, membership } = Mark::decode(&view.mark())?;
                    let meta = SnapshotMeta { last_log_id: applied, last_membership: membership };
                    let (view, taken) = (Box::new(view), Arc::<AtomicBool>::default());
                    let parts = Parts { view, taken: Arc::clone(&taken) };
                    let snapshot = Snapshot { meta, snapshot: parts };
                    let installed = raft.install_full_snapshot(delivery.vote, snapshot).await;
                    if !taken.load(Ordering::Acquire) {
                        // It lacked nothing of that.
                        blocking(move || Spooled::remove(&spools)).await?;
                    }
                    write(&installed.map_err(io::Error::other)?)
                })
            }
        }
    }

    fn append(&self, from: u64, message: &[u8]) -> Answer {
        let (answer, answered) = oneshot::channel();
        match read(message) {
            Err(error) => return Box::pin(async { Err(error) }),
            Ok(request) => {
                let mut appends = self.appends.lock();
                let sender = appends.entry(from).or_insert_with(|| self.line());
                // If there is no room, its answer is that it was refused.
                if let Err(TrySendError::Closed(append)) =
                    sender.try_send(Append { request, answer })
                {
                    // The line before ended with a refusal; what its leader sends next begins anew.
                    *sender = self.line();
                    // It has just been made, so it takes it.
                    drop(sender.try_send(append));
                }
            }
        }
        Box::pin(async { answered.await.map_err(|_| io::Error::other("refused before"))? })
    }

    /// A line of requests to append, which ends with the first that is refused.
    fn line(&self) -> mpsc::Sender<Append> {
        let (sender, receiver) = mpsc::channel(MAX_LINE);
        let (answers, mut waiting) = mpsc::unbounded_channel();
        let requests = stream::unfold((receiver, answers), |(mut receiver, answers)| async {
            let Append { request, answer } = receiver.recv().await?;
            answers.send(answer).ok()?;
            Some((request, (receiver, answers)))
        });
        let mut results = Box::pin(self.raft.stream_append(requests));
        tokio::spawn(async move {
            while let Some(result) = results.next().await {
                let Some(answer) = waiting.recv().await else { break };
                let result: io::Result<StreamAppendResult<Types>> =
                    result.map_err(io::Error::other);
                let _ = answer.send(result.and_then(|result| write(&result)));
            }
        });
        sender
    }
}

fn read<T: DeserializeOwned>(message: &[u8]) -> io::Result<T> {
    postcard::from_bytes(message).map_err(io::Error::other)
}

fn write(answer: &impl Serialize) -> io::Result<Bytes> {
    postcard::to_stdvec(answer).map(Bytes::from).map_err(io::Error::other)
}

/// Work that waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await?
}

/// An answer that nobody waits for any longer: while a view is installed, openraft gives none.
async fn in_time(answer: Answer) -> io::Result<Bytes> {
    timeout(WAITED_FOR, answer).await?
}

/// Whoever asks to be elected, or that entries be appended, waits less.
const WAITED_FOR: Duration = Duration::from_secs(5);

/// So many requests to append may stand in a line: those of who leads while a view is installed stay there.
const MAX_LINE: usize = 1024;
