//! `-d`: leaving the terminal.
//!
//! Forking a process of several threads cannot be done safely, so the program runs itself anew,
//! in a session of its own. The first process waits until the second serves or has failed, so its
//! exit code tells the truth.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

use nix::unistd::{dup2_stderr, dup2_stdout, setsid};

use crate::config::NodeConfig;
use crate::failure::Failure;

/// The line by which a process says that it serves.
const READY: &str = "ready";

/// Starts this command anew, detached, and waits until it serves or ends.
pub(crate) fn launch() -> Result<ExitCode, Failure> {
    let failed = |error| Failure::system(format!("-d: cannot start anew: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if child.stdout.take().is_some_and(is_ready) {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait().map_err(failed)?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
    match code {
        // It has said why.
        Some(code) => Ok(ExitCode::from(code)),
        None => Err(Failure::system(format!("-d: ended before it served: {status}"))),
    }
}

/// Whether what a process writes on its output says that it serves. Waits until it says so or can
/// no longer say it.
pub(crate) fn is_ready(output: impl std::io::Read) -> bool {
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).is_ok() && line.trim_end() == READY
}

/// Tells whoever waits for it.
pub(super) fn say_ready() {
    let mut output = std::io::stdout();
    // Whoever asked may be gone; the node is not there for them alone.
    writeln!(output, "{READY}").and_then(|()| output.flush()).ok();
}

/// Leaves the session of the terminal, in the process that [`launch`] started.
pub(super) fn detach() -> Result<(), Failure> {
    setsid()
        .map(drop)
        .map_err(|error| Failure::system(format!("-d: cannot begin a session: {error}")))
}

/// Says that it serves, and lets go of the terminal and of the working directory.
///
/// As with memcached, `-v` keeps standard error and `-r` the directory, where the core file goes.
pub(super) fn let_go(config: &NodeConfig) -> Result<(), Failure> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: String| Failure::system(format!("-d: {what}: {error}"))
    };
    let null = File::options()
        .write(true)
        .open("/dev/null")
        .map_err(|error| failed("/dev/null cannot be opened")(error.to_string()))?;
    if !config.core_dumps {
        std::env::set_current_dir("/")
            .map_err(|error| failed("cannot change to /")(error.to_string()))?;
    }
    if config.verbosity == 0 {
        dup2_stderr(&null).map_err(|error| failed("standard error")(error.to_string()))?;
    }
    say_ready();
    dup2_stdout(&null).map_err(|error| failed("standard output")(error.to_string()))
}
