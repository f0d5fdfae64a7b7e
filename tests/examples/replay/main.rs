//! Replays a cache trace against any server that speaks memcached's protocol, and says how much of
//! it missed.
//!
//! What is got and not there is set, with the sizes of the trace, as a site does that keeps in the
//! cache what it has read elsewhere. The server should be empty at first, and nobody else's:
//!
//! ```text
//! larder cache -p 21300 -m 64 -t 1
//! zstdcat trace.csv.zst | cargo run --release -p larder-tests --example replay -- \
//!     --server 127.0.0.1:21300 --copies 8 -
//! ```
//!
//! A trace is CSV of `time,key_id,op,key_size,value_size,ttl` with or without that as first line:
//! seconds from its start, a number for each key, `get`, `set` or `delete`, bytes, and seconds to
//! live, 0 for ever. What a miss weighs is its key and its value.
//!
//! Items live for ever unless `--speed` has time pass: with 60, an hour of the trace takes a minute,
//! and items live for a sixtieth of their `ttl`, to the nearest second and one at least.

mod player;
mod trace;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use larder_tests::connection::Connection;
use larder_tests::resident::resident_bytes;

use player::{Player, Tally};
use trace::{Request, Trace};

/// Replay a cache trace against a memcached server and report its miss ratio
#[derive(Debug, Parser)]
struct Args {
    /// Server, as host:port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:11211")]
    server: String,

    /// Replay so many copies of the trace at once, each with keys of its own, in turn
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    copies: u64,

    /// Trace seconds to a second; without it nothing is waited for and nothing expires
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    speed: Option<u32>,

    /// Stop after so many requests of the trace
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,

    /// Process of the server, to report its memory
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    /// The trace as CSV, or - for standard input
    trace: PathBuf,
}

fn main() -> ExitCode {
    match replay(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("replay: {why}");
            ExitCode::FAILURE
        }
    }
}

fn replay(args: &Args) -> Result<(), String> {
    let of_trace = |error: io::Error| format!("{}: {error}", args.trace.display());
    let of_server = |error: io::Error| format!("{}: {error}", args.server);
    let trace = Trace::new(open(args).map_err(of_trace)?).map_err(of_trace)?;
    let mut player = Player::new(Connection::new(&args.server).map_err(of_server)?);
    let mut pace = args.speed.map(Pace::new);
    for request in trace.take(args.limit.unwrap_or(usize::MAX)) {
        let request = request.map_err(of_trace)?;
        if let Some(pace) = &mut pace {
            pace.keep(&request, &mut player).map_err(of_server)?;
        }
        for copy in 0..args.copies {
            let ttl_secs = args.speed.map_or(0, |speed| shortened(request.ttl_secs, speed));
            let key = request.key * args.copies + copy;
            player.play(Request { key, ttl_secs, ..request }).map_err(of_server)?;
        }
    }
    let tally = player.finish().map_err(of_server)?;
    report(&tally);
    if let Some(late) = pace.map(|pace| pace.late).filter(|late| *late > TOLERANCE) {
        println!("requests came up to {:.1} s late: take a lower --speed", late.as_secs_f64());
    }
    if let Some(pid) = args.pid {
        let bytes = resident_bytes(pid).map_err(|error| format!("--pid: {error}"))?;
        println!("server RSS          {:>12.1} MiB", ratio(bytes, 1 << 20));
    }
    Ok(())
}

fn open(args: &Args) -> io::Result<Box<dyn BufRead>> {
    if args.trace.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    Ok(Box::new(BufReader::with_capacity(1 << 20, File::open(&args.trace)?)))
}

/// When requests are due.
struct Pace {
    speed: u32,
    start: Instant,
    /// By how much the latest of them was late.
    late: Duration,
}

impl Pace {
    fn new(speed: u32) -> Self {
        Self { speed, start: Instant::now(), late: Duration::ZERO }
    }

    /// Waits until a request is due. Until then, the server is not kept waiting for what it missed.
    fn keep(&mut self, request: &Request, player: &mut Player) -> io::Result<()> {
        let due = Duration::from_secs(request.time_secs) / self.speed;
        let elapsed = self.start.elapsed();
        self.late = self.late.max(elapsed.saturating_sub(due));
        if let Some(early) = due.checked_sub(elapsed).filter(|early| !early.is_zero()) {
            player.settle()?;
            thread::sleep(early);
        }
        Ok(())
    }
}

/// How long an item lives while time passes `speed` times as fast.
fn shortened(ttl_secs: u64, speed: u32) -> u64 {
    let speed = u64::from(speed);
    if ttl_secs == 0 { 0 } else { ((ttl_secs + speed / 2) / speed).max(1) }
}

fn report(tally: &Tally) {
    println!("requests            {:>12} gets, {} sets", tally.gets, tally.sets);
    println!("object miss ratio   {:>12.5}", ratio(tally.misses, tally.gets));
    println!("byte miss ratio     {:>12.5}", ratio(tally.miss_bytes, tally.get_bytes));
    if tally.refused > 0 {
        println!("sets refused        {:>12}", tally.refused);
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures shown rounded")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Requests this late change nothing, since items expire to the second.
const TOLERANCE: Duration = Duration::from_millis(1500);
