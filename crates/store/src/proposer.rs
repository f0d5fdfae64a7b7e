//! What gathers commands into entries, and proposes them to their groups.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use larder_consensus::{Reign, Unproposed};
use larder_peer::CallError;
use larder_protocol::{Outcome, told};
use tokio::sync::oneshot;

use crate::answers::Answers;
use crate::apply::{Admission, Answer, Batch};
use crate::command::Command;
use crate::entry::{self, Proposal};
use crate::error::Error;
use crate::failure;
use crate::forward::{self, Place};
use crate::groups::Groups;
use crate::options::Options;
use crate::partition::Partition;
use crate::proposals::Next;
use crate::replica::{Part, Replica};
use crate::shared::Shared;

/// What gathers commands into entries, and proposes them to their groups, or forwards them to the nodes
/// that may.
///
/// What an entry comes to, and whether it does, is known when the group's history brings it back to
/// the machine, which answers. Of each group one is on its way at a time, and the next gathers all that
/// comes meanwhile: more of them overlap, but are smaller, and cost more than they bring. What is
/// forwarded is one more, which is there when the first is done.
///
/// What surely was not taken is sent anew, before all else, for as long as its clients may be kept
/// waiting. It is known of all that was sent before what became of it by then.
///
/// A group that cannot go on is left until it is called for, so that the others can: nothing here waits
/// for another node.
pub(crate) struct Proposer {
    shared: Arc<Shared>,
    groups: Arc<Groups>,
}

/// How far one group is.
struct Course {
    partition: Arc<Partition>,
    /// The number of the last proposal, or of what was forwarded last.
    number: u64,
    /// The part in which that was, and behind what is to be forwarded next.
    part: Part,
    follows: u64,
    halt: Halt,
}

/// What a group waits for, besides commands and what becomes of those before.
enum Halt {
    None,
    /// The time to send again what was given back.
    Again(Vec<Command>),
    /// The engine's background work, or that a cut is taken, with what is in hand, to be proposed in
    /// that reign.
    Behind(Reign),
    /// Whether this node has all that was acknowledged: then what is in hand is refused with that, but
    /// for what changes nothing.
    Confirmed(&'static str, oneshot::Receiver<bool>),
}

impl Proposer {
    pub(crate) fn new(shared: Arc<Shared>, groups: Arc<Groups>) -> Self {
        Self { shared, groups }
    }

    /// Proposes until all groups are closed, nothing waits, and all that was proposed is done.
    pub(crate) async fn run(self) {
        let ways = &self.shared.ways;
        let mut courses: Vec<_> = ways.partitions().iter().map(Course::new).collect();
        let mut open = courses.len();
        while open > 0 {
            // Groups are numbered from 1 on.
            let at = usize::try_from(ways.proposing.wait().await.saturating_sub(1));
            let at = at.unwrap_or(usize::MAX);
            let Some(course) = courses.get_mut(at) else { continue };
            if !self.go_on(course).await {
                open -= 1;
            }
        }
    }

    /// Goes on with a group that has called. `false` once it has come to its end.
    async fn go_on(&self, course: &mut Course) -> bool {
        course.partition.proposals.attend();
        match std::mem::replace(&mut course.halt, Halt::None) {
            Halt::None => {}
            Halt::Again(commands) => {
                self.send(course, commands).await;
                return true;
            }
            Halt::Behind(reign) => {
                self.lead_on(course, reign).await;
                return true;
            }
            Halt::Confirmed(why, mut confirmed) => {
                self.refuse(course, why, confirmed.try_recv() == Ok(true));
                return true;
            }
        }
        let room = match self.turn(course) {
            Part::Follows(_) => FORWARDED,
            _ => 1,
        };
        let options = &self.shared.options;
        let gather = |waiting: &mut _, taken: &mut _| gather(waiting, taken, options);
        match course.partition.proposals.next(room, gather) {
            Next::Again(commands) => {
                course.follows = 0;
                self.halt(course, Halt::Again(commands), PAUSE);
            }
            Next::Gathered(commands) => self.send(course, commands).await,
            Next::Nothing => {}
            Next::Ended => return false,
        }
        true
    }

    /// Has the group wait for so long, and then call.
    fn halt(&self, course: &mut Course, halt: Halt, time: Duration) {
        course.halt = halt;
        course.partition.proposals.pause();
        let partition = Arc::clone(&course.partition);
        drop(self.groups.runtime().spawn(async move {
            tokio::time::sleep(time).await;
            partition.proposals.resume();
        }));
    }

