//! The directory of a store: whose it is, who has it open, and how far it was known to be durable.
//!
//! | name | what |
//! |---|---|
//! | `LARDER` | says that this is a store, its format, and how many groups it has, for good |
//! | `CHARTER`, `PLACEMENT` | of a node of a cluster: who it is, and what the cluster has agreed on, see `cluster` |
//! | `SEATS` | a line for each group that this node has a replica of: its number, and how that came |
//! | `WATERMARK` | a line for each group: its number, and a place in the order of writes up to which `data` was durable when this was written |
//! | `CLOCK` | the time it was when this was written, in seconds since 1970 |
//! | `DOUBT` | for how long which time has been doubted, while it is |
//! | `data/` | the engine's files; there is a whole one or none |
//! | `log/` | the log of all groups, see `larder-consensus`; what the engine lacks is done again from it |
//! | `view/` | a directory for each group: what it takes from another replica, while it becomes that |
//! | `data.kept/` | `data`, as it was before an opening that has not come to its end, and `OF`: whose copy it is |
//! | `data.new/` | something in the making or on its way out, of no worth |
//!
//! The engine changes its files while it opens them: it cuts off the end of a journal what makes no
//! sense to it, and its threads begin to compact. So a copy is kept until it is known that the store
//! is whole. It is gone, durably, before anything is acknowledged: by [`Directory::let_go`], without
//! whose success no opening ends well, whether or not a copy could be made.
//!
//! What a crash leaves tells what to do at the next opening:
//!
//! | there is | it happened | what is done |
//! |---|---|---|
//! | `data`, `data.new` | while the copy was made or removed | `data.new` is removed |
//! | `data`, `data.kept/data` | while the store was opened | the copy is put back |
//! | `data.kept/data`, `data.new` | while the copy was put back | as above |
//! | `data`, `data.kept` with no more than `OF` | after the copy was put back | what is left is removed |
//!
//! But the names alone prove nothing: someone may have put another `data` there, or had an older
//! version use it. A copy is put back only if `data` is the same directory and `WATERMARK` what it was;
//! else nothing is touched, and who looks after the store decides.

mod copy;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use larder_protocol::Seconds;
use parking_lot::Mutex;
use tracing::warn;

use crate::caution::Doubt;
use crate::error::{Error, FORMAT};
use crate::placement::GroupId;
use crate::slots::SLOTS;

/// A store's directory, locked against other processes while this lives.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// How many groups of data its store has.
    groups: u16,
    /// Held while a watermark is noted.
    noting: Mutex<()>,
    _lock: File,
}

/// A directory that is locked, and not looked at yet. Nothing that is not a store's was found in it.
#[derive(Debug)]
pub(crate) struct Locked {
    path: PathBuf,
    lock: File,
}

/// How a node came to have a replica of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seat {
    /// With the store: if nobody has begun the group, it is to be.
    Founded,
    /// It is there for who leads the group, and begins nothing.
    Admitted,
}

/// Whether the directory holds a store already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It does.
    Store {
        /// The groups that it has replicas of.
        seats: BTreeMap<GroupId, Seat>,
        /// For each group the place in the order of writes that was noted as durable last.
        watermarks: BTreeMap<GroupId, u64>,
        /// The time that was noted last, if any was.
        clock: Option<Seconds>,
        /// What was noted of a time that was doubted.
        doubt: Option<Doubt>,
    },
    /// It does not: `data_new` is to be filled, then [`Directory::adopt`]ed.
    Nothing,
}

impl Locked {
    /// Locks the directory, made if it is not there. Nothing that is not a store is touched.
    pub(crate) fn lock(path: &Path) -> Result<Self, Error> {
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
        let locked = Self { path: path.to_owned(), lock };
        if !locked.is_store()? {
            locked.refuse_foreign()?;
        }
        Ok(locked)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it has been that of a store.
    pub(crate) fn is_store(&self) -> Result<bool, Error> {
        there(&self.path.join(MARKER))
    }

    /// Looks what it is; if it is nothing, it is to be that of a store of so many groups.
    pub(crate) fn open(self, groups: u16) -> Result<(Directory, Found), Error> {
        let Self { path, lock } = self;
        let mut directory = Directory { path, groups, noting: Mutex::default(), _lock: lock };
        let found = directory.look()?;
        Ok((directory, found))
    }

    fn refuse_foreign(&self) -> Result<(), Error> {
        let entries = fs::read_dir(&self.path).map_err(Error::io("list", &self.path))?;
        for entry in entries {
            let name = entry.map_err(Error::io("list", &self.path))?.file_name();
            // What a new file system, an interrupted creation, and who waits to be let into a cluster
            // leave.
            let known = ["lost+found", MARKER_NEW, CHARTER, CHARTER_NEW];
            if !known.iter().any(|known| name == *known) {
                let found = format!("it has no {MARKER} file but holds {}", name.display());
                return Err(Error::NotAStore { path: self.path.clone(), found });
            }
        }
        Ok(())
    }
}

impl Directory {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many groups of data its store has.
    pub(crate) fn groups(&self) -> u16 {
        self.groups
    }

