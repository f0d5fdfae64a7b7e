//! What a client is told when the store cannot do what it asks: texts of `SERVER_ERROR` lines.

/// The disk failed under this write: it may or may not be there after a restart.
pub(crate) const UNKNOWN: &str =
    "outcome unknown: a disk write failed, the store takes no more writes until it is restarted";
/// Whoever led was lost before it said what became of this write, or found no majority for it in time.
pub(crate) const LOST: &str =
    "outcome unknown: the node that led the group was lost meanwhile, the write may be there";
/// No node is there to take a write, as far as this one knows.
pub(crate) const NO_LEADER: &str = "not written: no node of the group leads, try again";
/// This node cannot know whether it has all that was written.
pub(crate) const UNCONFIRMED: &str = "not read: no node of the group leads, try again";
/// The disk failed under an earlier write; this one was not begun.
pub(crate) const POISONED: &str =
    "not written: an earlier disk write failed, restart the store and look at its log";
/// The node was removed; this write was not begun.
pub(crate) const REMOVED: &str =
    "not written: this node is not of the cluster any more, ask another and look at its log";
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
/// The engine could not be made durable, or the log not be cut.
pub(crate) const KEPT: &str = "the log is kept longer, see the store's log";
/// The key is empty or too long; a server refuses it before it comes here.
pub(crate) const NO_KEY: &str = "a key has 1 to 250 bytes";
/// Another node's answer makes no sense to this one.
pub(crate) const SENSELESS: &str =
    "outcome unknown: the node that leads has answered in words of another version";
/// Of a flush of all groups, which each does by itself: they came to different ends. No node tells it
/// another: a call is about one group.
pub(crate) const PARTLY: &str =
    "outcome unknown: some groups were flushed, and some may not have been: flush again";
/// What is said of the command to the node that forwarded it, and to no client: it was not done, and
/// will not be. It may go to who leads by now.
pub(crate) const BOUNCED: &str = "not done: another node leads";
/// Likewise: the fetch was not done, since it would write. It may go where writes go.
pub(crate) const WRITES: &str = "not done: the fetch writes";

/// By their places here nodes tell each other what failed: another is added at the end.
const ALL: [&str; 19] = [
    UNKNOWN,
    LOST,
    NO_LEADER,
    UNCONFIRMED,
    POISONED,
    HANGS,
    NOT_BEGUN,
    BEHIND,
    UNANSWERED,
    FULL,
    CLOSED,
    UNREAD,
    DAMAGED,
    NEWER,
    NO_KEY,
    BOUNCED,
    WRITES,
    SENSELESS,
    REMOVED,
];

/// The number of a failure, for another node.
pub(crate) fn number(failure: &str) -> u8 {
    // All that are told are there.
    ALL.iter().position(|known| *known == failure).and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
}

/// The failure of a number. One of a newer version may be any.
pub(crate) fn of_number(number: u8) -> &'static str {
    ALL.get(usize::from(number)).copied().unwrap_or(SENSELESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_comes_back_by_its_number_and_one_of_another_version_is_no_other() {
        assert!(ALL.iter().all(|failure| of_number(number(failure)) == *failure));
        assert_eq!((number(LOST), number(WRITES), of_number(99)), (1, 16, SENSELESS));
    }
}
