//! One group of replicas, as this node takes part in it.
//!
//! - `proposal`: what is proposed, and what becomes of it
//! - `succession`: how who leads hands that on

mod proposal;
mod succession;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use openraft::raft::Precondition;
use openraft::{ChangeMembers, Config, RaftMetrics, ReadPolicy, SnapshotPolicy};

use self::succession::Succession;
use crate::holdings::Holdings;
use crate::inbox::Inbox;
use crate::log::GroupLog;
use crate::machine::{Installing, Machine, Operator};
use crate::network::{Answer, Kind, Network, Transport};
use crate::standing::{AsOf, Standing};
use crate::types::{LogId, Node, Types};

/// One group of replicas, as this node takes part in it.
pub struct Group {
    raft: openraft::Raft<Types, Operator>,
    inbox: Inbox,
    holdings: Arc<Holdings>,
    installing: Arc<Installing>,
    succession: Succession,
}

/// Why something that was proposed was not done, or may not have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unproposed {
    /// It was not done and never will be: another node leads, if it is known which.
    NotLeader(Option<u64>),
    /// It may be done yet, or not.
    Unknown,
}

/// A leader and its term: it leads once in a term, so what was said of a reign is never true of
/// another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reign {
    /// Who leads.
    pub leader: u64,
    /// Since which election.
    pub term: u64,
}

/// What may change about who takes part in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    /// A node, and where it is reached, takes part that has no vote yet.
    Admit(u64, String),
    /// These nodes, which all take part, have a vote each. Who loses its vote still takes part; and
    /// who leads still leads, so it has another lead before.
    Voters(BTreeSet<u64>),
    /// These nodes, which have no vote, take part no longer.
    Dismiss(BTreeSet<u64>),
}

/// A group's place.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its number.
    pub group: u64,
    /// This node's.
    pub node: u64,
    /// A directory of its own, for views while they come.
    pub directory: &'a Path,
}

impl Group {
    /// Takes part in the group from where `log` and `machine` are.
    ///
    /// # Errors
    ///
    /// The disk's, or what is on it is not this group's.
    pub async fn open(
        place: Place<'_>,
        log: GroupLog,
        machine: impl Machine,
        transport: Arc<dyn Transport>,
    ) -> io::Result<Self> {
        let name = format!("group-{}", place.group);
        let operator = Operator::start(name, machine, place.directory, log.is_on_one_thread())?;
        let (holdings, installing) = (Arc::<Holdings>::default(), operator.installing());
        let network = Network { group: place.group, transport, holdings: Arc::clone(&holdings) };
        let config = config().map_err(io::Error::other)?;
        let raft = openraft::Raft::new(place.node, Arc::new(config), network, log, operator).await;
        let raft = raft.map_err(io::Error::other)?;
        if is_sole_voter(&raft).await? {
            // There is nobody to wait for.
            raft.trigger().elect(false).await.map_err(io::Error::other)?;
        }
        let inbox = Inbox::new(raft.clone(), place.directory);
        Ok(Self { raft, inbox, holdings, installing, succession: Succession::default() })
    }

    /// Begins a group that never was, of these nodes and their addresses. Done by one of them, once.
    ///
    /// # Errors
    ///
    /// It was begun before.
    pub async fn found(&self, members: BTreeMap<u64, String>) -> io::Result<()> {
        let node = |(number, address)| (number, Node { address });
        let members: BTreeMap<_, _> = members.into_iter().map(node).collect();
        self.raft.initialize(members).await.map_err(io::Error::other)
    }

    /// Changes who takes part, if nobody has done so since `as_of`. Returns when a majority has it on
    /// disk; who has been admitted may have nothing of the history by then.
    ///
    /// # Errors
    ///
    /// This node does not lead, or no longer; or the members have changed; or there is no such node.
    /// What was begun may come to its end all the same.
    pub async fn change_members(&self, change: Members, as_of: AsOf) -> io::Result<()> {
        let change = match change {
            Members::Admit(node, address) => {
                ChangeMembers::AddNodes(BTreeMap::from([(node, Node { address })]))
            }
            Members::Voters(nodes) => ChangeMembers::ReplaceAllVoters(nodes),
            Members::Dismiss(nodes) => ChangeMembers::RemoveNodes(nodes),
        };
        let same = Precondition::LastMembershipLogId { last_membership_log_id: as_of.0 };
        let changed = self.raft.change_membership_if(change, true, [same]).await;
        changed.map(drop).map_err(io::Error::other)
    }

