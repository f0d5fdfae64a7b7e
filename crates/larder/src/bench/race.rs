//! One run of all threads.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::plan::Plan;
use super::progress::{Gauge, Progress};
use super::tally::Tally;
use super::worker::{self, Event, Job, Phase};

/// What a run measured.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) tally: Tally,
    /// From the first request sent to the last reply.
    pub(super) duration: Duration,
    pub(super) started: SystemTime,
    /// By Ctrl-C.
    pub(super) interrupted: bool,
}

impl Measured {
    /// Whether the figures mean what they seem to: all connections held, all replies came, and
    /// there were some.
    pub(super) fn is_sound(&self) -> bool {
        self.tally.lost.count == 0 && self.tally.unanswered == 0 && self.tally.ops() > 0
    }
}

/// Does run `run`, counted from one.
pub(super) fn run(plan: &Arc<Plan>, run: u32) -> Result<Measured, String> {
    raise_file_limit(plan);
    let address = plan.target.find()?;
    let (phase, phases) = watch::channel(Phase::Connecting);
    let (reports, mut events) = mpsc::unbounded_channel();
    let mut gauges = Vec::new();
    let mut threads = Vec::new();
    for thread in 0..plan.threads {
        let gauge = Arc::new(Gauge::default());
        gauges.push(Arc::clone(&gauge));
        let job = Job {
            plan: Arc::clone(plan),
            address: address.clone(),
            run,
            thread,
            phase: phases.clone(),
            events: reports.clone(),
            gauge,
        };
        let spawned =
            thread::Builder::new().name(format!("bench-{thread}")).spawn(|| worker::run(job));
        threads.push(spawned.map_err(|error| format!("cannot start a thread: {error}"))?);
    }
    drop(reports);

    let progress = Progress::new(plan, run, gauges);
    let measured = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start a runtime: {error}"))?
        .block_on(conduct(plan.threads, &phase, &mut events, progress));
    if measured.is_ok() {
        // All have reported. After a failure the process ends, and they with it.
        for thread in threads {
            let _ = thread.join();
        }
    }
    measured
}

/// Starts the threads together, waits for them, and shows progress meanwhile.
async fn conduct(
    threads: u32,
    phase: &watch::Sender<Phase>,
    events: &mut mpsc::UnboundedReceiver<Event>,
    mut progress: Progress,
) -> Result<Measured, String> {
    let mut tally = Tally::new()?;
    let (mut connected, mut finished) = (0, 0);
    let (mut start, mut started) = (None, SystemTime::now());
    let mut duration = Duration::ZERO;
    let mut interrupted = false;
    // Kept throughout: one made anew for each wait would miss what comes between two.
    let mut interrupts = signal(SignalKind::interrupt())
        .map_err(|error| format!("cannot listen for Ctrl-C: {error}"))?;
    let second = Duration::from_secs(1);
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + second, second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);

    while finished < threads {
        tokio::select! {
            event = events.recv() => match event.ok_or("a thread ended without a report")? {
                Event::Connected => {
                    connected += 1;
                    if connected == threads {
                        let now = Instant::now();
                        (start, started) = (Some(now), SystemTime::now());
                        ticks.reset();
                        let _ = phase.send(Phase::Running(now));
                    }
                }
                Event::Finished(result) => {
                    let (part, length_us) = result?;
                    tally.merge(&part);
                    duration = duration.max(Duration::from_micros(length_us));
                    finished += 1;
                }
            },
            _ = ticks.tick() => if let Some(start) = start {
                progress.show(start.elapsed());
            },
            _ = interrupts.recv() => {
                if start.is_none() || interrupted {
                    return Err("interrupted; nothing was reported".to_owned());
                }
                interrupted = true;
                let _ = phase.send(Phase::Stopping);
            }
        }
    }
    progress.finish(duration);
    Ok(Measured { tally, duration, started, interrupted })
}

/// Asks for as many open files as there are connections, each with a timer if rates are limited.
fn raise_file_limit(plan: &Plan) {
    const OTHERS: u64 = 64;
    let per_connection = if plan.rate.is_some() { 3 } else { 1 };
    let needed = u64::from(plan.connections()) * per_connection + OTHERS;
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < needed
    {
        // If that is refused or not enough, connecting fails and says what to do.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard);
    }
}

#[cfg(test)]
mod tests;
