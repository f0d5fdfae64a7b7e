//! How a store is opened.

use std::time::Duration;

use larder_protocol::Seconds;

/// How a store is opened. `Options::default()` suits a node of a few gigabytes.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many groups keys of a store alone are divided among, 1 to 1024. Counts when it is founded. It
    /// gains nothing by several: each has a log to write and a leader to ask, and all are here. A
    /// cluster is told [when it is founded](crate::Entrance::Found).
    ///
    /// Default: 1.
    pub groups: u16,
    /// Memory for what was read from disk, in bytes: half for records of keys that were asked for, half
    /// for blocks of files.
    ///
    /// Default: 256 MiB.
    pub cache_bytes: u64,
    /// Writes gathered in memory before they become a sorted file, in bytes. Up to five times this
    /// may be in memory while the disk is slow. What is gathered is replayed at the next start.
    ///
    /// Default: 32 MiB.
    pub write_buffer_bytes: u64,
    /// Changes that are done, and that the engine is given a while later, in bytes of memory: each key once,
    /// and in order, costs it less. They are done again from the log at the next start. Zero for none.
    ///
    /// Default: 16 MiB.
    pub backlog_bytes: u64,
    /// Journals kept on disk, in bytes; at least 64 MiB. Replaying them is most of a restart: about
    /// a second for 128 MiB of small items.
    ///
    /// Default: 128 MiB.
    pub journal_bytes: u64,
    /// Size at which a file of the log is ended and the next begun, in bytes.
    ///
    /// Default: 32 MiB.
    pub log_file_bytes: u64,
    /// Size of the log from which on files are removed whose writes the engine has durably, in bytes.
    /// They are as many again at most, and half as much more with those that are kept to be used again. What
    /// it has not is done again at the next start.
    ///
    /// Default: 128 MiB.
    pub log_bytes: u64,
    /// Of a node among others: size that the log is to have at most, in bytes. Up to there it keeps what
    /// nodes lack that are away, who are given all there is where they lack more. What is free above
    /// `reserve_bytes` bounds it too, down to twice `log_bytes`.
    ///
    /// Default: 1 GiB.
    pub log_limit_bytes: u64,
    /// Size of the files of the log that are made ready when it is opened, in bytes, half as much again: a
    /// sync of what is written over others' place is quicker. Files are then used again, not removed, as
    /// far as `log_bytes` and half as much again go. Zero for none.
    ///
    /// Default: 64 MiB.
    pub log_ready_bytes: u64,
    /// How often the engine is made durable, for the log to forget what it has: what was written since is
    /// done again at the next start. Zero for only when half of `log_bytes` were written.
    ///
    /// Default: 5 seconds.
    pub checkpoint_every: Duration,
    /// Threads that read, at least one. More help only where reads wait for the disk.
    ///
    /// Default: one per core, 2 to 8.
    pub read_threads: usize,
    /// Commands that may share one entry of the log.
    ///
    /// Default: 4096.
    pub batch_commands: usize,
    /// Bytes of keys and values that may share one entry of the log, and bytes of changes after which
    /// the engine is given them; one larger command still goes alone.
    ///
    /// Default: 8 MiB.
    pub batch_bytes: usize,
    /// Free space on the volume below which writes are refused, in bytes, 0 for none: the engine
    /// needs room to flush and compact, and gives up for good where it finds none. Deletes are taken
    /// until three quarters of it are left. `None` is for 2 GiB, of a small store less: twice its
    /// sorted files, four write buffers, the backlog and two files of the log.
    ///
    /// Default: `None`.
    pub reserve_bytes: Option<u64>,
    /// How long the engine may take for one call, or be behind with compaction, before those who
    /// wait are answered so; zero for ever.
    ///
    /// Default: 30 seconds, as long as Linux gives a disk for one command.
    pub hang_after: Duration,
    /// Of a node among others: how long a command may wait for a node to lead, and a write for a
    /// majority, before who waits is told that there is none.
    ///
    /// Default: 2 seconds: another node leads half a second to a second and a half after one was lost.
    pub leader_within: Duration,
    /// Of a node among others: how old what reads see may be, for them to be answered from this node's
    /// replica though nobody is asked for them. What one sees was there at some moment no longer ago than
    /// that when it was asked, by this node's own clock, or later; `None` for all that was acknowledged.
    ///
    /// Default: `None`.
    pub stale_reads: Option<Duration>,
    /// The time as this node has it: what other nodes forward is done by it, so that an item expires at one
    /// moment, whichever node is asked. `None` for theirs.
    ///
    /// Default: `None`.
    pub clock: Option<fn() -> Seconds>,
    /// How many records a second are looked at for expiry, to give back their space; 0 for none.
    ///
    /// Default: 20,000, about 2 % of a core.
    pub sweep_per_sec: u32,
}

impl Options {
    pub(crate) fn row_bytes(&self) -> u64 {
        self.cache_bytes / 2
    }

    pub(crate) fn block_bytes(&self) -> u64 {
        self.cache_bytes - self.row_bytes()
    }

    /// How long the log may be with so much room to spare, in bytes: it is to leave as much as it takes,
    /// but what it takes anyway is not for who is away.
    pub(crate) fn log_limit(&self, spare: Option<u64>) -> u64 {
        let spare = spare.unwrap_or(u64::MAX);
        self.log_limit_bytes.min(spare.max(self.log_bytes.saturating_mul(2)))
    }
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            groups: 1,
            cache_bytes: 256 << 20,
            write_buffer_bytes: 32 << 20,
            backlog_bytes: 16 << 20,
            journal_bytes: 128 << 20,
            log_file_bytes: 32 << 20,
            log_bytes: 128 << 20,
            log_limit_bytes: 1 << 30,
            log_ready_bytes: 64 << 20,
            checkpoint_every: Duration::from_secs(5),
            read_threads: cores.clamp(2, 8),
            batch_commands: 4096,
            batch_bytes: 8 << 20,
            reserve_bytes: None,
            hang_after: Duration::from_secs(30),
            leader_within: Duration::from_secs(2),
            stale_reads: None,
            clock: None,
            sweep_per_sec: 20_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_to_leave_as_much_room_as_it_takes() {
        let options = Options { log_bytes: 100, log_limit_bytes: 1000, ..Options::default() };
        for (spare, limit) in [(None, 1000), (Some(5000), 1000), (Some(600), 600), (Some(0), 200)] {
            assert_eq!(options.log_limit(spare), limit, "{spare:?}");
        }
        // What was asked for is kept as it is.
        let options = Options { log_limit_bytes: 150, ..options };
        assert_eq!(options.log_limit(Some(0)), 150);
    }
}
