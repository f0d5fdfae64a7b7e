//! What the threads share about one group.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::asked::Asked;
use crate::bell::Bell;
use crate::freshness::{Freshness, Sight};
use crate::hand::Hand;
use crate::placement::GroupId;
use crate::proposals::Proposals;
use crate::published::Published;
use crate::state::State;

/// What is asked of one group here, and what readers know of its items, as far as this node has a
/// replica of it. There is one for each group, whether it has or not.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) group: GroupId,
    /// By this number, drawn at random with each opening, a node knows its own entries again.
    pub(crate) proposer: u64,
    pub(crate) proposals: Proposals,
    /// What who proposes has in hand.
    pub(crate) proposing: Hand,
    /// Of a node among others: reads, until it is known who may answer them.
    pub(crate) asked: Asked,
    pub(crate) published: Published,
    /// A place in the order of writes up to which the engine has all durably.
    pub(crate) durable: AtomicU64,
    /// What is known of how complete they are.
    pub(crate) freshness: Freshness,
    /// Whether another has the items too, as was known when reads were let through last.
    shared: AtomicBool,
    /// Until when another node is to lead, for this one could not read an item.
    left: Mutex<Option<Instant>>,
}

impl Partition {
    pub(crate) fn new(
        group: GroupId,
        proposing: &Arc<Bell>,
        confirming: &Arc<Bell>,
        stale_within: Option<Duration>,
    ) -> Self {
        Self {
            group,
            proposer: RandomState::new().hash_one(()),
            proposals: Proposals::new(group, Arc::clone(proposing)),
            proposing: Hand::new(),
            asked: Asked::new(group, Arc::clone(confirming)),
            published: Published::default(),
            durable: AtomicU64::new(0),
            freshness: Freshness::new(stale_within),
            shared: AtomicBool::new(false),
            left: Mutex::default(),
        }
    }

    /// The tenure in which a read may be answered from the items though nobody is asked for it: they may
    /// be older than the last that was acknowledged, by no more than they are allowed to, and have all that
    /// was before what `after` says.
    pub(crate) fn stale_tenure(&self, after: impl FnOnce() -> Option<Instant>) -> Option<u64> {
        if !self.freshness.is_used() {
            return None;
        }
        let Sight { tenure, is_due } = self.freshness.look(Instant::now(), after());
        if is_due {
            self.asked.call_for_question();
        }
        tenure
    }

    /// Reads are let through. Whether others may answer them too.
    pub(crate) fn share(&self, shared: bool) {
        self.shared.store(shared, Ordering::Relaxed);
    }

    /// An item cannot be read here: another node is to lead for a while. `false` if no other can.
    pub(crate) fn leave(&self) -> bool {
        let shared = self.shared.load(Ordering::Relaxed);
        if shared {
            *self.left.lock() = Some(Instant::now() + LEFT);
        }
        shared
    }

    /// Whether another node is to lead.
    pub(crate) fn is_left(&self) -> bool {
        self.left.lock().is_some_and(|until| Instant::now() < until)
    }

    /// The items are those that belong to `state`.
    pub(crate) fn begin(&self, state: State) {
        self.published.publish(state);
        self.durable.store(state.sequence, Ordering::Release);
    }
}

/// How long a node leaves a group to others of which it could not read an item. Should they be no better
/// off, it may lead again.
const LEFT: Duration = Duration::from_secs(10);
