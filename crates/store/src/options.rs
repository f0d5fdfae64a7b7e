//! How a store is opened.

use std::time::Duration;

/// How a store is opened. `Options::default()` suits a node of a few gigabytes.
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory for data and index blocks read from disk, in bytes.
    ///
    /// Default: 256 MiB.
    pub cache_bytes: u64,
    /// Writes gathered in memory before they become a sorted file, in bytes. Up to five times this
    /// may be in memory while the disk is slow. What is gathered is replayed at the next start.
    ///
    /// Default: 32 MiB.
    pub write_buffer_bytes: u64,
    /// Journals kept on disk, in bytes; at least 64 MiB. Replaying them is most of a restart: about
    /// a second for 128 MiB of small items.
    ///
    /// Default: 128 MiB.
    pub journal_bytes: u64,
    /// Threads that read, at least one. More help only where reads wait for the disk.
    ///
    /// Default: one per core, 2 to 8.
    pub read_threads: usize,
    /// Commands that may share one fsync.
    ///
    /// Default: 4096.
    pub batch_commands: usize,
    /// Bytes of keys and values that may share one fsync; one larger command still goes alone.
    ///
    /// Default: 8 MiB.
    pub batch_bytes: usize,
    /// Free space on the volume below which writes are refused, in bytes, 0 for none: the engine
    /// needs room to flush and compact, and gives up for good where it finds none. Deletes are taken
    /// until three quarters of it are left. `None` is for 2 GiB, of a small store less: twice its
    /// sorted files and four write buffers.
    ///
    /// Default: `None`.
    pub reserve_bytes: Option<u64>,
    /// How long the engine may take for one call, or be behind with compaction, before those who
    /// wait are answered so; zero for ever.
    ///
    /// Default: 30 seconds, as long as Linux gives a disk for one command.
    pub hang_after: Duration,
    /// How many records a second are looked at for expiry, to give back their space; 0 for none.
    ///
    /// Default: 20,000, about 2 % of a core.
    pub sweep_per_sec: u32,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            cache_bytes: 256 << 20,
            write_buffer_bytes: 32 << 20,
            journal_bytes: 128 << 20,
            read_threads: cores.clamp(2, 8),
            batch_commands: 4096,
            batch_bytes: 8 << 20,
            reserve_bytes: None,
            hang_after: Duration::from_secs(30),
            sweep_per_sec: 20_000,
        }
    }
}
