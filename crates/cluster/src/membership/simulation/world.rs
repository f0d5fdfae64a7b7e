//! Engines, a network that fails, and time that nobody waits for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::member::{Member, Stage};
use crate::membership::engine::Engine;
use crate::membership::output::{Notice, Output};

pub(super) const MS: fn(u64) -> Duration = Duration::from_millis;

/// How long who knocks waits.
const KNOCK_LIMIT: Duration = Duration::from_secs(2);

/// Engines, a network that fails, and time that nobody waits for.
pub(super) struct World {
    pub(super) now: Duration,
    pub(super) chance: SmallRng,
    pub(super) nodes: Vec<Node>,
    pub(super) network: Network,
    queue: BTreeMap<(Duration, u64), Event>,
    queued: u64,
    /// Messages sent.
    pub(super) sent: u64,
    /// Who waits for an answer, with its life and where it knocked.
    knocks: HashMap<u64, (usize, u32, Arc<str>)>,
    /// What happened, for who has to find out why it went wrong.
    story: Vec<String>,
    /// Who is where.
    places: HashMap<Arc<str>, usize>,
}

/// A node through all of its lives.
pub(super) struct Node {
    pub(super) name: String,
    /// `None` while it is not running.
    pub(super) life: Option<Life>,
    lives: u32,
    /// What names in the seeds of others stand for.
    place: Arc<str>,
    seeds: Vec<String>,
}

pub(super) struct Life {
    pub(super) engine: Engine,
    started: Duration,
    /// It does nothing until then.
    stalled: Duration,
    version: u32,
    pub(super) settled: bool,
    /// What it said, and when.
    pub(super) notices: Vec<(Duration, Notice)>,
}

/// How the network fails. From and to are indices of nodes.
#[derive(Default)]
pub(super) struct Network {
    pub(super) cuts: BTreeSet<(usize, usize)>,
    /// Of a thousand messages.
    pub(super) lost: u32,
    pub(super) doubled: u32,
    /// Delayed by up to half a second.
    pub(super) late: u32,
}

enum Event {
    Gossip { from: usize, to: Arc<str>, message: Bytes },
    Knock { knock: u64, from: usize, at: Arc<str>, message: Bytes },
    Answer { knock: u64, from: usize, answer: Bytes },
    NoAnswer { knock: u64, why: &'static str },
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: Duration::ZERO,
            chance: SmallRng::seed_from_u64(seed),
            nodes: Vec::new(),
            network: Network::default(),
            queue: BTreeMap::new(),
            queued: 0,
            sent: 0,
            knocks: HashMap::new(),
            story: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// A node that is to be started. Seeds are `node-N:1`, which stands for where node N is.
    pub(super) fn add(&mut self, name: &str, seeds: &[usize]) -> usize {
        let index = self.nodes.len();
        self.nodes.push(Node {
            name: name.to_owned(),
            life: None,
            lives: 0,
            place: "".into(),
            seeds: seeds.iter().map(|seed| format!("node-{seed}:1")).collect(),
        });
        index
    }

    /// Starts a node, with a clock that is so many seconds behind; `moved`: elsewhere than before.
    pub(super) fn start(&mut self, index: usize, behind: u64, moved: bool) {
        let seed = self.chance.random();
        let stage = if self.chance.random() { Stage::Coming } else { Stage::Serving };
        let node = &mut self.nodes[index];
        node.lives += 1;
        if moved || node.place.is_empty() {
            let old =
                std::mem::replace(&mut node.place, format!("10.0.{index}.{}:1", node.lives).into());
            self.places.remove(&old);
        }
        self.places.insert(Arc::clone(&node.place), index);
        self.places.insert(format!("node-{index}:1").into(), index);
        let clock = 1_000_000_000 - behind + self.now.as_secs();
        let me = Member {
            name: node.name.as_str().into(),
            run: clock * 1_000_000 + u64::from(self.now.subsec_micros()) + index as u64,
            client_address: format!("{}1", node.place).into(),
            peer_address: Arc::clone(&node.place),
            weight: 1 + u32::try_from(index).unwrap(),
            zone: "".into(),
            stage,
        };
        let (name, run, place) = (node.name.clone(), me.run, Arc::clone(&node.place));
        let engine = Engine::new(me, &node.seeds, seed);
        let version = engine.version();
        node.life = Some(Life {
            engine,
            started: self.now,
            stalled: Duration::ZERO,
            version,
            settled: false,
            notices: Vec::new(),
        });
        self.tell(format_args!("node {index} ({name}) starts as {run} at {place}"));
        self.carry_out(index);
    }

    pub(super) fn kill(&mut self, index: usize) {
        self.tell(format_args!("node {index} stops"));
        self.nodes[index].life = None;
    }

    pub(super) fn stall(&mut self, index: usize, time: Duration) {
        let until = self.now + time;
        self.tell(format_args!("node {index} stands still for {time:?}"));
        if let Some(life) = &mut self.nodes[index].life {
            life.stalled = life.stalled.max(until);
        }
    }

    /// Nothing passes any more between the nodes of which that is so and those that there are besides.
    /// Those that come later have all.
    pub(super) fn cut(&mut self, half: impl Fn(usize) -> bool) {
        let count = self.nodes.len();
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        self.network.cuts.extend(pairs.filter(|(from, to)| half(*from) != half(*to)));
        let half: Vec<_> = (0..count).filter(|node| half(*node)).collect();
        self.tell(format_args!("{half:?} are cut off"));
    }

    /// Has the engine of a node do something, if it runs.
    pub(super) fn act<R>(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Engine, Duration) -> R,
    ) -> Option<R> {
        let now = self.now;
        let life = self.nodes[index].life.as_mut()?;
        let result = act(&mut life.engine, now.saturating_sub(life.started));
        self.carry_out(index);
        Some(result)
    }

