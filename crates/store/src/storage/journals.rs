//! Whether recovery has cut off more of the engine's journals than a crash leaves unfinished.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

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

    /// Cuts the last one off behind the last whole batch before the first that is not. Whether there
    /// was something to cut off.
    ///
    /// What was not synced when the power failed may be there in any mixture. The engine cuts off what
    /// does not begin like a batch, and refuses one that is not whole though it has its end.
    ///
    /// This reads what the engine has written, by its version 3; if that changes it cuts too much,
    /// which the watermark shows.
    pub(super) fn cut(&self) -> Result<bool, Error> {
        let Some(Journal { path, end, .. }) = self.0.last() else { return Ok(false) };
        let file = File::options().read(true).write(true).open(path);
        let file = file.map_err(Error::io("open", path))?;
        let mut bytes = Vec::new();
        (&file).take(*end).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        let sound = sound_len(&bytes);
        if sound == bytes.len() {
            return Ok(false);
        }
        let cut = file.set_len(sound as u64).and_then(|()| file.sync_all());
        cut.map_err(Error::io("cut", path))?;
        warn!(
            "{}: {} bytes behind the last whole batch were not synced when the power failed: they \
             are cut off, and what they had is done again from the log",
            path.display(),
            bytes.len() - sound
        );
        Ok(true)
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

/// How many of the first bytes of a journal are whole batches.
fn sound_len(journal: &[u8]) -> usize {
    let mut rest = journal;
    while let Some(after) = skip_batch(rest) {
        rest = after;
    }
    journal.len() - rest.len()
}

/// What follows a batch: how many items there are and the batch's number; the items; the checksum of
/// these, and the mark of an end.
fn skip_batch(bytes: &[u8]) -> Option<&[u8]> {
    let (head, items) = bytes.split_first_chunk::<13>()?;
    let [1, c0, c1, c2, c3, ..] = *head else { return None };
    let mut rest = items;
    for _ in 0..u32::from_le_bytes([c0, c1, c2, c3]) {
        rest = skip_item(rest)?;
    }
    let items = items.get(..items.len() - rest.len())?;
    let (tail, rest) = rest.split_first_chunk::<13>()?;
    let sum = tail.get(1..9)?;
    let is_sound =
        tail.starts_with(&[3]) && sum == xxh3_64(items).to_le_bytes() && tail.ends_with(b"FJL\x03");
    is_sound.then_some(rest)
}

/// What follows an item: its kind, that it is not compressed, its keyspace; the lengths of key and
/// value, of that as it is and as it is here; the two.
fn skip_item(bytes: &[u8]) -> Option<&[u8]> {
    let (head, rest) = bytes.split_first_chunk::<21>()?;
    let [2, _, 0, _, _, _, _, _, _, _, _, k0, k1, _, _, _, _, v0, v1, v2, v3] = *head else {
        return None;
    };
    let value = usize::try_from(u32::from_le_bytes([v0, v1, v2, v3])).ok()?;
    rest.get(usize::from(u16::from_le_bytes([k0, k1])).checked_add(value)?..)
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
