//! A short run of outages: what `cargo run -p larder-tests --example outages` does for hours.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests say what they expect by failing")]

use std::time::Duration;

use larder_tests::outages::{Kind, Plan, run};
use nix::unistd::geteuid;
use tempfile::TempDir;

fn run_with(seed: u64, faults: &[Kind]) {
    let place = TempDir::new().unwrap();
    let plan = Plan {
        program: env!("CARGO_BIN_EXE_larder").into(),
        place: place.path().to_owned(),
        seed,
        duration: Duration::ZERO,
        round: Duration::from_secs(8),
        nodes: 3,
        clients: 8,
        faults: faults.to_owned(),
    };
    let summary = run(&plan, |round| println!("{round}"));
    let summary = summary.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    assert!(summary.faults > 0 && summary.answered > 0, "{summary}");
}

#[test]
fn nodes_are_killed_and_stopped_and_clients_see_one_history() {
    run_with(1, &[Kind::KillOne, Kind::KillLeader, Kind::KillAll, Kind::Tear, Kind::PauseLeader]);
}

#[test]
fn ways_between_nodes_are_cut_and_clients_see_one_history() {
    if geteuid().is_root() {
        run_with(2, &[Kind::Isolate, Kind::Split, Kind::OneWay, Kind::Bridge, Kind::Throttle]);
    } else {
        println!("not root: there is no network to cut");
    }
}
