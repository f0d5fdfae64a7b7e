//! What can go wrong on opening, by who must act.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a log cannot be opened.
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
    NotALog {
        /// The directory.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// The log was written by a newer version. Who installs software acts.
    TooNew {
        /// The file that says so.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// The log is open already, in this process or another. Who starts processes acts.
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Writes that were durable are gone: entries, and maybe votes, that others were told of. This
    /// node must not go on as the member it was, for it would contradict itself: who runs the
    /// cluster removes it, and adds it anew with an empty directory.
    Lost {
        /// The directory.
        path: PathBuf,
        /// The number of the last write that was noted as durable.
        wanted: u64,
        /// The number of the last write that is there.
        found: u64,
        /// Each group that is there and the index its log ends at, as far as it is.
        groups: Vec<(u64, Option<u64>)>,
    },
    /// What is on disk is not what was written. Acts who does for [`Lost`](Self::Lost).
    Corrupt {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The log failed while it was open, or is closed: no group is opened any more.
    Failed {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// The newest on-disk format this version reads and the one it writes.
pub(crate) const FORMAT: u32 = 1;

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
            Self::NotALog { path, found } => write!(
                f,
                "{} is not a Larder log: {found}; give an empty directory or an existing log",
                path.display()
            ),
            Self::TooNew { path, format } => write!(
                f,
                "{} has format {format}, newer than {FORMAT}, the newest this version reads; \
                 run the version that wrote it",
                path.display()
            ),
            Self::InUse { path } => write!(
                f,
                "{} is in use; stop the process that has it open or give another directory",
                path.display()
            ),
            Self::Lost { path, wanted, found, groups } => {
                write!(
                    f,
                    "{} has lost what was durable: it ends at write {found}, but write {wanted} \
                     was on disk",
                    path.display()
                )?;
                for (group, last) in groups {
                    match last {
                        Some(last) => write!(f, "; group {group} ends at index {last}")?,
                        None => write!(f, "; group {group} has no entries")?,
                    }
                }
                write!(f, "; {REPLACE}")
            }
            Self::Corrupt { path, detail } => {
                write!(f, "{} is damaged: {detail}; {REPLACE}", path.display())
            }
            Self::Failed { path, reason } => {
                write!(f, "{} takes no more groups: {reason}", path.display())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A vote that is lost may be given twice, an entry be acknowledged and gone.
const REPLACE: &str = "keep a copy as it is, remove this node from its groups, and add it anew with \
                       an empty directory";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_where_and_what_to_do() {
        let path = PathBuf::from("/srv/larder");
        let io = Error::io("create", &path)(io::Error::from_raw_os_error(13));
        assert_eq!(io.to_string(), "cannot create /srv/larder: Permission denied (os error 13)");
        let groups = vec![(1, Some(70)), (2, None)];
        let lost = Error::Lost { path, wanted: 9, found: 7, groups }.to_string();
        for part in ["/srv/larder", "ends at write 7", "write 9", "group 1 ends at index 70"] {
            assert!(lost.contains(part), "{lost}");
        }
        assert!(lost.contains("group 2 has no entries"), "{lost}");
    }
}
