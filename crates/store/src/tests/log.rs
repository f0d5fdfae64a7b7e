//! Logs whose disk fails.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use larder_consensus::Log;
use larder_protocol::{Op, Outcome};
use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission};
use tempfile::TempDir;

use super::basics::{NOW, get, put, set, small};
use super::block_on;
use crate::place::alone;
use crate::{Condition, Store, failure};

/// Files that cannot be synced while that is so.
struct Unsyncable(Arc<AtomicBool>);

struct File {
    inner: Arc<Inner>,
    unsyncable: Arc<AtomicBool>,
}

type Inner = <DefaultFileSystem as FileSystem>::Handle;

impl Unsyncable {
    fn file(&self, inner: Inner) -> File {
        File { inner: Arc::new(inner), unsyncable: Arc::clone(&self.0) }
    }
}

impl FileSystem for Unsyncable {
    type Handle = File;
    type Reader = <DefaultFileSystem as FileSystem>::Reader;
    type Writer = <DefaultFileSystem as FileSystem>::Writer;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<File> {
        DefaultFileSystem.create(path).map(|inner| self.file(inner))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<File> {
        DefaultFileSystem.open(path, permission).map(|inner| self.file(inner))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        DefaultFileSystem.delete(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        DefaultFileSystem.rename(from, to)
    }

    fn new_reader(&self, file: Arc<File>) -> io::Result<Self::Reader> {
        DefaultFileSystem.new_reader(Arc::clone(&file.inner))
    }

    fn new_writer(&self, file: Arc<File>) -> io::Result<Self::Writer> {
        DefaultFileSystem.new_writer(Arc::clone(&file.inner))
    }
}

impl Handle for File {
    fn truncate(&self, offset: usize) -> io::Result<()> {
        self.inner.truncate(offset)
    }

    fn file_size(&self) -> io::Result<usize> {
        self.inner.file_size()
    }

    fn sync(&self) -> io::Result<()> {
        if self.unsyncable.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.inner.sync()
    }
}

#[test]
fn a_log_that_cannot_be_synced_ends_writing_for_good_and_reads_go_on() {
    let place = TempDir::new().unwrap();
    let unsyncable = Arc::new(AtomicBool::new(false));
    let store = Store::open_on(
        &place.path().join("store"),
        small(),
        alone,
        |lsm| Box::new(lsm),
        |path, options| Log::open_on(path, options, Unsyncable(Arc::clone(&unsyncable))),
    )
    .unwrap();
    let mut session = store.session();
    set(&mut session, "k", "durable", NOW);
    unsyncable.store(true, Ordering::Relaxed);
    let mut write = |key: &[u8]| block_on(session.execute(key, &Op::Store(put(b"lost")), NOW));
    let outcome = write(b"k");
    assert!(matches!(outcome, Outcome::Failed(failure::UNKNOWN)), "{outcome:?}");
    // It works again, but what it has is not known.
    unsyncable.store(false, Ordering::Relaxed);
    for _ in 0..3 {
        let outcome = write(b"other");
        assert!(matches!(outcome, Outcome::Failed(failure::POISONED)), "{outcome:?}");
    }
    assert_eq!(store.stats().condition, Condition::Poisoned);
    assert_eq!(get(&mut session, "k", NOW).unwrap(), "durable");
    assert_eq!(get(&mut session, "other", NOW), None);
    let why = store.close().unwrap_err().to_string();
    assert!(why.contains("the log has failed"), "{why}");
}
