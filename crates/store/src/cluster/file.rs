//! A small file that is replaced as a whole: a crash leaves what it held before or after, on disk.
//!
//! | file | bytes | |
//! |---|---|---|
//! | version | 1 | of what is in it |
//! | checksum | 8 | of version and content, XXH3, little-endian |
//! | content | rest | postcard |

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::Xxh3;

use crate::directory;
use crate::error::Error;

/// What a file holds; `None` if there is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, version: u8) -> Result<Option<T>, Error> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::io("read", path))?,
    };
    let damaged = || Error::corrupt(path, "it does not hold what was written");
    let (found, rest) = bytes.split_first().ok_or_else(damaged)?;
    let (checksum, content) = rest.split_first_chunk().ok_or_else(damaged)?;
    if checksum_of(*found, content) != u64::from_le_bytes(*checksum) {
        return Err(damaged());
    }
    if *found != version {
        return Err(Error::TooNew { path: path.to_owned(), format: (*found).into() });
    }
    postcard::from_bytes(content).map(Some).map_err(|_| damaged())
}

/// Has a file hold this, durably when it returns.
pub(crate) fn write(path: &Path, version: u8, content: &impl Serialize) -> Result<(), Error> {
    let content = postcard::to_stdvec(content).map_err(io::Error::other);
    let content = content.map_err(Error::io("write", path))?;
    let checksum = checksum_of(version, &content).to_le_bytes();
    directory::replace(path, [&[version], &checksum[..], &content].concat())?;
    path.parent().map_or(Ok(()), directory::sync)
}

fn checksum_of(version: u8, content: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&[version]);
    hasher.update(content);
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_was_written_or_an_error() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("CHARTER");
        assert_eq!(read::<String>(&path, 1).unwrap(), None);
        for content in ["first", "second"] {
            write(&path, 1, &content).unwrap();
            assert_eq!(read::<String>(&path, 1).unwrap().as_deref(), Some(content));
        }
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
        assert!(matches!(read::<String>(&path, 2), Err(Error::TooNew { format: 1, .. })));
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            fs::write(&path, &bytes).unwrap();
            assert!(matches!(read::<String>(&path, 1), Err(Error::Corrupt { .. })), "{at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(matches!(read::<String>(&path, 1), Err(Error::Corrupt { .. })), "{at}");
        }
    }
}
