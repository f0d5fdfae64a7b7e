//! The thread that finds out who may answer the reads of a node among others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use larder_consensus::Reign;
use larder_protocol::Outcome;

use crate::command::Command;
use crate::failure;
use crate::forward;
use crate::groups::Groups;
use crate::partition::Partition;
use crate::proposer::outcomes;
use crate::reader::finish;
use crate::renewal::renew;
use crate::replica::{Part, Replica};
use crate::shared::Shared;

/// The thread that finds out who may answer the reads of a node among others, for each group by itself.
///
/// If it is this one, for a majority has said so since they were asked, they go to the reading
/// threads. If another one leads, that one is asked all that waits. A read that got no answer changed
/// nothing, and is asked again.
pub(crate) struct Confirmer {
    shared: Arc<Shared>,
    groups: Arc<Groups>,
}

impl Confirmer {
    pub(crate) fn new(shared: Arc<Shared>, groups: Arc<Groups>) -> Self {
        Self { shared, groups }
    }

    /// Sends reads on until all groups are closed, none waits and none is under way.
    pub(crate) fn run(self) {
        let ways = Arc::clone(&self.shared.ways);
        let mut open = ways.partitions().len();
        while open > 0 {
            let called = self.groups.runtime().block_on(ways.confirming.wait());
            let Some(partition) = ways.partition(called) else { continue };
            let part = self.groups.part(partition.group);
            // A range goes in a call of its own.
            let (room, apart) =
                if let Part::Follows(_) = part { (CALLS, true) } else { (1, false) };
            match partition.asked.begin_round(room, MAX_READS, apart) {
                Some(reads) if reads.is_empty() => {}
                Some(reads) => self.send(partition, reads, part),
                None => open -= 1,
            }
            if partition.freshness.is_used()
                && let Some(question) = partition.freshness.begin_question(Instant::now())
            {
                let is_poisoned = self.shared.health.is_poisoned();
                let part = if is_poisoned { Part::Gone } else { part };
                renew(&self.groups, partition, part, question);
            }
        }
    }

    /// Sends reads to who may answer, but for those that have waited too long.
    fn send(&self, partition: &Arc<Partition>, mut reads: Vec<Command>, part: Part) {
        let shared = &self.shared;
        if partition.is_left() {
            self.groups.pass_on(partition.group);
        }
        let (now, patience) = (Instant::now(), self.groups.patience());
        let late = reads.extract_if(.., |read| read.is_late(now, patience)).collect();
        fail(shared, late, failure::UNCONFIRMED);
        if !matches!(part, Part::Leads(_)) {
            let strangers = reads.extract_if(.., |read| read.forwarded.is_some()).collect();
            fail(shared, strangers, failure::BOUNCED);
        }
        match (part, self.groups.replica(partition.group)) {
            (Part::Leads(_), Some(replica)) => self.confirm(partition, reads, replica, now),
            (Part::Follows(reign), _) => self.forward(partition, reads, reign),
            (Part::Gone, _) => {
                fail(shared, reads.into(), failure::UNCONFIRMED);
                partition.asked.round_over();
            }
            (Part::Leads(_) | Part::Waits, _) => {
                let (shared, partition) = (Arc::clone(shared), Arc::clone(partition));
                drop(self.groups.runtime().spawn(ask_again_later(shared, partition, reads)));
            }
        }
    }

    /// Has the reading threads answer, once a majority says that this node leads, which is asked at `now`.
    fn confirm(
        &self,
        partition: &Arc<Partition>,
        mut reads: Vec<Command>,
        replica: Arc<Replica>,
        now: Instant,
    ) {
        let (shared, partition) = (Arc::clone(&self.shared), Arc::clone(partition));
        let tenure = partition.freshness.tenure();
        for read in &mut reads {
            read.tenure = tenure;
        }
        partition.share(!replica.leads_alone());
        if replica.leads_alone() {
            partition.freshness.learn(now, tenure);
            to_readers(&shared, reads);
            return partition.asked.round_over();
        }
        let patience = self.groups.left(&reads);
        drop(self.groups.runtime().spawn(async move {
            if replica.confirm(patience).await {
                partition.freshness.learn(now, tenure);
                to_readers(&shared, reads);
                partition.asked.round_over();
            } else {
                ask_again_later(shared, partition, reads).await;
            }
        }));
    }

