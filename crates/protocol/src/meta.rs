//! The meta commands: `mg ms md ma me`, and their flags.

use crate::exptime::Exptime;
use crate::number::{parse_u32, parse_u64};
use crate::op::{Arithmetic, Delete, Fetch, Mode, Op, Store};
use crate::parse::{BAD_FORMAT, Body, Parsed, bad_format, data_len, parse_exptime, refused};
use crate::request::{Command, Form, Key, MAX_KEY_LEN, Request, Shape, next_token};

/// `mg <key> <flags>*`
pub(crate) fn get(arguments: &[u8]) -> Request<'_> {
    let (key, flags) = match key_and_flags(arguments) {
        Ok(found) => found,
        Err(line) => return refused(line, false),
    };
    let op = Op::Fetch(Fetch {
        ttl: flags.ttl,
        vivify: flags.exptime_of_new(),
        recache: flags.recache,
        ttl_before_recache: flags.ttl_position < flags.recache_position,
        new_cas: flags.new_cas,
        binary_key: key.base64,
        bump: !flags.has(b'u'),
        may_win: true,
    });
    let shape = Shape::MetaGet { value: flags.has(b'v'), unless_cas: flags.compare };
    flags.request(key, op, shape)
}

/// `ms <key> <datalen> <flags>*`
pub(crate) fn set<'a>(mut arguments: &'a [u8], body: &Body<'a>) -> Parsed<'a> {
    let (Some(key), Some(len)) =
        (next_token(&mut arguments), next_token(&mut arguments).and_then(data_len))
    else {
        return body.lost();
    };
    let flags = match Flags::parse(key, arguments, 3) {
        Ok(flags) => flags,
        Err(line) => return body.refuse(len, line, false),
    };
    let mode = match flags.mode {
        None | Some(b'S') => Mode::Set,
        Some(b'E') => Mode::Add,
        Some(b'A') => Mode::Append,
        Some(b'P') => Mode::Prepend,
        Some(b'R') => Mode::Replace,
        Some(_) => return body.refuse(len, "CLIENT_ERROR invalid mode for ms M token", false),
    };
    let key = Key { text: key, base64: flags.has(b'b') };
    let max_len = body.room(key.text, flags.client_bits);
    body.finish(len, max_len, |value| {
        let op = Op::Store(Store {
            mode,
            landed: body.landed,
            value,
            client_flags: flags.client_bits,
            exptime: flags.ttl.unwrap_or_default(),
            compare: flags.compare,
            invalidate: flags.has(b'I'),
            new_cas: flags.new_cas,
            vivify: flags.vivify,
            binary_key: key.base64,
            max_len,
        });
        flags.command(key, op, Shape::MetaSet { sent: len })
    })
}

/// `md <key> <flags>*`
pub(crate) fn delete(arguments: &[u8]) -> Request<'_> {
    let (key, flags) = match key_and_flags(arguments) {
        Ok(found) => found,
        Err(line) => return refused(line, false),
    };
    let op = Op::Delete(Delete {
        compare: flags.compare,
        invalidate: flags.has(b'I'),
        clear: flags.has(b'x'),
        ttl: flags.ttl,
        client_flags: flags.client_bits,
        new_cas: flags.new_cas,
    });
    flags.request(key, op, Shape::MetaDelete)
}

/// `ma <key> <flags>*`
pub(crate) fn arithmetic(arguments: &[u8]) -> Request<'_> {
    let (key, flags) = match key_and_flags(arguments) {
        Ok(found) => found,
        Err(line) if readable(arguments) && line != OPAQUE_TOO_LONG => {
            return refused("CLIENT_ERROR invalid or duplicate flag", false);
        }
        Err(line) => return refused(line, false),
    };
    let decrement = match flags.mode {
        None | Some(b'I' | b'+') => false,
        Some(b'D' | b'-') => true,
        Some(_) => return refused("CLIENT_ERROR invalid mode for ma M token", false),
    };
    let op = Op::Arithmetic(Arithmetic {
        decrement,
        delta: flags.delta.unwrap_or(1),
        vivify: flags.exptime_of_new(),
        initial: flags.initial.unwrap_or(0),
        compare: flags.compare,
        new_cas: flags.new_cas,
        ttl: flags.ttl,
        binary_key: key.base64,
    });
    flags.request(key, op, Shape::MetaArithmetic { value: flags.has(b'v') })
}

/// `me <key> [b]`
pub(crate) fn debug(arguments: &[u8]) -> Request<'_> {
    let Ok((key, flags)) = key_and_flags(arguments) else { return bad_format(false) };
    flags.request(key, Op::Fetch(Fetch { bump: false, ..Fetch::GET }), Shape::MetaDebug)
}

/// The flags of all meta commands. One command's are no error for another, as in memcached: they
/// just do nothing.
#[derive(Default)]
struct Flags<'a> {
    text: &'a [u8],
    /// One bit for each letter that is there.
    seen: u128,
    compare: Option<u64>,
    new_cas: Option<u64>,
    client_bits: u32,
    ttl: Option<Exptime>,
    vivify: Option<Exptime>,
    recache: Option<Exptime>,
    delta: Option<u64>,
    initial: Option<u64>,
    /// The byte behind `M`, 0 if there is none.
    mode: Option<u8>,
    /// Where `T`, `N` and `R` stand: they act in the order they are given.
    ttl_position: usize,
    vivify_position: usize,
    recache_position: usize,
}

