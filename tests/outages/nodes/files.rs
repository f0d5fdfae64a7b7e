//! What is done to the files of nodes.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;

use nix::errno::Errno;
use nix::fcntl::posix_fallocate;
use nix::sys::statvfs::statvfs;

use super::Nodes;
use crate::outages::failure::Failure;

impl Nodes {
    /// Puts bytes behind what was written to the newest file of the log of a node that does not run, as
    /// if it had been killed in the middle of a write. A full volume takes none.
    pub(in crate::outages) fn tear(&self, node: u16, torn: &[u8]) -> Result<(), Failure> {
        let folder = self.folder(node).join("data/log/data");
        let failed = |error| Failure::io(format_args!("write to {}", folder.display()))(error);
        let mut newest = None;
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "raftlog") {
                newest = newest.max(Some(path));
            }
        }
        let newest = newest.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        // Files are made with zeros behind what is written.
        let written = fs::read(&newest).map_err(failed)?;
        let end = written.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        let file = OpenOptions::new().write(true).open(newest);
        match file.and_then(|file| file.write_all_at(torn, end)) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            other => other.map_err(failed),
        }
    }

    /// Leaves so many bytes on the small volume.
    pub(in crate::outages) fn fill(&self, left: u64) -> Result<(), Failure> {
        let Some(node) = self.confined else { return Ok(()) };
        let failed = Failure::io(format!("fill the volume of db{node}"));
        let filled = || -> io::Result<()> {
            let ballast = File::create(self.ballast(node))?;
            let volume = statvfs(&self.folder(node))?;
            let room = volume.blocks_available().saturating_mul(volume.fragment_size());
            match i64::try_from(room.saturating_sub(left)) {
                Ok(bytes @ 1..) => match posix_fallocate(ballast, 0, bytes) {
                    // The node has taken some of it meanwhile: it is full all the more.
                    Err(Errno::ENOSPC) => Ok(()),
                    filled => Ok(filled?),
                },
                _ => Ok(()),
            }
        };
        filled().map_err(failed)
    }
}
