//! `larder up`: a local cluster for trying out, each node a process of its own.
//!
//! A node that dies is not started again: whoever kills it wants to see the others go on, and is
//! told how to start it by hand. Such a node is theirs, not the cluster's.

mod child;
mod cluster;
mod programs;
mod secret;
mod summary;

use std::fs::{self, File};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use self::cluster::{Cluster, Event};
use crate::config::UpConfig;
use crate::failure::Failure;
use crate::node::Signals;

/// How long a node may take until it serves.
const START_LIMIT: Duration = Duration::from_mins(1);

/// Runs the cluster until it is told to stop.
pub(crate) fn run(config: &UpConfig) -> Result<ExitCode, Failure> {
    // Before there is any other thread: they inherit what is blocked here.
    let signals = Signals::block()?;
    let (sender, events) = channel();
    let stopper = sender.clone();
    std::thread::spawn(move || {
        signals.each(|_| {
            stopper.send(Event::Stop).ok();
        });
    });
    let _lock = lock(config)?;
    let mut cluster = Cluster::new(sender);
    for program in programs::all(config)? {
        cluster.start(program)?;
    }
    let mut ended = if await_ready(&mut cluster, &events)? {
        summary::print(&cluster, config);
        watch(&mut cluster, &events)
    } else {
        ExitCode::SUCCESS
    };
    summary::say("stopping");
    cluster.stop(&events, |said| {
        summary::say(said);
        ended = ExitCode::FAILURE;
    });
    summary::say("stopped");
    Ok(ended)
}

/// Keeps a second cluster off the same data.
fn lock(config: &UpConfig) -> Result<File, Failure> {
    let place = config.data.display();
    let failed = |error: std::io::Error| Failure::system(format!("--data {place}: {error}"));
    fs::create_dir_all(config.data.join("logs")).map_err(failed)?;
    let lock = File::create(config.data.join("lock")).map_err(failed)?;
    lock.try_lock().map_err(|error| match error {
        fs::TryLockError::WouldBlock => Failure::system(format!(
            "--data {place}: another larder up runs there; stop it, or choose another directory"
        )),
        fs::TryLockError::Error(error) => failed(error),
    })?;
    Ok(lock)
}

/// Waits until every node serves. `false` if the cluster is to stop first.
fn await_ready(cluster: &mut Cluster, events: &Receiver<Event>) -> Result<bool, Failure> {
    let deadline = Instant::now() + START_LIMIT;
    while !cluster.is_ready() {
        match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Ready(at)) => cluster.ready(at),
            Ok(Event::Ended(at)) => {
                let said = cluster.reap(at);
                return Err(Failure::system(said.unwrap_or_default()));
            }
            Ok(Event::Stop) => return Ok(false),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let seconds = START_LIMIT.as_secs();
                return Err(Failure::system(format!(
                    "{} not serving after {seconds} s; see the logs in the data directory",
                    cluster.late().join(", ")
                )));
            }
        }
    }
    Ok(true)
}

/// Tells of every node that ends, until the cluster is to stop or none is left.
fn watch(cluster: &mut Cluster, events: &Receiver<Event>) -> ExitCode {
    while let Ok(event) = events.recv() {
        match event {
            Event::Stop => return ExitCode::SUCCESS,
            Event::Ready(at) => cluster.ready(at),
            Event::Ended(at) => {
                if let Some(said) = cluster.reap(at) {
                    summary::say(&said);
                }
                if cluster.is_empty() {
                    summary::say("no node is left");
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    ExitCode::FAILURE
}
