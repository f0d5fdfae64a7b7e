//! Who is there, decided from what is heard. No sockets, no clock, no chance but what is given.
//!
//! Foca decides who is alive. What it does not do is here: who may have a name, where to knock, and to
//! go on calling the lost when no other is left.
//!
//! A node is *inside* when it is of a cluster, be it of itself alone. It is *outside* while another has
//! its name: then it says nothing but knocks until it is let in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foca::{Foca, Incarnation, NoCustomBroadcast, PostcardCodec, State};
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tracing::debug;

use super::identity::Identity;
use super::message::{encode, question};
use super::output::{Effects, Notice, Output};
use super::report::SilentSeed;
use super::seeds::Seeds;
use super::timers::Task;
use super::timing::{ASK_SUSPECT, ASK_WHY, CALL_THE_LOST, STAND_BACK, TAKEN, config};
use crate::member::{Member, Stage};

mod door;
mod gossip;
mod roll;

/// To how many others a node goes back that had to leave, besides its seeds.
const DOORS: usize = 8;

type Swim = Foca<Identity, PostcardCodec, SmallRng, NoCustomBroadcast>;

/// Who is there, decided from what is heard. Time is counted from when it was made, and never goes
/// back.
pub(super) struct Engine {
    me: Identity,
    standing: Standing,
    /// It is of the cluster as far as it can be, and whether it has said so.
    settled: bool,
    said_settled: bool,
    effects: Effects,
    seeds: Seeds,
    chance: SmallRng,
    version: u32,
    /// In the order of names.
    members: Vec<Arc<Member>>,
    /// When it last said under a new identity that it is there.
    renewed: Option<Duration>,
    /// When it last knocked at one who does not listen.
    asked_why: Option<Duration>,
}

enum Standing {
    Inside(Box<Swim>),
    Outside {
        /// Who has the name.
        rival: Identity,
        /// When that was last heard.
        told: Duration,
    },
    Gone,
}

impl Engine {
    /// That of `me`, which is to join those who are at `seeds`. All chance comes from `seed`.
    pub(super) fn new(me: Member, seeds: &[String], seed: u64) -> Self {
        let seeds = Seeds::new(seeds, &me.peer_address);
        let me = Identity { member: Arc::new(me), bump: 0 };
        let mut engine = Self {
            settled: seeds.is_empty(),
            said_settled: false,
            standing: Standing::Gone,
            effects: Effects::default(),
            seeds,
            chance: SmallRng::seed_from_u64(seed),
            version: 0,
            members: vec![Arc::clone(&me.member)],
            me,
            renewed: None,
            asked_why: None,
        };
        engine.version = engine.second();
        engine.enter();
        engine.review();
        engine
    }

