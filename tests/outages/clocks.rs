//! Wall clocks of processes that can be set while they run, by a library that is loaded before the
//! system's: libfaketime.
//!
//! Only the wall clock is. What a machine counts from its start never jumps, and the times of files are
//! those of the disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::failure::Failure;

/// A clock for each node, which is right until it is bent.
#[derive(Debug)]
pub(super) struct Clocks {
    library: PathBuf,
    place: PathBuf,
}

impl Clocks {
    /// Keeps what the clocks say in `place`.
    ///
    /// # Errors
    ///
    /// There is no such library.
    pub(super) fn find(place: &Path) -> Result<Self, Failure> {
        let folders = FOLDERS.into_iter().flat_map(|folder| {
            // Debian has one for each kind of machine.
            let kinds = fs::read_dir(folder).into_iter().flatten().flatten();
            kinds.map(|kind| kind.path()).chain([PathBuf::from(folder)])
        });
        let library = folders.map(|folder| folder.join(LIBRARY)).find(|file| file.is_file());
        let library = library.ok_or_else(|| {
            Failure::new(format_args!(
                "there is no {LIBRARY} in {}, so clocks cannot be bent: install it (Debian: apt-get \
                 install faketime), or say with --faults what else is to fail",
                FOLDERS.join(" or ")
            ))
        })?;
        Ok(Self { library, place: place.to_owned() })
    }

    /// Has a process that is yet to be started go by the clock of a node.
    pub(super) fn lead(&self, command: &mut Command, node: u16) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", self.file(node))
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
    }

    /// From now on the clock of a node is so many seconds ahead; behind, if less than 0.
    pub(super) fn bend(&self, node: u16, seconds: i64) -> Result<(), Failure> {
        let file = self.file(node);
        let failed = || Failure::io(format!("write {}", file.display()));
        // Never half of it: it is read for each look at the clock.
        let new = file.with_extension("new");
        fs::write(&new, format!("{seconds:+}\n")).map_err(failed())?;
        fs::rename(&new, &file).map_err(failed())
    }

    /// Removes what the library leaves of a process that was killed.
    pub(super) fn forget(process: u32) {
        for kind in ["faketime_shm", "sem.faketime_sem"] {
            // It may have been removed by the library.
            let _ = fs::remove_file(format!("/dev/shm/{kind}_{process}"));
        }
    }

    fn file(&self, node: u16) -> PathBuf {
        self.place.join(format!("db{node}.clock"))
    }
}

/// The one for processes with many threads.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
const FOLDERS: [&str; 3] = ["/usr/lib", "/usr/local/lib", "/usr/lib64"];
