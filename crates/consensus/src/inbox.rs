//! What a replica is asked by the others of its group.

use std::collections::HashMap;
use std::io;
use std::path::Path;
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
        let coming = Arc::clone(&self.coming);
        match kind {
            Kind::Append => {
                let answered = self.append(from, &message);
                in_time(async { answered?.await.map_err(|_| io::Error::other("refused before"))? })
            }
            Kind::Vote => in_time(async move {
                let request = read(&message)?;
                if abstains && raft.metrics().borrow_watched().last_log_index.is_none() {
                    return Err(io::Error::other(
                        "it has nothing of the history, and gives no vote",
                    ));
                }
                write(&raft.vote(request).await.map_err(io::Error::other)?)
            }),
            Kind::PreVote => in_time(async move {
                let request = read(&message)?;
                write(&raft.pre_vote(request).await.map_err(io::Error::other)?)
            }),
            Kind::TakeOver => in_time(async move {
                let request = read(&message)?;
                write(&raft.handle_transfer_leader(request).await.map_err(io::Error::other)?)
            }),
            Kind::View => Box::pin(blocking(move || {
                let Beginning { delivery, mark } = read(&message)?;
                coming.begin(delivery, &mark).map(|()| Bytes::new())
            })),
            Kind::Part => Box::pin(blocking(move || {
                let Part { delivery, number, bytes } = read(&message)?;
                coming.add(delivery, number, &bytes).map(|()| Bytes::new())
            })),
            Kind::Install => {
                self.views.fetch_add(1, Ordering::AcqRel);
                Box::pin(install(raft, coming, message))
            }
        }
    }

    /// Puts a request to append in the line of who asks. What gives its answer.
    fn append(
        &self,
        from: u64,
        message: &[u8],
    ) -> io::Result<oneshot::Receiver<io::Result<Bytes>>> {
        let request = read(message)?;
        let (answer, answered) = oneshot::channel();
        let mut appends = self.appends.lock();
        let sender = appends.entry(from).or_insert_with(|| self.line());
        // If there is no room, its answer is that it was refused.
        if let Err(TrySendError::Closed(append)) = sender.try_send(Append { request, answer }) {
            // The line before ended with a refusal; what its leader sends next begins anew.
            *sender = self.line();
            // It has just been made, so it takes it.
            drop(sender.try_send(append));
        }
        Ok(answered)
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

/// Has the machine become the view that has come, unless it lacks nothing of that.
async fn install(raft: Raft, coming: Arc<Coming>, message: Bytes) -> io::Result<Bytes> {
    let Ending { delivery, parts } = read(&message)?;
    let finishing = Arc::clone(&coming);
    let view = blocking(move || finishing.finish(delivery, parts)).await?;
    let Mark { applied, membership } = Mark::decode(&view.mark())?;
    let meta = SnapshotMeta { last_log_id: applied, last_membership: membership };
    let taken = view.taken();
    let parts = Parts { view: Box::new(view), taken: Arc::clone(&taken) };
    let snapshot = Snapshot { meta, snapshot: parts };
    let installed = raft.install_full_snapshot(delivery.vote, snapshot).await;
    blocking(move || coming.discard_unless(&taken)).await?;
    write(&installed.map_err(io::Error::other)?)
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

/// Gives up an answer that nobody waits for any longer: while a view is installed, openraft gives none.
fn in_time(answer: impl Future<Output = io::Result<Bytes>> + Send + 'static) -> Answer {
    Box::pin(async { timeout(WAITED_FOR, answer).await? })
}

/// Whoever asks to be elected, or that entries be appended, waits less.
const WAITED_FOR: Duration = Duration::from_secs(5);

/// So many requests to append may stand in a line: those of who leads while a view is installed stay there.
const MAX_LINE: usize = 1024;