    /// Sends commands to who leads, but for those that have waited too long.
    async fn send(&self, course: &mut Course, mut commands: Vec<Command>) {
        let (now, patience) = (Instant::now(), self.groups.patience());
        let late = commands.extract_if(.., |command| command.is_late(now, patience)).collect();
        self.fail(late, failure::NO_LEADER);
        let partition = Arc::clone(&course.partition);
        let part = self.turn(course);
        let term = match part {
            Part::Leads(reign) => Some(reign.term),
            _ => None,
        };
        let strange = |command: &mut Command| command.forwarded.is_some_and(|of| Some(of) != term);
        let strangers = commands.extract_if(.., strange).collect();
        self.fail(strangers, failure::BOUNCED);
        if part != course.part && !commands.is_empty() {
            // Who led before may not have taken what was sent last: that comes first.
            course.number += 1;
            partition.proposals.give_back(course.number, commands);
            return;
        }
        if !matches!(part, Part::Leads(_)) {
            // It is who leads that takes back the dead.
            commands.retain(|command| !command.is_own());
        }
        if commands.is_empty() {
            // Others may wait behind them.
            partition.proposals.resume();
            return;
        }
        match part {
            Part::Leads(reign) => self.lead(course, commands, reign).await,
            Part::Follows(reign) => self.forward(course, commands, reign),
            Part::Waits => {
                if self.groups.leaves(partition.group) {
                    self.groups.pass_on(partition.group);
                }
                course.number += 1;
                partition.proposals.give_back(course.number, commands);
            }
            Part::Gone => {
                partition.proposing.begin(&mut commands);
                let why = self.shared.health.poisoned().unwrap_or(failure::NO_LEADER);
                self.refuse_when_known(course, why);
            }
        }
    }

    /// Which part this node has, which it takes up as soon as it is known what became of all that was sent
    /// before. What others have forwarded for a former one does not wait for that: of two nodes of which each has
    /// taken the other for the leader, neither would be answered.
    fn turn(&self, course: &mut Course) -> Part {
        let proposals = &course.partition.proposals;
        let part = self.groups.part(course.partition.group);
        if part != course.part {
            self.fail(proposals.stand_down(), failure::BOUNCED);
            if proposals.is_settled() {
                (course.part, course.follows) = (part, 0);
                if let Part::Leads(reign) = part {
                    proposals.take_up(reign.term);
                    if self.shared.is_among_others() {
                        // What this node found dead it left to who led.
                        self.shared.counters.forgotten.add(1);
                    }
                }
            }
        }
        part
    }

    fn fail(&self, commands: Vec<Command>, why: &'static str) {
        let mut answers = Answers::default();
        for command in commands {
            answers.give(command, Answer::failed(why), &self.shared);
        }
        answers.wake();
    }

    /// Proposes what is admitted here.
    async fn lead(&self, course: &mut Course, mut commands: Vec<Command>, reign: Reign) {
        let now = self.shared.clock.now();
        for command in &mut commands {
            command.judge_anew(now);
        }
        let hand = &course.partition.proposing;
        hand.begin(&mut commands);
        if self.shared.storage.is_behind() {
            hand.wait_for_background();
            self.halt(course, Halt::Behind(reign), BACKGROUND_PAUSE);
        } else {
            self.propose(course, reign).await;
        }
    }

    /// Proposes what is in hand once a commit would not wait. What was given up meanwhile is not done.
    async fn lead_on(&self, course: &mut Course, reign: Reign) {
        // The keeper notices an engine that will not catch up.
        let is_behind = self.shared.storage.is_behind() && !self.shared.health.is_poisoned();
        if is_behind || course.partition.proposals.is_held() {
            self.halt(course, Halt::Behind(reign), BACKGROUND_PAUSE);
            return;
        }
        let mut given_up = Vec::new();
        course.partition.proposing.start_over(&mut given_up);
        for command in given_up {
            if let Some(flight) = &command.flight {
                flight.write_done(&command, &self.shared.ways);
            }
        }
        self.propose(course, reign).await;
        if let Halt::None = course.halt {
            // What came meanwhile has called nobody.
            course.partition.proposals.resume();
        }
    }

