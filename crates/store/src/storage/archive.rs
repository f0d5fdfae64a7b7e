//! What the engine has written, looked at without the engine: the list of its sorted files, and these.
//!
//! The engine believes some of what it reads before it has compared a checksum, or has none to compare:
//! a number of files, or of sections, that is not what was written has it ask for more memory than there
//! is, which ends the process, or forget files. And where a block does not match its checksum it does
//! not say which one that is. So this reads what the engine has written, by its version 3:
//!
//! | file | bytes | |
//! |---|---|---|
//! | `keyspaces/N/current` | 8, 16, 1 | the number of the list, the checksum of that file, 0 |
//! | `keyspaces/N/vM` | all | the list M of sorted files, as sections: in `tables` the number of levels, 1, of each that of runs, 1, of each that of files, 4, of each its number, 8, 0, 1, its checksum, 16, a place in the order of writes, 8 |
//! | `keyspaces/N/tables/M` | from 0 | sections, of which most are blocks, one after the other |
//! | | at its end, 38 | `SFA!`, 1, 0, the checksum of the contents, where they begin, their length |
//! | contents | | `TOC!`, how many, 4; of each section where it begins, 8, its length, 8, that of its name, 2, that |
//! | block | 29, 4 | `LSM`, 3, kind, 1, the checksum of the rest, 16, its length, 4, another, 4; of these 29 the checksum |
//!
//! A sorted file is written under its name, and counts from when a list names it: what a crash has left
//! unfinished is in none, and the engine removes it. So only those are looked at that a list names.
//!
//! Numbers are little-endian. Checksums are XXH3 of 128 bits, of which the last has the lowest 32. A
//! journal has its own (`journals`).

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use crate::error::Error;

/// A section of a sorted file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Section {
    name: Vec<u8>,
    from: u64,
    len: u64,
}

/// Checks, before the engine opens its files in `directory`, what it would believe.
pub(super) fn check(directory: &Path) -> Result<(), Error> {
    for path in sorted_files(directory)? {
        sections(&path, &open(&path)?)?;
    }
    Ok(())
}

/// The first block of the sorted files in `directory` that is not what was written. It goes on while
/// `more` says so, which is told how many bytes it has read since it was asked last.
pub(super) fn find_damaged(directory: &Path, more: &mut dyn FnMut(usize) -> bool) -> Option<Error> {
    for path in sorted_files(directory).ok()? {
        // What is compacted meanwhile is gone.
        let Ok(file) = File::open(&path) else { continue };
        let sections = match sections(&path, &file) {
            Ok(sections) => sections,
            Err(error) => return Some(error),
        };
        for section in sections.iter().filter(|section| !UNBLOCKED.contains(&&section.name[..])) {
            if let Err(found) = check_blocks(&path, &file, section, more) {
                return found;
            }
        }
    }
    None
}

/// Checks the blocks of a section. What is wrong, or nothing if there was to be no more.
fn check_blocks(
    path: &Path,
    file: &File,
    section: &Section,
    more: &mut dyn FnMut(usize) -> bool,
) -> Result<(), Option<Error>> {
    let damaged = |at: u64, what: &str| {
        let name = section.name.escape_ascii();
        let detail = format!("the block at offset {at}, of its section \"{name}\", {what}");
        Some(Error::corrupt(path, detail))
    };
    let (mut at, end) = (section.from, section.from.saturating_add(section.len));
    while at < end {
        let mut head = [0; HEAD];
        let whole = file.read_exact_at(&mut head, at);
        whole.map_err(|error| damaged(at, &format!("cannot be read: {error}")))?;
        let len = block_len(&head).ok_or_else(|| damaged(at, "does not begin like one"))?;
        let from = at + HEAD as u64;
        if u64::from(len) > end.saturating_sub(from) {
            return Err(damaged(at, "is longer than its section"));
        }
        let mut rest = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        let whole = file.read_exact_at(&mut rest, from);
        whole.map_err(|error| damaged(at, &format!("cannot be read: {error}")))?;
        if head.get(5..21).is_none_or(|sum| sum != xxh3_128(&rest).to_le_bytes()) {
            return Err(damaged(at, "does not match its checksum"));
        }
        if !more(HEAD + rest.len()) {
            return Err(None);
        }
        at = from + u64::from(len);
    }
    Ok(())
}

/// How many bytes follow the head of a block, if it is one.
fn block_len(head: &[u8; HEAD]) -> Option<u32> {
    let (covered, sum) = head.split_first_chunk::<29>()?;
    let low = xxh3_128(covered).to_le_bytes();
    let is_sound = covered.starts_with(b"LSM\x03") && low.starts_with(sum);
    is_sound.then_some(u32::from_le_bytes(*covered.get(21..)?.first_chunk()?))
}

/// The list of a keyspace's sorted files, if there is one. It is what was written.
fn current_list(keyspace: &Path) -> Result<Option<PathBuf>, Error> {
    let current = keyspace.join(CURRENT);
    let Some(said) = read(&current)? else {
        // The engine says so, or makes a new one.
        return Ok(None);
    };
    let senseless =
        || Error::corrupt(&current, "it does not say which list of sorted files counts");
    let (number, rest) = said.split_first_chunk().ok_or_else(senseless)?;
    let (sum, rest) = rest.split_first_chunk().ok_or_else(senseless)?;
    if rest != [0] {
        return Err(senseless());
    }
    let list = keyspace.join(format!("v{}", u64::from_le_bytes(*number)));
    let Some(bytes) = read(&list)? else {
        let detail = format!("it names the list {}, and there is none", list.display());
        return Err(Error::corrupt(&current, detail));
    };
    if xxh3_128(&bytes) != u128::from_le_bytes(*sum) {
        let detail = format!("it is not the list that {} has the checksum of", current.display());
        return Err(Error::corrupt(&list, detail));
    }
    Ok(Some(list))
}

