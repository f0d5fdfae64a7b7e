//! Who a node is, for good: a file that it writes before it takes part in anything.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file;
use crate::directory::CHARTER;
use crate::error::Error;
use crate::placement::NodeId;

/// Who a node is, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Charter {
    /// The name of its cluster.
    pub(crate) cluster: String,
    /// By which it is known there.
    pub(crate) name: String,
    /// Drawn at random with the rest of this file, before anybody was told of it: who has lost what it
    /// had draws another, and is not taken for who it was.
    pub(crate) identity: u64,
    /// Since it was let in.
    pub(crate) admission: Option<Admission>,
    /// The last term of group 0 in which a leader has told it what groups to have. What an earlier one
    /// says is not done any more.
    pub(crate) orders_of: u64,
}

/// What a node is told when it is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Admission {
    /// Drawn at random when the cluster was founded: another of the same name has another.
    pub(crate) cluster_id: u64,
    pub(crate) node: NodeId,
    /// Into how many groups keys are divided there.
    pub(crate) groups: u16,
    /// Whether it has yet to found the cluster.
    pub(crate) founds: bool,
}

/// Where a charter is kept.
#[derive(Clone, Debug)]
pub(crate) struct Archive(PathBuf);

impl Archive {
    pub(crate) fn new(directory: &Path) -> Self {
        Self(directory.join(CHARTER))
    }

    /// The charter, if there is one, of a node that is to have these names.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is that of another node.
    pub(crate) fn find(&self, cluster: &str, name: &str) -> Result<Option<Charter>, Error> {
        let Some(charter) = self.read()? else { return Ok(None) };
        if (&*charter.cluster, &*charter.name) != (cluster, name) {
            let detail = format!(
                "{} is that of node {:?} of the cluster {:?}, and it is to be node {name:?} of \
                 {cluster:?}: give it its own directory, or its own names",
                self.0.display(),
                charter.name,
                charter.cluster,
            );
            return Err(Error::Member { detail });
        }
        Ok(Some(charter))
    }

    /// The charter, if there is one, whoever's it is.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(crate) fn read(&self) -> Result<Option<Charter>, Error> {
        file::read(&self.0, VERSION)
    }

    pub(crate) fn keep(&self, charter: &Charter) -> Result<(), Error> {
        file::write(&self.0, VERSION, charter)
    }
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_one_nodes_for_good() {
        let place = tempfile::tempdir().unwrap();
        let archive = Archive::new(place.path());
        assert_eq!(archive.find("shop", "db1").unwrap(), None);
        let admission = Some(Admission { cluster_id: 5, node: 3, groups: 4, founds: false });
        let (cluster, name) = ("shop".to_owned(), "db1".to_owned());
        let charter = Charter { cluster, name, identity: 9, admission, orders_of: 2 };
        archive.keep(&charter).unwrap();
        assert_eq!(archive.find("shop", "db1").unwrap(), Some(charter));
        for (cluster, name) in [("shop", "db2"), ("stage", "db1")] {
            let error = archive.find(cluster, name).unwrap_err().to_string();
            for part in ["CHARTER", "\"db1\"", "\"shop\"", cluster, name] {
                assert!(error.contains(part), "{error}");
            }
        }
    }
}