    pub(super) fn living(&self) -> impl Iterator<Item = (usize, &Life)> {
        self.nodes.iter().enumerate().filter_map(|(index, node)| Some((index, node.life.as_ref()?)))
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let ticks = self.living().filter_map(|(index, life)| {
                let due = life.engine.next_due()? + life.started;
                Some((due.max(life.stalled).max(self.now), index))
            });
            let tick = ticks.min();
            let event = self.queue.first_key_value().map(|(key, _)| key.0);
            match (tick, event) {
                (Some((at, index)), event) if at <= end && event.is_none_or(|event| at < event) => {
                    self.now = at;
                    self.act(index, Engine::tick);
                }
                (_, Some(at)) if at <= end => {
                    self.now = at;
                    let (_, event) = self.queue.pop_first().unwrap();
                    self.happen(event);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        let to = match &event {
            Event::Gossip { to: at, .. } | Event::Knock { at, .. } => self.places.get(at).copied(),
            Event::Answer { knock, .. } | Event::NoAnswer { knock, .. } => {
                self.knocks.get(knock).map(|(index, ..)| *index)
            }
        };
        let life = to.and_then(|to| self.nodes[to].life.as_ref());
        if let Some(life) = life
            && life.stalled > self.now
        {
            // It waits in the socket.
            self.queue(life.stalled, event);
            return;
        }
        let there = to.filter(|_| life.is_some());
        match event {
            Event::Gossip { from, message, .. } => {
                if let Some(to) = there.filter(|to| self.network.passes(from, *to)) {
                    self.act(to, |engine, now| engine.hear(now, &message).unwrap());
                }
            }
            Event::Knock { knock, from, message, .. } => {
                let Some(to) = there else {
                    self.queue(self.now, Event::NoAnswer { knock, why: "nobody is there" });
                    return;
                };
                if !self.network.passes(from, to) {
                    return;
                }
                let answer = self.act(to, |engine, _| engine.knocked(&message).unwrap());
                let at = self.now + self.delay();
                self.queue(
                    at,
                    match answer.flatten() {
                        Some(answer) => Event::Answer { knock, from: to, answer },
                        None => Event::NoAnswer { knock, why: "it is of no cluster" },
                    },
                );
            }
            Event::Answer { knock, from, answer } => {
                if to.is_some_and(|to| self.network.passes(from, to)) {
                    self.answer(knock, Ok(&answer));
                }
            }
            Event::NoAnswer { knock, why } => self.answer(knock, Err(why)),
        }
    }

    fn answer(&mut self, knock: u64, answer: Result<&[u8], &str>) {
        if let Some((index, life, at)) = self.knocks.remove(&knock)
            && self.nodes[index].lives == life
        {
            self.act(index, |engine, now| engine.answered(now, &at, answer));
        }
    }

    /// Has something stand in the story.
    pub(super) fn tell(&mut self, what: impl fmt::Display) {
        self.story.push(format!("{:9.3} {what}", self.now.as_secs_f64()));
    }

    fn queue(&mut self, at: Duration, event: Event) {
        self.queued += 1;
        self.queue.insert((at, self.queued), event);
    }

    fn delay(&mut self) -> Duration {
        let most = if self.chance.random_ratio(self.network.late, 1000) { 500_000 } else { 10_000 };
        Duration::from_micros(self.chance.random_range(100..most))
    }

    fn carry_out(&mut self, index: usize) {
        let Some(life) = &mut self.nodes[index].life else { return };
        for output in life.engine.take_outputs() {
            let Some(life) = &mut self.nodes[index].life else { return };
            match output {
                Output::Send { to, message } => self.send(index, &to, &message),
                Output::Knock { at, message } => self.knock(index, at, message),
                Output::Heard { .. } => {}
                Output::Publish { version, members } => {
                    assert!(version > life.version, "{version} after {}", life.version);
                    assert_eq!(members, life.engine.members());
                    life.version = version;
                }
                Output::Settled(settled) => life.settled = settled,
                Output::Tell(notice) => {
                    let said = format!("node {index} says: {notice}");
                    life.notices.push((self.now, notice));
                    self.tell(said);
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: &Arc<str>, message: &Bytes) {
        self.sent += 1;
        let copies = 1 + u32::from(self.chance.random_ratio(self.network.doubled, 1000));
        for _ in 0..copies {
            if !self.chance.random_ratio(self.network.lost, 1000) {
                let at = self.now + self.delay();
                let (to, message) = (Arc::clone(to), message.clone());
                self.queue(at, Event::Gossip { from, to, message });
            }
        }
    }

    fn knock(&mut self, from: usize, at: Arc<str>, message: Bytes) {
        let knock = self.queued;
        self.sent += 1;
        self.knocks.insert(knock, (from, self.nodes[from].lives, Arc::clone(&at)));
        self.queue(self.now + KNOCK_LIMIT, Event::NoAnswer { knock, why: "no answer in time" });
        let arrives = self.now + self.delay();
        self.queue(arrives, Event::Knock { knock, from, at, message });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.story.join("\n"));
        }
    }
}

impl Network {
    fn passes(&self, from: usize, to: usize) -> bool {
        !self.cuts.contains(&(from, to))
    }
}
