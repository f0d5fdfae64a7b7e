//! One thread of clients.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::connection::Connection;
use super::payload::Payload;
use super::plan::{Limit, Plan};
use super::progress::Gauge;
use super::stream::{Address, Stream};
use super::tally::Tally;

/// What a thread is to do.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) plan: Arc<Plan>,
    pub(super) address: Address,
    /// The run, counted from one.
    pub(super) run: u32,
    /// This thread, counted from zero.
    pub(super) thread: u32,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) gauge: Arc<Gauge>,
}

/// What all threads are at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    /// Since this moment.
    Running(Instant),
    /// No new requests; what was sent may still be answered.
    Stopping,
}

/// What a thread tells.
#[derive(Debug)]
pub(super) enum Event {
    /// All its connections stand.
    Connected,
    /// It ended, with what was counted and the length of the run in microseconds as it saw it.
    Finished(Result<(Box<Tally>, u64), String>),
}

/// What the connections of a thread share.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) plan: Arc<Plan>,
    pub(super) tally: Tally,
    pub(super) payload: Payload,
    pub(super) clock: Clock,
    /// The time when something was last received.
    pub(super) now_us: u64,
    /// No request is sent from here on, by `--test-time`.
    pub(super) end_us: u64,
    /// No request is sent any more.
    pub(super) stopped: bool,
    /// Requests sent and not answered, of all connections.
    pub(super) outstanding: u64,
    /// Where received bytes go. Larger would leave the first-level cache.
    pub(super) input: Box<[u8]>,
    /// The batch being put together.
    pub(super) output: Vec<u8>,
    gauge: Arc<Gauge>,
}

/// Time since the start of the run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) start: Instant,
}

/// How long outstanding requests may take once no more are sent.
const GRACE: Duration = Duration::from_secs(5);
const INPUT_BYTES: usize = 32 * 1024;

/// Runs a thread's clients, and tells how it went.
pub(super) fn run(mut job: Job) {
    let result = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map_err(|error| format!("cannot start a runtime: {error}"))
        .and_then(|runtime| runtime.block_on(work(&mut job)));
    // Nobody listens once another thread failed.
    let _ = job.events.send(Event::Finished(result));
}

async fn work(job: &mut Job) -> Result<(Box<Tally>, u64), String> {
    let streams = connect(job).await?;
    // As in `run`.
    let _ = job.events.send(Event::Connected);
    let start = loop {
        let phase = *job.phase.borrow_and_update();
        match phase {
            Phase::Running(start) => break start,
            Phase::Stopping => return Err("stopped before it started".to_owned()),
            Phase::Connecting => {
                job.phase.changed().await.map_err(|_| "another thread failed".to_owned())?;
            }
        }
    };

    let desk = Rc::new(RefCell::new(Desk::new(job, start)?));
    let mut clients = JoinSet::new();
    for (client, stream) in (job.thread * job.plan.clients..).zip(streams) {
        let connection = Connection::new(stream, &job.plan, client, job.run).map_err(|error| {
            format!("cannot set a timer: {error}; more files may help (ulimit -n)")
        })?;
        clients.spawn_local(drive(connection, Rc::clone(&desk)));
    }
    tokio::select! {
        ended = finish(&mut clients) => ended?,
        () = stop(job, start) => {
            desk.borrow_mut().stopped = true;
            // What is not answered by then is counted as unanswered below.
            tokio::time::timeout(GRACE, finish(&mut clients)).await.unwrap_or(Ok(()))?;
        }
    }
    clients.shutdown().await;

    let desk = Rc::into_inner(desk).ok_or("a client outlived its thread")?.into_inner();
    let mut tally = desk.tally;
    tally.unanswered = desk.outstanding;
    Ok((Box::new(tally), desk.clock.now_us()))
}

async fn connect(job: &Job) -> Result<Vec<Stream>, String> {
    let mut attempts = JoinSet::new();
    for _ in 0..job.plan.clients {
        let address = job.address.clone();
        attempts.spawn_local(async move { Stream::connect(&address).await });
    }
    let mut streams = Vec::new();
    while let Some(attempt) = attempts.join_next().await {
        let stream = attempt.map_err(|error| error.to_string())?.map_err(|error| {
            format!(
                "connection {} to {} failed: {error}; fewer --clients, a higher ulimit -n here or a \
                 higher connection limit there may help",
                streams.len() + 1,
                job.plan.target
            )
        })?;
        streams.push(stream);
    }
    Ok(streams)
}

/// Runs a client to its end.
async fn drive(mut connection: Connection, desk: Rc<RefCell<Desk>>) {
    desk.borrow_mut().look_at_clock();
    let ended = poll_fn(|cx| connection.poll(cx, &mut desk.borrow_mut())).await;
    let desk = &mut *desk.borrow_mut();
    let end_us = desk.clock.now_us().min(desk.end_us);
    desk.tally.unsent += connection.behind(end_us);
    if let Err(reason) = ended {
        desk.tally.lost.note(reason);
    }
}

/// Returns once all clients ended.
async fn finish(clients: &mut JoinSet<()>) -> Result<(), String> {
    while let Some(ended) = clients.join_next().await {
        ended.map_err(|error| format!("a client failed: {error}"))?;
    }
    Ok(())
}

/// Returns when the run is to end before its clients do: by time or by wish.
async fn stop(job: &mut Job, start: Instant) {
    let wish = job.phase.wait_for(|phase| *phase == Phase::Stopping);
    match job.plan.limit {
        Limit::Time(time) => {
            // Either way it is time to stop.
            let _ = tokio::time::timeout_at((start + time).into(), wish).await;
        }
        _ => {
            // An error means that nobody is there to wish anything.
            if wish.await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Desk {
    fn new(job: &Job, start: Instant) -> Result<Self, String> {
        let plan = Arc::clone(&job.plan);
        // Apart from the clients' seeds, which count up from the base.
        let seed = !plan.seeds.base ^ u64::from(job.thread);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        Ok(Self {
            tally: Tally::new()?,
            payload: Payload::new(plan.sizes, plan.random_data, &mut rng),
            clock: Clock { start },
            now_us: 0,
            end_us: match plan.limit {
                Limit::Time(time) => u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
                _ => u64::MAX,
            },
            stopped: false,
            outstanding: 0,
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            output: Vec::new(),
            gauge: Arc::clone(&job.gauge),
            plan,
        })
    }

    pub(super) fn look_at_clock(&mut self) {
        self.now_us = self.clock.now_us();
    }

    /// Shows what was counted so far to the progress line.
    pub(super) fn publish(&self) {
        let (sets, gets) = (&self.tally.sets.count, &self.tally.gets.count);
        self.gauge.set(
            sets.ops + gets.ops,
            sets.bytes_in + sets.bytes_out + gets.bytes_in + gets.bytes_out,
            sets.latency_us + gets.latency_us,
        );
    }
}

impl Clock {
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
