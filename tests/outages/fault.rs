//! What can fail, and where.

use std::fmt;
use std::str::FromStr;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, RngExt as _};

use super::failure::Failure;
use super::nodes::Nodes;
use super::operator::Operator;

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One node is killed.
    KillOne,
    /// One that leads is killed.
    KillLeader,
    /// More than half are killed at once.
    KillMajority,
    /// All are killed at once.
    KillAll,
    /// All are killed at once, in the middle of a write to the log.
    Tear,
    /// One is stopped for a while.
    PauseOne,
    /// One that leads is stopped for a while.
    PauseLeader,
    /// One that leads and all others do not reach each other.
    Isolate,
    /// Less than half and the others do not reach each other.
    Split,
    /// What one sends to another is lost; or to all others; or what all others send to it.
    OneWay,
    /// Two halves do not reach each other, but for one node that reaches both.
    Bridge,
    /// What one sends is slow, and some of it is lost.
    Throttle,
    /// The disk of one is full.
    Fill,
    /// The clock of one, as often as not one that leads, is minutes ahead or behind.
    Clock,
    /// The cluster grows by two nodes and shrinks again, and one is replaced. It goes on while other
    /// things fail, and is not healed but comes to its end.
    Members,
}

impl Kind {
    /// All there are.
    pub const ALL: [Self; 15] = [
        Self::KillOne,
        Self::KillLeader,
        Self::KillMajority,
        Self::KillAll,
        Self::Tear,
        Self::PauseOne,
        Self::PauseLeader,
        Self::Isolate,
        Self::Split,
        Self::OneWay,
        Self::Bridge,
        Self::Throttle,
        Self::Fill,
        Self::Clock,
        Self::Members,
    ];

    /// How it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillOne => "kill-one",
            Self::KillLeader => "kill-leader",
            Self::KillMajority => "kill-majority",
            Self::KillAll => "kill-all",
            Self::Tear => "tear",
            Self::PauseOne => "pause-one",
            Self::PauseLeader => "pause-leader",
            Self::Isolate => "isolate",
            Self::Split => "split",
            Self::OneWay => "one-way",
            Self::Bridge => "bridge",
            Self::Throttle => "throttle",
            Self::Fill => "fill",
            Self::Clock => "clock",
            Self::Members => "members",
        }
    }

    /// Whether it takes a network, or a volume, of our own, which only root has.
    pub fn wants_root(self) -> bool {
        self.wants_network() || self == Self::Fill
    }

    pub(super) fn wants_network(self) -> bool {
        matches!(self, Self::Isolate | Self::Split | Self::OneWay | Self::Bridge | Self::Throttle)
    }

    /// Where it is to happen.
    pub(super) fn draw(self, nodes: &Nodes, rng: &mut StdRng) -> Fault {
        let mut all = nodes.all();
        all.shuffle(rng);
        let chosen = match self {
            Self::KillLeader | Self::PauseLeader | Self::Isolate => {
                nodes.leaders().choose(rng).copied()
            }
            Self::Clock if rng.random() => nodes.leaders().choose(rng).copied(),
            _ => None,
        };
        // If nobody leads, any.
        let one = chosen.or_else(|| all.first().copied()).unwrap_or(1);
        let more = all.len() / 2 + 1;
        match self {
            Self::KillOne | Self::KillLeader => Fault::Kill(vec![one]),
            Self::KillMajority => Fault::Kill(all.into_iter().take(more).collect()),
            Self::KillAll => Fault::Kill(all),
            Self::Tear => {
                let torn = |node| {
                    let mut bytes = vec![0; rng.random_range(1..5000)];
                    rng.fill_bytes(&mut bytes);
                    (node, bytes)
                };
                Fault::Tear(all.into_iter().map(torn).collect())
            }
            Self::PauseOne | Self::PauseLeader => Fault::Pause(one),
            Self::Isolate => Fault::Cut(both(&[one], &without(&all, one))),
            Self::Split => {
                let (many, few) = all.split_at(more.min(all.len()));
                Fault::Cut(both(many, few))
            }
            Self::OneWay => {
                let others = without(&all, one);
                let other = others.first().copied().unwrap_or(one);
                Fault::Cut(match rng.random_range(0..3) {
                    0 => vec![(one, other)],
                    1 => pairs(&[one], &others),
                    _ => pairs(&others, &[one]),
                })
            }
            Self::Bridge => {
                let others = without(&all, one);
                let (here, there) = others.split_at(others.len() / 2);
                Fault::Cut(both(here, there))
            }
            Self::Throttle => Fault::Throttle(one),
            // From none at all to what is just the reserve.
            Self::Fill => Fault::Fill(*[0, 0, 1 << 20, 4 << 20, 8 << 20].choose(rng).unwrap_or(&0)),
            Self::Clock => {
                let seconds = rng.random_range(LEAST_BEND..=MOST_BEND);
                let ahead = if rng.random() { seconds } else { -seconds };
                // One that finds no room when it starts may end again.
                let again = rng.random() && nodes.roomy().contains(&one);
                Fault::Bend { node: one, ahead, again }
            }
            Self::Members => Fault::Members,
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("{name} is no fault: want some of {names}")
        })
    }
}

