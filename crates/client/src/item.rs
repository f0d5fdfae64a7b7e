//! What is stored, and what is found.

use bytes::Bytes;

/// An item as a server gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// Its value.
    pub value: Bytes,
    /// The 32 bits its writer stored with it.
    pub flags: u32,
    /// Its cas unique, for [`Client::cas`](crate::Client::cas).
    pub cas: u64,
}

/// A value to store: bytes, and 32 bits that are kept with them and mean what clients agree on.
///
/// Anything that can be seen as bytes is one by reference, with flags 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'v> {
    /// The bytes.
    pub bytes: &'v [u8],
    /// The client's own bits. Default: 0.
    pub flags: u32,
}

impl<'v> Value<'v> {
    /// Bytes with flags.
    pub fn with_flags(bytes: &'v [u8], flags: u32) -> Self {
        Self { bytes, flags }
    }
}

impl<'v, B: AsRef<[u8]> + ?Sized> From<&'v B> for Value<'v> {
    fn from(bytes: &'v B) -> Self {
        Self { bytes: bytes.as_ref(), flags: 0 }
    }
}
