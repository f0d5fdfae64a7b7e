//! What an answer is to say besides how it went.

/// What the answer to a meta command is to say, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes(u16);

impl Wishes {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The value, or the new number (`v`).
    pub const VALUE: Self = Self(1);
    /// The client's own 32 bits (`f`).
    pub const CLIENT_FLAGS: Self = Self(1 << 1);
    /// The cas unique (`c`).
    pub const CAS: Self = Self(1 << 2);
    /// The time left to live (`t`).
    pub const TTL: Self = Self(1 << 3);
    /// The length of the value (`s`).
    pub const SIZE: Self = Self(1 << 4);
    /// The key (`k`).
    pub const KEY: Self = Self(1 << 5);
    /// Whether the item was fetched before (`h`).
    pub const FETCHED: Self = Self(1 << 6);
    /// The time since it was last used (`l`).
    pub const IDLE: Self = Self(1 << 7);
    /// No answer at all if it went the usual way (`q`): a miss for a fetch, success for the rest.
    pub const QUIET: Self = Self(1 << 8);
    /// The time it had left to live before the command gave it another (`t` before `T` and `N`).
    pub const TTL_BEFORE: Self = Self(1 << 9);

    /// What `mg` can answer.
    pub(super) const OF_FETCH: Self = Self((1 << 10) - 1);
    /// What `ms` can answer.
    pub(super) const OF_STORE: Self = Self::CAS.with(Self::SIZE).with(Self::KEY).with(Self::QUIET);
    /// What `md` can answer.
    pub(super) const OF_DELETE: Self = Self::KEY.with(Self::QUIET);
    /// What `ma` can answer.
    pub(super) const OF_ARITHMETIC: Self = Self::VALUE
        .with(Self::CAS)
        .with(Self::TTL)
        .with(Self::KEY)
        .with(Self::QUIET)
        .with(Self::TTL_BEFORE);

    /// These wishes and those of `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These wishes but those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether every wish of `other` is among these.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Only the wishes that are also in `other`.
    pub(super) const fn only(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The letters of those that stand behind all else.
    pub(super) fn letters(self) -> impl Iterator<Item = u8> {
        LETTERS.iter().filter(move |(wish, _)| self.has(*wish)).map(|(_, letter)| *letter)
    }
}

const LETTERS: [(Wishes, u8); 9] = [
    (Wishes::VALUE, b'v'),
    (Wishes::CLIENT_FLAGS, b'f'),
    (Wishes::CAS, b'c'),
    (Wishes::TTL, b't'),
    (Wishes::SIZE, b's'),
    (Wishes::KEY, b'k'),
    (Wishes::FETCHED, b'h'),
    (Wishes::IDLE, b'l'),
    (Wishes::QUIET, b'q'),
];
