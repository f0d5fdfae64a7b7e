//! Processes of the program under test. Whatever a test starts ends with it.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod caches;
pub(crate) mod stores;

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a condition may take to become true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The program, with nothing of the tests' own environment that it would listen to.
pub(crate) fn larder(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.args(line.split_whitespace());
    for (variable, _) in std::env::vars() {
        if variable.starts_with("LARDER_") || variable == "MEMCACHED_PORT_FILENAME" {
            command.env_remove(variable);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the program to its end, which must come soon.
pub(crate) fn ended(command: &mut Command) -> Ended {
    let mut running = Running::start(command);
    let status = running.wait();
    Ended { status, out: running.all(Stream::Out), err: running.all(Stream::Err) }
}

/// How a process ended, and all it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// What a process writes, with what was read of it.
struct Lines {
    coming: Receiver<String>,
    seen: RefCell<String>,
}

impl Lines {
    fn next(&self, deadline: Instant) -> Option<String> {
        let line =
            self.coming.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
        let mut seen = self.seen.borrow_mut();
        seen.push_str(&line);
        seen.push('\n');
        Some(line)
    }
}

/// A process that is killed and reaped when it is dropped.
pub(crate) struct Running {
    child: Child,
    out: Lines,
    err: Lines,
    ended: Option<ExitStatus>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let out = lines(child.stdout.take().unwrap());
        let err = lines(child.stderr.take().unwrap());
        Self { child, out, err, ended: None }
    }

    pub(crate) fn id(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub(crate) fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("its input is a pipe")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        assert!(self.ended.is_none(), "it has ended, and its id may be another's");
        kill(Pid::from_raw(self.id()), signal).expect("it is there");
    }

    fn lines(&self, stream: Stream) -> &Lines {
        match stream {
            Stream::Out => &self.out,
            Stream::Err => &self.err,
        }
    }

    /// Waits for a line that contains `wanted`.
    pub(crate) fn line(&self, stream: Stream, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while let Some(line) = self.lines(stream).next(deadline) {
            if line.contains(wanted) {
                return line;
            }
        }
        panic!(
            "no line has {wanted:?}\noutput: {}\nerrors: {}",
            self.all(Stream::Out),
            self.all(Stream::Err)
        );
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        until("it ends", || {
            self.ended = self.ended.or(self.child.try_wait().unwrap());
            self.ended
        })
    }

    /// All it wrote so far, and all it will write if it has ended.
    pub(crate) fn all(&self, stream: Stream) -> String {
        let lines = self.lines(stream);
        let patience = if self.ended.is_some() { PATIENCE } else { Duration::from_millis(100) };
        while lines.next(Instant::now() + patience).is_some() {}
        lines.seen.borrow().clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// A process that is not our child, killed when this is dropped.
pub(crate) struct Stray(pub(crate) i32);

impl Drop for Stray {
    fn drop(&mut self) {
        if !is_gone(self.0) {
            kill(Pid::from_raw(self.0), Signal::SIGKILL).ok();
        }
    }
}

fn lines(output: impl Read + Send + 'static) -> Lines {
    let (sender, coming) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    Lines { coming, seen: RefCell::default() }
}

/// Waits until `condition` gives something.
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether no such process runs. One that has ended and is not reaped does not run.
pub(crate) fn is_gone(process: i32) -> bool {
    match fs::read_to_string(format!("/proc/{process}/stat")) {
        Ok(stat) => stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')),
        Err(_) => true,
    }
}

/// All that a node answers to `text`.
pub(crate) fn converse(address: &str, text: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream.write_all(b"quit\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// What a node answers to `version`.
pub(crate) fn version(address: &str) -> std::io::Result<String> {
    ask(TcpStream::connect(address)?)
}

pub(crate) fn ask(mut stream: impl Read + Write) -> std::io::Result<String> {
    stream.write_all(b"version\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

/// The first of `count` successive ports that nothing listens on and no other test was given,
/// below those that the system gives to others.
pub(crate) fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 21_000 + u16::try_from(std::process::id() % 9_000).unwrap();
    loop {
        let at = base + NEXT.fetch_add(count, Ordering::Relaxed) % 2_000;
        let taken: Vec<_> = (at..at + count)
            .map_while(|port| TcpListener::bind(("127.0.0.1", port)).ok())
            .collect();
        if taken.len() == usize::from(count) {
            return at;
        }
    }
}
