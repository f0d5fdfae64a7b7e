//! How a node takes a step.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use larder_consensus::Members;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::call::{Answer, Call, No, Order, Reply};
use super::hosting::{Hosted, Hosting};
use super::local::{Local, Obedience};
use super::plan::{Report, Step, Task};
use crate::error::Error;
use crate::placement::{GroupId, NodeId};

impl Local {
    /// Takes a step. It goes on even if nobody waits for the answer any more.
    pub(super) async fn take(self: &Arc<Self>, order: Order) -> Answer {
        let local = Arc::clone(self);
        let step = tokio::spawn(async move { local.step(order).await });
        step.await.map_err(|error| No::Failed(error.to_string()))?
    }

    async fn step(&self, order: Order) -> Answer {
        let group = order.task.group;
        let change = match order.task.step.clone() {
            Step::Host => {
                let host = move |hosting: &dyn Hosting| hosting.host(group, Hosted::Admitted);
                return self.obey(order, host).await;
            }
            Step::GiveUp => {
                return self.obey(order, move |hosting| hosting.give_up(group)).await;
            }
            Step::Admit(node) => Members::Admit(node, order.address),
            Step::SetVoters(voters) => Members::Voters(voters),
            Step::Dismiss(nodes) => Members::Dismiss(nodes),
            Step::HandOver(to) => {
                let group = self.group(group).ok_or_else(|| not_here(group))?;
                let handed = group.hand_over(to, TAKE_OVER).await;
                return handed
                    .map(|()| Reply::Taken)
                    .map_err(|error| No::Failed(error.to_string()));
            }
        };
        if let Members::Dismiss(nodes) = &change {
            // Those that led until a moment ago hear nothing more of what they had proposed.
            join_all(nodes.iter().map(|node| self.await_known(&order.task, *node))).await;
        }
        let group = self.group(group).ok_or_else(|| not_here(group))?;
        let changed = group.change_members(change, order.task.as_of).await;
        changed.map(|()| Reply::Taken).map_err(|error| No::Failed(error.to_string()))
    }

    /// Returns when a node that is about to take part in a group no longer has done all that was proposed while
    /// it had a vote: what it has proposed itself is answered then. It is not waited for if it cannot be reached or
    /// its disk has failed, and no longer than [`KNOWN_WITHIN`].
    async fn await_known(&self, task: &Task, node: NodeId) {
        let deadline = Instant::now() + KNOWN_WITHIN;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.call(node, &Call::Report, left).await {
                Ok(Reply::Report(Report { trouble: None, groups, .. })) => {
                    let standing = groups.get(&task.group);
                    if standing.is_none_or(|standing| standing.has_done(task.as_of)) {
                        return;
                    }
                }
                _ => return,
            }
            if Instant::now() + PAUSE >= deadline {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    /// Does what changes the groups that this node has, unless a later order was taken.
    async fn obey(
        &self,
        order: Order,
        work: impl FnOnce(&dyn Hosting) -> Result<(), Error> + Send + 'static,
    ) -> Answer {
        let mut obedience = Arc::clone(&self.obedience).lock_owned().await;
        let hosting = Arc::clone(&self.hosting);
        let done = spawn_blocking(move || {
            obedience.admit(&order)?;
            work(&*hosting).map_err(|error| No::Failed(error.to_string()))
        });
        done.await.map_err(|error| No::Failed(error.to_string()))??;
        Ok(Reply::Taken)
    }
}

impl Obedience {
    /// Whether an order is the last one.
    fn admit(&mut self, order: &Order) -> Result<(), No> {
        let last = self.last.get(&order.task.group).copied().unwrap_or_default();
        if order.term < self.charter.orders_of || (order.term, order.number) <= last {
            return Err(No::Older(last.1));
        }
        if order.term > self.charter.orders_of {
            self.charter.orders_of = order.term;
            let kept = self.archive.keep(&self.charter);
            kept.map_err(|error| No::Failed(error.to_string()))?;
        }
        self.last.insert(order.task.group, (order.term, order.number));
        Ok(())
    }
}

fn not_here(group: GroupId) -> No {
    No::Failed(format!("group {group} is not here"))
}

/// How long another may take to become leader.
const TAKE_OVER: Duration = Duration::from_secs(2);
/// How long one that is to take part no longer may take to do what it was told before. What it has proposed is
/// answered in this time anyhow, and be it that nobody knows.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use larder_consensus::AsOf;

    use super::super::charter::{Archive, Charter};
    use super::*;

    #[test]
    fn an_order_that_is_late_is_not_done_even_after_a_restart() {
        let place = tempfile::tempdir().unwrap();
        let archive = Archive::new(place.path());
        let charter = Charter {
            cluster: "shop".to_owned(),
            name: "db1".to_owned(),
            identity: 7,
            admission: None,
            orders_of: 0,
        };
        let order = |term, number, group| {
            let step = Step::GiveUp;
            let task = Task { group, by: 1, as_of: AsOf::default(), step };
            Order { term, number, task, address: String::new() }
        };
        let open = |charter| Obedience { archive: archive.clone(), charter, last: HashMap::new() };
        let mut obedience = open(charter);
        for taken in [order(2, 5, 1), order(2, 6, 1), order(2, 4, 2), order(3, 1, 1)] {
            obedience.admit(&taken).unwrap();
        }
        assert_eq!(obedience.admit(&order(3, 1, 1)), Err(No::Older(1)));
        // Of another group, but by who led before.
        obedience.admit(&order(2, 9, 2)).unwrap_err();
        let kept = archive.find("shop", "db1").unwrap().unwrap();
        let mut again = open(kept);
        again.admit(&order(2, 99, 1)).unwrap_err();
        again.admit(&order(3, 2, 1)).unwrap();
    }
}
