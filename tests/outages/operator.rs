//! An operator, who has a cluster grow and shrink by `larder ctl` while it is asked, one step after
//! the other, and waits after each until it is so.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::directory::Directory;
use super::failure::Failure;
use super::nodes::Nodes;
use super::status::Status;
use super::tally::Tally;

/// Who has nodes come and go.
#[derive(Debug)]
pub(super) struct Operator<'a> {
    directory: &'a Directory,
    tally: &'a Tally,
    rng: StdRng,
    /// Nothing else fails: so no command may, and clients must know what became of theirs.
    alone: bool,
    steps: VecDeque<Step>,
    doing: Option<Doing>,
}

/// What is done next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Two more.
    Grow,
    Rebalance,
    /// One has nothing for a while.
    Relieve,
    Drain(u16),
    Undrain(u16),
    /// One goes for good.
    Shrink,
    Remove(u16),
    /// The clients of one that was removed go, then it ends.
    Part(u16),
    /// One is killed, and another is there instead.
    Lose,
    Replace {
        gone: u16,
        by: u16,
    },
}

#[derive(Debug)]
struct Doing {
    step: Step,
    /// In words.
    what: String,
    since: Instant,
    wait: Wait,
    /// How many commands did not succeed.
    failed: u32,
}

/// What is waited for.
#[derive(Debug)]
enum Wait {
    /// A command of the operator, which may have to be given again.
    Action { action: String, ctl: Option<Child>, not_before: Instant },
    /// That a node is one of the cluster, and if it is said how many there are to be, that all is where
    /// it is to be.
    Joined { node: u16, count: Option<usize>, ctl: Option<Child> },
    /// That clients have gone.
    Left(u16),
}

