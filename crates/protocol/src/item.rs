//! An item as both engines and the wire know it: a header and a value.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

/// A moment, in whole seconds since the Unix epoch (good until 2106).
///
/// Time is always an argument: only the shells around the engines read a clock.
pub type Seconds = u32;

/// What is kept of an item besides its key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Changes whenever the value does; never 0.
    pub cas: u64,
    /// The client's own 32 bits, handed back as they came.
    pub client_flags: u32,
    /// The second from which the item is gone; 0 means never.
    pub exptime: Seconds,
    /// When it was last fetched or written.
    pub last_access: Seconds,
    /// Its yes-or-no properties.
    pub marks: Marks,
}

impl Header {
    /// Whether the item is gone at `now`.
    #[inline]
    pub fn expired(&self, now: Seconds) -> bool {
        self.exptime != 0 && self.exptime <= now
    }

    /// Seconds left to live at `now`; `None` for ever.
    #[inline]
    pub fn ttl(&self, now: Seconds) -> Option<Seconds> {
        (self.exptime != 0).then(|| self.exptime.saturating_sub(now))
    }
}

/// An item's yes-or-no properties, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u8);

impl Marks {
    /// It was fetched at least once since it was written (`h`).
    pub const FETCHED: Self = Self(1);
    /// It was invalidated and wants to be recached (`X`).
    pub const STALE: Self = Self(2);
    /// Some client has been told to recache it (`Z` from then on).
    pub const WON: Self = Self(4);
    /// Its key came as base64 and is given back as base64.
    pub const BINARY_KEY: Self = Self(8);

    /// The bits as an engine keeps them.
    #[inline]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From the bits an engine kept; unknown bits are dropped.
    #[inline]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 15)
    }

    /// Whether every mark of `other` is set.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With the marks of `other`.
    #[inline]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// With the marks of `other` if `set`.
    #[inline]
    #[must_use]
    pub const fn with_if(self, other: Self, set: bool) -> Self {
        if set { self.with(other) } else { self }
    }

    /// Without the marks of `other`.
    #[inline]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Only the marks that are also in `other`.
    #[inline]
    #[must_use]
    pub const fn only(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// The bytes of a value, in the way that is cheapest to hand on.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// Borrowed from the engine while it holds its lock: copy it now.
    Slice(&'a [u8]),
    /// Shared with the engine: may be written to a socket later without a copy.
    Shared(Bytes),
    /// Pieces that are shared with the engine, then a rest that is not.
    Long(Pieces, Cow<'a, [u8]>),
}

/// Memory in pieces that does not change while it is shared.
pub trait Piecewise: Debug + Send + Sync {
    /// How many bytes in all.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `number`th piece, which is not empty; `None` after the last.
    fn piece(&self, number: usize) -> Option<&[u8]>;
}

/// Memory of an engine for the front of a value that is still coming.
pub trait Landing: Debug + Send {
    /// How many bytes of the value it is for.
    fn len(&self) -> usize;

    /// Whether it is for none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the engine must be asked for more of it before there is room for the next bytes.
    fn is_short(&self) -> bool;

    /// Where the next bytes go, or the first of them; empty once all have come, or when it is short.
    fn room(&mut self) -> &mut [u8];

    /// So many bytes were put there.
    fn advance(&mut self, bytes: usize);
}

/// Of an engine that wants every value whole.
impl Landing for Infallible {
    fn len(&self) -> usize {
        match *self {}
    }

    fn is_short(&self) -> bool {
        match *self {}
    }

    fn room(&mut self) -> &mut [u8] {
        match *self {}
    }

    fn advance(&mut self, _bytes: usize) {
        match *self {}
    }
}

/// Memory in pieces, shared.
#[derive(Clone, Debug)]
pub struct Pieces(pub Arc<dyn Piecewise>);

impl Pieces {
    /// How many bytes in all.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pieces from the `number`th on.
    pub fn from(&self, number: usize) -> impl Iterator<Item = &[u8]> {
        (number..).map_while(|number| self.0.piece(number))
    }
}

impl Value<'_> {
    /// The bytes, copied together if they are in pieces.
    pub fn to_bytes(&self) -> Cow<'_, [u8]> {
        match self.contiguous() {
            Some(bytes) => Cow::Borrowed(bytes),
            None => Cow::Owned(self.parts().collect::<Vec<_>>().concat()),
        }
    }

    /// The bytes, if they are not in pieces.
    #[inline]
    pub fn contiguous(&self) -> Option<&[u8]> {
        match self {
            Self::Slice(slice) => Some(slice),
            Self::Shared(bytes) => Some(bytes),
            Self::Long(..) => None,
        }
    }

    /// The bytes in the pieces they are in.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let (pieces, rest) = match self {
            Self::Slice(slice) => (None, *slice),
            Self::Shared(bytes) => (None, &**bytes),
            Self::Long(pieces, rest) => (Some(pieces), &**rest),
        };
        pieces.into_iter().flat_map(|pieces| pieces.from(0)).chain([rest])
    }

    /// How many bytes.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Slice(slice) => slice.len(),
            Self::Shared(bytes) => bytes.len(),
            Self::Long(pieces, rest) => pieces.len() + rest.len(),
        }
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same bytes, borrowing nothing.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Slice(slice) => Value::Shared(Bytes::copy_from_slice(slice)),
            Self::Shared(bytes) => Value::Shared(bytes),
            Self::Long(pieces, rest) => Value::Long(pieces, Cow::Owned(rest.into_owned())),
        }
    }
}

/// A live item as an engine presents it to [`decide`](crate::decide).
#[derive(Clone, Debug)]
pub struct Item<'a> {
    /// Everything but key and value.
    pub header: Header,
    /// The value.
    pub value: Value<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_gone_from_its_exptime_on() {
        let mut header = Header {
            cas: 1,
            client_flags: 0,
            exptime: 100,
            last_access: 0,
            marks: Marks::default(),
        };
        assert!(!header.expired(99));
        assert!(header.expired(100));
        assert_eq!(header.ttl(98), Some(2));
        header.exptime = 0;
        assert!(!header.expired(u32::MAX));
        assert_eq!(header.ttl(98), None);
    }

    #[test]
    fn marks_add_and_take_away() {
        let marks = Marks::default().with(Marks::STALE).with_if(Marks::WON, false);
        assert!(marks.has(Marks::STALE) && !marks.has(Marks::WON));
        assert_eq!(Marks::from_bits(marks.bits()), marks);
        assert_eq!(marks.without(Marks::STALE), Marks::default());
        assert_eq!(Marks::from_bits(0xff).only(Marks::BINARY_KEY), Marks::BINARY_KEY);
    }
}