    /// Where the engine's files are.
    pub(crate) fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// Where the log's files are.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Where views of a group come, made if it is not there.
    pub(crate) fn views(&self, group: GroupId) -> Result<PathBuf, Error> {
        let path = self.path.join(VIEW).join(group.to_string());
        fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        sync(&self.path.join(VIEW))?;
        sync(&self.path)?;
        Ok(path)
    }

    /// Removes what views of a group have left.
    pub(crate) fn remove_views(&self, group: GroupId) -> Result<(), Error> {
        remove(&self.path.join(VIEW).join(group.to_string()))
    }

    /// Where the engine's files are made at first.
    pub(crate) fn data_new(&self) -> PathBuf {
        self.path.join(DATA_NEW)
    }

    /// From now on the files in `data_new` are the store's, which has replicas of these groups.
    pub(crate) fn adopt(&self, seats: &BTreeMap<GroupId, Seat>) -> Result<(), Error> {
        let groups = 1..=GroupId::from(self.groups);
        // First, so that a store without one is damaged; and with 0, no data is not yet missing.
        self.note_watermarks(|| groups.map(|group| (group, 0)).collect())?;
        self.note_seats(seats)?;
        let (from, to) = (self.data_new(), self.data());
        fs::rename(&from, &to).map_err(Error::io("move", &from))?;
        sync(&self.path)
    }

    /// Notes of which groups there are replicas, durably.
    pub(crate) fn note_seats(&self, seats: &BTreeMap<GroupId, Seat>) -> Result<(), Error> {
        let line = |(group, seat): (&GroupId, &Seat)| format!("{group} {}\n", seat.name());
        replace(&self.path.join(SEATS), seats.iter().map(line).collect::<String>())?;
        sync(&self.path)
    }

    /// What was noted last of that.
    pub(crate) fn seats(&self) -> Result<BTreeMap<GroupId, Seat>, Error> {
        let seats = self.lines(SEATS, Seat::of)?;
        let path = self.path.join(SEATS);
        seats.ok_or_else(|| {
            Error::corrupt(&path, "it is missing, so that it does not say what to open")
        })
    }

    /// Notes for each group that everything up to this place in the order of writes is durable. What
    /// there is to be noted is asked for once no other note is under way.
    ///
    /// An older note is as true as a newer one, so the rename need not be durable itself.
    pub(crate) fn note_watermarks(
        &self,
        watermarks: impl FnOnce() -> BTreeMap<GroupId, u64>,
    ) -> Result<(), Error> {
        let _alone = self.noting.lock();
        let line = |(group, sequence)| format!("{group} {sequence}\n");
        replace(&self.path.join(WATERMARK), watermarks().into_iter().map(line).collect::<String>())
    }

    /// Notes what time it is. A note that is lost makes the next opening careful, and no more.
    pub(crate) fn note_clock(&self, now: Seconds) -> Result<(), Error> {
        replace(&self.path.join(CLOCK), format!("{now}\n"))
    }

    /// Notes for how long which time has been doubted, so that it adds up over restarts.
    pub(crate) fn note_doubt(&self, doubt: Doubt) -> Result<(), Error> {
        let Doubt { noted, told, secs } = doubt;
        replace(&self.path.join(DOUBT), format!("{} {told} {secs}\n", noted.unwrap_or(0)))
    }

    /// Removes that note, which counts for nothing anyway once `CLOCK` has changed.
    pub(crate) fn forget_doubt(&self) {
        let _ = fs::remove_file(self.path.join(DOUBT));
    }