impl<'a> Operator<'a> {
    pub(super) fn new(directory: &'a Directory, tally: &'a Tally, seed: u64, alone: bool) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { directory, tally, rng, alone, steps: VecDeque::new(), doing: None }
    }

    /// Has nodes come and go, unless they do.
    pub(super) fn begin(&mut self) {
        if self.is_done() {
            self.steps.extend(COURSE);
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.steps.is_empty() && self.doing.is_none()
    }

    /// Goes on if it can, and says what was done if that is so.
    pub(super) fn go_on(&mut self, nodes: &mut Nodes) -> Result<Option<String>, Failure> {
        let Some(mut doing) = self.doing.take() else {
            if let Some(step) = self.steps.pop_front() {
                self.tally.lap();
                self.doing = self.start(step, nodes)?;
            }
            return Ok(None);
        };
        if !self.is_over(&mut doing, nodes)? {
            if doing.since.elapsed() > DONE_WITHIN {
                let said = fs::read_to_string(nodes.said()).unwrap_or_default();
                return Err(Failure::new(format_args!(
                    "an operator {} and it was not so after {DONE_WITHIN:?}: {said}",
                    doing.what
                )));
            }
            self.doing = Some(doing);
            return Ok(None);
        }
        self.finish(&doing, nodes).map(Some)
    }

    /// Begins with a step, or finds which others it is made of.
    fn start(&mut self, step: Step, nodes: &mut Nodes) -> Result<Option<Doing>, Failure> {
        let action =
            |action: String| Wait::Action { action, ctl: None, not_before: Instant::now() };
        let (what, wait) = match step {
            Step::Grow => {
                let (one, other) = (self.add(nodes)?, self.add(nodes)?);
                let what = format!("added db{one} and db{other}");
                (what, Wait::Joined { node: other, count: Some(nodes.all().len()), ctl: None })
            }
            Step::Lose => {
                let gone = self.draw(nodes);
                self.directory.strike(gone);
                nodes.lose(gone)?;
                let by = self.add(nodes)?;
                self.steps.push_front(Step::Replace { gone, by });
                let what = format!("killed db{gone} and added db{by}");
                (what, Wait::Joined { node: by, count: None, ctl: None })
            }
            Step::Relieve => {
                let node = self.draw(nodes);
                self.steps.push_front(Step::Undrain(node));
                self.steps.push_front(Step::Drain(node));
                return Ok(None);
            }
            Step::Shrink => {
                let node = self.draw(nodes);
                self.steps.push_front(Step::Part(node));
                self.steps.push_front(Step::Remove(node));
                self.steps.push_front(Step::Drain(node));
                return Ok(None);
            }
            Step::Rebalance => ("rebalanced".to_owned(), action("rebalance".to_owned())),
            Step::Drain(node) => (format!("drained db{node}"), action(format!("drain db{node}"))),
            Step::Undrain(node) => {
                (format!("undrained db{node}"), action(format!("undrain db{node}")))
            }
            Step::Remove(node) => (format!("removed db{node}"), action(format!("remove db{node}"))),
            Step::Replace { gone, by } => {
                let what = format!("replaced db{gone} by db{by}");
                (what, action(format!("replace db{gone} --by db{by}")))
            }
            Step::Part(node) => {
                self.directory.strike(node);
                (format!("ended db{node}"), Wait::Left(node))
            }
        };
        Ok(Some(Doing { step, what, since: Instant::now(), wait, failed: 0 }))
    }

    fn add(&self, nodes: &mut Nodes) -> Result<u16, Failure> {
        let node = nodes.grow()?;
        self.directory.enter(node, nodes.clients(node));
        Ok(node)
    }

    /// Any, but rather one that leads.
    fn draw(&mut self, nodes: &Nodes) -> u16 {
        let all = nodes.roomy();
        let mut preferred = if self.rng.random() { nodes.leaders() } else { Vec::new() };
        preferred.retain(|node| all.contains(node));
        preferred.choose(&mut self.rng).or_else(|| all.choose(&mut self.rng)).copied().unwrap_or(1)
    }

    fn is_over(&self, doing: &mut Doing, nodes: &Nodes) -> Result<bool, Failure> {
        match &mut doing.wait {
            Wait::Left(node) => Ok(!self.directory.has_clients(*node)),
            Wait::Joined { node, count, ctl } => {
                if ended(ctl, || nodes.ctl("status --json"), nodes)?.is_none() {
                    return Ok(false);
                }
                let status = fs::read(nodes.said()).ok().and_then(|said| Status::parse(&said));
                let is_so = |status: Status| {
                    status.lists(*node) && count.is_none_or(|count| status.holds(count))
                };
                Ok(status.is_some_and(is_so))
            }
            Wait::Action { not_before, .. } if Instant::now() < *not_before => Ok(false),
            Wait::Action { action, ctl, not_before } => {
                let Some(succeeded) = ended(ctl, || nodes.ctl(action), nodes)? else {
                    return Ok(false);
                };
                if succeeded {
                    return Ok(true);
                }
                let said = fs::read_to_string(nodes.said()).unwrap_or_default();
                if self.alone && doing.failed == MOST_FAILED {
                    return Err(Failure::new(format_args!("ctl store {action}: {said}")));
                }
                doing.failed += 1;
                *not_before = Instant::now() + AGAIN_AFTER;
                // It was done, and nobody had said so.
                Ok(doing.failed > 1 && said.contains("no node is known as"))
            }
        }
    }

    /// What follows from a step, and what clients saw meanwhile.
    fn finish(&self, doing: &Doing, nodes: &mut Nodes) -> Result<String, Failure> {
        let Doing { step, what, since, failed, .. } = doing;
        match *step {
            Step::Part(node) => {
                nodes.part(node)?;
                nodes.clear(node)?;
            }
            Step::Replace { gone, .. } => nodes.clear(gone)?,
            _ => {}
        }
        let (lap, whys) = self.tally.lap();
        // Who was killed has answered nothing, and others may wait for it for a while.
        let killed = matches!(step, Step::Lose | Step::Replace { .. });
        if self.alone && !whys.is_empty() && !killed {
            return Err(Failure::new(format_args!(
                "an operator {what}, nothing else failed, and clients do not know of some of their \
                 commands whether they were done: {whys:?}"
            )));
        }
        let failed = match failed {
            0 => String::new(),
            failed => format!(", after {failed} commands that failed"),
        };
        Ok(format!("operator: {what}, {:.1} s{failed}; {lap}", since.elapsed().as_secs_f64()))
    }
}

impl Drop for Operator<'_> {
    fn drop(&mut self) {
        if let Some(Doing { wait: Wait::Action { ctl, .. } | Wait::Joined { ctl, .. }, .. }) =
            &mut self.doing
            && let Some(ctl) = ctl
        {
            // What has ended cannot be ended.
            let _ = ctl.kill();
            let _ = ctl.wait();
        }
    }
}

/// Whether a command has succeeded; `None` while it runs, as it does from now on if it did not.
fn ended(
    ctl: &mut Option<Child>,
    command: impl FnOnce() -> Command,
    nodes: &Nodes,
) -> Result<Option<bool>, Failure> {
    let failed = || Failure::io("run larder ctl");
    let Some(running) = ctl else {
        let said = File::create(nodes.said()).map_err(failed())?;
        let mut command = command();
        command.stdin(Stdio::null()).stderr(said.try_clone().map_err(failed())?).stdout(said);
        *ctl = Some(command.spawn().map_err(failed())?);
        return Ok(None);
    };
    let status = running.try_wait().map_err(failed())?;
    if status.is_some() {
        *ctl = None;
    }
    Ok(status.map(|status| status.success()))
}

/// How nodes come and go.
const COURSE: [Step; 6] =
    [Step::Grow, Step::Rebalance, Step::Relieve, Step::Shrink, Step::Lose, Step::Shrink];

/// How long a step may take, with all that fails meanwhile.
const DONE_WITHIN: Duration = Duration::from_mins(3);

/// So many times a command may fail though nothing else does: a node that is asked may just not know who
/// leads.
const MOST_FAILED: u32 = 2;

const AGAIN_AFTER: Duration = Duration::from_secs(1);
