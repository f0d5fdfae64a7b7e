//! A file that is written a few megabytes at a time.

use std::fs::File;
use std::io::{self, Write};

/// A file whose bytes go to the disk as they are written: who syncs a log there meanwhile would be kept
/// waiting by all that is not there yet.
pub(super) struct Steady {
    file: File,
    /// Bytes written since the disk had all.
    unsynced: usize,
}

impl Steady {
    pub(super) fn new(file: File) -> Self {
        Self { file, unsynced: 0 }
    }

    /// Makes all of it durable.
    pub(super) fn finish(self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl Write for Steady {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced += written;
        if self.unsynced >= SYNCED {
            self.unsynced = 0;
            self.file.sync_data()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Bytes that are written before the disk is waited for.
const SYNCED: usize = 4 << 20;
