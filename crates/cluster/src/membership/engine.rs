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
use foca::{Foca, NoCustomBroadcast, PostcardCodec, State};
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tracing::debug;

use super::identity::Identity;
use super::message::encode;
use super::output::{Effects, Notice, Output};
use super::report::{PeerState, SilentSeed};
use super::seeds::Seeds;
use super::timers::Task;
use super::timing::{ASK_WHY, CALL_THE_LOST, STAND_BACK, TAKEN, config};
use crate::member::{Member, Stage};

mod door;
mod gossip;

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
        /// If nobody says so again, it is so until then.
        until: Duration,
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
            Standing::Outside { until, .. } => Some(until),
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
            }
        }
        if let Standing::Outside { until, .. } = self.standing
            && now >= until
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

    pub(super) fn version(&self) -> u32 {
        self.version
    }

    /// In the order of their names, with this node.
    pub(super) fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// Members and those who are lost, in the order of their names.
    pub(super) fn peers(&self, now: Duration) -> Vec<(Arc<Member>, PeerState)> {
        let mut peers = vec![(Arc::clone(&self.me.member), PeerState::Here)];
        for other in self.others() {
            let member = &other.id().member;
            let state = match other.state() {
                State::Suspect => PeerState::Suspect,
                State::Alive if member.stage == Stage::Coming => PeerState::Coming,
                State::Alive if member.stage == Stage::Leaving => PeerState::Leaving,
                State::Alive => PeerState::Serving,
                State::Down if member.stage == Stage::Leaving => continue,
                State::Down => match self.effects.lost.get(&member.name) {
                    Some(at) => PeerState::Lost { since: now.saturating_sub(*at) },
                    // It was so before this node came.
                    None => continue,
                },
            };
            peers.push((Arc::clone(member), state));
        }
        peers.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        peers
    }

    /// Peer addresses of all to whom this node speaks, or would.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &Arc<str>> {
        let gone = |other: &foca::Member<Identity>| {
            other.state() == State::Down && other.id().member.stage == Stage::Leaving
        };
        self.others().filter(move |other| !gone(other)).map(|other| &other.id().member.peer_address)
    }

    pub(super) fn silent_seeds(&self, now: Duration) -> Vec<SilentSeed> {
        let report = |(address, at, why): (&Arc<str>, Duration, &Arc<str>)| SilentSeed {
            address: Arc::clone(address),
            since: now.saturating_sub(at),
            why: Arc::clone(why),
        };
        self.seeds.silent().map(report).collect()
    }

    /// All that foca remembers, but for who had the name of this node.
    fn others(&self) -> impl Iterator<Item = &foca::Member<Identity>> {
        let swim = match &self.standing {
            Standing::Inside(swim) => Some(swim),
            Standing::Outside { .. } | Standing::Gone => None,
        };
        let all = swim.into_iter().flat_map(|swim| swim.iter_membership_state());
        all.filter(|other| !other.id().is_called(self.me.name()))
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
        self.effects.timers.clear();
        self.effects.timers.set(Task::CallTheLost, self.effects.now + CALL_THE_LOST.0);
    }

    /// Leaves the cluster to another that has the name of this node.
    fn step_back(&mut self, rival: Identity, notice: fn(Arc<Member>) -> Notice) {
        let now = self.effects.now;
        // By chance, or two nodes that wait for each other would do so forever.
        let until = now + STAND_BACK.mul_f64(self.chance.random_range(0.5..=1.5));
        match &mut self.standing {
            Standing::Outside { rival: known, told, until: before } => {
                (*told, *before) = (now, until);
                if *known == rival {
                    return;
                }
                *known = rival.clone();
            }
            Standing::Inside(_) => {
                let doors = std::iter::once(&rival.member);
                let doors = doors.chain(&self.members).map(|door| Arc::clone(&door.peer_address));
                let own = Arc::clone(&self.me.member.peer_address);
                self.seeds.find(doors.filter(|door| *door != own).take(8), now + TAKEN);
                self.effects.timers.clear();
                self.effects.touched = true;
                self.settled = false;
                self.standing = Standing::Outside { rival: rival.clone(), told: now, until };
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

    /// Says what has changed.
    fn review(&mut self) {
        self.publish();
        if self.said_settled != self.settled {
            self.said_settled = self.settled;
            self.effects.outputs.push(Output::Settled(self.settled));
        }
    }

    /// Publishes who is there, if that is not who was.
    fn publish(&mut self) {
        if !std::mem::take(&mut self.effects.touched) {
            return;
        }
        let mut members = vec![Arc::clone(&self.me.member)];
        let active = self.others().filter(|other| other.state() != State::Down);
        members.extend(active.map(|other| Arc::clone(&other.id().member)));
        members.sort_by(|a, b| a.name.cmp(&b.name));
        if members == self.members || self.is_gone() {
            return;
        }
        let before = std::mem::replace(&mut self.members, members);
        self.tell_of_changes(&before);
        self.version = self.second().max(self.version.saturating_add(1));
        let (version, members) = (self.version, self.members.clone());
        self.effects.outputs.push(Output::Publish { version, members });
        let count = self.members.len();
        self.swim(|swim, _| swim.set_config(config(count)));
        let is_member = |name: &str| self.members.iter().any(|member| *member.name == *name);
        if before.iter().any(|former| !is_member(&former.name)) {
            // What led there may lead elsewhere now, or to who comes back.
            self.seeds.again(None, self.effects.now, TAKEN, &mut self.chance);
        }
    }

    fn tell_of_changes(&mut self, before: &[Arc<Member>]) {
        if !matches!(self.standing, Standing::Inside(_)) {
            return;
        }
        let mut notices = Vec::new();
        for former in before {
            if self.members.iter().any(|member| member.name == former.name) {
                continue;
            }
            let left = |other: &foca::Member<Identity>| {
                other.id().is_called(&former.name) && other.id().member.stage == Stage::Leaving
            };
            let notice = if self.others().any(left) { Notice::Left } else { Notice::Lost };
            notices.push(notice(Arc::clone(former)));
        }
        for member in &self.members {
            match before.iter().find(|former| former.name == member.name) {
                Some(former) if former == member || *member == self.me.member => {}
                Some(_) => notices.push(Notice::Changed(Arc::clone(member))),
                None => notices.push(Notice::Came(Arc::clone(member))),
            }
        }
        self.effects.outputs.extend(notices.into_iter().map(Output::Tell));
    }

    /// The second in which this is, counted from this run's start, so that no clock that is set has it
    /// go back.
    fn second(&self) -> u32 {
        let second = self.me.member.run / 1_000_000 + self.effects.now.as_secs();
        u32::try_from(second).unwrap_or(u32::MAX)
    }
}