    /// What is to be done, in this order.
    pub(super) fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.effects.outputs)
    }

    /// When [`tick`](Self::tick) is due, unless something else happens first.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let forgiven = match self.standing {
            Standing::Inside(_) => None,
            Standing::Outside { told, .. } => Some(told + STAND_BACK),
            Standing::Gone => return None,
        };
        let dues = [self.effects.timers.next_due(), self.seeds.next_due(), forgiven];
        dues.into_iter().flatten().min()
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Duration) {
        self.effects.now = now;
        self.effects.timers.notice_stall(now);
        while let Some(task) = self.effects.timers.take(now) {
            match task {
                Task::Foca(timer) => self.swim(|swim, effects| swim.handle_timer(timer, effects)),
                Task::CallTheLost => self.call_the_lost(),
                Task::AskSuspect(suspect, life) => self.ask_suspect(suspect, life),
            }
        }
        if let Standing::Outside { told, .. } = self.standing
            && now >= told + STAND_BACK
        {
            self.effects.tell(Notice::LetIn);
            self.enter();
            self.settle();
        }
        if !matches!(self.standing, Standing::Gone) {
            while let Some(at) = self.seeds.take(now) {
                self.knock(at);
            }
        }
        self.review();
    }

    /// This node owns its part of the keys from now on.
    pub(super) fn begin_serving(&mut self, now: Duration) {
        self.enter_stage(Stage::Serving, now);
    }

    fn enter_stage(&mut self, stage: Stage, now: Duration) {
        self.effects.now = now;
        if self.me.member.stage < stage {
            self.change(Identity {
                member: Arc::new(Member { stage, ..Member::clone(&self.me.member) }),
                bump: self.me.bump.saturating_add(1),
            });
        }
        self.review();
    }

    /// This node is about to go: it owns no key from now on.
    pub(super) fn begin_leaving(&mut self, now: Duration) {
        self.enter_stage(Stage::Leaving, now);
    }

    /// This node is gone. It takes nothing any more.
    pub(super) fn leave(&mut self, now: Duration) {
        // Who is lost is called for an hour, who has left is not: that is how others tell.
        self.begin_leaving(now);
        self.swim(|swim, effects| {
            swim.leave_cluster(&mut *effects)?;
            // Each time three are told, by chance.
            for _ in 0..swim.num_members().min(24).div_ceil(3) {
                swim.gossip(&mut *effects)?;
            }
            Ok(())
        });
        self.vanish();
    }

    /// This node is gone without a word.
    pub(super) fn vanish(&mut self) {
        self.standing = Standing::Gone;
        self.settled = true;
        self.effects.timers.clear();
        self.review();
    }

    /// Whether it will knock at that address again.
    pub(super) fn is_seed(&self, address: &str) -> bool {
        self.seeds.has(address)
    }

    fn is_gone(&self) -> bool {
        matches!(self.standing, Standing::Gone)
    }

    pub(super) fn silent_seeds(&self, now: Duration) -> Vec<SilentSeed> {
        let report = |(address, at, why): (&Arc<str>, Duration, &Arc<str>)| SilentSeed {
            address: Arc::clone(address),
            since: now.saturating_sub(at),
            why: Arc::clone(why),
        };
        self.seeds.silent().map(report).collect()
    }

    /// Has foca do something, if it is of a cluster.
    fn swim(&mut self, stroke: impl FnOnce(&mut Swim, &mut Effects) -> Result<(), foca::Error>) {
        let Standing::Inside(swim) = &mut self.standing else { return };
        // Foca takes note of whether it has company only when it is given members.
        let done = stroke(swim, &mut self.effects)
            .and_then(|()| swim.apply_many(std::iter::empty(), false, &mut self.effects));
        if let Err(error) = done {
            debug!("gossip: {error}");
        }
        if self.me != *swim.identity() {
            self.me = swim.identity().clone();
            self.effects.touched = true;
        }
    }

    /// Is another from now on.
    fn change(&mut self, me: Identity) {
        if let Standing::Inside(_) = self.standing {
            self.swim(|swim, effects| swim.change_identity(me, effects));
        } else {
            self.me = me;
            self.effects.touched = true;
        }
    }

    /// Is of a cluster from now on, which is this node alone.
    fn enter(&mut self) {
        let chance = SmallRng::seed_from_u64(self.chance.random());
        let swim = Foca::new(self.me.clone(), config(1), chance, PostcardCodec);
        self.standing = Standing::Inside(Box::new(swim));
        self.effects.timers.set(Task::CallTheLost, self.effects.now + CALL_THE_LOST.0);
    }

    /// Leaves the cluster to another that has the name of this node, as `by` says.
    fn step_back(&mut self, by: &Identity, rival: Identity, notice: fn(Arc<Member>) -> Notice) {
        let now = self.effects.now;
        match &mut self.standing {
            Standing::Outside { rival: known, told } => {
                *told = now;
                if *known == rival {
                    return;
                }
                *known = rival.clone();
            }
            Standing::Inside(_) => {
                let doors = [by, &rival].map(|door| &door.member.peer_address).into_iter();
                let doors: Vec<_> = doors.chain(self.addresses()).take(DOORS).cloned().collect();
                self.seeds.find(doors.into_iter(), now + TAKEN);
                self.effects.timers.clear();
                self.effects.touched = true;
                self.settled = false;
                self.standing = Standing::Outside { rival: rival.clone(), told: now };
            }
            Standing::Gone => return,
        }
        self.seeds.again(None, now, TAKEN, &mut self.chance);
        self.effects.tell(notice(rival.member));
    }

    /// Takes note of whether it is of the cluster as far as it can be.
    fn settle(&mut self) {
        if !self.settled && self.seeds.all_tried() && matches!(self.standing, Standing::Inside(_)) {
            self.settled = true;
            if self.members.len() == 1 && self.seeds.silent().next().is_some() {
                self.effects.tell(Notice::Alone);
            }
        }
    }

    fn knock(&mut self, at: Arc<str>) {
        let message: Bytes = encode(&self.me);
        self.effects.outputs.push(Output::Knock { at, message });
    }

    /// Knocks at one who does not take this node for who it is: its answer says why.
    fn ask_why(&mut self, at: &Arc<str>) {
        let now = self.effects.now;
        if self.asked_why.is_none_or(|before| now >= before + ASK_WHY) {
            self.asked_why = Some(now);
            self.knock(Arc::clone(at));
        }
    }

    /// Tells some of the lost that this node is here: if they are too, each learns that the other
    /// thought otherwise.
    fn call_the_lost(&mut self) {
        let (period, count) = CALL_THE_LOST;
        self.effects.timers.set(Task::CallTheLost, self.effects.now + period);
        let mut chance = SmallRng::seed_from_u64(self.chance.random());
        let lost = self.others().filter(|other| other.state() == State::Down);
        let lost = lost.map(foca::Member::id).filter(|lost| lost.member.stage != Stage::Leaving);
        for lost in lost.cloned().sample(&mut chance, count) {
            self.swim(|swim, effects| swim.announce(lost, effects));
        }
    }

    /// Tells one that this node suspects that it does, until it has said no or is lost. Foca leaves that
    /// to gossip, which may be used up before it can be heard.
    fn ask_suspect(&mut self, suspect: Identity, life: Incarnation) {
        let still = |other: &&foca::Member<Identity>| {
            *other.id() == suspect && other.incarnation() == life && other.state() == State::Suspect
        };
        let question = self.others().find(still).map(|other| question(&self.me, other));
        let Some(message) = question else { return };
        let to = Arc::clone(&suspect.member.peer_address);
        self.effects.outputs.push(Output::Send { to, message });
        let due = self.effects.now + ASK_SUSPECT;
        self.effects.timers.set(Task::AskSuspect(suspect, life), due);
    }

    /// Says what has changed.
    fn review(&mut self) {
        self.publish();
        if self.said_settled != self.settled {
            self.said_settled = self.settled;
            self.effects.outputs.push(Output::Settled(self.settled));
        }
    }
}

#[cfg(test)]
mod tests;
