//! How a command of another's client is put to a node.

use larder_protocol::encode::{self, Refused, Wishes};
use larder_protocol::{Fetch, Form, Mode, Op, Shape, Store};

use crate::connection::{Expected, Promise, Tail};
use crate::error::Error;
use crate::pool::Pool;

/// How a command is put. It asks for what its client's answer is to say, and for no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wording {
    /// As it was: a `get` that became an `mg` would take the win of a stale item, and tell nobody.
    Classic(Wishes),
    /// As a meta command, with an opaque.
    Meta(Wishes),
    /// As `me`.
    Debug,
}

impl Wording {
    pub(crate) fn of(op: &Op<'_>, form: &Form<'_>) -> Self {
        match (form.shape, op) {
            (Shape::Value { cas: false }, _) => Self::Classic(Wishes::VALUE),
            (Shape::Value { cas: true }, _) => Self::Classic(Wishes::VALUE.with(Wishes::CAS)),
            (Shape::Touched, _) => Self::Classic(Wishes::NONE),
            (Shape::MetaDebug, _) => Self::Debug,
            (Shape::MetaGet { value, unless_cas }, _) => {
                let wishes = of_flags(form.flags);
                let wishes = if value { wishes.with(Wishes::VALUE) } else { wishes };
                Self::Meta(if unless_cas.is_some() { wishes.with(Wishes::CAS) } else { wishes })
            }
            // The length of what is appended to is known there alone.
            (
                Shape::MetaSet { .. },
                Op::Store(Store { mode: Mode::Append | Mode::Prepend, .. }),
            ) => Self::Meta(of_flags(form.flags)),
            (Shape::MetaSet { .. }, _) => Self::Meta(of_flags(form.flags).without(Wishes::SIZE)),
            (Shape::Number, _) => Self::Meta(Wishes::VALUE),
            (Shape::MetaArithmetic { .. }, _) => {
                Self::Meta(of_flags(form.flags).with(Wishes::VALUE))
            }
            _ => Self::Meta(Wishes::NONE),
        }
    }

    /// Sends a command over this lane.
    pub(crate) fn send(
        self,
        pool: &Pool,
        lane: usize,
        key: &[u8],
        op: &Op<'_>,
    ) -> Result<Promise, Error> {
        pool.send_one(lane, self.expected(key, op), |out, opaque| self.write(out, key, op, opaque))
    }

    /// What answers it.
    fn expected(self, key: &[u8], op: &Op<'_>) -> Expected {
        match self {
            Self::Classic(wishes) if wishes.has(Wishes::VALUE) => Expected::Value(Tail::of(key)),
            Self::Classic(_) => Expected::Touched,
            Self::Meta(_) => Expected::Meta { stores: matches!(op, Op::Store(_)) },
            Self::Debug => Expected::Debug,
        }
    }

    fn write(self, out: &mut Vec<u8>, key: &[u8], op: &Op<'_>, opaque: u64) -> Result<(), Refused> {
        match (self, op) {
            (Self::Classic(wishes), Op::Fetch(Fetch { ttl, .. })) => {
                encode::classic(out, key, &Op::Fetch(Fetch { ttl: *ttl, ..Fetch::GET }), wishes)
            }
            (Self::Classic(wishes) | Self::Meta(wishes), op) => {
                encode::meta(out, key, op, wishes, Some(opaque))
            }
            (Self::Debug, _) => encode::debug(out, key),
        }
    }
}

/// What the flags of a meta command wish for, but for what is not asked of another: opaque and quiet.
fn of_flags(flags: &[u8]) -> Wishes {
    let (mut wishes, mut sets_ttl) = (Wishes::NONE, false);
    for flag in flags.split(|byte| *byte == b' ') {
        let wish = match flag.first() {
            Some(b'T' | b'N') => {
                sets_ttl = true;
                continue;
            }
            Some(b'v') => Wishes::VALUE,
            Some(b'f') => Wishes::CLIENT_FLAGS,
            Some(b'c') => Wishes::CAS,
            Some(b't') if sets_ttl => Wishes::TTL,
            Some(b't') => Wishes::TTL_BEFORE,
            Some(b's') => Wishes::SIZE,
            Some(b'h') => Wishes::FETCHED,
            Some(b'l') => Wishes::IDLE,
            // An item may have been stored with its key as base64.
            Some(b'k') => Wishes::KEY,
            _ => continue,
        };
        wishes = wishes.with(wish);
    }
    wishes
}