fn key_and_flags(mut arguments: &[u8]) -> Result<(Key<'_>, Flags<'_>), &'static str> {
    if !readable(arguments) {
        return Err(BAD_FORMAT);
    }
    let key = next_token(&mut arguments).unwrap_or_default();
    let flags = Flags::parse(key, arguments, 2)?;
    Ok((Key { text: key, base64: flags.has(b'b') }, flags))
}

/// Whether there is a key, and every word behind it begins with a letter, a digit or one of
/// ``[\]^_` ``: memcached reads no other line as a meta command.
fn readable(mut arguments: &[u8]) -> bool {
    next_token(&mut arguments).is_some()
        && std::iter::from_fn(|| next_token(&mut arguments))
            .all(|word| matches!(word.first(), Some(b'A'..=b'z' | b'0'..=b'9')))
}

impl<'a> Flags<'a> {
    /// `before` is the number of words before the flags.
    ///
    /// # Errors
    ///
    /// The error line. Of several mistakes the last one is told, unless one is no flag at all.
    fn parse(key: &[u8], text: &'a [u8], before: usize) -> Result<Self, &'static str> {
        if key.len() > MAX_KEY_LEN {
            return Err(BAD_FORMAT);
        }
        let mut flags = Self { text, ..Self::default() };
        let mut words = text;
        let mut error = None;
        let mut position = before;
        if text.len() >= 2 * (MAX_WORDS - before) && count_words(text) > MAX_WORDS - before {
            return Err("CLIENT_ERROR options flags are too long");
        }
        while let Some(&[letter, ref token @ ..]) = next_token(&mut words) {
            position += 1;
            if letter > 127 || flags.has(letter) {
                return Err("CLIENT_ERROR duplicate flag");
            }
            flags.seen |= 1 << letter;
            if let Err(line) = flags.take(letter, token, key, position)? {
                error = Some(line);
            }
        }
        error.map_or(Ok(flags), Err)
    }

    /// Takes one flag. The outer error is no flag at all, the inner a token that will not do.
    fn take(
        &mut self,
        letter: u8,
        token: &[u8],
        key: &[u8],
        position: usize,
    ) -> Result<Result<(), &'static str>, &'static str> {
        let ttl = || parse_exptime(token).ok_or(BAD_TOKEN);
        let number = |line| parse_u64(token).ok_or(line);
        Ok(match letter {
            b'b' => {
                // Decoded again where the key is used; here it is only seen to be one.
                let mut scratch = [0; MAX_KEY_LEN];
                let decoded = Key { text: key, base64: true }.bytes(&mut scratch).len();
                if decoded == 0 { Err("CLIENT_ERROR error decoding key") } else { Ok(()) }
            }
            b'T' => {
                self.ttl_position = position;
                ttl().map(|ttl| self.ttl = Some(ttl))
            }
            b'N' => {
                self.vivify_position = position;
                ttl().map(|ttl| self.vivify = Some(ttl))
            }
            b'R' => {
                self.recache_position = position;
                ttl().map(|ttl| self.recache = Some(ttl))
            }
            b'C' => number(BAD_TOKEN).map(|cas| self.compare = Some(cas)),
            // 0 is no cas unique: the next one is taken.
            b'E' => number(BAD_TOKEN).map(|cas| self.new_cas = (cas != 0).then_some(cas)),
            b'F' => parse_u32(token).ok_or(BAD_FORMAT).map(|bits| self.client_bits = bits),
            b'D' => number("CLIENT_ERROR invalid numeric delta value")
                .map(|delta| self.delta = Some(delta)),
            b'J' => number("CLIENT_ERROR invalid numeric initial value")
                .map(|initial| self.initial = Some(initial)),
            b'M' => {
                self.mode = Some(token.first().copied().unwrap_or_default());
                Ok(())
            }
            b'O' if token.len() >= MAX_OPAQUE_LEN => Err(OPAQUE_TOO_LONG),
            // Being seen is all these need; P and L are for proxies.
            b'I' | b'L' | b'O' | b'P' | b'c' | b'f' | b'h' | b'k' | b'l' | b'q' | b's' | b't'
            | b'u' | b'v' | b'x' => Ok(()),
            _ => return Err("CLIENT_ERROR invalid flag"),
        })
    }

    fn has(&self, letter: u8) -> bool {
        self.seen >> letter & 1 == 1
    }

    /// The exptime of an item created on a miss. `T` sets it as `N` does: the later one stays.
    fn exptime_of_new(&self) -> Option<Exptime> {
        self.vivify.map(|vivify| match self.ttl {
            Some(ttl) if self.ttl_position > self.vivify_position => ttl,
            _ => vivify,
        })
    }

    fn command(&self, key: Key<'a>, op: Op<'a>, shape: Shape) -> Command<'a> {
        Command { key, op, form: Form { shape, quiet: self.has(b'q'), key, flags: self.text } }
    }

    fn request(&self, key: Key<'a>, op: Op<'a>, shape: Shape) -> Request<'a> {
        Request::Item(self.command(key, op, shape))
    }
}

fn count_words(mut text: &[u8]) -> usize {
    std::iter::from_fn(|| next_token(&mut text)).count()
}

/// The most words of a meta command's line.
const MAX_WORDS: usize = 20;

/// The longest opaque, its `O` included.
const MAX_OPAQUE_LEN: usize = 32;

const OPAQUE_TOO_LONG: &str = "CLIENT_ERROR opaque token too long";
const BAD_TOKEN: &str = "CLIENT_ERROR bad token in command line format";
