//! The log: one line for each event, on standard error.

use std::sync::OnceLock;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

/// What is logged can change while the process runs, and the process has one log.
static FILTER: OnceLock<Handle<Targets, Registry>> = OnceLock::new();

/// Begins to log: start, stop and trouble, and more with each step of `verbosity`.
pub(crate) fn init(verbosity: u8) {
    let (filter, handle) = reload::Layer::new(filter(verbosity.into()));
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false);
    // What the engine of the store logs, through the crate `log`, is heard too. It fails where a
    // log is being kept already, which then goes on.
    if tracing_subscriber::registry().with(lines.with_filter(filter)).try_init().is_ok() {
        FILTER.set(handle).ok();
    }
}

/// Logs as with this `verbosity` from now on.
pub(crate) fn change(verbosity: u32) {
    if let Some(handle) = FILTER.get() {
        handle.reload(filter(verbosity)).ok();
    }
}

/// Libraries are heard one step later than we are.
fn filter(verbosity: u32) -> Targets {
    let (ours, libraries) = match verbosity {
        0 => (LevelFilter::INFO, LevelFilter::WARN),
        1 => (LevelFilter::DEBUG, LevelFilter::INFO),
        2 => (LevelFilter::TRACE, LevelFilter::DEBUG),
        _ => (LevelFilter::TRACE, LevelFilter::TRACE),
    };
    // Consensus warns of each heartbeat that does not arrive, several a second for as long as a node is
    // away: who is away the log says once, without it.
    let consensus = if verbosity < 2 { LevelFilter::ERROR } else { libraries };
    Targets::new()
        .with_default(libraries)
        .with_target("larder", ours)
        .with_target("openraft", consensus)
}
