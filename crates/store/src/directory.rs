//! The directory of a store: whose it is, who has it open, and how far it was known to be durable.
//!
//! | name | what |
//! |---|---|
//! | `LARDER` | says that this is a store, and its format |
//! | `WATERMARK` | a place in the order of writes that was durable when this was written |
//! | `CLOCK` | the time it was when this was written, in seconds since 1970 |
//! | `data/` | the engine's files; there is a whole one or none |
//! | `data.kept/` | `data/` as it was before an opening that has not come to its end |
//! | `data.new/` | something in the making or on its way out, of no worth |
//!
//! The engine changes its files while it opens them: it cuts off the end of a journal what makes no
//! sense to it, and its threads begin to compact. So a copy is kept until it is known that the store
//! is whole. What a crash leaves tells what to do at the next opening:
//!
//! | there is | it happened | what is done |
//! |---|---|---|
//! | `data`, `data.new` | while the copy was made or removed | `data.new` is removed |
//! | `data`, `data.kept` | while the store was opened; nothing was acknowledged since | the copy is put back |
//! | `data.kept`, `data.new` | while the copy was put back | as above |

mod copy;

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use larder_protocol::Seconds;

use crate::error::{Error, FORMAT};

/// A store's directory, locked against other processes while this lives.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

/// Whether the directory holds a store already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It does.
    Store {
        /// The place in the order of writes that was noted as durable last.
        watermark: u64,
        /// The time that was noted last, if any was.
        clock: Option<Seconds>,
    },
    /// It does not: `data_new` is to be filled, then [`Directory::adopt`]ed.
    Nothing,
}

impl Directory {
    /// Locks the directory and looks what it is. Nothing that is not a store is touched.
    pub(crate) fn open(path: &Path) -> Result<(Self, Found), Error> {
        if !path.try_exists().map_err(Error::io("look at", path))? {
            let missing = path.ancestors().take_while(|path| !path.exists()).count();
            fs::create_dir_all(path).map_err(Error::io("create", path))?;
            let path = path.canonicalize().map_err(Error::io("look at", path))?;
            path.ancestors().skip(1).take(missing).try_for_each(sync)?;
        }
        if !path.is_dir() {
            let found = "it is a file, and a directory is needed".to_owned();
            return Err(Error::NotAStore { path: path.to_owned(), found });
        }
        // The lock is on the directory itself: a file to lock would have to be made first, perhaps
        // in a directory that is not ours.
        let lock = File::open(path).map_err(Error::io("open", path))?;
        acquire(&lock, path)?;
        let directory = Self { path: path.to_owned(), _lock: lock };
        let found = directory.look()?;
        Ok((directory, found))
    }

    /// Where the engine's files are.
    pub(crate) fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// Where the engine's files are made at first.
    pub(crate) fn data_new(&self) -> PathBuf {
        self.path.join(DATA_NEW)
    }

    /// From now on the files in `data_new` are the store's.
    pub(crate) fn adopt(&self) -> Result<(), Error> {
        // First, so that a store without one is damaged; and with 0, no data is not yet missing.
        self.note_watermark(0)?;
        sync(&self.path)?;
        let (from, to) = (self.data_new(), self.data());
        fs::rename(&from, &to).map_err(Error::io("move", &from))?;
        sync(&self.path)
    }

    /// Notes that everything up to this place in the order of writes is durable.
    ///
    /// An older note is as true as a newer one, so the rename need not be durable itself.
    pub(crate) fn note_watermark(&self, sequence: u64) -> Result<(), Error> {
        replace(&self.path.join(WATERMARK), &format!("{sequence}\n"))
    }

    /// Notes what time it is. A note that is lost makes the next opening careful, and no more.
    pub(crate) fn note_clock(&self, now: Seconds) -> Result<(), Error> {
        replace(&self.path.join(CLOCK), &format!("{now}\n"))
    }

    /// Keeps a copy of the engine's files, until [`put_back`](Self::put_back) or
    /// [`let_go`](Self::let_go).
    pub(crate) fn keep(&self) -> Result<(), Error> {
        let (new, kept) = (self.data_new(), self.kept());
        copy::copy(&self.data(), &new)
            .and_then(|()| fs::rename(&new, &kept).map_err(Error::io("move", &new)))
            .and_then(|()| sync(&self.path))
            // Half a copy takes the room that the engine may need.
            .inspect_err(|_| {
                let _ = fs::remove_dir_all(&new);
            })
    }

    /// Makes the engine's files what they were when the copy was kept. Nothing may have them open.
    pub(crate) fn put_back(&self) -> Result<(), Error> {
        let (data, kept, new) = (self.data(), self.kept(), self.data_new());
        if data.try_exists().map_err(Error::io("look at", &data))? {
            remove(&new)?;
            fs::rename(&data, &new).map_err(Error::io("move", &data))?;
        }
        fs::rename(&kept, &data).map_err(Error::io("move", &kept))?;
        sync(&self.path)?;
        remove(&new)
    }