fn without(nodes: &[u16], one: u16) -> Vec<u16> {
    nodes.iter().copied().filter(|node| *node != one).collect()
}

/// The ways from these to those.
fn pairs(from: &[u16], to: &[u16]) -> Vec<(u16, u16)> {
    from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to))).collect()
}

/// And those back.
fn both(here: &[u16], there: &[u16]) -> Vec<(u16, u16)> {
    [pairs(here, there), pairs(there, here)].concat()
}

/// Something that fails somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Kill(Vec<u16>),
    /// With what is written last.
    Tear(Vec<(u16, Vec<u8>)>),
    Pause(u16),
    /// From whom to whom.
    Cut(Vec<(u16, u16)>),
    Throttle(u16),
    /// How many bytes are left.
    Fill(u64),
    /// By how many seconds, and whether the node is killed and started again by that clock.
    Bend {
        node: u16,
        ahead: i64,
        again: bool,
    },
    Members,
}

impl Fault {
    pub(super) fn begin(
        &self,
        nodes: &mut Nodes,
        operator: &mut Operator<'_>,
    ) -> Result<(), Failure> {
        match self {
            Self::Kill(killed) => nodes.kill(killed),
            Self::Tear(torn) => {
                let killed: Vec<_> = torn.iter().map(|(node, _)| *node).collect();
                nodes.kill(&killed)?;
                torn.iter().try_for_each(|(node, bytes)| nodes.tear(*node, bytes))
            }
            Self::Pause(node) => nodes.pause(*node),
            Self::Cut(ways) => ways.iter().try_for_each(|(from, to)| nodes.cut(*from, *to)),
            Self::Throttle(node) => nodes.throttle(*node),
            Self::Fill(left) => nodes.fill(*left),
            Self::Bend { node, ahead, again } => nodes.bend(*node, *ahead, *again),
            Self::Members => {
                operator.begin();
                Ok(())
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(nodes) => write!(f, "killed {nodes:?}"),
            Self::Tear(torn) => {
                let torn: Vec<_> = torn.iter().map(|(node, bytes)| (node, bytes.len())).collect();
                write!(f, "killed, with so many torn bytes, {torn:?}")
            }
            Self::Pause(node) => write!(f, "paused {node}"),
            Self::Cut(ways) => write!(f, "cut {ways:?}"),
            Self::Throttle(node) => write!(f, "throttled {node}"),
            Self::Fill(left) => write!(f, "filled but for {left} bytes"),
            Self::Bend { node, ahead, again } => {
                let again = if *again { ", and killed and started by it" } else { "" };
                write!(f, "set the clock of {node} by {ahead:+} s{again}")
            }
            Self::Members => write!(f, "told an operator to have nodes come and go"),
        }
    }
}

/// Seconds that a clock is ahead or behind.
const LEAST_BEND: i64 = 60;
pub(super) const MOST_BEND: i64 = 600;
