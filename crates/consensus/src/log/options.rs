//! How a log is opened.

/// How a log is opened. `Options::default()` suits a node of a few gigabytes.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size at which a file is ended and the next begun, in bytes.
    ///
    /// Default: 64 MiB.
    pub file_bytes: u64,
    /// Size of all files from which on those without an entry that is still kept are removed, and
    /// what little else they hold is copied, in bytes. At least `file_bytes`. Restarts read about
    /// as much. Groups should be purged so that what they keep is well below it.
    ///
    /// Default: 512 MiB.
    pub disk_bytes: u64,
    /// Memory for the last entries of each group, in bytes: followers that keep up and the state
    /// machine are served from it. What is not synced yet is kept besides, however much it is: Raft
    /// bounds it.
    ///
    /// Default: 8 MiB.
    pub tail_bytes: usize,
    /// Bytes after which a read that may be short is, as for a follower that lags.
    ///
    /// Default: 4 MiB.
    pub read_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            file_bytes: 64 << 20,
            disk_bytes: 512 << 20,
            tail_bytes: 8 << 20,
            read_bytes: 4 << 20,
        }
    }
}
