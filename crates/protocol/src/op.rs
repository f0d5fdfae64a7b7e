//! What a command asks of one item. Classic and meta commands differ in spelling only: `get` is a
//! [`Fetch`] that asks for nothing special, `touch` one that sets an exptime, `incr` an
//! [`Arithmetic`] whose item must exist.

use crate::exptime::Exptime;

/// An operation on one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub enum Op<'a> {
    /// `get gets gat gats touch mg me`
    Fetch(Fetch),
    /// `set add replace append prepend cas ms`
    #[cfg_attr(feature = "serde", serde(borrow))]
    Store(Store<'a>),
    /// `delete md`
    Delete(Delete),
    /// `incr decr ma`
    Arithmetic(Arithmetic),
}

impl Op<'_> {
    /// Whether the answer depends on what is stored now. A plain `set` does not look.
    #[inline]
    pub fn looks(&self) -> bool {
        !matches!(self, Self::Store(Store { mode: Mode::Set, compare: None, .. }))
    }

    /// Whether it can only read: its one effect, if any, is on the record of use.
    ///
    /// A stale item is the exception that only the item itself shows: fetching it hands out the
    /// win, see [`Change`](crate::Change).
    #[inline]
    pub fn reads_only(&self) -> bool {
        matches!(self, Self::Fetch(Fetch { ttl: None, vivify: None, recache: None, .. }))
    }
}

/// Fetch an item, and perhaps touch or create it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub struct Fetch {
    /// Give the item this exptime (`touch`, `gat`, `T`).
    pub ttl: Option<Exptime>,
    /// Create an empty item on a miss, with this exptime, and hand out the win (`N`).
    pub vivify: Option<Exptime>,
    /// Hand out the win if less than this is left to live (`R`).
    pub recache: Option<Exptime>,
    /// Whether `T` stood before `R`, so that the new time to live is what `R` looks at.
    pub ttl_before_recache: bool,
    /// The cas unique of an item created by `vivify` (`E`).
    pub new_cas: Option<u64>,
    /// Whether the key came as base64, which an item created by `vivify` remembers (`b`).
    pub binary_key: bool,
    /// Whether this counts as use of the item (all but `u` and `me`).
    pub bump: bool,
    /// Whether the client can be told that it won: only then is a stale item's win its (`mg`).
    pub may_win: bool,
}

impl Fetch {
    /// A plain `get`.
    pub const GET: Self = Self {
        ttl: None,
        vivify: None,
        recache: None,
        ttl_before_recache: false,
        new_cas: None,
        binary_key: false,
        bump: true,
        may_win: false,
    };
}

/// Store a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub struct Store<'a> {
    /// Under which condition, and what happens to an old value.
    pub mode: Mode,
    /// How many bytes of the value its engine has already, but for append and prepend; 0 mostly.
    pub landed: usize,
    /// The bytes that came with the command, behind those.
    #[cfg_attr(feature = "serde", serde(borrow, with = "serde_bytes"))]
    pub value: &'a [u8],
    /// The client's own bits; append and prepend keep the item's.
    pub client_flags: u32,
    /// When it expires; append and prepend keep the item's.
    pub exptime: Exptime,
    /// Only if the item's cas unique is this (`cas`, `C`).
    pub compare: Option<u64>,
    /// With `compare`: an older cas unique stores too, but as stale (`I`).
    pub invalidate: bool,
    /// Use this cas unique instead of the next one (`E`).
    pub new_cas: Option<u64>,
    /// Append and prepend: create the item on a miss, with this exptime (`N`).
    pub vivify: Option<Exptime>,
    /// Whether the key came as base64 (`b`).
    pub binary_key: bool,
    /// Append and prepend: the longest value they may make, in bytes.
    pub max_len: usize,
}

impl Store<'_> {
    /// The length of the value that came, in bytes.
    #[inline]
    pub fn value_len(&self) -> usize {
        self.landed + self.value.len()
    }
}

impl Store<'static> {
    /// A plain `set` of nothing, for ever.
    pub const SET: Self = Self {
        mode: Mode::Set,
        landed: 0,
        value: &[],
        client_flags: 0,
        exptime: Exptime::NEVER,
        compare: None,
        invalidate: false,
        new_cas: None,
        vivify: None,
        binary_key: false,
        max_len: usize::MAX,
    };
}

/// The storage commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub enum Mode {
    /// Whatever is there.
    Set,
    /// Only if nothing is there.
    Add,
    /// Only if something is there.
    Replace,
    /// Behind what is there.
    Append,
    /// Before what is there.
    Prepend,
}

/// Delete an item, or mark it stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub struct Delete {
    /// Only if the item's cas unique is this (`C`).
    pub compare: Option<u64>,
    /// Keep the item but mark it stale (`I`).
    pub invalidate: bool,
    /// Keep the item but empty its value (`x`).
    pub clear: bool,
    /// With `invalidate` or `clear`: the new exptime (`T`).
    pub ttl: Option<Exptime>,
    /// With `clear`: the new client flags (`F`).
    pub client_flags: u32,
    /// With `invalidate` or `clear`: the new cas unique (`E`).
    pub new_cas: Option<u64>,
}

/// Add to or subtract from a decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub struct Arithmetic {
    /// Subtract, stopping at 0, instead of adding, wrapping at 2^64.
    pub decrement: bool,
    /// By how much (`D`).
    pub delta: u64,
    /// Create the item on a miss, with this exptime (`N`).
    pub vivify: Option<Exptime>,
    /// The number an item created by `vivify` starts with (`J`).
    pub initial: u64,
    /// Only if the item's cas unique is this; 0 compares nothing (`C`).
    pub compare: Option<u64>,
    /// Use this cas unique instead of the next one (`E`).
    pub new_cas: Option<u64>,
    /// Give the item this exptime (`T`).
    pub ttl: Option<Exptime>,
    /// Whether the key came as base64 (`b`).
    pub binary_key: bool,
}

impl Arithmetic {
    /// A plain `incr` by 1.
    pub const INCR: Self = Self {
        decrement: false,
        delta: 1,
        vivify: None,
        initial: 0,
        compare: None,
        new_cas: None,
        ttl: None,
        binary_key: false,
    };
}
