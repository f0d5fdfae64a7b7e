//! What a node runs on, whichever tier it is of.

use std::path::{Path, PathBuf};

use toml::Value;

use super::extended::Extended;
use super::{Endpoint, Setting, Sources};
use crate::failure::Failure;
use crate::flags::NodeFlags;
use crate::flags::value::{Port, Threads};

/// A UNIX socket's path has room for this many bytes.
const SOCKET_PATH_LIMIT: usize = 107;

/// What a node of either tier runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeConfig {
    /// TCP port of every address that does not bring its own. Default: 11211, a store's 21201.
    pub(crate) port: Port,
    /// Addresses to listen on over TCP. Default: `localhost`, which is 127.0.0.1 and, where the
    /// machine has IPv6, `::1`.
    pub(crate) listen: Vec<Endpoint>,
    /// UNIX socket to listen on, instead of TCP. Default: none.
    pub(crate) unix_socket: Option<PathBuf>,
    /// Access to the UNIX socket, as chmod takes it. Default: 0o700.
    pub(crate) unix_mask: u32,
    /// Connections that may wait to be accepted. Default: 1024.
    pub(crate) backlog: u32,
    /// Connections at one time. Default: 1024.
    pub(crate) connections: usize,
    /// Whether a connection above the limit is closed at once. Default: true.
    pub(crate) maxconns_fast: bool,
    /// Seconds after which an idle connection is closed; 0 for never. Default: 0.
    pub(crate) idle_timeout_secs: u64,
    /// Memory of all connections' buffers together, in megabytes of 2^20 bytes. Default: half of
    /// the tier's memory, and never less than a largest item takes.
    pub(crate) buffer_memory_mb: u64,
    /// Worker threads. Default: one for each core.
    pub(crate) threads: usize,
    /// Requests served from one connection before others have their turn. Default: 20.
    pub(crate) requests_per_event: usize,
    /// Largest item, in bytes. Default: 1048576.
    pub(crate) item_size_max: u64,
    /// Whether the `shutdown` command works. Default: false.
    pub(crate) shutdown_enabled: bool,
    /// Whether the `flush_all` command works. Default: true.
    pub(crate) flush_enabled: bool,
    /// Whether the commands that list keys work. Default: true.
    pub(crate) dump_enabled: bool,
    /// How much is logged beyond start, stop and trouble: 0 to 3. Default: 0.
    pub(crate) verbosity: u8,
    /// Whether it detaches from the terminal that starts it. Default: false.
    pub(crate) daemon: bool,
    /// File that holds the process id while the node is ready. Default: none.
    pub(crate) pidfile: Option<PathBuf>,
    /// User to become once TCP sockets are bound, when started by root. Default: none.
    pub(crate) user: Option<String>,
    /// Whether the core file limit is raised. Default: false.
    pub(crate) core_dumps: bool,
    /// Whether memory is kept from being swapped out. Default: false.
    pub(crate) lock_memory: bool,
    /// How this process was started by another of ours.
    pub(crate) role: Role,
}

/// How a process of ours was started by another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Role {
    /// It is the one that `-d` leaves behind.
    pub(crate) detached: bool,
    /// It says so on its output when it is ready.
    pub(crate) announces: bool,
    /// It stops when its input ends.
    pub(crate) stops_on_eof: bool,
}

/// Something its operator should know about an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// One line.
    pub(crate) text: String,
    /// Whether it may be missed, rather than does not matter.
    pub(crate) warning: bool,
}

