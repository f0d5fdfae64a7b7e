//! Who a node is.

use std::fmt;
use std::sync::Arc;

use crate::error::BadCredentials;
use crate::secret::Secret;

/// A node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerId {
    /// Its number, unique in the cluster.
    pub id: u64,
    /// Its name, for people.
    pub name: Arc<str>,
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name comes from outside: it must not look like something else in a log.
        write!(f, "node {} ({})", self.id, self.name.escape_debug())
    }
}

/// What a node presents itself with to others.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub(crate) cluster: Arc<str>,
    pub(crate) node: PeerId,
    pub(crate) secret: Secret,
}

impl Credentials {
    /// For a node of `cluster`. All of its nodes have the same secret.
    ///
    /// # Errors
    ///
    /// The name of cluster or node is empty or longer than 255 bytes.
    pub fn new(cluster: &str, node: PeerId, secret: Secret) -> Result<Self, BadCredentials> {
        for name in [cluster, &node.name] {
            if !(1..=255).contains(&name.len()) {
                return Err(BadCredentials::Name { len: name.len() });
            }
        }
        Ok(Self { cluster: cluster.into(), node, secret })
    }
}
