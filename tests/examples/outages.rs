//! Has a durable cluster of real processes fail in many ways while clients ask, and judges what they
//! saw. It ends with the first thing that is wrong, or well.
//!
//! ```text
//! cargo run --release -p larder-tests --example outages -- --minutes 60
//! ```
//!
//! Linux; without root nothing fails that takes a network or a volume of its own. The nodes are this
//! same program, so they are never ones that were built earlier; `--larder` takes another.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, fs, io, thread};

use clap::Parser;
use larder_tests::outages::{Kind, Plan, run};
use nix::unistd::geteuid;
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Have a durable cluster fail in many ways and judge what its clients see
#[derive(Debug, Parser)]
struct Args {
    /// Minutes to go on for
    #[arg(long, value_name = "NUMBER", default_value_t = 5.0)]
    minutes: f64,

    /// Seconds for which things fail, between which all is read back and judged
    #[arg(long, value_name = "NUMBER", default_value_t = 30)]
    round: u64,

    /// Seed of what is asked for and of what fails (default: by chance)
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// Nodes
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,

    /// Clients that ask at once
    #[arg(long, value_name = "NUMBER", default_value_t = 12)]
    clients: usize,

    /// What is to fail, separated by commas (default: everything)
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    faults: Vec<Kind>,

    /// Say of each round what failed when
    #[arg(long)]
    schedules: bool,

    /// Keep data and logs in this directory, which must be empty (default: keep them only if
    /// something is wrong)
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// The program that nodes are
    #[arg(long, value_name = "FILE")]
    larder: Option<PathBuf>,
}

fn main() -> ExitCode {
    let name = env::args_os().next();
    if name.is_some_and(|name| Path::new(&name).file_name().is_some_and(|name| name == "larder")) {
        return larder::main();
    }
    match outages(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("outages: {why}");
            ExitCode::FAILURE
        }
    }
}

fn outages(args: &Args) -> Result<(), String> {
    let duration = Duration::try_from_secs_f64(args.minutes * 60.0)
        .map_err(|_| format!("--minutes {}: want a number, for example 60", args.minutes))?;
    let mut faults = args.faults.clone();
    if faults.is_empty() {
        faults.extend(Kind::ALL);
        if !geteuid().is_root() {
            faults.retain(|kind| !kind.wants_root());
            println!("not root: no network and no volume will fail");
        }
    }
    let folder = TempDir::new().map_err(|error| format!("cannot make a directory: {error}"))?;
    let place = args.keep.clone().unwrap_or_else(|| folder.path().to_owned());
    fs::create_dir_all(&place).map_err(|error| format!("--keep {}: {error}", place.display()))?;
    let program = args.larder.clone().map_or_else(env::current_exe, fs::canonicalize);
    let program = program.map_err(|error| format!("--larder: {error}"))?;
    let seed = args.seed.unwrap_or_else(rand::random);
    let interrupted = Arc::new(AtomicBool::new(false));
    listen(Arc::clone(&interrupted))?;
    let plan = Plan {
        program,
        place: place.clone(),
        seed,
        duration,
        round: Duration::from_secs(args.round),
        nodes: args.nodes,
        clients: args.clients,
        faults,
        interrupted: Arc::clone(&interrupted),
    };
    println!("--seed {seed}, in {}", place.display());
    let done = run(&plan, |round| {
        println!("{round}");
        if args.schedules {
            println!("{}", round.schedule());
        }
    });
    let summary = done.map_err(|failure| {
        if interrupted.load(Ordering::Relaxed) {
            return failure.to_string();
        }
        let kept = folder.keep();
        let kept = args.keep.as_deref().unwrap_or(&kept);
        format!("{failure}\nwith --seed {seed}; data and logs are in {}", kept.display())
    })?;
    println!("{summary}\nnothing wrong");
    Ok(())
}

/// Notes when we are told to end. A second signal changes nothing: what we have made is removed first.
fn listen(interrupted: Arc<AtomicBool>) -> Result<(), String> {
    let runtime = Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(|error| format!("cannot wait for signals: {error}"))?;
    let listening = runtime.block_on(async {
        Ok::<_, io::Error>((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    });
    let (mut interrupt, mut terminate) =
        listening.map_err(|error| format!("cannot wait for signals: {error}"))?;
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        interrupted.store(true, Ordering::Relaxed);
    });
    Ok(())
}
