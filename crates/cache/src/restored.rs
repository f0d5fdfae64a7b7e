//! What of a file was of use.

/// What a cache has found in its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Items that are there again.
    pub items: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Items that have expired meanwhile.
    pub expired: u64,
    /// Items that were not whole, and are gone.
    pub damaged: u64,
    /// Why nothing was of use, though there was something.
    pub unusable: Option<&'static str>,
}

impl Restored {
    /// Adds what another shard has found.
    pub(crate) fn add(&mut self, other: &Self) {
        self.items += other.items;
        self.bytes += other.bytes;
        self.expired += other.expired;
        self.damaged += other.damaged;
    }
}