    /// Has the node that leads answer.
    fn forward(&self, partition: &Arc<Partition>, reads: Vec<Command>, reign: Reign) {
        if reads.is_empty() {
            return partition.asked.round_over();
        }
        let group = partition.group;
        let is_range = reads.iter().any(Command::is_range);
        let kind = if is_range { forward::RANGE } else { forward::READS };
        let body = forward::encode_reads(group, reads.iter().map(Command::asked));
        let patience = self.groups.left(&reads);
        let (shared, partition) = (Arc::clone(&self.shared), Arc::clone(partition));
        let guide = self.groups.guide().cloned();
        let done = async move |answer| {
            let (mut again, mut wakers) = (Vec::new(), Vec::new());
            for (read, outcome) in outcomes(reads, answer) {
                match outcome {
                    Outcome::Failed(failure::BOUNCED | failure::CLOSED | failure::LOST) => {
                        again.push(read);
                    }
                    Outcome::Failed(failure::WRITES) => end(&shared, read, None, &mut wakers),
                    outcome => end(&shared, read, Some(outcome), &mut wakers),
                }
            }
            wakers.into_iter().for_each(Waker::wake);
            if again.is_empty() {
                return partition.asked.round_over();
            }
            if let Some(guide) = guide {
                guide.refute(group, reign);
            }
            ask_again_later(shared, partition, again).await;
        };
        // Each of ours can be written.
        self.groups.forward(group, reign, kind, body.unwrap_or_default(), patience, done);
    }
}

fn to_readers(shared: &Shared, reads: Vec<Command>) {
    if let Err(reads) = shared.ways.reads.put_back(reads.into()) {
        fail(shared, reads, failure::CLOSED);
    }
}

/// Has the reads of a round begin anew in a while, which ends it.
async fn ask_again_later(shared: Arc<Shared>, partition: Arc<Partition>, reads: Vec<Command>) {
    tokio::time::sleep(PAUSE).await;
    ask_again(&shared, reads);
    partition.asked.round_over();
}

/// Answers a read, and sends on what waits behind it; one without an answer is to go where writes go.
pub(crate) fn end(
    shared: &Shared,
    read: Command,
    outcome: Option<Outcome<'static>>,
    wakers: &mut Vec<Waker>,
) {
    let (answered, mut next) = finish(shared, read, outcome, wakers);
    shared.counters.reads.add(answered);
    while let Some(command) = next.take() {
        let flight = command.flight.clone();
        let written = || flight.and_then(|flight| flight.written_elsewhere());
        if let Some(command) = shared.ways.read_stale(command, written) {
            let closed = Outcome::Failed(failure::CLOSED);
            next = finish(shared, command, Some(closed), wakers).1;
        }
    }
}

/// Sends on a read that cannot be answered here: it begins anew, here or where it came from.
pub(crate) fn pass_on(shared: &Shared, read: Command, wakers: &mut Vec<Waker>) {
    if read.forwarded.is_some() {
        return end(shared, read, Some(Outcome::Failed(failure::BOUNCED)), wakers);
    }
    ask_again(shared, vec![read]);
}

/// Has reads of a group begin anew.
pub(crate) fn ask_again(shared: &Shared, reads: Vec<Command>) {
    let group = reads.first().and_then(|read| shared.ways.partition(read.group));
    let Some(partition) = group else { return };
    if let Err(reads) = partition.asked.put_back(reads.into()) {
        fail(shared, reads, failure::CLOSED);
    }
}

fn fail(shared: &Shared, reads: VecDeque<Command>, why: &'static str) {
    let mut wakers = Vec::new();
    for read in reads {
        end(shared, read, Some(Outcome::Failed(why)), &mut wakers);
    }
    wakers.into_iter().for_each(Waker::wake);
}

/// So many calls with reads are on their way at once.
const CALLS: usize = 4;
/// So many reads share one.
const MAX_READS: usize = 1024;
/// Before what got no answer is asked again.
const PAUSE: Duration = Duration::from_millis(5);