/// The numbers of the files that a list names.
fn listed(list: &Path) -> Result<Vec<u64>, Error> {
    let senseless = || Error::corrupt(list, "it is no list of sorted files");
    let file = open(list)?;
    let tables = sections(list, &file)?.into_iter().find(|section| section.name == b"tables");
    let Section { from, len, .. } = tables.ok_or_else(senseless)?;
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| senseless())?];
    file.read_exact_at(&mut bytes, from).map_err(Error::io("read", list))?;
    parse_listed(&bytes).ok_or_else(senseless)
}

fn parse_listed(bytes: &[u8]) -> Option<Vec<u64>> {
    let mut numbers = Vec::new();
    let (levels, mut rest) = bytes.split_first()?;
    for _ in 0..*levels {
        let (runs, mut of_level) = rest.split_first()?;
        for _ in 0..*runs {
            let (files, mut of_run) = of_level.split_first_chunk()?;
            for _ in 0..u32::from_le_bytes(*files) {
                let (file, after) = of_run.split_first_chunk::<LISTED>()?;
                numbers.push(u64::from_le_bytes(*file.first_chunk()?));
                of_run = after;
            }
            of_level = of_run;
        }
        rest = of_level;
    }
    Some(numbers)
}

/// The sections of a sorted file.
fn sections(path: &Path, file: &File) -> Result<Vec<Section>, Error> {
    let damaged = |what: &str| Error::corrupt(path, format!("its contents, at its end, {what}"));
    let len = file.metadata().map_err(Error::io("look at", path))?.len();
    let trailer_at = len.checked_sub(TRAILER as u64).ok_or_else(|| damaged("are missing"))?;
    let mut trailer = [0; TRAILER];
    file.read_exact_at(&mut trailer, trailer_at).map_err(Error::io("read", path))?;
    let rest = trailer.strip_prefix(b"SFA!\x01\0").ok_or_else(|| damaged("do not end as such"))?;
    let contents = rest.split_first_chunk::<16>().and_then(|(sum, rest)| {
        let (at, rest) = rest.split_first_chunk()?;
        let (at, len) = (u64::from_le_bytes(*at), u64::from_le_bytes(*rest.first_chunk()?));
        (at.checked_add(len) == Some(trailer_at)).then_some((sum, at, usize::try_from(len).ok()?))
    });
    let (sum, at, len) = contents.ok_or_else(|| damaged("are not where they are said to be"))?;
    let mut contents = vec![0; len];
    file.read_exact_at(&mut contents, at).map_err(Error::io("read", path))?;
    if xxh3_128(&contents).to_le_bytes() != *sum {
        return Err(damaged("do not match their checksum"));
    }
    parse(&contents).ok_or_else(|| damaged("make no sense"))
}

fn parse(contents: &[u8]) -> Option<Vec<Section>> {
    let (count, mut rest) = contents.strip_prefix(b"TOC!")?.split_first_chunk()?;
    let mut sections = Vec::new();
    for _ in 0..u32::from_le_bytes(*count) {
        let (from, after) = rest.split_first_chunk()?;
        let (len, after) = after.split_first_chunk()?;
        let (name_len, after) = after.split_first_chunk()?;
        let (name, after) = after.split_at_checked(u16::from_le_bytes(*name_len).into())?;
        let [from, len] = [from, len].map(|number| u64::from_le_bytes(*number));
        sections.push(Section { name: name.to_vec(), from, len });
        rest = after;
    }
    Some(sections)
}

fn keyspaces(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    list(&directory.join(KEYSPACES))
}

fn sorted_files(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for keyspace in keyspaces(directory)? {
        let Some(list) = current_list(&keyspace)? else { continue };
        let tables = keyspace.join(TABLES);
        files.extend(listed(&list)?.into_iter().map(|number| tables.join(number.to_string())));
    }
    Ok(files)
}

/// What is in a directory, in the order of its names; nothing if there is none.
fn list(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::io("list", directory))?,
    };
    let path = |entry: std::io::Result<fs::DirEntry>| entry.map(|entry| entry.path());
    let paths: Result<Vec<_>, _> = entries.map(path).collect();
    let mut paths = paths.map_err(Error::io("list", directory))?;
    paths.sort_unstable();
    Ok(paths)
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::corrupt(path, "it is missing"),
        _ => Error::io("open", path)(error),
    })
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some).map_err(Error::io("read", path)),
    }
}

const KEYSPACES: &str = "keyspaces";
const TABLES: &str = "tables";
const CURRENT: &str = "current";
/// Sections that are no blocks.
const UNBLOCKED: [&[u8]; 2] = [b"table_version", b"linked_blob_files"];
/// Bytes of a file in a list of them.
const LISTED: usize = 33;
const TRAILER: usize = 38;
const HEAD: usize = 33;