    /// Proposes all that is in hand, as far as it is admitted.
    async fn propose(&self, course: &mut Course, reign: Reign) {
        let (shared, partition) = (&self.shared, &course.partition);
        partition.proposing.wait();
        let admission = shared.health.admission(shared.storage.room().ok());
        partition.proposing.go_on();
        let Some(replica) = self.groups.replica(partition.group) else {
            return self.refuse(course, failure::NO_LEADER, false);
        };
        if self.groups.leaves(partition.group) {
            // Whoever leads next does them.
            let mut commands = Vec::new();
            partition.proposing.take(usize::MAX, &mut commands);
            course.number += 1;
            return partition.proposals.give_back(course.number, commands);
        }
        if let Admission::Nothing(why) = admission {
            return self.refuse_when_known(course, why);
        }
        if partition.proposing.begun().is_empty() {
            return;
        }
        course.number += 1;
        let number = course.number;
        let entry = self.entry(partition, number, admission);
        let mut commands = Vec::new();
        partition.proposing.take(usize::MAX, &mut commands);
        let patience = self.groups.left(&commands);
        // Before it is proposed: it may be done before this thread goes on.
        if let Err(mut commands) = partition.proposals.add_unless_held(number, commands) {
            partition.proposing.begin(&mut commands);
            return self.halt(course, Halt::Behind(reign), BACKGROUND_PAUSE);
        }
        let lost = self.lost(partition, &replica, number);
        match entry {
            Some(entry) if entry.len() > self.groups.max_entry() => {
                let commands = partition.proposals.take(number, usize::MAX);
                let mut answers = Answers::default();
                for command in commands {
                    let answer = Answer { outcome: Outcome::TooLarge, wrote: false };
                    answers.give(command, answer, shared);
                }
                answers.wake();
            }
            Some(entry) => replica.propose(entry, reign, patience, lost).await,
            // None of ours is such.
            None => lost(Unproposed::NotLeader(None)),
        }
    }

    /// The entry of this number with all that is in hand, if that can be written.
    fn entry(&self, partition: &Partition, number: u64, admission: Admission) -> Option<Bytes> {
        let begun = partition.proposing.begun();
        self.shared.counters.largest_batch.raise(begun.len() as u64);
        let proposal = Proposal { proposer: partition.proposer, number };
        entry::encode(proposal, admission, begun.iter().map(Command::asked))
    }

    /// What is to be done when a proposal is lost.
    fn lost(
        &self,
        partition: &Arc<Partition>,
        replica: &Arc<Replica>,
        number: u64,
    ) -> impl FnOnce(Unproposed) + Send + use<> {
        let (shared, partition) = (Arc::clone(&self.shared), Arc::clone(partition));
        let replica = Arc::downgrade(replica);
        move |why| {
            if let Unproposed::NotLeader(_) = why {
                let commands = partition.proposals.withdraw(number);
                partition.proposals.give_back(number, commands);
                return;
            }
            let failed = replica.upgrade().and_then(|replica| replica.failure());
            let told = if let Some(why) = failed {
                let why = std::io::Error::other(why);
                shared.health.poison(Error::io("write to", &shared.path)(why));
                failure::UNKNOWN
            } else {
                failure::LOST
            };
            let mut answers = Answers::default();
            for command in partition.proposals.take(number, usize::MAX) {
                answers.give(command, Answer::failed(told), &shared);
            }
            answers.wake();
        }
    }

    /// Answers all that is in hand, now that no change is taken, as soon as it is known what may be read.
    fn refuse_when_known(&self, course: &mut Course, why: &'static str) {
        let partition = &course.partition;
        let Some(replica) = self.groups.replica(partition.group) else {
            return self.refuse(course, why, false);
        };
        if replica.leads_alone() {
            return self.refuse(course, why, true);
        }
        let (told, confirmed) = oneshot::channel();
        let patience = self.groups.patience();
        partition.proposals.pause();
        let asking = Arc::clone(partition);
        drop(self.groups.runtime().spawn(async move {
            // Who asks waits for it.
            let _ = told.send(replica.confirm(patience).await);
            asking.proposals.resume();
        }));
        course.halt = Halt::Confirmed(why, confirmed);
    }