    /// Keeps a copy of the engine's files, until [`put_back`](Self::put_back) or
    /// [`let_go`](Self::let_go), which must be called even if this fails. `room` says how many bytes
    /// it may take, given how many bytes of sorted files there are; `None` if that is not known.
    pub(crate) fn keep(&self, room: impl FnOnce(u64) -> Option<u64>) -> Result<(), Error> {
        let (data, new, kept) = (self.data(), self.data_new(), self.kept());
        let sizes = copy::sizes(&data)?;
        if room(sizes.sorted).is_some_and(|room| room < sizes.copied) {
            let detail = format!("it takes {} MiB", sizes.copied.div_ceil(1 << 20));
            let source = std::io::Error::new(ErrorKind::StorageFull, detail);
            return Err(Error::io("keep a copy, within the reserve of free space, of", &data)(
                source,
            ));
        }
        remove(&new)?;
        fs::create_dir(&new).map_err(Error::io("create", &new))?;
        copy::copy(&data, &new.join(DATA))?;
        let of = new.join(OF);
        replace(&of, self.identity()?)?;
        sync(&new)?;
        fs::rename(&new, &kept).map_err(Error::io("move", &new))?;
        sync(&self.path)
    }

    /// Makes the engine's files what they were when the copy was kept. Nothing may have them open.
    pub(crate) fn put_back(&self) -> Result<(), Error> {
        let (data, kept, new) = (self.data(), self.kept(), self.data_new());
        let copy = kept.join(DATA);
        if there(&copy)? {
            self.prove_same()?;
            if there(&data)? {
                remove(&new)?;
                fs::rename(&data, &new).map_err(Error::io("move", &data))?;
            }
            fs::rename(&copy, &data).map_err(Error::io("move", &copy))?;
            sync(&kept)?;
            sync(&self.path)?;
        }
        // The rest can be done at any time; and what is not ours stays.
        let _ = fs::remove_file(kept.join(OF));
        let _ = fs::remove_dir(&kept);
        let _ = remove(&new);
        Ok(())
    }

    /// Removes the copy, if there is one, durably: it will not be put back. Nothing may be
    /// acknowledged unless this has succeeded.
    pub(crate) fn let_go(&self) -> Result<(), Error> {
        let (kept, new) = (self.kept(), self.data_new());
        if there(&kept)? {
            remove(&new)?;
            fs::rename(&kept, &new).map_err(Error::io("move", &kept))?;
        }
        sync(&self.path)?;
        // What is left of it is removed at the next opening.
        let _ = remove(&new);
        Ok(())
    }

    /// Whether nothing has happened to the engine's files since they were copied but an opening that
    /// acknowledged nothing.
    fn prove_same(&self) -> Result<(), Error> {
        let of = self.kept().join(OF);
        let noted = match fs::read_to_string(&of) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            other => other.map_err(Error::io("read", &of))?,
        };
        let same = if there(&self.data())? {
            noted == self.identity()?
        } else {
            // It was moved away already, by us or by someone who wants none of it.
            noted.lines().next() == Some(&self.watermark_line()?)
        };
        if same {
            return Ok(());
        }
        Err(Error::Leftover { data: self.data(), kept: self.kept(), copy: self.kept().join(DATA) })
    }

    /// What another directory in the place of `data`, and one that was written to, differ in.
    fn identity(&self) -> Result<String, Error> {
        let data = self.data();
        let metadata = fs::metadata(&data).map_err(Error::io("look at", &data))?;
        // The number of a directory that was removed is soon given to another; not all file systems
        // know when that was.
        let born = metadata.created().unwrap_or(SystemTime::UNIX_EPOCH);
        let born = born.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Ok(format!("{}\ninode {}\nborn {born}\n", self.watermark_line()?, metadata.ino()))
    }

    fn watermark_line(&self) -> Result<String, Error> {
        let watermarks = self.watermarks()?.unwrap_or_default().into_iter();
        let of_group = |(group, sequence)| format!(" {group}: {sequence}");
        Ok(format!("watermarks{}", watermarks.map(of_group).collect::<String>()))
    }

    fn watermarks(&self) -> Result<Option<BTreeMap<GroupId, u64>>, Error> {
        self.lines(WATERMARK, |sequence| sequence.parse().ok())
    }

    fn kept(&self) -> PathBuf {
        self.path.join(KEPT)
    }

