//! Short runs of outages: what `cargo run -p larder-tests --example outages` does for hours.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests say what they expect by failing")]

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use larder_tests::outages::{Failure, Kind, Plan, Summary, run};
use nix::unistd::geteuid;
use tempfile::TempDir;

/// A network is named after the process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run_until(
    interrupted: &Arc<AtomicBool>,
    seed: u64,
    seconds: u64,
    faults: &[Kind],
) -> Result<Summary, Failure> {
    let place = TempDir::new().unwrap();
    let plan = Plan {
        program: env!("CARGO_BIN_EXE_larder").into(),
        place: place.path().to_owned(),
        seed,
        duration: Duration::ZERO,
        round: Duration::from_secs(seconds),
        nodes: 3,
        clients: 8,
        faults: faults.to_owned(),
        interrupted: Arc::clone(interrupted),
    };
    run(&plan, |round| println!("{round}\n{}", round.schedule()))
}

fn run_with(seed: u64, seconds: u64, faults: &[Kind]) {
    let _alone = alone();
    let summary = run_until(&Arc::default(), seed, seconds, faults);
    let summary = summary.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    assert!(summary.faults > 0 && summary.answered > 0, "{summary}");
}

#[test]
fn nodes_are_killed_and_stopped_and_clients_see_one_history() {
    let faults = [Kind::KillOne, Kind::KillLeader, Kind::KillAll, Kind::Tear, Kind::PauseLeader];
    run_with(1, 8, &faults);
}

#[test]
fn ways_between_nodes_are_cut_and_clients_see_one_history() {
    if geteuid().is_root() {
        run_with(2, 8, &[Kind::Isolate, Kind::Split, Kind::OneWay, Kind::Bridge, Kind::Throttle]);
    } else {
        println!("not root: there is no network to cut");
    }
}

#[test]
fn clocks_are_bent_and_nothing_expires_that_has_an_hour_to_live() {
    run_with(3, 6, &[Kind::Clock, Kind::KillLeader]);
}

#[test]
fn nodes_come_and_go_and_clients_see_one_history() {
    run_with(4, 1, &[Kind::Members]);
}

#[test]
fn a_run_that_is_interrupted_leaves_no_network() {
    if !geteuid().is_root() {
        println!("not root: there is no network to leave");
        return;
    }
    let _alone = alone();
    let interrupted = Arc::new(AtomicBool::new(false));
    let running = thread::spawn({
        let interrupted = Arc::clone(&interrupted);
        move || run_until(&interrupted, 5, 60, &[Kind::Isolate])
    });
    let last = format!("ldr{}n3", std::process::id());
    let deadline = Instant::now() + Duration::from_mins(2);
    while !networks().contains(&last) {
        assert!(Instant::now() < deadline, "there is no {last}: {:?}", networks());
        thread::sleep(Duration::from_millis(20));
    }
    interrupted.store(true, Ordering::Relaxed);
    let failure = running.join().unwrap().unwrap_err().to_string();
    assert!(failure.contains("interrupted"), "{failure}");
    let ours = format!("ldr{}n", std::process::id());
    let left = networks();
    assert!(!left.iter().any(|network| network.starts_with(&ours)), "{left:?}");
}

/// All namespaces of this machine.
fn networks() -> Vec<String> {
    let ended = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let list = String::from_utf8(ended.stdout).unwrap();
    list.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect()
}