    /// Answers all that is in hand: what would change something with `why`, the rest as ever, if this node
    /// has all that was acknowledged.
    fn refuse(&self, course: &Course, why: &'static str, confirmed: bool) {
        let (shared, partition) = (&*self.shared, &*course.partition);
        let hand = &partition.proposing;
        let read = |key: &[u8]| {
            hand.wait();
            shared.record(partition.group, key)
        };
        let begun = hand.begun();
        let mut batch = Batch::new(partition.published.state(), &read);
        let mut refused = Vec::new();
        for command in &*begun {
            refused.push(if confirmed {
                batch.step(&command.asked(), Admission::Nothing(why))
            } else {
                Answer::failed(why)
            });
        }
        drop(batch);
        drop(begun);
        hand.go_on();
        let (mut commands, mut answers) = (Vec::new(), Answers::default());
        hand.take(refused.len(), &mut commands);
        for (command, answer) in commands.into_iter().zip(refused) {
            answers.give(command, answer, shared);
        }
        answers.wake();
        // Others may wait behind them.
        partition.proposals.resume();
    }

    /// Sends commands to the node that leads, which answers them.
    fn forward(&self, course: &mut Course, commands: Vec<Command>, reign: Reign) {
        let (shared, partition) = (Arc::clone(&self.shared), Arc::clone(&course.partition));
        let (group, guide) = (partition.group, self.groups.guide().cloned());
        course.number += 1;
        let (number, follows) = (course.number, course.follows);
        let place = Place { proposer: partition.proposer, number, follows };
        let body = forward::encode(group, reign.term, place, commands.iter().map(Command::asked));
        course.follows = number;
        let patience = self.groups.left(&commands);
        partition.proposals.add(number, commands);
        let done = async move |answer| {
            let commands = partition.proposals.withdraw(number);
            let (mut again, mut is_lost) = (Vec::new(), false);
            let mut answers = Answers::default();
            for (command, outcome) in outcomes(commands, answer) {
                match outcome {
                    // Who leads no longer, or is about to, has done nothing of it.
                    Outcome::Failed(failure::BOUNCED | failure::CLOSED) => again.push(command),
                    outcome => {
                        if shared.options.stale_reads.is_some()
                            && !matches!(outcome, Outcome::Failed(_))
                            && let Some(flight) = &command.flight
                        {
                            flight.write_elsewhere();
                        }
                        is_lost |= matches!(outcome, Outcome::Failed(failure::LOST));
                        let answer = Answer { outcome, wrote: false };
                        answers.give(command, answer, &shared);
                    }
                }
            }
            if let Some(guide) = guide
                && (is_lost || !again.is_empty())
            {
                guide.refute(group, reign);
            }
            partition.proposals.give_back(number, again);
            answers.wake();
        };
        // Each of ours can be written.
        let body = body.unwrap_or_default();
        self.groups.forward(group, reign, forward::WRITES, body, patience, done);
    }
}

impl Course {
    fn new(partition: &Arc<Partition>) -> Self {
        let (partition, part) = (Arc::clone(partition), Part::Waits);
        Self { partition, number: 0, part, follows: 0, halt: Halt::None }
    }
}

/// What commands came to that another node was asked to do.
pub(crate) fn outcomes(
    commands: Vec<Command>,
    answer: Result<Bytes, CallError>,
) -> impl Iterator<Item = (Command, Outcome<'static>)> {
    let instead = match &answer {
        Ok(_) => Outcome::Failed(failure::SENSELESS),
        Err(CallError::Unknown(_)) => Outcome::Failed(failure::LOST),
        // It has nothing of it, or does not want it yet.
        Err(CallError::NotSent(_) | CallError::TooMany { .. } | CallError::Refused(_)) => {
            Outcome::Failed(failure::BOUNCED)
        }
        Err(CallError::TooLarge { .. }) => Outcome::TooLarge,
    };
    let told =
        answer.ok().and_then(|answer| told::read(&answer, commands.len(), failure::of_number));
    let told = told.into_iter().flatten().chain(std::iter::repeat(instead));
    commands.into_iter().zip(told)
}

/// Takes what may share one entry.
fn gather(waiting: &mut VecDeque<Command>, taken: &mut Vec<Command>, options: &Options) {
    let mut bytes = 0_usize;
    while let Some(command) = waiting.front() {
        bytes = bytes.saturating_add(command.bytes());
        let full = taken.len() >= options.batch_commands || bytes > options.batch_bytes;
        if full && !taken.is_empty() {
            break;
        }
        taken.extend(waiting.pop_front());
    }
}

/// How much may be forwarded before the first of it is answered: with the next, the one that leads has
/// something to do at once.
const FORWARDED: usize = 2;
/// Before what was not taken is sent again: who leads next is known some tenths of a second later.
const PAUSE: Duration = Duration::from_millis(5);
const BACKGROUND_PAUSE: Duration = Duration::from_millis(2);