    fn look(&mut self) -> Result<Found, Error> {
        let marker = self.path.join(MARKER);
        if !there(&marker)? {
            let groups = self.groups;
            replace(&marker, format!("larder store\nformat {FORMAT}\ngroups {groups}\n"))?;
            sync(&self.path)?;
        }
        let bytes = fs::read(&marker).map_err(Error::io("read", &marker))?;
        let text = String::from_utf8_lossy(&bytes);
        let mut rest = text.strip_prefix("larder store\nformat ").unwrap_or_default().lines();
        let format: u32 = rest.next().and_then(|format| format.parse().ok()).ok_or_else(|| {
            Error::corrupt(&marker, "it does not say \"larder store\" and a format")
        })?;
        if format > FORMAT {
            return Err(Error::TooNew { path: marker, format });
        }
        if format < FORMAT {
            return Err(Error::TooOld { path: marker, format });
        }
        let groups = rest.next().and_then(|line| line.strip_prefix("groups ")?.parse().ok());
        self.groups = groups
            .filter(|groups| (1..=SLOTS).contains(groups))
            .ok_or_else(|| Error::corrupt(&marker, "it does not say how many groups there are"))?;
        if there(&self.kept())? {
            if there(&self.kept().join(DATA))? {
                self.prove_same()?;
                warn!(
                    "{}: an opening did not come to its end: the files are put back as they were \
                     before it",
                    self.path.display()
                );
            }
            self.put_back()?;
            if there(&self.kept())? {
                // Something in it is not ours.
                let [data, kept, copy] = [self.data(), self.kept(), self.kept()];
                return Err(Error::Leftover { data, kept, copy });
            }
        }
        remove(&self.data_new())?;
        let watermarks = self.watermarks()?;
        let data = self.data();
        match (data.try_exists().map_err(Error::io("look at", &data))?, watermarks) {
            (true, Some(watermarks)) => {
                let seats = self.seats()?;
                // One that makes no sense is as none: it only makes the sweeper careful.
                let clock = self.number(CLOCK).ok().flatten();
                let clock = clock.and_then(|at| at.try_into().ok());
                Ok(Found::Store { seats, watermarks, clock, doubt: self.doubt() })
            }
            (true, None) => {
                let path = self.path.join(WATERMARK);
                Err(Error::corrupt(&path, "it is missing, so that lost writes would not show"))
            }
            (false, Some(watermarks)) if watermarks.values().any(|sequence| *sequence > 0) => {
                Err(Error::corrupt(&data, "it is missing, but the store was in use"))
            }
            // An interrupted creation has acknowledged nothing yet.
            (false, _) => Ok(Found::Nothing),
        }
    }

    /// One that makes no sense is as none: the doubt begins anew.
    fn doubt(&self) -> Option<Doubt> {
        let text = fs::read_to_string(self.path.join(DOUBT)).ok()?;
        let mut numbers = text.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        let (noted, told, secs) = (next()?, next()?, next()?);
        Some(Doubt { noted: Some(noted).filter(|at| *at > 0), told, secs: secs.into() })
    }

    /// What a file says of each group.
    fn lines<T>(
        &self,
        name: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<BTreeMap<GroupId, T>>, Error> {
        let path = self.path.join(name);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io("read", &path))?,
        };
        let line = |line: &str| {
            let (group, rest) = line.split_once(' ')?;
            Some((group.parse().ok()?, read(rest)?))
        };
        let text = String::from_utf8_lossy(&bytes);
        let lines: Option<_> = text.lines().map(line).collect();
        lines
            .map(Some)
            .ok_or_else(|| Error::corrupt(&path, "it does not hold a group and more in each line"))
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        let path = self.path.join(name);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io("read", &path))?,
        };
        str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.trim_end().parse().ok())
            .map(Some)
            .ok_or_else(|| Error::corrupt(&path, "it does not hold a number"))
    }
}

impl Seat {
    fn name(self) -> &'static str {
        match self {
            Self::Founded => "founded",
            Self::Admitted => "admitted",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Founded, Self::Admitted].into_iter().find(|seat| seat.name() == name)
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
pub(crate) fn replace(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Error> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut file = File::create(&new).map_err(Error::io("create", &new))?;
    file.write_all(content.as_ref()).map_err(Error::io("write", &new))?;
    file.sync_all().map_err(Error::io("sync", &new))?;
    fs::rename(&new, path).map_err(Error::io("move", &new))
}

fn remove(directory: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io("remove", directory)(error))
        }
        _ => Ok(()),
    }
}

fn there(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(Error::io("look at", path))
}

