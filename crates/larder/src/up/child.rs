//! One node of a local cluster: what it runs, and the process that does.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::failure::Failure;
use crate::node::ANOTHER_PORT;

/// What a node runs.
#[derive(Debug)]
pub(super) struct Program {
    /// `cache-1`, `store-1`, …
    pub(super) name: String,
    /// On 127.0.0.1.
    pub(super) port: u16,
    /// Where its data is, if it keeps any.
    pub(super) data: Option<PathBuf>,
    /// Where its log is.
    pub(super) log: PathBuf,
    path: PathBuf,
    args: Vec<OsString>,
}

impl Program {
    /// One whose log is in the directory of the `cluster`.
    pub(super) fn new(
        name: String,
        port: u16,
        args: Vec<OsString>,
        data: Option<PathBuf>,
        cluster: &Path,
    ) -> Result<Self, Failure> {
        let path = std::env::current_exe().map_err(|error| {
            Failure::system(format!("the path of this program is unknown: {error}"))
        })?;
        let log = cluster.join("logs").join(format!("{name}.log"));
        Ok(Self { name, port, data, log, path, args })
    }

    /// How long it may take to end when it is asked to: data have to reach the disk.
    pub(super) fn stop_limit(&self) -> Duration {
        Duration::from_secs(if self.data.is_some() { 30 } else { 10 })
    }

    /// What it said of itself, as `larder up` says it of a node.
    fn retold(&self, said: &str) -> String {
        let tier = self.args.first().map(|tier| tier.to_string_lossy()).unwrap_or_default();
        let said = said.strip_prefix(&format!("larder: {tier}: ")).unwrap_or(said);
        said.replace(ANOTHER_PORT, &format!("choose another --{tier}-port"))
    }

    /// The command that starts it by hand, for a shell.
    pub(super) fn by_hand(&self) -> String {
        let words =
            std::iter::once(self.path.as_os_str()).chain(self.args.iter().map(OsString::as_os_str));
        words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
    }

    /// Starts it. It stops by itself when the process that holds the answer's input is gone.
    pub(super) fn start(self) -> Result<Child, Failure> {
        let name = self.name.clone();
        let failed = |error| Failure::system(format!("{name} cannot be started: {error}"));
        let mut log =
            OpenOptions::new().create(true).append(true).open(&self.log).map_err(failed)?;
        let log_start = log.seek(SeekFrom::End(0)).map_err(failed)?;
        let mut command = Command::new(&self.path);
        command.args(&self.args).args(["--announce-ready", "--stop-on-stdin-eof"]);
        // What is set for the cluster, or by a service manager for it, is not for each node.
        let set = std::env::vars_os().map(|(variable, _)| variable).filter(|variable| {
            let variable = variable.to_string_lossy();
            variable.starts_with("LARDER_")
                || ["MEMCACHED_PORT_FILENAME", "STATE_DIRECTORY"].contains(&&*variable)
        });
        for variable in set {
            command.env_remove(variable);
        }
        let mut process = command
            // Else a Ctrl-C would reach it too, and it would end before it is told to.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let output = process.stdout.take();
        let lifeline = process.stdin.take();
        Ok(Child { program: self, process, output, _lifeline: lifeline, log_start, ready: false })
    }
}

/// A process that was started and not reaped yet, so that its id is still its own.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) program: Program,
    pub(super) ready: bool,
    pub(super) output: Option<ChildStdout>,
    process: process::Child,
    /// Closed when this process ends, however it ends.
    _lifeline: Option<ChildStdin>,
    /// Where in its log this run begins, in bytes.
    log_start: u64,
}

impl Child {
    pub(super) fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.id()).unwrap_or(0))
    }

    /// Asks it to end, or makes it.
    pub(super) fn signal(&self, signal: Signal) {
        kill(self.id(), signal).ok();
    }

    /// Takes the process that has ended, and says how it ended.
    pub(super) fn reap(mut self) -> String {
        let how = match self.process.wait() {
            Ok(status) => ended(status),
            Err(error) => format!("unknown: {error}"),
        };
        let what = self.what();
        if self.ready {
            let by_hand = self.program.by_hand();
            format!("{what} ended: {how}; the others go on. To start it again: {by_hand}")
        } else {
            format!("{what} did not start: {how}: {}", self.said())
        }
    }

    /// Takes the process that was asked to end and has, or was killed, and says how it ended if
    /// not well.
    pub(super) fn reap_stopped(mut self) -> Option<String> {
        let status = match self.process.wait() {
            Ok(status) => status,
            Err(error) => return Some(format!("{} ended: unknown: {error}", self.what())),
        };
        match status.signal().map(Signal::try_from) {
            None if status.success() => None,
            // It was not ready yet to be asked.
            Some(Ok(Signal::SIGTERM)) => None,
            Some(Ok(Signal::SIGKILL)) => {
                Some(format!("{} did not stop in time and was killed", self.what()))
            }
            _ => {
                let how = ended(status);
                Some(format!("{} did not stop well: {how}: {}", self.what(), self.said()))
            }
        }
    }

    fn what(&self) -> String {
        let Program { name, port, .. } = &self.program;
        format!("{name} (process {}, 127.0.0.1:{port})", self.process.id())
    }

    /// The last it said in this run.
    fn said(&self) -> String {
        last_line(&self.program.log, self.log_start).map_or_else(
            || format!("see {}", self.program.log.display()),
            |said| self.program.retold(&said),
        )
    }
}

fn ended(status: ExitStatus) -> String {
    match status.signal().map(Signal::try_from) {
        Some(Ok(signal)) => format!("killed by {signal}"),
        Some(Err(_)) => "killed by a signal".to_owned(),
        None => format!("exit code {}", status.code().unwrap_or(-1)),
    }
}

/// The last line of the log at `path` that is not before `start`.
fn last_line(path: &Path, start: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut text = Vec::new();
    file.take(1 << 20).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().rfind(|line| !line.trim().is_empty()).map(ToOwned::to_owned)
}

/// `word` as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=@%+,".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, wanted) in
            [("/a/b-c", "/a/b-c"), ("a b", "'a b'"), ("", "''"), ("a'b", r"'a'\''b'")]
        {
            assert_eq!(quoted(word), wanted);
        }
    }

    #[test]
    fn the_last_line_is_of_this_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "old\nnew\nnewer\n\n").unwrap();
        assert_eq!(last_line(&path, 4), Some("newer".to_owned()));
        assert_eq!(last_line(&path, 15), None);
    }
}
