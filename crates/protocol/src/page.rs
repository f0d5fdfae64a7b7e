//! Items in the order of their keys.

use bytes::Bytes;

/// Items in the order of their keys: the answer to an `rget`, or a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The items.
    pub items: Vec<Listed>,
    /// The key behind which it goes on, which need not be an item's; `None` if this is the end.
    pub after: Option<Bytes>,
}

/// An item of a [`Page`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: Bytes,
    /// The client's own 32 bits.
    pub client_flags: u32,
    /// Its value.
    pub value: Bytes,
}
