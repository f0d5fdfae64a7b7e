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
    /// Size of the files that are made ready when the log is opened, in bytes: filled with zeros, and
    /// half as much again. They are written over, and so are those that are not needed any more, instead
    /// of being removed: a sync then waits for what was written, and not for the file's length and place
    /// besides. Zero for none, and files are removed.
    ///
    /// Default: 0.
    pub ready_bytes: u64,
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
    /// Whether one thread does all: who appends writes and syncs, and a group's machine does what is
    /// committed where its Raft runs. That spares waking three threads for each entry, and is for nodes
    /// alone: whoever else needs the thread meanwhile, as other nodes' heartbeats do, waits for the disk.
    ///
    /// Default: `false`.
    pub one_thread: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            file_bytes: 64 << 20,
            disk_bytes: 512 << 20,
            ready_bytes: 0,
            tail_bytes: 8 << 20,
            read_bytes: 4 << 20,
            one_thread: false,
        }
    }
}
