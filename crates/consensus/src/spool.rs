//! A view of another replica while it comes, on disk: a machine is not touched before all is there.
//!
//! The file is a part after the other, the mark first and an empty one last: of each its length and
//! the checksum of its bytes, four and eight bytes little-endian, then the bytes. What is complete has
//! the name `VIEW`, and is there until a machine has become it: one that a crash interrupts begins
//! anew at the next start.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::machine::{Mark, View};

/// A view that is coming.
#[derive(Debug)]
pub(crate) struct Spool {
    file: BufWriter<File>,
    directory: PathBuf,
    /// Bytes written since the disk had all.
    unsynced: usize,
}

/// A view that is there.
#[derive(Debug)]
pub(crate) struct Spooled {
    file: BufReader<File>,
    mark: Bytes,
    /// Whether a machine is becoming it, or has. No other comes as long as somebody holds this.
    taken: Arc<AtomicBool>,
}

impl Spool {
    /// Begins one in a directory that is the group's own. What came before and was not finished is
    /// forgotten.
    pub(crate) fn begin(directory: &Path, mark: &[u8]) -> io::Result<Self> {
        let file = BufWriter::new(File::create(directory.join(COMING))?);
        let mut spool = Self { file, directory: directory.to_owned(), unsynced: 0 };
        spool.add(mark)?;
        Ok(spool)
    }

    pub(crate) fn add(&mut self, part: &[u8]) -> io::Result<()> {
        let len = u32::try_from(part.len()).map_err(io::Error::other)?;
        self.file.write_all(&len.to_le_bytes())?;
        self.file.write_all(&xxh3_64(part).to_le_bytes())?;
        self.file.write_all(part)?;
        self.unsynced += part.len();
        if self.unsynced >= SYNCED {
            self.unsynced = 0;
            self.file.flush()?;
            self.file.get_ref().sync_data()?;
        }
        Ok(())
    }

    /// All of it has come.
    pub(crate) fn finish(mut self) -> io::Result<Spooled> {
        self.add(&[])?;
        self.file.into_inner()?.sync_all()?;
        fs::rename(self.directory.join(COMING), self.directory.join(COMPLETE))?;
        File::open(&self.directory)?.sync_all()?;
        Spooled::find(&self.directory)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Spooled {
    /// The view that is complete in a directory, if there is one.
    pub(crate) fn find(directory: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(directory.join(COMPLETE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let (mark, taken) = (Bytes::new(), Arc::default());
        let mut view = Self { file: BufReader::new(file), mark, taken };
        view.mark = view.next_part()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Some(view))
    }

    /// The one that a machine with this mark becomes when it is opened: a crash came before it had become
    /// it. One that it is past already was sent to a node that lacked nothing.
    pub(crate) fn left(directory: &Path, mark: Option<&[u8]>) -> io::Result<Option<Self>> {
        let Some(view) = Self::find(directory)? else { return Ok(None) };
        let applied = |mark: &[u8]| Mark::decode(mark).map(|mark| mark.applied);
        let is_past = match mark {
            Some(mark) => applied(mark)? >= applied(&view.mark)?,
            None => false,
        };
        Ok((!is_past).then_some(view))
    }

    /// Whether a machine is becoming it, or has.
    pub(crate) fn taken(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.taken)
    }

    /// If there is one, it is not needed any more.
    pub(crate) fn remove(directory: &Path) -> io::Result<()> {
        match fs::remove_file(directory.join(COMPLETE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed?,
        }
        File::open(directory)?.sync_all()
    }
}

/// The mark of the view that a machine with this `mark` becomes when its group is opened in this directory, if
/// a crash came before it had become it: of what it holds until then nothing counts.
///
/// # Errors
///
/// The disk's, or the view is damaged.
pub fn coming_mark(directory: &Path, mark: Option<&[u8]>) -> io::Result<Option<Bytes>> {
    Ok(Spooled::left(directory, mark)?.map(|view| view.mark))
}

impl View for Spooled {
    fn mark(&self) -> Bytes {
        self.mark.clone()
    }

    fn next_part(&mut self) -> io::Result<Option<Bytes>> {
        let (mut len, mut checksum) = ([0; 4], [0; 8]);
        self.file.read_exact(&mut len)?;
        self.file.read_exact(&mut checksum)?;
        let len = u32::from_le_bytes(len);
        let mut part = Vec::new();
        self.file.by_ref().take(len.into()).read_to_end(&mut part)?;
        if part.len() != len as usize || xxh3_64(&part) != u64::from_le_bytes(checksum) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a part is not what was written",
            ));
        }
        Ok((len > 0).then(|| part.into()))
    }
}

const COMING: &str = "VIEW.new";
const COMPLETE: &str = "VIEW";

/// Bytes that are written before the disk is waited for: more at once would keep waiting who syncs a log
/// there meanwhile.
const SYNCED: usize = 4 << 20;
