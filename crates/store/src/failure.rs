//! What a client is told when the store cannot do what it asks: texts of `SERVER_ERROR` lines.

/// The disk failed under this write: it may or may not be there after a restart.
pub(crate) const UNKNOWN: &str =
    "outcome unknown: a disk write failed, the store takes no more writes until it is restarted";
/// The disk failed under an earlier write; this one was not begun.
pub(crate) const POISONED: &str =
    "not written: an earlier disk write failed, restart the store and look at its log";
/// The disk has not answered this write for long; it may or may not come to be.
pub(crate) const HANGS: &str =
    "outcome unknown: the disk hangs, the write may still be done, see the store's log";
/// The disk hangs under an earlier command; this one was not begun, and will not be.
pub(crate) const NOT_BEGUN: &str =
    "not done: the disk hangs under an earlier command, see the store's log";
/// The engine's background work has been behind for long; this write was not begun, and will not be.
pub(crate) const BEHIND: &str =
    "not done: the store is behind with compaction, try again later and see its log";
/// The disk has not answered this read for long.
pub(crate) const UNANSWERED: &str = "not read: the disk hangs, see the store's log";
/// The volume has less room than the reserve; nothing was written.
pub(crate) const FULL: &str =
    "out of disk space: not written, writes resume when the store's volume has room";
/// The store is being closed; nothing was done.
pub(crate) const CLOSED: &str = "the store is closing: nothing was done";
/// The record could not be read from disk.
pub(crate) const UNREAD: &str = "the disk could not be read, see the store's log";
/// What was read is not a record.
pub(crate) const DAMAGED: &str = "the stored item is damaged, see the store's log";
/// What was read is a record of a newer version.
pub(crate) const NEWER: &str = "the stored item was written by a newer version";
/// The key is empty or too long; a server refuses it before it comes here.
pub(crate) const NO_KEY: &str = "a key has 1 to 250 bytes";
