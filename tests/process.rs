//! A real memcached, started for one test and stopped with it.

use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use tempfile::TempDir;

use crate::wire::Wire;

/// Major, minor, patch.
pub(crate) type Version = (u32, u32, u32);

/// A running memcached. Dropping it stops the process.
pub(crate) struct Memcached {
    child: Child,
    address: SocketAddr,
    version: Version,
    // memcached writes its port into a file in here.
    _folder: TempDir,
}

impl Memcached {
    /// Starts the memcached that tests compare with: `LARDER_MEMCACHED`, else the one in `PATH`.
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_program(&program(), options)
    }

    /// Starts a given memcached on a free port of loopback and waits until it accepts.
    pub(crate) fn start_program(program: &OsStr, options: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let ports = folder.path().join("ports");
        let spawned = Command::new(program)
            .args(["-l", "127.0.0.1", "-p", "-1", "-U", "0", "-u", "root", "-t", "1"])
            // For a conversation to mean the same each time, without the threads that tend to its
            // lists: to move an item up from the cold one the maintainer holds it for a moment, and
            // an `ma` with T that comes just then sets the exptime of the copy it discards (1.6.18
            // and 1.6.45: four times in ten, if the item was made a second before).
            .args(["-o", "no_lru_crawler,no_lru_maintainer"])
            .args(options)
            .env("MEMCACHED_PORT_FILENAME", &ports)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = spawned.unwrap_or_else(|error| {
            panic!(
                "cannot run {}: {error}. These tests compare with a real memcached: install \
                 Debian's package `memcached`, or name a binary in LARDER_MEMCACHED",
                program.display()
            )
        });
        let mut started = Self {
            child,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            version: (0, 0, 0),
            _folder: folder,
        };
        let port = started.await_port(&ports);
        started.address.set_port(port);
        started.version = started.ask_version();
        started
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The port, once it is known and accepts connections.
    fn await_port(&mut self, ports: &std::path::Path) -> u16 {
        let deadline = Instant::now() + STARTS_WITHIN;
        loop {
            let port = fs::read_to_string(ports).ok().and_then(|text| {
                text.lines().find_map(|line| line.strip_prefix("TCP INET: ")?.parse().ok())
            });
            if let Some(port) = port
                && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
            {
                return port;
            }
            let exited = self.child.try_wait().unwrap();
            assert!(exited.is_none(), "memcached exited instead of listening: {exited:?}");
            assert!(Instant::now() < deadline, "memcached does not listen after {STARTS_WITHIN:?}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn ask_version(&self) -> Version {
        let mut wire = Wire::connect(self.address);
        wire.send(b"version\r\n");
        let line = wire.line().expect("a version");
        let text = String::from_utf8(line).unwrap();
        let mut numbers = text.trim_end().trim_start_matches("VERSION ").split('.').map(|number| {
            // A development version carries a suffix.
            let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
            number[..digits].parse().unwrap()
        });
        let mut next = || numbers.next().unwrap_or_else(|| panic!("no version: {text:?}"));
        (next(), next(), next())
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        // It may have gone already; then there is nothing to stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> OsString {
    env::var_os("LARDER_MEMCACHED").unwrap_or_else(|| "memcached".into())
}

const STARTS_WITHIN: Duration = Duration::from_secs(10);
