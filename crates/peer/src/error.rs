//! What can go wrong, by who must act.

use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, io};

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// Nothing of it left this node, so another can be asked. The text says why.
    NotSent(Arc<str>),
    /// It was sent, and may have been carried out or be carried out yet. The text says what happened.
    Unknown(Arc<str>),
    /// The handler on the other node said no, in these words.
    Refused(Arc<str>),
    /// Its body is longer than this node sends or the other takes. Nothing was sent.
    TooLarge {
        /// The body's length, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The link has as many calls outstanding, or bytes to send, as it may. Nothing was sent.
    TooMany {
        /// Calls outstanding.
        calls: usize,
        /// Bytes of bodies that are not written yet.
        bytes: usize,
    },
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(why) => write!(f, "not sent: {why}"),
            Self::Unknown(why) => write!(f, "outcome unknown: {why}"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::TooLarge { len, max } => {
                write!(f, "not sent: the body has {len} bytes; the limit is {max}")
            }
            Self::TooMany { calls, bytes } => write!(
                f,
                "not sent: the link has {calls} calls outstanding and {bytes} bytes to send already"
            ),
        }
    }
}

impl std::error::Error for CallError {}

/// Why a node cannot present itself. Who configures it acts.
#[derive(Debug)]
pub enum BadCredentials {
    /// The name of cluster or node is empty or too long.
    Name {
        /// Its length, in bytes.
        len: usize,
    },
    /// The secret can be guessed.
    ShortSecret {
        /// Its length without white space around it, in bytes.
        len: usize,
    },
    /// The file of the secret cannot be read.
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for BadCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { len } => write!(
                f,
                "the name of the cluster or of the node has {len} bytes; give one of 1 to 255"
            ),
            Self::ShortSecret { len } => write!(
                f,
                "the cluster secret has {len} bytes; give at least 16, such as the output of \
                 openssl rand -base64 32"
            ),
            Self::File { path, source } => {
                write!(f, "cannot read the cluster secret in {}: {source}", path.display())
            }
        }
    }
}

impl std::error::Error for BadCredentials {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}
