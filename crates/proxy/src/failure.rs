//! What a client is told when a pool cannot do what it asks: texts of `SERVER_ERROR` lines.

use ahash::HashSet;
use larder_client::Error;
use parking_lot::Mutex;

/// Nothing was done.
pub(crate) const NO_ROUTE: &str =
    "not done: no route has a prefix of this key; one with prefix \"\" takes all others";
/// Of a flush.
pub(crate) const NO_CACHE: &str = "not done: no pool is one of caches, and stores are not flushed";
/// Of a flush of all nodes.
pub(crate) const PARTLY: &str =
    "flushed, but not known to be on every node: flush again, or look at stats cluster";
/// Of whatever there are no more words for.
const OTHER: &str = "outcome unknown: a node failed in too many ways to tell them, see its log";

/// What is said of an error of this pool.
pub(crate) fn told(pool: &str, error: &Error) -> &'static str {
    kept(match error {
        Error::Unreachable { node, .. } => {
            format!("not done: {node} of pool {pool} cannot be reached, try again")
        }
        Error::Overloaded { node } => {
            format!("not done: too many requests wait for {node} of pool {pool}")
        }
        Error::TimedOut { node, .. } => {
            format!("outcome unknown: {node} of pool {pool} did not answer in time, it may be done")
        }
        Error::Disconnected { node, .. } => {
            format!(
                "outcome unknown: the connection to {node} of pool {pool} is lost, it may be done"
            )
        }
        Error::Violation { node, why } => {
            format!("outcome unknown: {node} of pool {pool} broke the protocol: {why}")
        }
        // A node's own words for what went wrong are the best there are.
        Error::Server { node, said } => match said.strip_prefix("SERVER_ERROR ") {
            Some(words) => words.to_owned(),
            None => format!("not done: {node} of pool {pool} says {said}"),
        },
        Error::Undiscovered { .. } => {
            format!("not done: nobody tells which nodes pool {pool} has, try again")
        }
        other => format!("not done: pool {pool}: {other}"),
    })
}

/// The same text for as long as the process lives: there are few, each of which is kept once.
fn kept(text: String) -> &'static str {
    static KEPT: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    let mut kept = KEPT.lock();
    let kept = kept.get_or_insert_default();
    if let Some(known) = kept.get(text.as_str()) {
        return known;
    }
    // Nodes may put numbers into theirs.
    if kept.len() >= MOST_KEPT {
        return OTHER;
    }
    let text: &'static str = Box::leak(text.into_boxed_str());
    kept.insert(text);
    text
}

const MOST_KEPT: usize = 4096;
