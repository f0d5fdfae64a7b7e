//! A backup, as it is on disk: a directory with a file for each group, and a `MANIFEST`.
//!
//! `MANIFEST` is written last, when all else is durable, and under another name first. A directory
//! without one is what is left of a backup that did not end.
//!
//! `group-N` begins with a head, then come blocks of items, and one that is empty ends it. Integers are
//! little-endian.
//!
//! | head | bytes | |
//! |---|---|---|
//! | magic | 7 | `LARDERB` |
//! | version | 1 | 1 |
//! | cluster | 8 | what the cluster drew when it was founded |
//! | backup | 8 | what was drawn for the backup |
//! | group | 8 | |
//! | checksum | 8 | XXH3, 64 bits, of all before |
//!
//! | block | bytes | |
//! |---|---|---|
//! | length | 4 | of the items, in bytes |
//! | count | 4 | of the items |
//! | checksum | 8 | XXH3, 64 bits, seeded with the head's checksum, of the block's place among the blocks, from 0 on, as 8 bytes; its length; its count; its items |
//! | items | length | one after the other, as `larder_store::Item` has them |

mod file;
mod manifest;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

pub(super) use file::{Reader, Writer};
pub(super) use manifest::{Entry, Manifest};

use crate::failure::Failure;

/// A backup that is whole, as far as its `MANIFEST` says so.
#[derive(Clone, Debug)]
pub(super) struct Archive {
    path: PathBuf,
    pub(super) manifest: Manifest,
}

/// Refuses a directory that has something already.
pub(super) fn refuse_used(path: &Path) -> Result<(), Failure> {
    match fs::read_dir(path).map(|mut entries| entries.next()) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(Failure::usage(format!(
            "{} is not empty: name a directory that is, or that is not there",
            path.display()
        ))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("use", path)(error)),
    }
}

/// Makes the directory of a backup, if it is not there.
pub(super) fn make(path: &Path) -> Result<(), Failure> {
    refuse_used(path)?;
    fs::create_dir_all(path).map_err(failed("make", path))
}

/// Makes a backup of what is in a directory by now.
pub(super) fn finish(path: &Path, manifest: &Manifest) -> Result<(), Failure> {
    let (new, whole) = (path.join(MANIFEST_NEW), path.join(MANIFEST));
    let mut file = File::create_new(&new).map_err(failed("create", &new))?;
    let written = file.write_all(manifest.encode().as_bytes()).and_then(|()| file.sync_all());
    written.map_err(failed("write", &new))?;
    // The files of the groups are to be there after a crash if this is.
    sync(path)?;
    fs::rename(&new, &whole).map_err(failed("rename", &new))?;
    sync(path)?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync(parent),
        None => Ok(()),
    }
}

impl Archive {
    /// The backup in a directory.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let manifest = path.join(MANIFEST);
        let text = fs::read(&manifest).map_err(|error| match error.kind() {
            ErrorKind::NotFound if path.is_dir() => Failure::usage(format!(
                "{} has no {MANIFEST}: it is no backup, or one that did not end",
                path.display()
            )),
            _ => failed("read", &manifest)(error),
        })?;
        let manifest = Manifest::decode(&text).map_err(|(offset, why)| {
            Failure::system(format!("{} is damaged at offset {offset}: {why}", manifest.display()))
        })?;
        Ok(Self { path: path.to_owned(), manifest })
    }

    /// The items of a group.
    pub(super) fn read(&self, entry: &Entry) -> Result<Reader, Failure> {
        let Manifest { cluster_id, backup, .. } = self.manifest;
        Reader::open(&self.path.join(name(entry.group)), cluster_id, backup, entry.clone())
    }
}

/// What the file of a group is called.
pub(super) fn name(group: u64) -> String {
    format!("group-{group}")
}

fn sync(path: &Path) -> Result<(), Failure> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(failed("sync", path))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::system(format!("cannot {action} {}: {error}", path.display()))
}

const MANIFEST: &str = "MANIFEST";
const MANIFEST_NEW: &str = "MANIFEST.new";

#[cfg(test)]
mod tests;