    /// How the group stands, as this node sees it.
    pub fn standing(&self) -> Standing {
        Standing::new(&self.raft.metrics().borrow_watched())
    }

    /// From now on this node gives no vote before it has something of the history: if it took part
    /// once and has lost what it had, it may have given that vote to another.
    pub fn abstain_while_empty(&self) {
        self.inbox.abstain_while_empty();
    }

    /// Returns when all that was acknowledged before this was called is in this node's machine.
    ///
    /// # Errors
    ///
    /// This node does not lead, or a majority does not say so.
    pub async fn confirm(&self) -> Result<(), Unproposed> {
        let confirmed = self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await;
        confirmed.map(drop).map_err(|_| Unproposed::NotLeader(self.leader()))
    }

    /// The index of the last entry that may have been acknowledged before this was called: what any
    /// replica has done up to there lacks nothing of that.
    ///
    /// # Errors
    ///
    /// This node does not lead, or a majority does not say so.
    pub async fn read_index(&self) -> Result<u64, Unproposed> {
        let confirmed = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
        let confirmed = confirmed.map_err(|_| Unproposed::NotLeader(self.leader()))?;
        Ok(confirmed.read_log_id().log_id().index)
    }

    /// Whether this node's machine has done the entry of this index. Returns when it has, or has not
    /// after so long.
    pub async fn reach(&self, index: u64, patience: Duration) -> bool {
        let wait = self.raft.wait(Some(patience));
        wait.applied_index_at_least(Some(index), "it is done").await.is_ok()
    }

    /// This node's number.
    pub fn node(&self) -> u64 {
        *self.raft.node_id()
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<u64> {
        self.reign().map(|reign| reign.leader)
    }

    /// Who leads and since when, as far as this node knows.
    pub fn reign(&self) -> Option<Reign> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let (leader, vote) = (metrics.current_leader?, metrics.vote);
        let is_its = vote.committed && vote.leader_id.node_id == leader;
        // Who takes part no longer hears of no other.
        (is_its && metrics.running_state.is_ok())
            .then_some(Reign { leader, term: vote.leader_id.term })
    }

    /// The index of the last entry that this node's machine has done.
    pub fn applied(&self) -> Option<u64> {
        self.raft.metrics().borrow_watched().last_applied.map(|applied| applied.index)
    }

    /// The members and their addresses, as far as this node knows: none before it was told.
    ///
    /// # Errors
    ///
    /// It has stopped here.
    pub async fn members(&self) -> io::Result<BTreeMap<u64, String>> {
        let members = self.raft.with_raft_state(|state| {
            let nodes = state.membership_state.effective().membership().nodes();
            nodes.map(|(number, node)| (*number, node.address.clone())).collect()
        });
        members.await.map_err(io::Error::other)
    }

