//! The directory of a log: whose it is, who has it open, and how far it was known to be durable.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::error::{Error, FORMAT};

/// A log's directory, locked against other openings while this lives.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// The number of a write that was durable when this was opened.
    pub(crate) watermark: u64,
    /// Whether the engine was about to copy entries when this was noted last.
    pub(crate) copying: bool,
    lock: File,
}

impl Directory {
    /// Locks the directory and looks what it is, or makes it one. Nothing that is not a log is
    /// touched.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let missing = path.ancestors().take_while(|path| !path.exists()).count();
        fs::create_dir_all(path).map_err(Error::io("create", path))?;
        let path = path.canonicalize().map_err(Error::io("look at", path))?;
        path.ancestors().skip(1).take(missing).try_for_each(sync)?;
        // The lock is on the directory itself: a file to lock would have to be made first, perhaps
        // in a directory that is not ours.
        let lock = File::open(&path).map_err(Error::io("open", &path))?;
        acquire(&lock, &path)?;
        let mut directory = Self { path, watermark: 0, copying: false, lock };
        (directory.watermark, directory.copying) = directory.look()?;
        Ok(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the engine's files are.
    pub(crate) fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// Makes the names of the engine's files durable: it does so for all but its first.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        sync(&self.data())?;
        sync(&self.path)
    }

    /// Notes that all writes up to this one are durable.
    ///
    /// An older note is as true as a newer one, so the rename need not be durable itself.
    pub(crate) fn note(&self, watermark: u64) -> Result<(), Error> {
        self.replace(watermark, "")
    }

    /// As that, and that the engine is about to copy entries, durably: until it is noted that it is not,
    /// what it copied may end unfinished.
    pub(crate) fn note_copying(&self, watermark: u64) -> Result<(), Error> {
        self.replace(watermark, COPYING)?;
        sync(&self.path)
    }

    fn replace(&self, watermark: u64, copying: &str) -> Result<(), Error> {
        let path = self.path.join(MARKER);
        let new = self.path.join(MARKER_NEW);
        let mut file = File::create(&new).map_err(Error::io("create", &new))?;
        write!(file, "{HEAD}{FORMAT}\nwatermark {watermark}\n{copying}")
            .map_err(Error::io("write", &new))?;
        file.sync_all().map_err(Error::io("sync", &new))?;
        fs::rename(&new, &path).map_err(Error::io("move", &new))
    }

    /// Keeps the lock until the process ends.
    pub(crate) fn keep(&self) {
        // Another descriptor of it is the same lock. Without one the engine has its own still.
        mem::forget(self.lock.try_clone());
    }

    /// Bytes of the engine's files.
    pub(crate) fn disk_bytes(&self) -> Result<u64, Error> {
        let data = self.data();
        let files = fs::read_dir(&data).map_err(Error::io("list", &data))?;
        // One may be removed just now.
        Ok(files.flatten().flat_map(|file| file.metadata()).map(|file| file.len()).sum())
    }

    fn look(&self) -> Result<(u64, bool), Error> {
        let marker = self.path.join(MARKER);
        let bytes = match fs::read(&marker) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.refuse_foreign()?;
                self.note(0)?;
                sync(&self.path)?;
                return Ok((0, false));
            }
            other => other.map_err(Error::io("read", &marker))?,
        };
        let text = String::from_utf8_lossy(&bytes);
        let rest = text.strip_prefix(HEAD).unwrap_or_default();
        let (format, rest) = rest.split_once('\n').unwrap_or_default();
        match format.parse() {
            Ok(FORMAT) => {}
            Ok(format) if format > FORMAT => return Err(Error::TooNew { path: marker, format }),
            _ => {
                return Err(Error::corrupt(&marker, "it does not say \"larder log\" and a format"));
            }
        }
        let (rest, copying) = rest.strip_suffix(COPYING).map_or((rest, false), |rest| (rest, true));
        let watermark = rest.strip_prefix("watermark ").and_then(|rest| rest.strip_suffix('\n'));
        watermark
            .and_then(|number| Some((number.parse().ok()?, copying)))
            .ok_or_else(|| Error::corrupt(&marker, "it does not say how far the log was durable"))
    }

    fn refuse_foreign(&self) -> Result<(), Error> {
        let entries = fs::read_dir(&self.path).map_err(Error::io("list", &self.path))?;
        for entry in entries {
            let name = entry.map_err(Error::io("list", &self.path))?.file_name();
            // What a new file system or an interrupted creation leaves.
            if name != "lost+found" && name != MARKER_NEW {
                let found = format!("it has no {MARKER} file but holds {}", name.display());
                return Err(Error::NotALog { path: self.path.clone(), found });
            }
        }
        Ok(())
    }
}

/// A process just started by one that has the log open shares its lock for a moment.
fn acquire(lock: &File, path: &Path) -> Result<(), Error> {
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", path)(source)),
        }
    }
    Err(Error::InUse { path: path.to_owned() })
}

fn sync(directory: &Path) -> Result<(), Error> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(Error::io("sync", directory))
}

const MARKER: &str = "LARDER";
const MARKER_NEW: &str = "LARDER.new";
const HEAD: &str = "larder log\nformat ";
const COPYING: &str = "copying\n";
const DATA: &str = "data";
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_is_found_again() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/b");
        let directory = Directory::open(&path).unwrap();
        assert_eq!(directory.watermark, 0);
        directory.note(7).unwrap();
        drop(directory);
        assert_eq!(Directory::open(&path).unwrap().watermark, 7);
        let text = fs::read_to_string(path.join(MARKER)).unwrap();
        assert_eq!(text, "larder log\nformat 1\nwatermark 7\n");
        let directory = Directory::open(&path).unwrap();
        assert!(!directory.copying);
        directory.note_copying(8).unwrap();
        drop(directory);
        let directory = Directory::open(&path).unwrap();
        assert_eq!((directory.watermark, directory.copying), (8, true));
        let text = fs::read_to_string(path.join(MARKER)).unwrap();
        assert_eq!(text, "larder log\nformat 1\nwatermark 8\ncopying\n");
    }

    #[test]
    fn what_is_not_a_log_is_refused_untouched() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("holiday.jpg"), "x").unwrap();
        let error = Directory::open(place.path()).unwrap_err();
        assert!(matches!(&error, Error::NotALog { found, .. } if found.contains("holiday.jpg")));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_newer_format_is_refused_and_a_senseless_marker_too() {
        let place = tempfile::tempdir().unwrap();
        let marker = place.path().join(MARKER);
        fs::write(&marker, "larder log\nformat 2\nfrom 7 to 9\n").unwrap();
        assert!(matches!(Directory::open(place.path()), Err(Error::TooNew { format: 2, .. })));
        for senseless in [
            &b""[..],
            b"\xff\xfe\0",
            b"larder store\nformat 1\n",
            b"larder log\nformat 0\nwatermark 1\n",
            b"larder log\nformat 1\n",
            b"larder log\nformat 1\nwatermark 1",
        ] {
            fs::write(&marker, senseless).unwrap();
            assert!(matches!(Directory::open(place.path()), Err(Error::Corrupt { .. })));
        }
    }

    #[test]
    fn one_opening_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let first = Directory::open(place.path()).unwrap();
        assert!(matches!(Directory::open(place.path()), Err(Error::InUse { .. })));
        drop(first);
        Directory::open(place.path()).unwrap();
    }
}
