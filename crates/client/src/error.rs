//! What went wrong, by who must act. A miss is a value, not an error.

use std::io;
use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt};

use larder_protocol::encode::Refused;
use larder_protocol::response::Desync;

/// Why a request has no answer. `node` is `host:port`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The caller: no server takes this key, and none is made of it: it is empty.
    Key(Refused),
    /// The caller: the value is longer than [`Builder::max_value`](crate::Builder::max_value).
    ValueTooLong {
        /// The value's length, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The operator: no connection to the node. Nothing was sent.
    Unreachable {
        /// The node.
        node: Arc<str>,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The operator: the node has as many requests outstanding as it may. Nothing was sent.
    Overloaded {
        /// The node.
        node: Arc<str>,
    },
    /// The operator: no answer in time.
    TimedOut {
        /// The node.
        node: Arc<str>,
        /// How long the request may take.
        after: Duration,
    },
    /// The operator: the connection broke, or was closed because another request on it timed out.
    Disconnected {
        /// The node.
        node: Arc<str>,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The operator: what the node sent is not the answer to what it was asked. The connection is
    /// closed.
    Violation {
        /// The node.
        node: Arc<str>,
        /// What is wrong with it.
        why: Violation,
    },
    /// The caller or the operator, as the text says: the server could not do it.
    Server {
        /// The node.
        node: Arc<str>,
        /// Its words, such as `SERVER_ERROR out of memory storing object`.
        said: String,
    },
    /// The operator: none of those that are to tell which nodes there are has done so yet. Nothing
    /// was sent.
    Undiscovered {
        /// Why, of each that was asked.
        why: Arc<str>,
    },
    /// The operator: so many counters wait to be written that no more are taken.
    CountersFull {
        /// How many wait at most.
        most: usize,
    },
    /// The caller: `MessagePack` cannot have such a value.
    Unwritable {
        /// Why.
        why: Arc<str>,
    },
    /// The caller: what is at the key is not a value of the type asked for.
    Unreadable {
        /// Why.
        why: Arc<str>,
    },
    /// The caller: what was to make the value failed.
    Fill {
        /// Its error.
        source: Arc<dyn error::Error + Send + Sync>,
    },
    /// The operator: no node has a share of the keys.
    NoNode,
}

impl Error {
    /// Whether the request may have been carried out all the same, or be carried out yet.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::TimedOut { .. } | Self::Disconnected { .. } | Self::Violation { .. } => true,
            // As a node says it that has asked another.
            Self::Server { said, .. } => said.starts_with("SERVER_ERROR outcome unknown"),
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(refused) => refused.fmt(f),
            Self::ValueTooLong { len, max } => {
                write!(f, "the value has {len} bytes; the limit is {max}")
            }
            Self::Unreachable { node, source } => write!(f, "{node} is unreachable: {source}"),
            Self::Overloaded { node } => write!(f, "{node} has too many requests outstanding"),
            Self::TimedOut { node, after } => {
                write!(
                    f,
                    "{node} did not answer within {after:?}; it may still carry out the request"
                )
            }
            Self::Disconnected { node, source } => {
                write!(f, "the connection to {node} is lost, the outcome unknown: {source}")
            }
            Self::Violation { node, why } => write!(f, "{node} broke the protocol: {why}"),
            Self::Server { node, said } => write!(f, "{node} says {said}"),
            Self::Undiscovered { why } => write!(f, "the nodes are not known: {why}"),
            Self::CountersFull { most } => {
                write!(f, "{most} counters wait to be written already; servers cannot be reached")
            }
            Self::Unwritable { why } => write!(f, "the value cannot be written: {why}"),
            Self::Unreadable { why } => write!(f, "the value cannot be read: {why}"),
            Self::Fill { source } => write!(f, "the value could not be made: {source}"),
            Self::NoNode => f.write_str("no node has a share of the keys"),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Key(refused) => Some(refused),
            Self::Unreachable { source, .. } | Self::Disconnected { source, .. } => Some(source),
            Self::Violation { why, .. } => Some(why),
            Self::Fill { source } => Some(source),
            _ => None,
        }
    }
}

/// How a server broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// It sent what is no answer at all.
    Unreadable(Desync),
    /// It answered a request other than the next one.
    WrongOpaque,
    /// It answered without being asked.
    Unasked,
    /// It answered what the command cannot be answered with.
    WrongAnswer,
    /// It does not know the meta commands: it is older than memcached 1.6.10, or no memcached.
    NoMetaCommands,
    /// It refused a request with a value, and may have taken the value for requests.
    RefusedValue,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(desync) => write!(f, "it sent {desync}"),
            Self::WrongOpaque => f.write_str("it answered a request other than the next one"),
            Self::Unasked => f.write_str("it answered without being asked"),
            Self::WrongAnswer => f.write_str("its answer does not fit the command"),
            Self::NoMetaCommands => f.write_str("it does not know the meta commands"),
            Self::RefusedValue => {
                f.write_str("it refused a value, and may have taken it for requests")
            }
        }
    }
}

impl error::Error for Violation {}
