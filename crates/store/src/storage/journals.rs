//! Whether recovery has cut off more of the engine's journals than a crash leaves unfinished.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The engine's journals as they were before it opened them, the oldest first.
///
/// The engine ends each at the first senseless byte and says nothing. At the end of the last that is
/// an unfinished batch, or shows by the watermark. What an older one loses lies before writes that
/// are there: no watermark shows it.
#[derive(Debug)]
pub(super) struct Journals(Vec<Journal>);

#[derive(Debug)]
struct Journal {
    number: u64,
    path: PathBuf,
    /// Tells its length even when the engine has removed it in the meantime.
    file: File,
    /// Where the zeros begin that it was made with.
    end: u64,
}

impl Journals {
    /// Looks at them before the engine does.
    pub(super) fn look(directory: &Path) -> Result<Self, Error> {
        let mut journals = Vec::new();
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self(journals)),
            other => other.map_err(Error::io("list", directory))?,
        };
        for entry in entries {
            let path = entry.map_err(Error::io("list", directory))?.path();
            if path.extension().is_none_or(|extension| extension != EXTENSION) {
                continue;
            }
            // The engine refuses other names.
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let Some(number) = stem.and_then(|stem| stem.parse().ok()) else { continue };
            let file = File::open(&path).map_err(Error::io("open", &path))?;
            let end = end(&file).map_err(Error::io("read", &path))?;
            journals.push(Journal { number, path, file, end });
        }
        journals.sort_by_key(|journal| journal.number);
        Ok(Self(journals))
    }

    /// Whether what recovery cut off was the end of all.
    pub(super) fn check(&self) -> Result<(), Error> {
        let mut cut = None;
        for journal in &self.0 {
            let metadata = journal.file.metadata();
            let len = metadata.map_err(Error::io("look at", &journal.path))?.len();
            match cut {
                Some(path) if len > 0 => {
                    let detail = "it breaks off, but there are later writes in the next one";
                    return Err(Error::corrupt(path, detail));
                }
                Some(_) => {}
                None => cut = (len < journal.end).then_some(&journal.path),
            }
        }
        Ok(())
    }
}

fn end(file: &File) -> io::Result<u64> {
    let mut block = [0; BLOCK];
    let mut end = file.metadata()?.len();
    while end > 0 {
        let from = end.saturating_sub(BLOCK as u64);
        let len = usize::try_from(end - from).unwrap_or(BLOCK);
        let block = block.get_mut(..len).unwrap_or_default();
        file.read_exact_at(block, from)?;
        if let Some(last) = block.iter().rposition(|byte| *byte != 0) {
            return Ok(from + last as u64 + 1);
        }
        end = from;
    }
    Ok(0)
}

const EXTENSION: &str = "jnl";
const BLOCK: usize = 8 << 10;
