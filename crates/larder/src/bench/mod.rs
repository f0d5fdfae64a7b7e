//! `larder bench`: a load generator with `memtier_benchmark`'s flag names.
//!
//! It opens `--threads` x `--clients` connections, keeps up to `--pipeline` requests outstanding on
//! each, and reports operations per second and latency per command. Flags that exist in
//! `memtier_benchmark` mean the same here; two defaults differ, because only memcached's text
//! protocol is spoken: `--protocol memcache_text` and `--port 11211`.
//!
//! # Latency
//!
//! Without `--rate-limiting`, from just before a request is written to when its reply was read. With
//! it, from when the request was *due*: a server that stalls for a second is charged with that second
//! by every request that should have been sent meanwhile, not only by the one that happened to be
//! outstanding (coordinated omission). Microsecond resolution, three significant digits.
//!
//! # JSON
//!
//! `--json-out-file` writes one object. Names are those of `memtier_benchmark` (format version 2)
//! where the thing is the same; latencies are in milliseconds, `KB/sec` in units of 1,024 bytes.
//!
//! - `configuration`: the flags as resolved (`server`, `port`, `clients`, `ratio`, ...)
//! - `run information`: `Threads`, `Connections per thread`, `Requests per client` or `Seconds`,
//!   `Format version`, `Latency from` (`sent` or `due`)
//! - `ALL STATS`; with `--run-count` above one instead `BEST RUN RESULTS`, `WORST RUN RESULTS`,
//!   `AGGREGATED AVERAGE RESULTS (N runs)`, and with `--print-all-runs` `RUN #N RESULTS`. Each holds:
//!   - `Runtime`: `Start time` and `Finish time` (milliseconds since 1970), `Total duration`
//!     (milliseconds), `Time unit`, `Interrupted` (`"true"` or `"false"`)
//!   - `Sets`, `Gets`, `Totals`: `Count`, `Ops/sec`, `Hits/sec`, `Misses/sec`,
//!     `Connection Errors`, `Connection Errors/sec`, `Latency`, `Average Latency`,
//!     `Accumulated Latency`, `Min Latency`, `Max Latency`, `KB/sec`, `KB/sec RX/TX`, `KB/sec RX`,
//!     `KB/sec TX`, `Percentile Latencies` (`p50.00`, `p99.00`, ...) and `Time-Serie`: by second of
//!     the run, `Count`, `Bytes RX`, `Bytes TX`, `Average Latency`, `Accumulated Latency`,
//!     `Min Latency`, `Max Latency`
//!   - `SET`, `GET`: the histogram, a list of `<=msec` and `percent`; absent with `--hide-histogram`
//!   - `Errors` (ours): `Error replies`, `First error reply`, `Connections lost`,
//!     `First connection lost`, `Requests unanswered`, `Requests due but not sent`
//!
//! # Modules
//!
//! - `args`: the flags, as written
//! - `plan`: the flags, checked and resolved
//! - `keys`, `zipf`: which key comes next
//! - `mix`: which command comes next
//! - `payload`: what a set stores
//! - `command`: from requests to bytes
//! - `reply`: from bytes to replies
//! - `pace`, `timer`: when a rate-limited request is due, and waiting for it
//! - `stream`: where the server is, and a connection to it
//! - `connection`: one client: sends, receives, measures
//! - `worker`: one thread of clients
//! - `race`: one run of all threads
//! - `tally`: what was counted
//! - `progress`: the line shown meanwhile
//! - `report`, `json`: what is shown at the end

mod args;
mod command;
mod connection;
mod json;
mod keys;
mod mix;
mod pace;
mod payload;
mod plan;
mod progress;
mod race;
mod reply;
mod report;
mod stream;
mod tally;
mod timer;
mod worker;
mod zipf;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

pub(crate) use args::Args;
use plan::Plan;
use race::Measured;

/// Runs the benchmark and prints its report.
///
/// Fails, after one line on stderr, on flags that make no sense, a server that is not there or a
/// file that cannot be written; also, after the report, when the server closed connections, left
/// requests unanswered, or no request succeeded.
pub(crate) fn run(args: Args) -> ExitCode {
    match try_run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("larder bench: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every run was sound: connections held, replies came.
fn try_run(args: Args) -> Result<bool, String> {
    let out_file = args.out_file().map(Path::to_owned);
    let json_file = args.json_out_file().map(Path::to_owned);
    let view = args.view();
    let plan = Arc::new(Plan::resolve(args)?);
    // Opened before the run: an hour of load must not end in "permission denied".
    let mut out: Box<dyn Write> = match &out_file {
        Some(path) => Box::new(create(path)?),
        None => Box::new(io::stdout()),
    };
    let json_out = json_file.as_deref().map(create).transpose()?;

    let mut runs: Vec<Measured> = Vec::new();
    for run in 1..=plan.runs {
        let measured = race::run(&plan, run)?;
        let interrupted = measured.interrupted;
        runs.push(measured);
        if interrupted {
            break;
        }
    }

    let sections = report::sections(&runs, view.all_runs);
    let written = report::write(&mut out, &plan, &view, &sections);
    written.map_err(|error| format!("cannot write the report: {error}"))?;
    if let (Some(mut file), Some(path)) = (json_out, json_file) {
        serde_json::to_writer_pretty(&mut file, &json::document(&plan, &view, &sections))
            .map_err(io::Error::from)
            .and_then(|()| file.flush())
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(runs.iter().all(Measured::is_sound))
}

fn create(path: &Path) -> Result<io::BufWriter<File>, String> {
    let file = File::create(path)
        .map_err(|error| format!("cannot write {}: {error}; name another file", path.display()))?;
    Ok(io::BufWriter::new(file))
}
