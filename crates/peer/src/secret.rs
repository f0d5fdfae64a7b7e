//! The cluster's secret.

use std::fmt;
use std::path::Path;

use crate::error::BadCredentials;

/// What all nodes of a cluster know and nobody else does.
///
/// Who listens to two nodes meeting can try guesses offline, so it should be random: such as the
/// output of `openssl rand -base64 32`.
#[derive(Clone)]
pub struct Secret {
    root: [u8; 32],
}

/// What a proof or key is for. The number is part of the protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    DialerProof = 1,
    ListenerProof = 2,
    DialerKey = 3,
    ListenerKey = 4,
}

impl Secret {
    /// White space around it does not count.
    ///
    /// # Errors
    ///
    /// It has fewer than 16 bytes.
    pub fn new(secret: &[u8]) -> Result<Self, BadCredentials> {
        let secret = secret.trim_ascii();
        if secret.len() < 16 {
            return Err(BadCredentials::ShortSecret { len: secret.len() });
        }
        Ok(Self { root: blake3::derive_key("larder peer 1: cluster secret", secret) })
    }

    /// From a file that holds nothing else.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or the secret in it is too short.
    pub fn load(path: &Path) -> Result<Self, BadCredentials> {
        let read = std::fs::read(path);
        Self::new(&read.map_err(|source| BadCredentials::File { path: path.into(), source })?)
    }

    /// What only those who know the secret can tell of this meeting.
    pub(crate) fn derive(&self, purpose: Purpose, dialer: &[u8], listener: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.root);
        hasher.update(&[purpose as u8]).update(dialer).update(listener).finalize()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_short_is_told_by_length_only() {
        let error = Secret::new(b"  fifteen bytes..\n").unwrap_err().to_string();
        assert!(error.contains("15 bytes") && !error.contains("fifteen"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        assert!(Secret::load(&path).unwrap_err().to_string().contains("secret: No such file"));
        std::fs::write(&path, "\t0123456789abcdef\r\n").unwrap();
        let loaded = Secret::load(&path).unwrap();
        assert_eq!(loaded.root, Secret::new(b"0123456789abcdef").unwrap().root);
        assert_eq!(format!("{loaded:?}"), "Secret");
    }
}
