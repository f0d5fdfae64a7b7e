//! What can go wrong, by who must act.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a store cannot be opened, or went out of service.
#[derive(Debug)]
pub enum Error {
    /// The operating system refused. Who looks after the machine acts: permissions, space, disk.
    Io {
        /// What was being done: "read", "create"…
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory holds something else. Who configured the path acts.
    NotAStore {
        /// The directory.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// The store was written by a newer version. Who installs software acts.
    TooNew {
        /// The file that says so.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// The store was written by an older version, in a way that this one does not read. Who installs
    /// software acts.
    TooOld {
        /// The file that says so.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// The log cannot be opened, see there who acts.
    Log(larder_consensus::Error),
    /// It cannot be the member of a cluster that it is to be. Who configured it acts.
    Member {
        /// What is wrong.
        detail: String,
    },
    /// Another process has the store open. Who starts processes acts.
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A copy from an opening that did not end lies beside files that are not those it was made of.
    /// Who put them there decides which of the two is the store.
    Leftover {
        /// The files.
        data: PathBuf,
        /// What holds the copy.
        kept: PathBuf,
        /// The copy.
        copy: PathBuf,
    },
    /// What is on disk is not what was written. Restore it from a replica or a backup.
    Corrupt {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}

/// The only on-disk format this version reads and the one it writes.
pub(crate) const FORMAT: u32 = 3;

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn corrupt(path: &Path, detail: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), detail: detail.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { action, path, source } => {
                write!(f, "cannot {action} {}: {source}", path.display())
            }
            Self::NotAStore { path, found } => write!(
                f,
                "{} is not a Larder store: {found}; give an empty directory or an existing store",
                path.display()
            ),
            Self::TooNew { path, format } => write!(
                f,
                "{} has format {format}, newer than {FORMAT}, the newest this version reads; \
                 run the version that wrote it",
                path.display()
            ),
            Self::TooOld { path, format } => write!(
                f,
                "{} has format {format}, which has no groups and was never released: this version \
                 reads {FORMAT}; give an empty directory, and fill it from a node of the version \
                 that wrote this one",
                path.display()
            ),
            Self::Log(error) => write!(f, "{error}"),
            Self::Member { detail } => {
                write!(f, "this node cannot take its place in the cluster: {detail}")
            }
            Self::InUse { path } => write!(
                f,
                "{} is in use by another process; stop that one first or give another directory",
                path.display()
            ),
            Self::Leftover { data, kept, copy } => write!(
                f,
                "{kept} is from an opening that did not end, but {data} has been replaced or \
                 written to since, and nothing was changed: to go on with {data}, move {kept} \
                 away; to go back to the copy, move {data} away, move {copy} to {data}, and then \
                 {kept} away",
                data = data.display(),
                kept = kept.display(),
                copy = copy.display(),
            ),
            Self::Corrupt { path, detail } => write!(
                f,
                "{} is damaged: {detail}; keep a copy as it is, then restore it from a replica or a \
                 backup",
                path.display()
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Log(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_where_and_what_to_do() {
        let path = PathBuf::from("/srv/larder");
        let io = Error::io("create", &path)(io::Error::from_raw_os_error(13));
        assert_eq!(io.to_string(), "cannot create /srv/larder: Permission denied (os error 13)");
        let too_new = Error::TooNew { path: path.clone(), format: 7 }.to_string();
        assert!(too_new.starts_with("/srv/larder has format 7, newer than 3"), "{too_new}");
        assert!(Error::InUse { path }.to_string().contains("stop that one first"));
    }
}