    /// Where a member is reached, as far as this node knows.
    pub fn address(&self, member: u64) -> Option<String> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let node = metrics.membership_config.membership().get_node(&member);
        node.map(|node| node.address.clone())
    }

    /// Whether this node leads, nobody else has a vote, and its machine has all that was acknowledged
    /// before it led. What it acknowledges itself its machine has done before.
    ///
    /// That others have a vote is known here before it counts: they can only elect another leader
    /// once they have been told so by this one, by an entry that follows one that says so already.
    pub fn leads_alone(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let this = Some(metrics.id);
        let mut voters = metrics.membership_config.membership().voter_ids();
        // The first entry of a reign stands behind all that was acknowledged before it.
        let of_reign = |applied: LogId| applied.leader_id.term == metrics.vote.leader_id.term;
        metrics.current_leader == this
            && metrics.last_applied.is_some_and(of_reign)
            && voters.next() == this
            && voters.next().is_none()
    }

    /// Whether it was ever begun, as far as this node knows.
    ///
    /// # Errors
    ///
    /// It has stopped here.
    pub async fn is_founded(&self) -> io::Result<bool> {
        self.raft.is_initialized().await.map_err(io::Error::other)
    }

    /// Whether this node takes part no longer, for whatever reason.
    pub fn has_stopped(&self) -> bool {
        self.raft.metrics().borrow_watched().running_state.is_err()
    }

    /// Why this node takes part no longer, if it was not [stopped](Self::stop) and is not about to be: its
    /// log or its machine has failed.
    pub fn failure(&self) -> Option<String> {
        match &self.raft.metrics().borrow_watched().running_state {
            Ok(()) | Err(Fatal::Stopped) => None,
            Err(_) if self.installing.is_abandoned.load(Ordering::Acquire) => None,
            Err(why) => Some(why.to_string()),
        }
    }

    /// Makes the machine durable as it is now, or later.
    ///
    /// # Errors
    ///
    /// The group has stopped here, or the machine takes longer than a minute.
    pub async fn persist(&self) -> io::Result<()> {
        self.persist_applied().await.map(drop)
    }

    /// Makes the machine durable, and forgets the history up to there but for the last `kept` entries,
    /// and for all behind entry `from` if there is one: a replica that lacks more than those has to
    /// become a view of this one.
    ///
    /// # Errors
    ///
    /// The group has stopped here, or the machine takes longer than a minute.
    pub async fn forget_history(&self, kept: u64, from: Option<u64>) -> io::Result<()> {
        let applied = self.persist_applied().await?;
        let Some(upto) = applied.and_then(|applied| applied.checked_sub(kept)) else {
            return Ok(());
        };
        let upto = from.map_or(upto, |from| upto.min(from));
        if upto == 0 {
            // Who has nothing is said to have entry 0.
            return Ok(());
        }
        self.raft.trigger().purge_log(upto).await.map_err(io::Error::other)
    }

    /// The last entry that each other member has, as far as that is known, of those that can go on from
    /// what this node keeps of the history; one that is being given a view has it. `None` if there is
    /// none, or this node does not lead.
    pub fn held_by_all(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let forgotten = metrics.purged.map_or(0, |purged| purged.index);
        let said = Standing::new(&metrics).matched;
        let said = said.into_iter().filter(|(node, _)| *node != self.node());
        self.holdings.held_by_all(metrics.current_term, said, forgotten)
    }

    /// The index up to which at least the machine is durable then.
    async fn persist_applied(&self) -> io::Result<Option<u64>> {
        if self.installing.is_under_way.load(Ordering::Acquire) {
            // It would be waited for, and is durable when it is there.
            return Ok(None);
        }
        if self.has_stopped() {
            let why = self.failure();
            return Err(io::Error::other(why.unwrap_or_else(|| "it has stopped here".to_owned())));
        }
        let applied = self.raft.metrics().borrow_watched().last_applied;
        let Some(applied) = applied.map(|applied| applied.index) else { return Ok(None) };
        self.raft.trigger().snapshot().await.map_err(io::Error::other)?;
        let durable = |metrics: &RaftMetrics<Types>| {
            metrics.snapshot.is_some_and(|snapshot| snapshot.index >= applied)
        };
        let patience = Some(Duration::from_mins(1));
        let waited = self.raft.wait(patience).metrics(durable, "the machine is durable").await;
        waited.map_err(io::Error::other)?;
        Ok(Some(applied))
    }

    /// Answers a call of another node of the group.
    pub fn receive(&self, from: u64, kind: Kind, message: Bytes) -> Answer {
        self.inbox.receive(from, kind, message)
    }

    /// Has the machine become no view any more, which may take long: that is done when the group is opened
    /// again. If it was becoming one, the group stops.
    pub fn abandon_view(&self) {
        self.installing.is_abandoned.store(true, Ordering::Release);
    }

    /// Takes part no longer. The log and the machine are closed once this is dropped.
    ///
    /// # Errors
    ///
    /// What had stopped it before.
    pub async fn stop(&self) -> io::Result<()> {
        self.abandon_view();
        self.raft.shutdown().await.map_err(io::Error::other)
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").finish_non_exhaustive()
    }
}

async fn is_sole_voter(raft: &openraft::Raft<Types, Operator>) -> io::Result<bool> {
    let this = Some(*raft.node_id());
    let alone = raft.with_raft_state(move |state| {
        let mut voters = state.membership_state.effective().membership().voter_ids();
        voters.next() == this && voters.next().is_none()
    });
    alone.await.map_err(io::Error::other)
}

/// An election waits three times as long as the worst sync of a busy disk takes, 400 ms, at most; who
/// leads tells so six times in that. Snapshots are asked for by us: only we know what is durable.
fn config() -> Result<Config, openraft::ConfigError> {
    Config {
        cluster_name: "larder".to_owned(),
        heartbeat_interval: 150,
        election_timeout_min: 500,
        election_timeout_max: 1000,
        snapshot_policy: SnapshotPolicy::Never,
        max_payload_entries: 64,
        replication_lag_threshold: 1000,
        // History is forgotten when we say so, and as far. A second rule, which asks for less than was
        // asked for already, is taken for an error.
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(true),
        // Who led and comes back in the same term does not know how much of its log was acknowledged,
        // and would answer reads without the end of it; who is elected anew has all of it.
        enable_leader_restore: Some(false),
        ..Config::default()
    }
    .validate()
}
