//! What the nodes of a local cluster know and nobody else does.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The file of the secret, in the directory of the cluster: made the first time.
pub(super) fn file(directory: &Path) -> Result<PathBuf, Failure> {
    let path = directory.join("secret");
    let made = if path.exists() { Ok(()) } else { make(&path) };
    made.map_err(|error| Failure::system(format!("{}: {error}", path.display())))?;
    Ok(path)
}

/// Under another name first: half a secret is none.
fn make(path: &Path) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let [high, low]: [u128; 2] = rand::random();
    writeln!(file, "{high:032x}{low:032x}")?;
    file.sync_all()?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_drawn_once_and_for_nobody_else() {
        let place = tempfile::tempdir().unwrap();
        let path = file(place.path()).unwrap();
        let drawn = fs::read_to_string(&path).unwrap();
        assert_eq!(drawn.trim().len(), 64);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(file(place.path()).unwrap(), path);
        assert_eq!(fs::read_to_string(&path).unwrap(), drawn);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(fs::read_to_string(file(other.path()).unwrap()).unwrap(), drawn);
    }
}
