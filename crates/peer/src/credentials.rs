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
    /// 0 for who does not belong to it.
    pub(crate) cluster_id: u64,
    pub(crate) node: PeerId,
    pub(crate) secret: Secret,
}

impl Credentials {
    /// For who does not belong to `cluster`, or not yet, but has the secret that all its nodes have.
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
        Ok(Self { cluster: cluster.into(), cluster_id: 0, node, secret })
    }

    /// For a node of that one among all clusters of the name: a number drawn when it was founded, not 0.
    /// Nodes of two never connect, even if both have the same secret.
    #[must_use]
    pub fn of_cluster(self, cluster_id: u64) -> Self {
        Self { cluster_id, ..self }
    }
}
