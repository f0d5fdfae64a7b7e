//! Limits the operating system sets a process.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use tracing::warn;

use crate::failure::Failure;

/// Files a node has open before the first connection: log, listeners, what a runtime needs.
const BASE_FILES: u64 = 64;
/// Files of each worker.
const WORKER_FILES: u64 = 8;

/// Raises the limit of open files to fit `connections`, or answers how many do fit.
pub(super) fn raise_files(
    connections: usize,
    workers: usize,
    files: u64,
) -> Result<usize, Failure> {
    let own = BASE_FILES + files + WORKER_FILES * as_u64(workers);
    let needed = own.saturating_add(as_u64(connections));
    let limit = || getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| system("open files", error));
    let (soft, hard) = limit()?;
    if soft < needed {
        // Only root may go above the hard limit.
        if hard >= needed || setrlimit(Resource::RLIMIT_NOFILE, needed, needed).is_err() {
            setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard)
                .map_err(|error| system("open files", error))?;
        }
    }
    let (soft, _) = limit()?;
    if soft >= needed {
        return Ok(connections);
    }
    let fitting = usize::try_from(soft.saturating_sub(own)).unwrap_or(usize::MAX);
    if fitting == 0 {
        return Err(Failure::system(format!(
            "the limit of {soft} open files leaves none for connections: it must be above {own}; \
             raise LimitNOFILE= of the unit, or ulimit -n"
        )));
    }
    warn!(
        "-c {connections}: only {fitting} connections fit the limit of {soft} open files; raise \
         LimitNOFILE= of the unit or ulimit -n to {needed}"
    );
    Ok(fitting)
}

/// Raises the limit of core files as far as may be.
pub(super) fn raise_core() -> Result<(), Failure> {
    let core = Resource::RLIMIT_CORE;
    if setrlimit(core, RLIM_INFINITY, RLIM_INFINITY).is_ok() {
        return Ok(());
    }
    let (_, hard) = getrlimit(core).map_err(|error| system("core files", error))?;
    if hard == 0 {
        return Err(Failure::system(
            "-r: core files are forbidden by a hard limit of 0; set LimitCORE=infinity in the \
             unit, or leave -r out",
        ));
    }
    setrlimit(core, hard, hard).map_err(|error| system("core files", error))
}

/// Takes away the limit of locked memory, where the process may.
pub(super) fn raise_locked() {
    setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).ok();
}

pub(super) fn locked_is_unlimited() -> bool {
    getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(|(soft, _)| soft == RLIM_INFINITY)
}

fn system(what: &str, error: nix::Error) -> Failure {
    Failure::system(format!("the limit of {what} cannot be changed: {error}"))
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
