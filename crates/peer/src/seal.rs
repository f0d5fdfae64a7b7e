//! What keeps frames from being tampered with.
//!
//! BLAKE3 and not HMAC-SHA-256: for bodies of 150 bytes it takes as long where the processor has
//! instructions for SHA, and a quarter of the time where it has none; for a mebibyte, a fifth.

use blake3::{Hash, Hasher};

/// The length of a tag, in bytes.
pub(crate) const TAG: usize = 16;

/// Tags the frames of one direction of one connection.
#[derive(Debug)]
pub(crate) struct Seal {
    key: Hash,
    /// Frames tagged so far. It is in each tag, so that a frame counts once, and in its place.
    count: u64,
}

impl Seal {
    pub(crate) fn new(key: Hash) -> Self {
        Self { key, count: 0 }
    }

    /// The tag of the next frame, which consists of these parts.
    pub(crate) fn tag(&mut self, parts: &[&[u8]]) -> [u8; TAG] {
        let mut hasher = Hasher::new_keyed(self.key.as_bytes());
        hasher.update(&self.count.to_le_bytes());
        for part in parts {
            hasher.update(part);
        }
        self.count += 1;
        let mut tag = [0; TAG];
        hasher.finalize_xof().fill(&mut tag);
        tag
    }
}
