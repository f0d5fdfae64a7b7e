//! What the leader of group 0 does: it has the groups become what the placement says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::call::{Answer, Call, No, Order, Reply};
use super::local::Local;
use super::plan::{Observed, Plan, Step, Task};
use super::status::Survey;
use crate::placement::{GroupId, Placement};

/// What the leader of group 0 does, and no other node.
pub(super) struct Driver {
    local: Arc<Local>,
    /// The number of the last order. Who leads on after a restart, in the same term, goes on with a
    /// greater one.
    orders: u64,
    /// What is on its way.
    steps: JoinSet<(GroupId, Answer)>,
    groups: BTreeMap<GroupId, Case>,
}

/// What is being done about a group, or failed.
struct Case {
    /// In words.
    doing: String,
    /// `None` while a step is being taken; else when the next may be.
    again: Option<Instant>,
    /// How long it waited the last time.
    pause: Duration,
}

impl Driver {
    pub(super) fn new(local: Arc<Local>) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let orders = u64::try_from(since_1970.as_millis()).unwrap_or(0);
        Self { local, orders, steps: JoinSet::new(), groups: BTreeMap::new() }
    }

    /// Drives whenever this node leads group 0.
    pub(super) async fn run(mut self) {
        loop {
            let local = Arc::clone(&self.local);
            let leads = local.group.reign().filter(|reign| reign.leader == local.node());
            // This node's placement may be an old one until a majority has said that it leads.
            let confirmed = match leads {
                Some(_) => matches!(timeout(LOOK, local.group.confirm()).await, Ok(Ok(()))),
                None => false,
            };
            let mut pause = PAUSE;
            match leads.zip(local.placement()) {
                Some((reign, placement)) if confirmed => {
                    if self.look(&placement, reign.term).await {
                        pause = IDLE;
                    }
                }
                _ => {
                    self.steps.abort_all();
                    self.steps = JoinSet::new();
                    self.groups.clear();
                    *local.survey.lock() = None;
                }
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = local.wake.notified() => {}
                Some(done) = self.steps.join_next() => {
                    if let Ok((group, answer)) = done {
                        self.note(group, answer);
                    }
                }
            }
        }
    }

    /// Looks how all is, and has done what is to be. Whether nothing is.
    async fn look(&mut self, placement: &Arc<Placement>, term: u64) -> bool {
        while let Some(Ok((group, answer))) = self.steps.try_join_next() {
            self.note(group, answer);
        }
        let observed = self.observe(placement).await;
        let now = Instant::now();
        let busy: BTreeSet<_> = self
            .groups
            .iter()
            .filter(|(_, case)| case.again.is_none_or(|again| again > now))
            .map(|(group, _)| *group)
            .collect();
        let plan = Plan::new(placement, &observed, &busy);
        for task in &plan.tasks {
            self.start(task, term, placement);
        }
        let is_done = |group: &GroupId, case: &Case| {
            case.again.is_some_and(|again| again <= now)
                && !plan.tasks.iter().any(|task| task.group == *group)
        };
        self.groups.retain(|group, case| !is_done(group, case));
        let doing = self.groups.iter().map(|(group, case)| (*group, case.doing.clone()));
        let survey = Survey::new(Arc::clone(placement), observed, &plan, doing.collect());
        *self.local.survey.lock() = Some(survey);
        self.groups.is_empty() && plan.holds()
    }

    /// What all members say of themselves, those that do; and those that are none any more, but have
    /// something still.
    async fn observe(&self, placement: &Placement) -> Observed {
        let mut asked = JoinSet::new();
        let standing = self.local.group.standing();
        let old = standing.voters.into_iter().flatten().chain(standing.learners);
        let nodes: BTreeSet<_> = placement.members().keys().copied().chain(old).collect();
        for node in nodes.into_iter().filter(|node| *node != self.local.node()) {
            let local = Arc::clone(&self.local);
            asked.spawn(async move { (node, local.call(node, &Call::Report, LOOK).await) });
        }
        let mut observed = Observed::from([(self.local.node(), self.local.report())]);
        while let Some(answer) = asked.join_next().await {
            if let Ok((node, Ok(Reply::Report(report)))) = answer {
                observed.insert(node, report);
            }
        }
        observed
    }

    fn start(&mut self, task: &Task, term: u64, placement: &Placement) {
        self.orders += 1;
        let address = match task.step {
            Step::Admit(node) => placement.members().get(&node),
            _ => None,
        };
        let address = address.map(|member| member.peer_address.clone()).unwrap_or_default();
        let order = Order { term, number: self.orders, task: task.clone(), address };
        let (group, doing) = (task.group, task.to_string());
        info!("group {group}: {doing}");
        let pause = self.groups.get(&group).map_or(SHORTEST, |case| case.pause);
        self.groups.insert(group, Case { doing, again: None, pause });
        let local = Arc::clone(&self.local);
        self.steps.spawn(async move { (group, local.order(order).await) });
    }

    /// A step was taken, or not.
    fn note(&mut self, group: GroupId, answer: Answer) {
        let Err(no) = answer else {
            self.groups.remove(&group);
            return;
        };
        if let No::Older(last) = no {
            // The clock was set back.
            self.orders = self.orders.max(last);
        }
        let Some(case) = self.groups.get_mut(&group) else { return };
        if no == No::Unknown {
            // It may go on. How the group stands tells.
            case.doing = format!("{}: it takes long", case.doing);
        } else {
            warn!("group {group}: {}: {no}", case.doing);
            case.doing = format!("{}: {no}; it is tried again", case.doing);
        }
        case.again = Some(Instant::now() + case.pause);
        case.pause = (case.pause * 2).min(LONGEST);
    }
}

/// How long a node may take to say how it is.
const LOOK: Duration = Duration::from_secs(1);
/// So often is looked while something is to be done, or another may lead.
const PAUSE: Duration = Duration::from_millis(250);
/// So often when all is as it is to be: nodes have more to say the more groups there are.
const IDLE: Duration = Duration::from_secs(1);
/// After a step that failed the next of its group waits so long at first,
const SHORTEST: Duration = Duration::from_millis(250);
/// and so long at most.
const LONGEST: Duration = Duration::from_secs(10);