/// Makes durable which files a directory has.
pub(crate) fn sync(directory: &Path) -> Result<(), Error> {
    #[cfg(test)]
    unsynced::check(directory)?;
    File::open(directory).and_then(|file| file.sync_all()).map_err(Error::io("sync", directory))
}

const MARKER: &str = "LARDER";
const MARKER_NEW: &str = "LARDER.new";
/// Who the node is that a cluster knows: `cluster/charter` has it.
pub(crate) const CHARTER: &str = "CHARTER";
const CHARTER_NEW: &str = "CHARTER.new";
const SEATS: &str = "SEATS";
const WATERMARK: &str = "WATERMARK";
const CLOCK: &str = "CLOCK";
const DOUBT: &str = "DOUBT";
const OF: &str = "OF";
const DATA: &str = "data";
const DATA_NEW: &str = "data.new";
const LOG: &str = "log";
const VIEW: &str = "view";
const KEPT: &str = "data.kept";
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// Directories that cannot be synced, for tests.
#[cfg(test)]
pub(crate) mod unsynced {
    use std::cell::RefCell;
    use std::path::{Path, PathBuf};

    use crate::error::Error;

    thread_local! {
        /// On this thread a directory cannot be synced while it has this in it.
        pub(crate) static WHILE: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
    }

