//! A file system that does what it is told to do wrong, and knows what a power cut would leave.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission, WriteExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

type Fd = <DefaultFileSystem as FileSystem>::Handle;

/// What goes wrong, changed while the log runs.
pub(super) struct Faults {
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    /// Syncs wait while it is.
    shut: bool,
    waiting: usize,
    failing_syncs: bool,
    /// How many writes fail, and how.
    failing_writes: (usize, ErrorKind),
    /// What each file had when it was synced last.
    durable: BTreeMap<PathBuf, Vec<u8>>,
    /// Likewise, of files that were removed, which is never synced: they may come back.
    removed: BTreeMap<PathBuf, Vec<u8>>,
    /// From which name to which a file was renamed, and whether it was synced since. The directory is
    /// synced after that and before anything more is written.
    renamed: BTreeMap<PathBuf, (PathBuf, bool)>,
    /// Whether any ever was.
    has_renamed: bool,
    /// After how many operations the power fails.
    left: Option<usize>,
    image: Option<Image>,
    random: StdRng,
}

/// What is there after a power cut: names and contents.
pub(super) type Image = BTreeMap<PathBuf, Vec<u8>>;

impl Faults {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let inner = Inner {
            shut: false,
            waiting: 0,
            failing_syncs: false,
            failing_writes: (0, ErrorKind::Other),
            durable: BTreeMap::new(),
            removed: BTreeMap::new(),
            renamed: BTreeMap::new(),
            has_renamed: false,
            left: None,
            image: None,
            random: StdRng::seed_from_u64(seed),
        };
        Arc::new(Self { inner: Mutex::new(inner), changed: Condvar::new() })
    }

    pub(super) fn shut(&self) {
        self.inner.lock().shut = true;
    }

    pub(super) fn open(&self) {
        self.inner.lock().shut = false;
        self.changed.notify_all();
    }

    /// Returns when a sync waits.
    pub(super) fn until_waiting(&self) {
        let mut inner = self.inner.lock();
        while inner.waiting == 0 {
            let late = self.changed.wait_for(&mut inner, Duration::from_secs(20)).timed_out();
            assert!(!late, "no sync waits");
        }
    }

    pub(super) fn fail_syncs(&self) {
        self.inner.lock().failing_syncs = true;
    }

    pub(super) fn fail_writes(&self, count: usize, kind: ErrorKind) {
        self.inner.lock().failing_writes = (count, kind);
    }

    /// The power fails after so many operations: what is there then is kept, and all goes on.
    pub(super) fn cut_after(&self, operations: usize) {
        self.inner.lock().left = Some(operations);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.inner.lock().image.is_some()
    }

    pub(super) fn has_renamed(&self) -> bool {
        self.inner.lock().has_renamed
    }

    /// What the power cut left; it is now, if it has not been.
    pub(super) fn image(&self, data: &Path) -> Image {
        let mut inner = self.inner.lock();
        match inner.image.take() {
            Some(image) => image,
            None => inner.leave(data),
        }
    }

    fn step<T>(&self, path: &Path, run: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.inner.lock();
        inner.count(path);
        let result = run(&mut inner);
        inner.count(path);
        result
    }
}

impl Inner {
    fn count(&mut self, path: &Path) {
        self.left = match self.left {
            Some(0) => {
                self.image = Some(self.leave(path.parent().unwrap()));
                None
            }
            left => left.map(|left| left - 1),
        };
    }

    /// What a power cut leaves of the files in `data`, and beside it.
    fn leave(&mut self, data: &Path) -> Image {
        let marker = data.parent().unwrap().join("LARDER");
        let mut image = Image::from([(PathBuf::from("LARDER"), fs::read(marker).unwrap())]);
        let place = |path: &Path| Path::new("data").join(path.file_name().unwrap());
        for (path, bytes) in &self.removed {
            if self.random.random() {
                image.insert(place(path), bytes.clone());
            }
        }
        for file in fs::read_dir(data).unwrap() {
            let path = file.unwrap().path();
            if path.file_name().unwrap() == "LOCK" {
                continue;
            }
            let now = fs::read(&path).unwrap();
            let before = self.renamed.get(&path).map(|(before, _)| before);
            let name = before.filter(|_| self.random.random()).unwrap_or(&path);
            match self.durable.get(&path) {
                // Its name may not be durable either.
                None if self.random.random() => {}
                durable => {
                    let durable = durable.map_or(&[][..], Vec::as_slice);
                    image.insert(place(name), torn(durable, &now, &mut self.random));
                }
            }
        }
        image
    }
}

