//! Addresses to knock at.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::SmallRng;

/// The waits between knocks at a seed that does not answer, which double from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(3));

/// How often a seed is knocked at that leads to this node itself: a name may lead elsewhere next time.
const OWN: Duration = Duration::from_secs(30);

/// Addresses to knock at: those that this node was given, and for a while those where it knows others.
#[derive(Debug)]
pub(super) struct Seeds {
    seeds: Vec<Seed>,
}

#[derive(Debug)]
struct Seed {
    address: Arc<str>,
    given: bool,
    /// When to knock. `None`: it was knocked at and has not answered, or there is no need.
    due: Option<Duration>,
    /// What came of the last knock, if any.
    fate: Option<Fate>,
}

#[derive(Debug)]
enum Fate {
    Leads,
    Own,
    Silent { since: Duration, knocks: u32, why: Arc<str> },
}

impl Seeds {
    /// All but this node's own address are to be knocked at.
    pub(super) fn new(given: &[String], own: &str) -> Self {
        let mut seeds = Self { seeds: Vec::new() };
        let others = given.iter().map(|address| address.trim()).filter(|address| *address != own);
        seeds.add(others.map(Arc::from), true, Duration::ZERO);
        seeds
    }

    /// Knocks there too from `due` on, until this node is of the cluster.
    pub(super) fn find(&mut self, addresses: impl Iterator<Item = Arc<str>>, due: Duration) {
        self.add(addresses, false, due);
    }

    fn add(&mut self, addresses: impl Iterator<Item = Arc<str>>, given: bool, due: Duration) {
        for address in addresses {
            if self.seeds.iter().all(|seed| seed.address != address) {
                self.seeds.push(Seed { address, given, due: Some(due), fate: None });
            }
        }
    }

    /// Knocks no longer where it was not told to.
    pub(super) fn forget_found(&mut self) {
        self.seeds.retain(|seed| seed.given);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.seeds.is_empty()
    }

    pub(super) fn has(&self, address: &str) -> bool {
        self.seeds.iter().any(|seed| *seed.address == *address)
    }

    /// Whether each has been knocked at and has answered or not.
    pub(super) fn all_tried(&self) -> bool {
        self.seeds.iter().all(|seed| seed.fate.is_some())
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.seeds.iter().filter_map(|seed| seed.due).min()
    }

    /// An address to knock at now. It is not due again until it is known what came of that.
    pub(super) fn take(&mut self, now: Duration) -> Option<Arc<str>> {
        let seed = self.seeds.iter_mut().find(|seed| seed.due.is_some_and(|due| due <= now))?;
        seed.due = None;
        Some(Arc::clone(&seed.address))
    }

    /// Another was there who let this node in. There is no need to knock until one is lost.
    pub(super) fn leads(&mut self, address: &str) {
        if let Some(seed) = self.seed(address) {
            (seed.fate, seed.due) = (Some(Fate::Leads), None);
        }
    }

    /// It was this node itself.
    pub(super) fn is_own(&mut self, address: &str, now: Duration) {
        if let Some(seed) = self.seed(address) {
            (seed.fate, seed.due) = (Some(Fate::Own), Some(now + OWN));
        }
    }

    /// Nobody was there who could let this node in.
    pub(super) fn is_silent(
        &mut self,
        address: &str,
        why: &str,
        now: Duration,
        chance: &mut SmallRng,
    ) {
        let Some(seed) = self.seed(address) else { return };
        let (since, knocks) = match seed.fate {
            Some(Fate::Silent { since, knocks, .. }) => (since, knocks.saturating_add(1)),
            _ => (now, 0),
        };
        let wait = BACKOFF.0.saturating_mul(2_u32.saturating_pow(knocks)).min(BACKOFF.1);
        seed.due = Some(now + wait.mul_f64(chance.random_range(0.5..=1.0)));
        seed.fate = Some(Fate::Silent { since, knocks, why: why.into() });
    }

    /// Knocks at that one again, or if it is `None` at all, some time within `delay`.
    pub(super) fn again(
        &mut self,
        address: Option<&str>,
        now: Duration,
        delay: Duration,
        chance: &mut SmallRng,
    ) {
        for seed in &mut self.seeds {
            if address.is_none_or(|address| address == &*seed.address) {
                let due = now + delay.mul_f64(chance.random_range(0.5..=1.0));
                seed.due = Some(seed.due.map_or(due, |sooner| sooner.min(due)));
            }
        }
    }

    /// Where nobody answers, since when, and why.
    pub(super) fn silent(&self) -> impl Iterator<Item = (&Arc<str>, Duration, &Arc<str>)> {
        self.seeds.iter().filter(|seed| seed.given).filter_map(|seed| match &seed.fate {
            Some(Fate::Silent { since, why, .. }) => Some((&seed.address, *since, why)),
            _ => None,
        })
    }

    fn seed(&mut self, address: &str) -> Option<&mut Seed> {
        self.seeds.iter_mut().find(|seed| *seed.address == *address)
    }
}
