//! What a client is told when the cluster cannot do what it asks: texts of `SERVER_ERROR` lines.

/// The node that has the key took the command, or may have, and did not say what came of it.
pub(crate) const UNKNOWN: &str =
    "outcome unknown: the node that has the key did not answer in time, it may be done";
/// Nothing was done.
pub(crate) const NO_NODE: &str =
    "not done: no node that may have the key can be reached, try again";
/// Nothing was done.
pub(crate) const BUSY: &str = "not done: too many requests wait for the node that has the key";
/// Nothing was done.
pub(crate) const SENSELESS: &str = "not done: the node that has the key is of another version";
/// Of a flush of all nodes.
pub(crate) const PARTLY: &str =
    "flushed here, but not known to be on every node: flush again, or look at stats cluster";
/// What is said of a fetch to the node that forwarded it, and to no client: it was not done, since the
/// answers before it are long. It is to be asked again.
pub(crate) const AGAIN: &str = "not done: the answers before it are long";

/// By their places here nodes tell each other what failed: another is added at the end.
const ALL: [&str; 3] = [UNKNOWN, AGAIN, SENSELESS];

/// The number of a failure, for another node.
pub(crate) fn number(failure: &str) -> u8 {
    ALL.iter().position(|known| *known == failure).and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
}

/// The failure of a number. One of a newer version may be any.
pub(crate) fn of_number(number: u8) -> &'static str {
    ALL.get(usize::from(number)).copied().unwrap_or(UNKNOWN)
}
