//! Why there is no connection, or no longer one.

use std::time::Duration;
use std::{fmt, io};

use crate::credentials::PeerId;
use crate::hello::VERSION;

#[derive(Debug)]
pub(crate) enum Failure {
    Io(io::Error),
    Closed,
    LinkClosed,
    /// Not connected, or not through with the handshake, in time.
    Late(Duration),
    Silent(Duration),
    NotAPeer,
    WrongVersion(u8),
    WrongCluster {
        ours: Box<str>,
        theirs: Box<str>,
    },
    /// Both are of clusters of this name.
    SecondCluster(Box<str>),
    WrongSecret,
    WrongNode {
        wanted: u64,
        found: PeerId,
    },
    Altered,
    /// A frame of a length that none may have.
    BadLength(u32),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Closed => f.write_str("it closed the connection"),
            Self::LinkClosed => f.write_str("the link was closed"),
            Self::Late(limit) => write!(f, "no connection within {limit:?}"),
            Self::Silent(limit) => write!(f, "nothing was heard from it for {limit:?}"),
            Self::NotAPeer => f.write_str(
                "it does not speak the protocol of Larder's nodes: check address and port",
            ),
            Self::WrongVersion(theirs) => write!(
                f,
                "it speaks version {theirs} of the protocol between nodes, this node version \
                 {VERSION}: run releases of Larder that go together"
            ),
            Self::WrongCluster { ours, theirs } => write!(
                f,
                "it belongs to the cluster {theirs:?}, this node to {ours:?}: check the address and \
                 the cluster name of both"
            ),
            Self::SecondCluster(name) => write!(
                f,
                "it belongs to another cluster that is called {name:?} too: one of the two was founded \
                 by mistake, see larder ctl store status on both"
            ),
            Self::WrongSecret => f.write_str(
                "it has another cluster secret: give all nodes of a cluster the same one",
            ),
            Self::WrongNode { wanted, found } => {
                write!(f, "{found} is there, not node {wanted}: check the address")
            }
            Self::Altered => f.write_str("a frame was altered, repeated or left out on the way"),
            Self::BadLength(len) => write!(f, "a frame says it has {len} bytes, which none may"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Closed } else { Self::Io(error) }
    }
}