    pub(super) fn check(directory: &Path) -> Result<(), Error> {
        WHILE.with_borrow(|name| match name {
            Some(name) if directory.join(name).exists() => {
                let source = std::io::Error::from_raw_os_error(5);
                Err(Error::io("sync", directory)(source))
            }
            _ => Ok(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(directory: &Directory) -> BTreeMap<GroupId, Seat> {
        (1..=directory.groups().into()).map(|group| (group, Seat::Founded)).collect()
    }

    /// Each with two groups, of which the first has so much.
    fn new_store(watermark: u64, clock: Option<Seconds>) -> Found {
        let seats = BTreeMap::from([(1, Seat::Founded), (2, Seat::Founded)]);
        Found::Store { seats, watermarks: marks(watermark), clock, doubt: None }
    }

    fn marks(first: u64) -> BTreeMap<GroupId, u64> {
        BTreeMap::from([(1, first), (2, 0)])
    }

    fn open(path: &Path) -> Result<(Directory, Found), Error> {
        Locked::lock(path).and_then(|locked| locked.open(2))
    }

    #[test]
    fn an_empty_directory_becomes_a_store_once() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let (directory, found) = open(&path).unwrap();
        assert_eq!(found, Found::Nothing);
        fs::create_dir(directory.data_new()).unwrap();
        drop(directory);
        let (directory, found) = open(&path).unwrap();
        assert_eq!(found, Found::Nothing, "an interrupted creation begins anew");
        fs::create_dir(directory.data_new()).unwrap();
        directory.note_watermarks(|| marks(0)).unwrap();
        drop(directory);
        let (directory, found) = open(&path).unwrap();
        assert_eq!(found, Found::Nothing, "nothing was acknowledged yet");
        fs::create_dir(directory.data_new()).unwrap();
        directory.adopt(&all(&directory)).unwrap();
        drop(directory);
        let (directory, found) = open(&path).unwrap();
        assert_eq!(found, new_store(0, None));
        directory.note_watermarks(|| marks(7)).unwrap();
        drop(directory);
        let (directory, found) = open(&path).unwrap();
        assert_eq!(found, new_store(7, None));
        directory.note_clock(9).unwrap();
        drop(directory);
        assert_eq!(open(&path).unwrap().1, new_store(7, Some(9)));
        fs::remove_file(path.join(WATERMARK)).unwrap();
        let error = open(&path).unwrap_err();
        assert!(error.to_string().contains("WATERMARK is damaged: it is missing"), "{error}");
    }

    #[test]
    fn what_is_not_a_store_is_refused_untouched() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("holiday.jpg"), "x").unwrap();
        let error = open(place.path()).unwrap_err();
        assert!(matches!(&error, Error::NotAStore { found, .. } if found.contains("holiday.jpg")));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn another_format_is_refused_and_a_senseless_marker_too() {
        let place = tempfile::tempdir().unwrap();
        let marker = place.path().join(MARKER);
        fs::write(&marker, "larder store\nformat 4\n").unwrap();
        assert!(matches!(open(place.path()), Err(Error::TooNew { format: 4, .. })));
        fs::write(&marker, "larder store\nformat 1\n").unwrap();
        assert!(matches!(open(place.path()), Err(Error::TooOld { format: 1, .. })));
        for senseless in [&b"lard"[..], b"\xff\xfe\0"] {
            fs::write(&marker, senseless).unwrap();
            assert!(matches!(open(place.path()), Err(Error::Corrupt { .. })));
        }
        let error = open(&marker).unwrap_err();
        assert!(error.to_string().contains("it is a file"), "{error}");
    }

    #[test]
    fn one_process_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let first = open(place.path()).unwrap();
        assert!(matches!(open(place.path()), Err(Error::InUse { .. })));
        drop(first);
        open(place.path()).unwrap();
    }

    #[test]
    fn a_copy_that_is_found_is_put_back_wherever_it_was_interrupted() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("store");
        let (directory, _) = open(&path).unwrap();
        fs::create_dir_all(directory.data_new().join("tables")).unwrap();
        fs::write(directory.data_new().join("0.jnl"), "before").unwrap();
        fs::write(directory.data_new().join("tables/1"), "sorted").unwrap();
        directory.adopt(&all(&directory)).unwrap();
        let [data, new, kept] = [directory.data(), directory.data_new(), directory.kept()];
        let journal = || fs::read_to_string(data.join("0.jnl")).unwrap();
        let change = || {
            fs::write(data.join("0.jnl"), "cut").unwrap();
            fs::remove_file(data.join("tables/1")).unwrap();
        };
        drop(directory);
        let reopened = || {
            let (directory, found) = open(&path).unwrap();
            assert_eq!(found, new_store(0, None));
            assert_eq!(fs::read_to_string(data.join("tables/1")).unwrap(), "sorted");
            assert!(!new.exists() && !kept.exists());
            directory
        };

        // While the copy was made, or removed: what there is of it may be anything.
        fs::create_dir(&new).unwrap();
        let directory = reopened();
        assert_eq!(journal(), "before");
        // While the store was opened.
        directory.keep(|_| None).unwrap();
        change();
        drop(directory);
        let directory = reopened();
        assert_eq!(journal(), "before");
        // While it was put back.
        directory.keep(|_| None).unwrap();
        change();
        fs::rename(&data, &new).unwrap();
        drop(directory);
        let directory = reopened();
        assert_eq!(journal(), "before");
        // Never, once it was let go.
        directory.keep(|_| None).unwrap();
        fs::write(data.join("0.jnl"), "written since").unwrap();
        directory.let_go().unwrap();
        drop(directory);
        let mut directory = reopened();
        assert_eq!(journal(), "written since");
        // After it was put back.
        for of in [true, false] {
            fs::create_dir(&kept).unwrap();
            if of {
                fs::write(kept.join(OF), "").unwrap();
            }
            drop(directory);
            directory = reopened();
            assert_eq!(journal(), "written since");
        }
        // One that could not be made is let go as well, wherever that failed.
        for while_there in [DATA, OF, KEPT] {
            unsynced::WHILE.set(Some(while_there.into()));
            directory.keep(|_| None).unwrap_err();
            unsynced::WHILE.set(None);
            directory.let_go().unwrap();
            assert!(!kept.exists() && !new.exists());
        }
        // It would take more room than there is.
        let error = directory.keep(Some).unwrap_err();
        assert!(error.to_string().contains("it takes 1 MiB"), "{error}");
        assert!(!kept.exists() && !new.exists());
    }

    #[test]
    fn a_copy_of_something_else_is_not_put_back() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("store");
        let (directory, _) = open(&path).unwrap();
        fs::create_dir(directory.data_new()).unwrap();
        fs::write(directory.data_new().join("0.jnl"), "before").unwrap();
        directory.adopt(&all(&directory)).unwrap();
        directory.keep(|_| None).unwrap();
        let [data, new, kept] = [directory.data(), directory.data_new(), directory.kept()];
        let aside = place.path().join("aside");
        drop(directory);
        let refused = || {
            let error = open(&path).unwrap_err().to_string();
            for named in [&data, &kept] {
                assert!(error.contains(&*named.to_string_lossy()), "{error}");
            }
            assert!(!error.contains('\n'), "{error}");
            assert_eq!(fs::read_to_string(kept.join("data/0.jnl")).unwrap(), "before");
            assert!(!new.exists());
        };

