//! What `larder cache` and `larder store` take: every flag of memcached 1.6.45.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::value::{self, Port, Threads};

/// Heading of what is accepted so that memcached's command lines work, and does nothing.
const NO_EFFECT: &str = "Accepted, without effect here";
/// Heading of what memcached does not have.
const OURS: &str = "Options of Larder's own";

/// The flags of a node, `None` or `false` where nothing was said.
#[derive(Debug, Args)]
pub(crate) struct NodeFlags {
    /// TCP port to listen on; -1 for any free one, 0 for none (default: 11211)
    #[arg(short, long, value_name = "num", allow_negative_numbers = true, value_parser = value::port)]
    pub(crate) port: Option<Port>,
    /// UDP port; there is no UDP, so only 0 (default: 0, off)
    #[arg(short = 'U', long, value_name = "num", allow_negative_numbers = true)]
    pub(crate) udp_port: Option<String>,
    /// UNIX socket to listen on (disables network support)
    #[arg(short = 's', long, value_name = "file")]
    pub(crate) unix_socket: Option<PathBuf>,
    /// Access mask for the UNIX socket, in octal (default: 700)
    #[arg(short = 'a', long, value_name = "mask", value_parser = value::mask)]
    pub(crate) unix_mask: Option<u32>,
    /// Enable the "shutdown" command
    #[arg(short = 'A', long)]
    pub(crate) enable_shutdown: bool,
    /// Addresses to listen on, separated by commas: host, host:port, [v6]:port, * for all
    /// (default: localhost)
    #[arg(short, long, value_name = "addr", action = ArgAction::Append)]
    pub(crate) listen: Vec<String>,
    /// Run as a daemon
    #[arg(short, long)]
    pub(crate) daemon: bool,
    /// Maximize the core file limit
    #[arg(short = 'r', long)]
    pub(crate) enable_coredumps: bool,
    /// Become this user once the sockets are bound (only when run as root)
    #[arg(short, long, value_name = "user", value_parser = value::filled)]
    pub(crate) user: Option<String>,
    /// Memory for items in megabytes (default: 64)
    #[arg(short, long, value_name = "num",
        value_parser = value::whole(1..=16 << 20, "megabytes", "64"))]
    pub(crate) memory_limit: Option<u64>,
    /// Return an error when memory is full, instead of evicting
    #[arg(short = 'M', long)]
    pub(crate) disable_evictions: bool,
    /// Connections at one time (default: 1024)
    #[arg(short, long, value_name = "num",
        value_parser = value::whole(1..=10_000_000, "connections", "1024"))]
    pub(crate) conn_limit: Option<u64>,
    /// Lock all memory, so that none of it is swapped out
    #[arg(short = 'k', long)]
    pub(crate) lock_memory: bool,
    /// Say more in the log; twice, more still
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print the license and exit
    #[arg(short = 'i', long)]
    pub(crate) license: bool,
    /// Save the process id in this file while ready to serve
    #[arg(short = 'P', long, value_name = "file")]
    pub(crate) pidfile: Option<PathBuf>,
    /// Worker threads, or auto for one per core (default: auto)
    #[arg(short, long, value_name = "num", value_parser = value::threads)]
    pub(crate) threads: Option<Threads>,
    /// Requests served from one connection before others have their turn (default: 20)
    #[arg(short = 'R', long, value_name = "num",
        value_parser = value::whole(1..=1_000_000, "requests", "20"))]
    pub(crate) max_reqs_per_event: Option<u64>,
    /// Connections that may wait to be accepted (default: 1024)
    #[arg(short = 'b', long, value_name = "num",
        value_parser = value::whole(1..=65_535, "connections", "1024"))]
    pub(crate) listen_backlog: Option<u64>,
    /// Protocol: ascii or auto (default: auto)
    #[arg(short = 'B', long, value_name = "name")]
    pub(crate) protocol: Option<String>,
    /// Largest item, in bytes or with k or m, 1k to 1024m (default: 1m)
    #[arg(short = 'I', long, value_name = "num", value_parser = value::item_size)]
    pub(crate) max_item_size: Option<u64>,
    /// Keep a cache's items in this file, best on a tmpfs: a restart has them again
    #[arg(short = 'e', long, value_name = "file")]
    pub(crate) memory_file: Option<PathBuf>,
    #[arg(short = 'F', long, help = "Disable the flush_all command")]
    pub(crate) disable_flush_all: bool,
    /// Disable the commands that list keys
    #[arg(short = 'X', long)]
    pub(crate) disable_dumping: bool,
    /// Disable the watch command
    #[arg(short = 'W', long)]
    pub(crate) disable_watch: bool,
    #[arg(short = 'o', long, value_name = "list", action = ArgAction::Append,
        help = "memcached's extended options, separated by commas: idle_timeout=<seconds>, \
            no_maxconns_fast and read_buf_mem_limit=<megabytes> count here, what tunes its internals is accepted")]
    pub(crate) extended: Vec<String>,

    /// Slab growth factor
    #[arg(short = 'f', long, value_name = "num", help_heading = NO_EFFECT)]
    pub(crate) slab_growth_factor: Option<String>,
    /// Smallest slab chunk
    #[arg(short = 'n', long, value_name = "bytes", help_heading = NO_EFFECT,
        value_parser = value::whole(1..=1 << 20, "bytes", "48"))]
    pub(crate) slab_min_size: Option<u64>,
    /// Large memory pages
    #[arg(short = 'L', long, help_heading = NO_EFFECT)]
    pub(crate) enable_largepages: bool,
    /// Delimiter of key prefixes in "stats detail"
    #[arg(short = 'D', long, value_name = "char", help_heading = NO_EFFECT)]
    pub(crate) prefix_delimiter: Option<String>,
    /// Disable use of CAS
    #[arg(short = 'C', long, help_heading = NO_EFFECT)]
    pub(crate) disable_cas: bool,
    /// Number of NAPI ids
    #[arg(short = 'N', long, alias = "napi_ids", value_name = "num", help_heading = NO_EFFECT,
        value_parser = value::whole(1..=65_535, "ids", "4"))]
    pub(crate) napi_ids: Option<u64>,

    // Asked for and missing, these would leave a node less protected than its operator believes:
    // they are refused, and help does not offer them, because test tools take its text as a
    // promise.
    #[arg(short = 'S', long, hide = true)]
    pub(crate) enable_sasl: bool,
    #[arg(short = 'Y', long, value_name = "file", hide = true)]
    pub(crate) auth_file: Option<PathBuf>,
    #[arg(short = 'Z', long, hide = true)]
    pub(crate) enable_ssl: bool,

    /// Close connections idle for this many seconds; 0 for never (default: 0)
    #[arg(long, value_name = "num", help_heading = OURS,
        value_parser = value::whole(0..=31_536_000, "seconds", "300"))]
    pub(crate) idle_timeout: Option<u64>,
    /// Above the limit, close a new connection at once instead of leaving it waiting
    /// (default: true)
    #[arg(long, value_name = "bool", help_heading = OURS, value_parser = value::switch)]
    pub(crate) maxconns_fast: Option<bool>,
    /// Most memory of all connections' buffers together, in megabytes (default: half of -m, and
    /// enough for one item)
    #[arg(long, value_name = "num", help_heading = OURS,
        value_parser = value::whole(1..=16 << 20, "megabytes", "64"))]
    pub(crate) buffer_memory: Option<u64>,
    /// Read options from this TOML file
    #[arg(long, value_name = "file", help_heading = OURS)]
    pub(crate) config: Option<PathBuf>,
    /// Print every option as it would be, and where it came from, and exit
    #[arg(long, help_heading = OURS)]
    pub(crate) print_config: bool,

    // How one process of ours starts another.
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
    #[arg(long, hide = true)]
    pub(crate) announce_ready: bool,
    #[arg(long, hide = true)]
    pub(crate) stop_on_stdin_eof: bool,
}