/// Any mixture by sectors of what was synced and what was written since.
fn torn(durable: &[u8], now: &[u8], random: &mut StdRng) -> Vec<u8> {
    let lengths = [durable.len(), now.len()];
    let (short, long) = (lengths[0].min(lengths[1]), lengths[0].max(lengths[1]));
    let length = random.random_range(short..=long);
    let often = [0.0, 0.5, 1.0][random.random_range(0..3)];
    let mut torn = vec![0; length];
    for (sector, at) in torn.chunks_mut(512).zip((0..).step_by(512)) {
        let from = if random.random_bool(often) { now } else { durable };
        for (byte, from) in sector.iter_mut().zip(from.iter().skip(at)) {
            *byte = *from;
        }
    }
    torn
}

pub(super) struct Obstinate(pub(super) Arc<Faults>);

pub(super) struct File {
    fd: Arc<Fd>,
    path: PathBuf,
    faults: Arc<Faults>,
}

pub(super) struct Writer {
    inner: <DefaultFileSystem as FileSystem>::Writer,
    path: PathBuf,
    faults: Arc<Faults>,
}

impl Obstinate {
    fn file(&self, fd: Fd, path: &Path) -> File {
        File { fd: Arc::new(fd), path: path.to_owned(), faults: Arc::clone(&self.0) }
    }
}

impl FileSystem for Obstinate {
    type Handle = File;
    type Reader = <DefaultFileSystem as FileSystem>::Reader;
    type Writer = Writer;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<File> {
        let path = path.as_ref();
        self.0.step(path, |_| Ok(self.file(DefaultFileSystem.create(path)?, path)))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<File> {
        Ok(self.file(DefaultFileSystem.open(path.as_ref(), permission)?, path.as_ref()))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        let path = path.as_ref();
        self.0.step(path, |inner| {
            if let Some(bytes) = inner.durable.remove(path) {
                inner.removed.insert(path.to_owned(), bytes);
            }
            DefaultFileSystem.delete(path)
        })
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        self.0.step(to, |inner| {
            DefaultFileSystem.rename(from, to)?;
            if let Some(bytes) = inner.durable.remove(from) {
                inner.durable.insert(to.to_owned(), bytes);
            }
            inner.has_renamed = true;
            inner.renamed.insert(to.to_owned(), (from.to_owned(), false));
            Ok(())
        })
    }

    fn new_reader(&self, file: Arc<File>) -> io::Result<Self::Reader> {
        DefaultFileSystem.new_reader(Arc::clone(&file.fd))
    }

    fn new_writer(&self, file: Arc<File>) -> io::Result<Writer> {
        let inner = DefaultFileSystem.new_writer(Arc::clone(&file.fd))?;
        Ok(Writer { inner, path: file.path.clone(), faults: Arc::clone(&self.0) })
    }
}

impl Handle for File {
    fn truncate(&self, offset: usize) -> io::Result<()> {
        self.faults.step(&self.path, |_| self.fd.truncate(offset))
    }

    fn file_size(&self) -> io::Result<usize> {
        self.fd.file_size()
    }

    /// Nothing is synced really: only a power cut would show.
    fn sync(&self) -> io::Result<()> {
        let mut inner = self.faults.inner.lock();
        inner.waiting += 1;
        self.faults.changed.notify_all();
        while inner.shut {
            self.faults.changed.wait(&mut inner);
        }
        inner.waiting -= 1;
        drop(inner);
        self.faults.step(&self.path, |inner| {
            if inner.failing_syncs {
                return Err(io::Error::other("the disk is gone"));
            }
            inner.durable.insert(self.path.clone(), fs::read(&self.path)?);
            if let Some((_, synced)) = inner.renamed.get_mut(&self.path) {
                *synced = true;
            }
            Ok(())
        })
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let inner = &mut self.inner;
        self.faults.step(&self.path, |faults| {
            if faults.failing_writes.0 > 0 {
                faults.failing_writes.0 -= 1;
                // As raft-engine's own says it, and knows it again.
                return Err(io::Error::new(faults.failing_writes.1, "nospace"));
            }
            if faults.renamed.get(&self.path).is_some_and(|(_, synced)| *synced) {
                faults.renamed.remove(&self.path);
            }
            inner.write(bytes)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Seek for Writer {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

impl WriteExt for Writer {
    fn truncate(&mut self, offset: usize) -> io::Result<()> {
        let inner = &mut self.inner;
        self.faults.step(&self.path, |_| inner.truncate(offset))
    }

    fn allocate(&mut self, offset: usize, size: usize) -> io::Result<()> {
        self.inner.allocate(offset, size)
    }
}