impl NodeConfig {
    /// Resolves `flags`, with `port` and `memory_limit_mb` where they say none, and notes what of
    /// them does nothing.
    pub(crate) fn resolve(
        flags: &NodeFlags,
        sources: &mut Sources,
        port: u16,
        memory_limit_mb: u64,
    ) -> Result<(Self, Vec<Note>), Failure> {
        refuse_unprotected(flags).map_err(Failure::usage)?;
        let mut notes = Vec::new();
        let mut extended = Extended::default();
        for list in &flags.extended {
            extended.read(list, &mut notes).map_err(Failure::usage)?;
        }
        let mut listen = Vec::new();
        for list in &flags.listen {
            for endpoint in Endpoint::list(list, &mut notes).map_err(Failure::usage)? {
                if !listen.contains(&endpoint) {
                    listen.push(endpoint);
                }
            }
        }
        if listen.is_empty() {
            listen.push(Endpoint { host: "localhost".to_owned(), port: None });
        }
        let port = flags.port.unwrap_or(Port::Number(port));
        let unix_socket = given(flags.unix_socket.as_deref()).map(Path::to_owned);
        // A daemon leaves the working directory, and still has to find its socket.
        let unix_socket = match unix_socket {
            Some(path) if flags.daemon => Some(absolute(&path)?),
            path => path,
        };
        check_sockets(unix_socket.as_deref(), port, sources, &mut notes)?;
        ignored(flags, &mut notes);
        let notes = notes.into_iter().map(|text| Note { text, warning: false }).collect();
        let item_size_max = flags.max_item_size.unwrap_or(1 << 20);
        let buffer_memory_mb =
            buffer_memory_mb(flags, &extended, sources, item_size_max, memory_limit_mb)?;
        let config = Self {
            port,
            listen,
            unix_socket,
            unix_mask: flags.unix_mask.unwrap_or(0o700),
            backlog: number(flags.listen_backlog, 1024),
            connections: number(flags.conn_limit, 1024),
            maxconns_fast: over(
                ("maxconns-fast", flags.maxconns_fast),
                extended.maxconns_fast,
                sources,
            )
            .unwrap_or(true),
            idle_timeout_secs: over(
                ("idle-timeout", flags.idle_timeout),
                extended.idle_timeout,
                sources,
            )
            .unwrap_or(0),
            threads: match flags.threads.unwrap_or(Threads::Auto) {
                Threads::Auto => std::thread::available_parallelism().map_or(4, Into::into),
                Threads::Number(threads) => threads,
            },
            requests_per_event: number(flags.max_reqs_per_event, 20),
            item_size_max,
            buffer_memory_mb,
            shutdown_enabled: flags.enable_shutdown,
            flush_enabled: !flags.disable_flush_all,
            dump_enabled: !flags.disable_dumping,
            verbosity: flags.verbose.min(3),
            daemon: flags.daemon,
            pidfile: flags.pidfile.as_deref().map(absolute).transpose()?,
            user: flags.user.clone(),
            core_dumps: flags.enable_coredumps,
            lock_memory: flags.lock_memory,
            role: Role {
                detached: flags.detached,
                announces: flags.announce_ready,
                stops_on_eof: flags.stop_on_stdin_eof,
            },
        };
        Ok((config, notes))
    }

    /// The options by their long names.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let listen = self.listen.iter().map(|endpoint| Value::String(endpoint.to_string()));
        vec![
            ("port", Value::Integer(self.port.number())),
            ("listen", Value::Array(listen.collect())),
            ("unix-socket", path(self.unix_socket.as_deref())),
            ("unix-mask", Value::String(format!("{:o}", self.unix_mask))),
            ("listen-backlog", integer(self.backlog)),
            ("conn-limit", integer(self.connections)),
            ("maxconns-fast", Value::Boolean(self.maxconns_fast)),
            ("idle-timeout", integer(self.idle_timeout_secs)),
            ("threads", integer(self.threads)),
            ("max-reqs-per-event", integer(self.requests_per_event)),
            ("buffer-memory", integer(self.buffer_memory_mb)),
            ("max-item-size", integer(self.item_size_max)),
            ("enable-shutdown", Value::Boolean(self.shutdown_enabled)),
            ("disable-flush-all", Value::Boolean(!self.flush_enabled)),
            ("disable-dumping", Value::Boolean(!self.dump_enabled)),
            ("verbose", integer(self.verbosity)),
            ("daemon", Value::Boolean(self.daemon)),
            ("pidfile", path(self.pidfile.as_deref())),
            ("user", Value::String(self.user.clone().unwrap_or_default())),
            ("enable-coredumps", Value::Boolean(self.core_dumps)),
            ("lock-memory", Value::Boolean(self.lock_memory)),
        ]
    }
}

/// Refuses what an operator asks for to be protected, and would not be.
fn refuse_unprotected(flags: &NodeFlags) -> Result<(), String> {
    const INSTEAD: &str = "leave it out, and let only trusted hosts reach this node";
    if flags.enable_sasl {
        return Err(format!("-S: there is no SASL authentication yet; {INSTEAD}"));
    }
    if flags.auth_file.is_some() {
        return Err(format!("-Y: there is no authentication file yet; {INSTEAD}"));
    }
    if flags.enable_ssl {
        return Err(format!("-Z: there is no TLS yet; {INSTEAD}"));
    }
    match flags.udp_port.as_deref() {
        None | Some("0") => {}
        Some(port) => return Err(format!("-U {port}: there is no UDP; write -U 0")),
    }
    match flags.protocol.as_deref() {
        None | Some("ascii" | "auto" | "btree" | "hash") => Ok(()),
        Some("binary") => {
            Err("-B binary: the binary protocol is not spoken yet; write -B ascii".to_owned())
        }
        Some(other) => Err(format!("-B {other}: want ascii or auto")),
    }
}

