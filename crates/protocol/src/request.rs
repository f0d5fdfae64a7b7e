//! A request, parsed: what is asked, of which key, and how the answer is to look.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::exptime::Exptime;
use crate::interval::Interval;
use crate::op::Op;

/// The longest key, in bytes.
pub const MAX_KEY_LEN: usize = 250;

/// One whole request.
#[derive(Clone, Debug)]
pub enum Request<'a> {
    /// `get gets gat gats`: any number of keys.
    Get(Get<'a>),
    /// Every other command that names an item.
    Item(Command<'a>),
    /// `flush_all`: now, or after a delay.
    FlushAll {
        /// 0 or less for now.
        delay: Exptime,
        /// `noreply`
        quiet: bool,
    },
    /// `rget`, which MemcacheDB has and memcached has not; `None` if it is no interval that it names.
    Range(Option<Interval<'a>>),
    /// `db_checkpoint` and `db_archive`, likewise.
    Checkpoint,
    /// `config get cluster`, which ElastiCache has and memcached has not.
    Discover,
    /// `mn`
    Noop,
    /// `version`
    Version,
    /// `verbosity`
    Verbosity {
        /// The new level.
        level: u32,
        /// `noreply`
        quiet: bool,
    },
    /// `stats`, and the words behind it.
    Stats(&'a [u8]),
    /// `cache_memlimit`
    CacheMemlimit {
        /// The new limit, in MiB.
        megabytes: u32,
        /// `noreply`
        quiet: bool,
    },
    /// `shutdown`, or `shutdown graceful`: here both drain.
    Shutdown,
    /// `quit`
    Quit,
    /// Not a request that can be carried out: an error line instead of an answer.
    Refused(Refusal<'a>),
}

/// A fetch of several keys.
#[derive(Clone, Debug)]
pub struct Get<'a> {
    /// The keys, each of 1 to 250 bytes.
    pub keys: Keys<'a>,
    /// Whether cas uniques are wanted (`gets`, `gats`).
    pub cas: bool,
    /// The new exptime (`gat`, `gats`).
    pub ttl: Option<Exptime>,
}

/// Keys separated by spaces.
#[derive(Clone, Debug)]
pub struct Keys<'a>(pub(crate) &'a [u8]);

impl<'a> Keys<'a> {
    /// The keys in this text, which is known to hold none that is too long.
    pub fn in_text(text: &'a [u8]) -> Self {
        Self(text)
    }

    /// The text of the keys not yet taken.
    pub fn text(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for Keys<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        next_token(&mut self.0)
    }
}

/// Takes the next run of non-spaces off the front of `text`.
#[inline]
pub(crate) fn next_token<'a>(text: &mut &'a [u8]) -> Option<&'a [u8]> {
    let start = text.iter().position(|b| *b != b' ')?;
    let rest = text.get(start..)?;
    let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let (token, rest) = rest.split_at_checked(end)?;
    *text = rest;
    Some(token)
}

/// An operation on one item, and how to answer it.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// The item's key.
    pub key: Key<'a>,
    /// What to do.
    pub op: Op<'a>,
    /// How the answer looks.
    pub form: Form<'a>,
}

/// A key as it stands in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// The text on the line, 1 to 250 bytes.
    pub text: &'a [u8],
    /// Whether the text is the key in base64 (`b`). The parser has seen that it is.
    pub base64: bool,
}

impl<'a> Key<'a> {
    /// The key itself; `scratch` holds it if it has to be decoded.
    #[inline]
    pub fn bytes<'b>(&self, scratch: &'b mut [u8; MAX_KEY_LEN]) -> &'b [u8]
    where
        'a: 'b,
    {
        if !self.base64 {
            return self.text;
        }
        let len = BASE64.decode_slice(self.text, scratch).unwrap_or(0);
        scratch.get(..len).unwrap_or_default()
    }
}

/// How the answer to a [`Command`] looks.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// Which command's words to use.
    pub shape: Shape,
    /// Leave out the answer where it is the expected one: any, for a classic command with
    /// `noreply`; a meta command says which.
    pub quiet: bool,
    /// The key, for answers that repeat it.
    pub key: Key<'a>,
    /// The flags of a meta command as they stand in the request: answers follow their order.
    pub flags: &'a [u8],
}

/// The families of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `VALUE …` or nothing: one key of a `get`.
    Value {
        /// With the cas unique.
        cas: bool,
    },
    /// `STORED …`
    Stored,
    /// `DELETED …`
    Deleted,
    /// `TOUCHED …`
    Touched,
    /// The number.
    Number,
    /// `mg`
    MetaGet {
        /// With the value (`v`),
        value: bool,
        /// unless the cas unique is this (`C`).
        unless_cas: Option<u64>,
    },
    /// `ms`
    MetaSet {
        /// The length of the value that was sent, which `s` reports if nothing was stored.
        sent: usize,
    },
    /// `md`
    MetaDelete,
    /// `ma`
    MetaArithmetic {
        /// With the number (`v`).
        value: bool,
    },
    /// `me`
    MetaDebug,
    /// `OK`: a flush.
    Flushed,
    /// `VALUE …` for each item of a range, and `END`.
    Range,
    /// `OK` or `ERROR`: a checkpoint.
    Checkpoint,
}

impl Shape {
    /// Whether it is a meta command's.
    #[inline]
    pub fn is_meta(self) -> bool {
        matches!(
            self,
            Self::MetaGet { .. }
                | Self::MetaSet { .. }
                | Self::MetaDelete
                | Self::MetaArithmetic { .. }
                | Self::MetaDebug
        )
    }
}

/// Why a request is not carried out, and what to do about the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// The error line, without its line end; empty for none.
    pub line: &'static str,
    /// Leave the line out: the client wants no reply.
    pub quiet: bool,
    /// What becomes of the connection.
    pub then: Then,
    /// What is wrong.
    pub fault: Fault,
    /// The key whose older value a cache had better forget, lest it be served for the refused one.
    pub forget: Option<Key<'a>>,
}

/// What is wrong with a request that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not what the protocol has.
    Form,
    /// Its value is larger than any may be.
    TooLarge,
    /// There is no memory to wait for its value.
    NoMemory,
}

/// What follows a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next request begins right behind.
    Continue,
    /// The next request begins behind this many bytes of a value nobody wants.
    Skip(usize),
    /// Where the next request begins is not known: close, lest a value be taken for a command.
    Close,
}

/// Base64 as memcached reads it, with padding; bits that pad the last byte may be anything.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);
