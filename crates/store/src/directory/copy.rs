//! A directory's copy, to be put back.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use super::sync;
use crate::error::Error;

/// Makes `to`, which is not there yet, what `from` is, durably.
///
/// The engine writes a sorted file once and then only removes it, so that a second name keeps it.
/// Everything else is copied; where the file system can, that shares blocks and costs nothing.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir(to).map_err(Error::io("create", to))?;
    let sorted = from.file_name().is_some_and(|name| name == SORTED);
    for entry in fs::read_dir(from).map_err(Error::io("list", from))? {
        let entry = entry.map_err(Error::io("list", from))?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(Error::io("look at", &from))?.is_dir() {
            copy(&from, &to)?;
        } else if sorted {
            fs::hard_link(&from, &to).map_err(Error::io("link", &from))?;
        } else {
            copy_file(&from, &to).map_err(Error::io("copy", &from))?;
        }
    }
    own(from, to).map_err(Error::io("change the owner of", to))?;
    sync(to)
}

/// What a copy is made of, in bytes.
#[derive(Default)]
pub(super) struct Sizes {
    /// Sorted files, which get a second name.
    pub(super) sorted: u64,
    /// All others.
    pub(super) copied: u64,
}

/// What a copy of `from` would be made of.
pub(super) fn sizes(from: &Path) -> Result<Sizes, Error> {
    let mut sizes = Sizes::default();
    let sorted = from.file_name().is_some_and(|name| name == SORTED);
    for entry in fs::read_dir(from).map_err(Error::io("list", from))? {
        let entry = entry.map_err(Error::io("list", from))?;
        let path = entry.path();
        let metadata = entry.metadata().map_err(Error::io("look at", &path))?;
        if metadata.is_dir() {
            let inner = self::sizes(&path)?;
            sizes.sorted += inner.sorted;
            sizes.copied += inner.copied;
        } else if sorted {
            sizes.sorted += metadata.len();
        } else {
            sizes.copied += metadata.len();
        }
    }
    Ok(sizes)
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    own(from, to)?;
    File::open(to)?.sync_all()
}

/// What is put back must be as usable for others as it was.
fn own(from: &Path, to: &Path) -> io::Result<()> {
    let like = fs::metadata(from)?;
    fs::set_permissions(to, like.permissions())?;
    chown(to, Some(like.uid()), Some(like.gid()))
}

/// Where the engine has its sorted files.
const SORTED: &str = "tables";