fn check_sockets(
    unix_socket: Option<&Path>,
    port: Port,
    sources: &Sources,
    notes: &mut Vec<String>,
) -> Result<(), Failure> {
    let Some(path) = unix_socket else {
        if port == Port::Off {
            return Err(Failure::usage(
                "-p 0 leaves nothing to listen on: give -s FILE, or a port",
            ));
        }
        return Ok(());
    };
    if path.as_os_str().len() > SOCKET_PATH_LIMIT {
        let path = path.display();
        return Err(Failure::usage(format!(
            "-s {path}: longer than the {SOCKET_PATH_LIMIT} bytes a socket's path may have; \
             choose a shorter one"
        )));
    }
    if sources.given("listen") || (sources.given("port") && port != Port::Off) {
        notes.push("-s: listens on the UNIX socket alone; -p and -l ignored".to_owned());
    }
    Ok(())
}

/// What one largest item takes: a request is an item and its line.
pub(super) fn least_buffer_memory_mb(item_size_max: u64) -> u64 {
    item_size_max.div_ceil(1 << 20) + 1
}

/// Half of the tier's memory, unless told otherwise, and always enough for a largest item.
fn buffer_memory_mb(
    flags: &NodeFlags,
    extended: &Extended,
    sources: &mut Sources,
    item_size_max: u64,
    memory_mb: u64,
) -> Result<u64, Failure> {
    let least = least_buffer_memory_mb(item_size_max);
    if let Some(megabytes) = flags.buffer_memory.filter(|megabytes| *megabytes < least) {
        return Err(Failure::usage(format!(
            "--buffer-memory {megabytes}: an item of -I {item_size_max} bytes must fit; write \
             {least} or more, or a smaller -I"
        )));
    }
    // memcached takes any number here, and 0 for no limit.
    let extended = extended.read_buf_mem_limit.filter(|megabytes| *megabytes > 0);
    let extended = extended.map(|megabytes| megabytes.min(memory_mb / 2));
    let given = over(("buffer-memory", flags.buffer_memory), extended, sources);
    Ok(given.unwrap_or(memory_mb / 2).max(least))
}

/// Notes what is accepted and does not matter.
fn ignored(flags: &NodeFlags, notes: &mut Vec<String>) {
    const SLABS: &str = "Larder has no slab classes";
    let given = [
        (flags.slab_growth_factor.is_some(), "-f", SLABS),
        (flags.slab_min_size.is_some(), "-n", SLABS),
        (flags.enable_largepages, "-L", "large pages are the kernel's choice"),
        (flags.prefix_delimiter.is_some(), "-D", "there are no statistics by prefix"),
        (flags.disable_cas, "-C", "cas uniques are always kept"),
        (flags.disable_watch, "-W", "there is no watch command"),
        (flags.napi_ids.is_some(), "-N", "connections are dealt evenly"),
    ];
    for (_, flag, why) in given.into_iter().filter(|(given, ..)| *given) {
        notes.push(format!("{flag}: {why}; ignored"));
    }
}

/// The value of an option that `-o` may give too: of the source that counts more, and of the
/// option itself where both come from the same.
fn over<T>(
    (option, value): (&'static str, Option<T>),
    extended: Option<T>,
    sources: &mut Sources,
) -> Option<T> {
    if extended.is_none() || (value.is_some() && sources.of(option) >= sources.of("extended")) {
        return value;
    }
    let source = sources.of("extended").clone();
    sources.set(option, source);
    extended
}

/// A number whose range its flag has checked.
pub(super) fn number<T: TryFrom<u64>>(given: Option<u64>, default: T) -> T {
    given.and_then(|number| T::try_from(number).ok()).unwrap_or(default)
}

/// A path, unless it is empty: in a file that stands for none.
pub(super) fn given(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| !path.as_os_str().is_empty())
}

/// The path from the root, so that it stands when the working directory changes.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::system(format!("{}: {error}", path.display())))
}

pub(super) fn integer(number: impl TryInto<i64>) -> Value {
    Value::Integer(number.try_into().unwrap_or(i64::MAX))
}

pub(super) fn path(path: Option<&Path>) -> Value {
    Value::String(path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default())
}
