//! How the replicas of a group ask each other.
//!
//! The bytes travel by a [`Transport`], which knows nothing of Raft. A body is the group's number,
//! eight bytes little-endian, and then a message of openraft's or of a view in postcard.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::coming::Delivery;
use crate::holdings::Holdings;
use crate::machine::{Mark, Parts, Snapshot};
use crate::types::{Node, Types, Vote};

/// Carries bytes to other nodes and their answers back.
pub trait Transport: Send + Sync + 'static {
    /// Sends `body` to a node and waits no longer than `limit` for its answer. Calls to one node
    /// arrive in the order they are made here, those that arrive.
    fn call(&self, node: u64, address: &str, kind: Kind, body: Bytes, limit: Duration) -> Answer;
}

/// An answer to come, or why there is none.
pub type Answer = Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send>>;

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Entries, or that the leader is there.
    Append = 1,
    /// To be elected.
    Vote = 2,
    /// Whether an election would succeed.
    PreVote = 3,
    /// To become leader at once.
    TakeOver = 4,
    /// The beginning of all that a machine holds.
    View = 5,
    /// The next part of that.
    Part = 6,
    /// Its end.
    Install = 7,
}

impl Kind {
    /// Calls of kinds above this one's number are not about replication.
    pub const LAST: Self = Self::Install;

    /// The kind of this number.
    pub(crate) fn of(number: u8) -> Option<Self> {
        use Kind::{Append, Install, Part, PreVote, TakeOver, View, Vote};
        let kinds = [Append, Vote, PreVote, TakeOver, View, Part, Install];
        kinds.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// What of a view is sent first.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Beginning {
    pub(crate) delivery: Delivery,
    pub(crate) mark: Bytes,
}

/// What is sent then.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Part {
    pub(crate) delivery: Delivery,
    /// From 0 on.
    pub(crate) number: u64,
    pub(crate) bytes: Bytes,
}

/// What is sent last.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Ending {
    pub(crate) delivery: Delivery,
    /// How many parts it had.
    pub(crate) parts: u64,
}

/// Makes callers for one group.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) group: u64,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) holdings: Arc<Holdings>,
}

/// Asks one node, for one group.
pub(crate) struct Caller {
    network: Network,
    node: u64,
    address: String,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Caller;

    async fn new_client(&mut self, node: u64, at: &Node) -> Caller {
        Caller { network: self.clone(), node, address: at.address.clone() }
    }
}

impl Caller {
    fn send(&self, kind: Kind, message: &impl Serialize, limit: Duration) -> io::Result<Answer> {
        let body = self.network.group.to_le_bytes().to_vec();
        let body = postcard::to_extend(message, body).map_err(io::Error::other)?;
        Ok(self.network.transport.call(self.node, &self.address, kind, body.into(), limit))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        kind: Kind,
        message: &impl Serialize,
        limit: Duration,
    ) -> Result<T, RPCError<Types>> {
        let answer = async { self.send(kind, message, limit)?.await }.await;
        read(answer)
    }

    async fn send_view(
        &self,
        vote: Vote,
        Parts { mut view, .. }: Parts,
    ) -> io::Result<SnapshotResponse<Types>> {
        let mark = view.mark();
        let giving = self.network.holdings.give(self.node, &Mark::decode(&mark)?);
        let delivery = Delivery { vote, number: giving.number() };
        self.send(Kind::View, &Beginning { delivery, mark }, PART_PATIENCE)?.await?;
        let mut parts = 0;
        loop {
            // Reading it may wait for the disk.
            let (part, rest) = spawn_blocking(move || (view.next_part(), view)).await?;
            view = rest;
            let Some(bytes) = part? else { break };
            self.send(Kind::Part, &Part { delivery, number: parts, bytes }, PART_PATIENCE)?.await?;
            parts += 1;
        }
        let ending = Ending { delivery, parts };
        let answer = self.send(Kind::Install, &ending, INSTALL_PATIENCE)?.await?;
        let answer: SnapshotResponse<Types> =
            postcard::from_bytes(&answer).map_err(io::Error::other)?;
        if answer.vote == vote {
            giving.succeeded();
        }
        Ok(answer)
    }
}

impl RaftNetworkV2<Types> for Caller {
    type SnapshotData = Parts;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        let result: StreamAppendResult<Types> =
            self.ask(Kind::Append, &request, option.soft_ttl()).await?;
        Ok(match result {
            Ok(appended) if appended == last => AppendEntriesResponse::Success,
            Ok(appended) => AppendEntriesResponse::PartialSuccess(appended),
            Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
            Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
        })
    }

    /// Requests are on their way together; they arrive in order, and so do the answers.
    fn stream_append<'s, S>(
        &'s mut self,
        requests: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<AppendResults<'s>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let this = &*self;
        let results = requests
            .map(move |request| {
                // Sent when it is made, in their order, not when it is first waited for.
                let answer = this.send(Kind::Append, &request, option.soft_ttl());
                async move {
                    read(match answer {
                        Ok(answer) => answer.await,
                        Err(error) => Err(error),
                    })
                }
            })
            .buffered(MAX_APPENDS);
        Box::pin(async move { Ok(Box::pin(results) as AppendResults<'s>) })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(Kind::Vote, &request, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(Kind::PreVote, &request, option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = self.send_view(vote, snapshot.snapshot) => {
                sent.map_err(|error| unreachable(&error).into())
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.ask(Kind::TakeOver, &request, option.soft_ttl()).await
    }
}

type AppendResults<'s> = BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>;

fn read<T: DeserializeOwned>(answer: io::Result<Bytes>) -> Result<T, RPCError<Types>> {
    let read = answer.and_then(|bytes| postcard::from_bytes(&bytes).map_err(io::Error::other));
    read.map_err(|error| unreachable(&error).into())
}

/// All that keeps a node from answering is to be tried again later.
fn unreachable(error: &io::Error) -> Unreachable<Types> {
    Unreachable::new(&AnyError::new(error))
}

/// So many requests to append are on their way to a node.
const MAX_APPENDS: usize = 64;

/// A part waits for the other side's disk. If one is late, all come again.
const PART_PATIENCE: Duration = Duration::from_secs(30);

/// A node that has all of a view writes it anew before it answers: a terabyte may take some hours. That
/// it is not there any more the transport notices by itself.
const INSTALL_PATIENCE: Duration = Duration::from_hours(24);
