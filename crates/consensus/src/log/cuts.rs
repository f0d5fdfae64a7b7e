//! What raft-engine cuts off its files as it opens them, kept until it is known that nothing is lost.
//!
//! It takes the first bytes that make no sense for the end of what was written: in the last file of each
//! of its two sequences wherever they are, and in any other file if they are in its last batch. Only the
//! end of all can be what a crash has left unfinished, and whether it was shows later, by the watermark;
//! or the end of what is copied from old files before they are removed, while that goes on.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use raft_engine::env::{FileSystem, Handle, Permission};
use tracing::{info, warn};

use crate::error::Error;

/// What was cut off the files of a directory.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    /// The last files of its sequences, as far as they may be cut off.
    last: Vec<PathBuf>,
    made: Mutex<Vec<Cut>>,
    refused: Mutex<Option<(PathBuf, u64)>>,
}

#[derive(Debug)]
struct Cut {
    path: PathBuf,
    from: u64,
    bytes: Vec<u8>,
}

/// A file system of whose files no end is lost before it is known that it may be.
pub(crate) struct Careful<F> {
    inner: F,
    cuts: Arc<Cuts>,
}

/// A file there.
pub(crate) struct Kept<H> {
    inner: Arc<H>,
    path: PathBuf,
    cuts: Arc<Cuts>,
}

impl Cuts {
    /// Of the files of `directory` as they are before it is opened. What it has copied may be
    /// unfinished if it was `copying`.
    pub(crate) fn new(directory: &Path, copying: bool) -> Self {
        let files = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut files: Vec<_> = files.map(|file| file.path()).collect();
        files.sort_unstable();
        let last = |extension| {
            let of = |file: &&PathBuf| file.extension().is_some_and(|found| found == extension);
            files.iter().rev().find(of).cloned()
        };
        let copied = Some(COPIED).filter(|_| copying);
        let last = [Some(APPENDED), copied].into_iter().flatten().filter_map(last).collect();
        Self { last, ..Self::default() }
    }

    /// Why a file was not cut off, if one was to be.
    pub(crate) fn refusal(&self) -> Option<Error> {
        let (path, from) = self.refused.lock().take()?;
        let detail = format!("it makes no sense from offset {from} on, and that was on disk");
        Some(Error::corrupt(&path, detail))
    }

    /// The files are what they were. Nothing may have them open.
    pub(crate) fn put_back(&self) {
        for Cut { path, from, bytes } in self.made.lock().drain(..).rev() {
            let whole = from.saturating_add(bytes.len() as u64);
            let put_back = || {
                let file = File::options().write(true).open(&path)?;
                file.write_all_at(&bytes, from)?;
                file.set_len(whole)?;
                file.sync_all()
            };
            if let Err(error) = put_back() {
                warn!("{}: it was cut off at offset {from}, and is so: {error}", path.display());
            }
        }
    }

    /// Nothing is lost by what was cut off.
    pub(crate) fn let_go(&self) {
        for Cut { path, from, bytes } in self.made.lock().drain(..) {
            info!(
                "{}: {} bytes from offset {from} on are cut off: they were not written to their end \
                 before a crash, or are of a file that is used again",
                path.display(),
                bytes.len()
            );
        }
    }

    fn note(&self, path: &Path, from: usize) -> io::Result<()> {
        let from = from as u64;
        let file = File::open(path)?;
        let len = file.metadata()?.len().saturating_sub(from);
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, from)?;
        // Files are made with zeros, and what they begin with is synced with what comes next.
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        let holds_some = written > 0 && from.saturating_add(written) > HEAD;
        if holds_some && !self.last.iter().any(|last| last == path) {
            *self.refused.lock() = Some((path.to_owned(), from));
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.made.lock().push(Cut { path: path.to_owned(), from, bytes });
        Ok(())
    }
}

impl<F> Careful<F> {
    pub(crate) fn new(inner: F, cuts: &Arc<Cuts>) -> Self {
        Self { inner, cuts: Arc::clone(cuts) }
    }

    fn keep<H>(&self, path: &Path, handle: H) -> Kept<H> {
        let (inner, path, cuts) = (Arc::new(handle), path.to_owned(), Arc::clone(&self.cuts));
        Kept { inner, path, cuts }
    }
}

impl<F: FileSystem> FileSystem for Careful<F> {
    type Handle = Kept<F::Handle>;
    type Reader = F::Reader;
    type Writer = F::Writer;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<Self::Handle> {
        Ok(self.keep(path.as_ref(), self.inner.create(&path)?))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<Self::Handle> {
        Ok(self.keep(path.as_ref(), self.inner.open(&path, permission)?))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.inner.delete(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn new_reader(&self, handle: Arc<Self::Handle>) -> io::Result<Self::Reader> {
        self.inner.new_reader(Arc::clone(&handle.inner))
    }

    fn new_writer(&self, handle: Arc<Self::Handle>) -> io::Result<Self::Writer> {
        self.inner.new_writer(Arc::clone(&handle.inner))
    }
}

impl<H: Handle> Handle for Kept<H> {
    /// Only called while files are opened.
    fn truncate(&self, offset: usize) -> io::Result<()> {
        self.cuts.note(&self.path, offset)?;
        self.inner.truncate(offset)
    }

    fn file_size(&self) -> io::Result<usize> {
        self.inner.file_size()
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
}

/// Bytes that each file begins with, before what is written to it.
const HEAD: u64 = 61;
/// What files are called that have what was appended, and what was copied from those.
const APPENDED: &str = "raftlog";
const COPIED: &str = "rewrite";
