//! Soaks a cache node: random commands over several connections, every answer judged, books and
//! memory looked at each second. It ends with the first thing that is wrong, or well.
//!
//! ```text
//! cargo run --release -p larder-tests --example soak -- --minutes 60
//! ```
//!
//! The node is this same program, so it is never one that was built earlier. `--server` soaks
//! another, which it flushes first.

use std::io::{self, Read as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use clap::Parser;
use larder_tests::soak::{Plan, soak};
use tempfile::TempDir;

/// Soak a cache node with random commands and judge every answer
#[derive(Debug, Parser)]
struct Args {
    /// Minutes to go on for
    #[arg(long, value_name = "NUMBER", default_value_t = 5.0)]
    minutes: f64,

    /// Seed of what is asked for (default: by chance)
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// Connections that ask at once
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,

    /// Longest value in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    max_value: usize,

    /// Do not end when the node is out of memory
    #[arg(long)]
    may_refuse: bool,

    /// Memory of the node, in megabytes
    #[arg(short, long, value_name = "NUMBER", default_value_t = 256, conflicts_with = "server")]
    memory_limit: u32,

    /// Threads of the node
    #[arg(short, long, value_name = "NUMBER", default_value_t = 4, conflicts_with = "server")]
    threads: u16,

    /// Soak this server, as host:port, instead of a node of its own
    #[arg(long, value_name = "ADDR")]
    server: Option<String>,

    /// Process of that server, to watch its memory
    #[arg(long, value_name = "PID", requires = "server")]
    pid: Option<u32>,
}

fn main() -> ExitCode {
    if env::args_os().next().is_some_and(|name| name == NODE) {
        return larder::main();
    }
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("soak: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    let duration = Duration::try_from_secs_f64(args.minutes * 60.0)
        .map_err(|_| format!("--minutes {}: want a number, for example 60", args.minutes))?;
    let node = match args.server {
        None => Some(Node::start(args).map_err(|error| format!("cannot start a node: {error}"))?),
        Some(_) => None,
    };
    let server = match (&node, &args.server) {
        (Some(node), _) => node.address,
        (None, server) => {
            let server = server.as_deref().unwrap_or_default();
            let addresses = server.to_socket_addrs().ok();
            addresses.and_then(|mut addresses| addresses.next()).ok_or_else(|| {
                format!("--server {server}: want host:port, for example 10.0.0.1:11211")
            })?
        }
    };
    let seed = args.seed.unwrap_or_else(rand::random);
    let plan = Plan {
        server,
        process: node.as_ref().map(|node| node.child.id()).or(args.pid),
        seed,
        duration,
        connections: args.connections.into(),
        max_value: args.max_value,
        may_refuse: args.may_refuse,
    };
    println!("soaking {server} with --seed {seed}");
    let mut told = Instant::now();
    let done = soak(&plan, |progress| {
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            println!("{progress}");
        }
    });
    let progress = done.map_err(|violation| format!("{violation}\nwith --seed {seed}"))?;
    println!("{progress}\nnothing wrong");
    Ok(())
}

/// A node of our own, which ends with this.
struct Node {
    child: Child,
    address: SocketAddr,
}

impl Node {
    fn start(args: &Args) -> io::Result<Self> {
        let folder = TempDir::new()?;
        let ports = folder.path().join("ports");
        let mut child = Command::new(env::current_exe()?)
            .arg0(NODE)
            .args(["cache", "-l", "127.0.0.1", "-p", "-1"])
            .args(["-m", &args.memory_limit.to_string(), "-t", &args.threads.to_string()])
            .args(["--announce-ready", "--stop-on-stdin-eof"])
            .env("MEMCACHED_PORT_FILENAME", &ports)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        // It says something once it serves, and nothing if it never will.
        if let Some(output) = &mut child.stdout {
            output.read_exact(&mut [0])?;
        }
        let text = fs::read_to_string(ports)?;
        let address = text.lines().find_map(|line| {
            let port = line.strip_prefix("TCP INET: ")?.parse().ok()?;
            Some(SocketAddr::from(([127, 0, 0, 1], port)))
        });
        let address = address.ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { child, address })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have gone already; then there is nothing to stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What this program is called by itself when it is to be a node.
const NODE: &str = "larder";

const TELL_EVERY: Duration = Duration::from_secs(30);