    /// Removes the copy. Must be done before any write is acknowledged: a copy that is found is put
    /// back.
    pub(crate) fn let_go(&self) -> Result<(), Error> {
        let (kept, new) = (self.kept(), self.data_new());
        fs::rename(&kept, &new).map_err(Error::io("move", &kept))?;
        sync(&self.path)?;
        // What is left of it is removed at the next opening.
        let _ = remove(&new);
        Ok(())
    }

    fn kept(&self) -> PathBuf {
        self.path.join(KEPT)
    }

    fn look(&self) -> Result<Found, Error> {
        let marker = self.path.join(MARKER);
        if !marker.try_exists().map_err(Error::io("look at", &marker))? {
            self.refuse_foreign()?;
            replace(&marker, &format!("larder store\nformat {FORMAT}\n"))?;
            sync(&self.path)?;
        }
        let bytes = fs::read(&marker).map_err(Error::io("read", &marker))?;
        let format: u32 = str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.strip_prefix("larder store\nformat "))
            .and_then(|rest| rest.trim_end().parse().ok())
            .ok_or_else(|| {
                Error::corrupt(&marker, "it does not say \"larder store\" and a format")
            })?;
        if format > FORMAT {
            return Err(Error::TooNew { path: marker, format });
        }
        let kept = self.kept();
        if kept.try_exists().map_err(Error::io("look at", &kept))? {
            self.put_back()?;
        }
        remove(&self.data_new())?;
        let watermark = self.number(WATERMARK)?;
        let data = self.data();
        match (data.try_exists().map_err(Error::io("look at", &data))?, watermark) {
            (true, Some(watermark)) => {
                // One that makes no sense is as none: it only makes the sweeper careful.
                let clock = self.number(CLOCK).ok().flatten();
                Ok(Found::Store { watermark, clock: clock.and_then(|at| at.try_into().ok()) })
            }
            (true, None) => {
                let path = self.path.join(WATERMARK);
                Err(Error::corrupt(&path, "it is missing, so that lost writes would not show"))
            }
            (false, Some(1..)) => {
                Err(Error::corrupt(&data, "it is missing, but the store was in use"))
            }
            // An interrupted creation has acknowledged nothing yet.
            (false, Some(0) | None) => Ok(Found::Nothing),
        }
    }

    fn refuse_foreign(&self) -> Result<(), Error> {
        let entries = fs::read_dir(&self.path).map_err(Error::io("list", &self.path))?;
        for entry in entries {
            let name = entry.map_err(Error::io("list", &self.path))?.file_name();
            // What a new file system or an interrupted creation leaves.
            if name != "lost+found" && name != MARKER_NEW {
                let found = format!("it has no {MARKER} file but holds {}", name.display());
                return Err(Error::NotAStore { path: self.path.clone(), found });
            }
        }
        Ok(())
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        let path = self.path.join(name);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io("read", &path))?,
        };
        str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.trim_end().parse().ok())
            .map(Some)
            .ok_or_else(|| Error::corrupt(&path, "it does not hold a number"))
    }
}

/// A process just started by one that has the store open shares its lock for a moment.
fn acquire(lock: &File, path: &Path) -> Result<(), Error> {
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", path)(source)),
        }
    }
    Err(Error::InUse { path: path.to_owned() })
}

/// Replaces a file's content so that a crash leaves the old or the new, and no mixture.
fn replace(path: &Path, content: &str) -> Result<(), Error> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut file = File::create(&new).map_err(Error::io("create", &new))?;
    file.write_all(content.as_bytes()).map_err(Error::io("write", &new))?;
    file.sync_all().map_err(Error::io("sync", &new))?;
    fs::rename(&new, path).map_err(Error::io("move", &new))
}

fn remove(directory: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", directory)(error))
        }
        _ => Ok(()),
    }
}

fn sync(directory: &Path) -> Result<(), Error> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(Error::io("sync", directory))
}