        // Something was acknowledged since.
        fs::write(path.join(WATERMARK), "1 1\n2 0\n").unwrap();
        fs::write(data.join("0.jnl"), "written since").unwrap();
        refused();
        assert_eq!(fs::read_to_string(data.join("0.jnl")).unwrap(), "written since");
        // And then it was moved away.
        fs::rename(&data, &aside).unwrap();
        refused();
        // A backup was put in its place, as old as the copy.
        fs::write(path.join(WATERMARK), "1 0\n2 0\n").unwrap();
        fs::create_dir(&data).unwrap();
        fs::write(data.join("0.jnl"), "restored").unwrap();
        refused();
        assert_eq!(fs::read_to_string(data.join("0.jnl")).unwrap(), "restored");
        // It does not say of what it is.
        fs::remove_dir_all(&data).unwrap();
        fs::rename(&aside, &data).unwrap();
        let of = fs::read(kept.join(OF)).unwrap();
        fs::remove_file(kept.join(OF)).unwrap();
        refused();
        // It holds something else.
        let elsewhere = place.path().join("elsewhere");
        fs::rename(kept.join(DATA), &elsewhere).unwrap();
        fs::write(kept.join("0.jnl"), "of whom?").unwrap();
        open(&path).unwrap_err();
        fs::remove_file(kept.join("0.jnl")).unwrap();
        fs::rename(&elsewhere, kept.join(DATA)).unwrap();
        // What is done as it was said goes on: here with the copy.
        fs::write(kept.join(OF), of).unwrap();
        open(&path).unwrap();
        assert_eq!(fs::read_to_string(data.join("0.jnl")).unwrap(), "before");
        assert!(!new.exists() && !kept.exists());
    }

    #[test]
    fn a_doubt_is_found_again() {
        let place = tempfile::tempdir().unwrap();
        let (directory, _) = open(place.path()).unwrap();
        for noted in [None, Some(5)] {
            let doubt = Doubt { noted, told: 7, secs: 9 };
            directory.note_doubt(doubt).unwrap();
            assert_eq!(directory.doubt(), Some(doubt));
        }
        fs::write(place.path().join(DOUBT), "5 7").unwrap();
        assert_eq!(directory.doubt(), None);
        directory.forget_doubt();
        assert_eq!(directory.doubt(), None);
    }

    #[test]
    fn how_many_groups_there_are_is_for_good_and_of_which_there_are_replicas_is_noted() {
        let place = tempfile::tempdir().unwrap();
        let (directory, _) = open(place.path()).unwrap();
        fs::create_dir(directory.data_new()).unwrap();
        directory.adopt(&all(&directory)).unwrap();
        let mut seats = directory.seats().unwrap();
        seats.remove(&1);
        seats.insert(2, Seat::Admitted);
        directory.note_seats(&seats).unwrap();
        drop(directory);
        let (directory, found) = Locked::lock(place.path()).unwrap().open(7).unwrap();
        assert_eq!(directory.groups(), 2);
        assert!(matches!(found, Found::Store { seats: of, .. } if of == seats));
        drop(directory);
        let marker = fs::read_to_string(place.path().join(MARKER)).unwrap();
        assert_eq!(marker, "larder store\nformat 3\ngroups 2\n");
        for (name, senseless) in [
            (SEATS, "2\n"),
            (SEATS, "2 perhaps\n"),
            (SEATS, "two founded\n"),
            (WATERMARK, "1 much\n"),
            (MARKER, "larder store\nformat 3\n"),
            (MARKER, "larder store\nformat 3\ngroups 0\n"),
            (MARKER, "larder store\nformat 3\ngroups 1025\n"),
        ] {
            let path = place.path().join(name);
            let whole = fs::read(&path).unwrap();
            fs::write(&path, senseless).unwrap();
            let error = open(place.path()).unwrap_err();
            assert!(matches!(&error, Error::Corrupt { path: of, .. } if *of == path), "{error}");
            fs::write(&path, whole).unwrap();
        }
        fs::remove_file(place.path().join(SEATS)).unwrap();
        let error = open(place.path()).unwrap_err();
        assert!(error.to_string().contains("SEATS is damaged: it is missing"), "{error}");
    }

    #[test]
    fn data_gone_from_a_used_store_is_no_new_store() {
        let place = tempfile::tempdir().unwrap();
        let (directory, _) = open(place.path()).unwrap();
        directory.note_watermarks(|| marks(1)).unwrap();
        drop(directory);
        let error = open(place.path()).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}