const MARKER: &str = "LARDER";
const MARKER_NEW: &str = "LARDER.new";
const WATERMARK: &str = "WATERMARK";
const CLOCK: &str = "CLOCK";
const DATA: &str = "data";
const DATA_NEW: &str = "data.new";
const KEPT: &str = "data.kept";
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_becomes_a_store_once() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let (directory, found) = Directory::open(&path).unwrap();
        assert_eq!(found, Found::Nothing);
        fs::create_dir(directory.data_new()).unwrap();
        drop(directory);
        let (directory, found) = Directory::open(&path).unwrap();
        assert_eq!(found, Found::Nothing, "an interrupted creation begins anew");
        fs::create_dir(directory.data_new()).unwrap();
        directory.note_watermark(0).unwrap();
        drop(directory);
        let (directory, found) = Directory::open(&path).unwrap();
        assert_eq!(found, Found::Nothing, "nothing was acknowledged yet");
        fs::create_dir(directory.data_new()).unwrap();
        directory.adopt().unwrap();
        drop(directory);
        let (directory, found) = Directory::open(&path).unwrap();
        assert_eq!(found, Found::Store { watermark: 0, clock: None });
        directory.note_watermark(7).unwrap();
        drop(directory);
        let (directory, found) = Directory::open(&path).unwrap();
        assert_eq!(found, Found::Store { watermark: 7, clock: None });
        directory.note_clock(9).unwrap();
        drop(directory);
        assert_eq!(
            Directory::open(&path).unwrap().1,
            Found::Store { watermark: 7, clock: Some(9) }
        );
        fs::remove_file(path.join(WATERMARK)).unwrap();
        let error = Directory::open(&path).unwrap_err();
        assert!(error.to_string().contains("WATERMARK is damaged: it is missing"), "{error}");
    }

    #[test]
    fn what_is_not_a_store_is_refused_untouched() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("holiday.jpg"), "x").unwrap();
        let error = Directory::open(place.path()).unwrap_err();
        assert!(matches!(&error, Error::NotAStore { found, .. } if found.contains("holiday.jpg")));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_newer_format_is_refused_and_a_senseless_marker_too() {
        let place = tempfile::tempdir().unwrap();
        let marker = place.path().join(MARKER);
        fs::write(&marker, "larder store\nformat 2\n").unwrap();
        assert!(matches!(Directory::open(place.path()), Err(Error::TooNew { format: 2, .. })));
        for senseless in [&b"lard"[..], b"\xff\xfe\0"] {
            fs::write(&marker, senseless).unwrap();
            assert!(matches!(Directory::open(place.path()), Err(Error::Corrupt { .. })));
        }
        let error = Directory::open(&marker).unwrap_err();
        assert!(error.to_string().contains("it is a file"), "{error}");
    }

    #[test]
    fn one_process_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let first = Directory::open(place.path()).unwrap();
        assert!(matches!(Directory::open(place.path()), Err(Error::InUse { .. })));
        drop(first);
        Directory::open(place.path()).unwrap();
    }

    #[test]
    fn a_copy_that_is_found_is_put_back_wherever_it_was_interrupted() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("store");
        let (directory, _) = Directory::open(&path).unwrap();
        fs::create_dir_all(directory.data_new().join("tables")).unwrap();
        fs::write(directory.data_new().join("0.jnl"), "before").unwrap();
        fs::write(directory.data_new().join("tables/1"), "sorted").unwrap();
        directory.adopt().unwrap();
        let [data, new, kept] = [directory.data(), directory.data_new(), directory.kept()];
        let journal = || fs::read_to_string(data.join("0.jnl")).unwrap();
        let change = || {
            fs::write(data.join("0.jnl"), "cut").unwrap();
            fs::remove_file(data.join("tables/1")).unwrap();
        };
        drop(directory);
        let reopened = || {
            let (directory, found) = Directory::open(&path).unwrap();
            assert_eq!(found, Found::Store { watermark: 0, clock: None });
            assert_eq!(fs::read_to_string(data.join("tables/1")).unwrap(), "sorted");
            assert!(!new.exists() && !kept.exists());
            directory
        };

        // While the copy was made, or removed: what there is of it may be anything.
        fs::create_dir(&new).unwrap();
        let directory = reopened();
        assert_eq!(journal(), "before");
        // While the store was opened.
        directory.keep().unwrap();
        change();
        drop(directory);
        let directory = reopened();
        assert_eq!(journal(), "before");
        // While it was put back.
        directory.keep().unwrap();
        change();
        fs::rename(&data, &new).unwrap();
        drop(directory);
        let directory = reopened();
        assert_eq!(journal(), "before");
        // Never, once it was let go.
        directory.keep().unwrap();
        fs::write(data.join("0.jnl"), "written since").unwrap();
        directory.let_go().unwrap();
        drop(directory);
        let directory = reopened();
        assert_eq!(journal(), "written since");
        // It fails in the middle, and leaves nothing.
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("in the way"), "").unwrap();
        directory.keep().unwrap_err();
        assert!(!new.exists());
    }

    #[test]
    fn data_gone_from_a_used_store_is_no_new_store() {
        let place = tempfile::tempdir().unwrap();
        let (directory, _) = Directory::open(place.path()).unwrap();
        directory.note_watermark(1).unwrap();
        drop(directory);
        let error = Directory::open(place.path()).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}
