//! From bytes to requests: one pass, borrowing, no state.

use std::ops::Range;

use crate::exptime::Exptime;
use crate::interval::Interval;
use crate::meta;
use crate::number::{parse_i64, parse_u32, parse_u64};
use crate::op::{Arithmetic, Delete, Fetch, Mode, Op, Store};
use crate::request::{
    Command, Fault, Form, Get, Key, Keys, MAX_KEY_LEN, Refusal, Request, Shape, Then, next_token,
};

/// What a server takes, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest item, counted as memcached counts it: key, value and some 60 bytes of header.
    /// Default: 1 MiB.
    pub item: usize,
    /// The longest line, but for those that list keys. Default: 2048, as memcached's.
    pub line: usize,
    /// The longest line of a `get`, `gets`, `gat` or `gats`. Default: 1 MiB.
    pub keys_line: usize,
    /// The longest request that there is room for, if it has not come already. Default: any.
    pub buffer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { item: 1 << 20, line: 2048, keys_line: 1 << 20, buffer: usize::MAX }
    }
}

/// What stands at the front of a buffer.
#[derive(Clone, Debug)]
pub enum Parsed<'a> {
    /// A whole request.
    Done {
        /// The request.
        request: Request<'a>,
        /// How many bytes it took, its value included.
        consumed: usize,
    },
    /// The beginning of one.
    Incomplete {
        /// No use to try again before the buffer holds this many bytes.
        need: usize,
        /// Where the value is, or will be, of a command that may store it as it is: its front may be
        /// put elsewhere as it comes, see [`parse_landed`].
        value: Option<Range<usize>>,
    },
}

/// Reads the request at the front of `input`.
///
/// Whatever the input, the answer is the same as if it had come in one piece, and nothing panics.
#[inline]
pub fn parse<'a>(input: &'a [u8], limits: &Limits) -> Parsed<'a> {
    parse_landed(input, 0, limits)
}

/// Reads the request at the front of `input` whose value, the first `landed` bytes of it, is
/// elsewhere: it stands in the input without them. It must be one that [`Parsed::Incomplete`] told
/// the value of.
#[inline]
pub fn parse_landed<'a>(input: &'a [u8], landed: usize, limits: &Limits) -> Parsed<'a> {
    let limit = if lists_keys(input) { limits.keys_line } else { limits.line };
    // A line end beyond the limit must not count, or a line's fate would hang on how it arrived.
    let window = input.get(..limit).unwrap_or(input);
    let Some(newline) = memchr::memchr(b'\n', window) else {
        if window.len() < limit {
            return Parsed::Incomplete { need: input.len() + 1, value: None };
        }
        return Parsed::Done { request: close("CLIENT_ERROR line too long"), consumed: limit };
    };
    let consumed = newline + 1;
    let line = input.get(..newline).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if consumed < MIN_LINE_LEN {
        return Parsed::Done { request: bad_format(false), consumed };
    }
    let name = memchr::memchr(b' ', line).unwrap_or(line.len());
    let (name, arguments) = line.split_at_checked(name).unwrap_or((line, &[]));
    let (max_item, max_request) = (limits.item, limits.buffer);
    let body = Body { input, start: consumed, landed, max_item, max_request };
    let request = match name {
        b"get" => get(arguments, false),
        b"gets" => get(arguments, true),
        b"set" => return store(Mode::Set, arguments, &body),
        b"mg" => meta::get(arguments),
        b"ms" => return meta::set(arguments, &body),
        b"md" => meta::delete(arguments),
        b"ma" => meta::arithmetic(arguments),
        b"me" => meta::debug(arguments),
        b"mn" => Request::Noop,
        b"gat" => get_and_touch(arguments, false),
        b"gats" => get_and_touch(arguments, true),
        b"add" => return store(Mode::Add, arguments, &body),
        b"replace" => return store(Mode::Replace, arguments, &body),
        b"append" => return store(Mode::Append, arguments, &body),
        b"prepend" => return store(Mode::Prepend, arguments, &body),
        b"cas" => return compare_and_store(arguments, &body),
        b"delete" => delete(arguments),
        b"incr" => arithmetic(arguments, false),
        b"decr" => arithmetic(arguments, true),
        b"touch" => touch(arguments),
        _ => other(name, arguments),
    };
    Parsed::Done { request, consumed }
}

/// Whether a line is of a command whose length only its number of keys bounds.
fn lists_keys(input: &[u8]) -> bool {
    input.starts_with(b"get") || input.starts_with(b"gat")
}

/// The data block behind a storage command's line.
pub(crate) struct Body<'a> {
    input: &'a [u8],
    /// Where the line ends.
    start: usize,
    /// How many bytes of it are elsewhere.
    pub(crate) landed: usize,
    /// The largest item taken.
    max_item: usize,
    /// The longest request waited for.
    max_request: usize,
}

impl<'a> Body<'a> {
    /// The longest value that an item with this key and these flags may have: what memcached's
    /// own item would leave of the limit, so that both refuse the same values.
    #[inline]
    pub(crate) fn room(&self, key: &[u8], client_flags: u32) -> usize {
        let flags = if client_flags == 0 { 0 } else { size_of::<u32>() };
        self.max_item.saturating_sub(MEMCACHED_ITEM_BYTES + key.len() + flags)
    }

    /// Finishes a storage command whose line is sound: takes the value of `len` bytes, if `room`
    /// allows, and makes the request of it.
    pub(crate) fn finish(
        &self,
        len: usize,
        room: usize,
        make: impl FnOnce(&'a [u8]) -> Command<'a>,
    ) -> Parsed<'a> {
        if len > room {
            let line = "SERVER_ERROR object too large for cache";
            return self.unfit(len, line, Fault::TooLarge, &make(&[]));
        }
        let end = self.start + len.saturating_sub(self.landed);
        let Some(value) = self.input.get(self.start..end) else {
            return self.incomplete(len, &make(&[]));
        };
        match self.input.get(end..end + 2) {
            None => self.incomplete(len, &make(&[])),
            Some(b"\r\n") => {
                Parsed::Done { request: Request::Item(make(value)), consumed: end + 2 }
            }
            // The length is wrong: what follows may be more of the value.
            Some(_) => {
                Parsed::Done { request: close("CLIENT_ERROR bad data chunk"), consumed: end }
            }
        }
    }

    fn incomplete(&self, len: usize, command: &Command<'a>) -> Parsed<'a> {
        let need = self.start + len.saturating_sub(self.landed) + 2;
        if need <= self.max_request {
            let adds = |store: &Store<'_>| matches!(store.mode, Mode::Append | Mode::Prepend);
            let lands = matches!(&command.op, Op::Store(store) if !adds(store));
            let value = (lands && self.landed == 0).then_some(self.start..self.start + len);
            return Parsed::Incomplete { need, value };
        }
        let line = "SERVER_ERROR out of memory storing object";
        self.unfit(len, line, Fault::NoMemory, command)
    }

    /// Refuses a storage command that is sound, but for the size of its value.
    fn unfit(
        &self,
        len: usize,
        line: &'static str,
        fault: Fault,
        command: &Command<'a>,
    ) -> Parsed<'a> {
        let classic = command.form.shape == Shape::Stored;
        // As memcached: not where a condition or the older value decides about the command, but
        // for every `ms`.
        let sets = matches!(command.op, Op::Store(Store { mode: Mode::Set, compare: None, .. }));
        let refusal = Refusal {
            line,
            quiet: classic && command.form.quiet,
            then: skip(len.saturating_sub(self.landed)),
            fault,
            forget: (sets || !classic).then_some(command.key),
        };
        Parsed::Done { request: Request::Refused(refusal), consumed: self.start }
    }

    /// Refuses a storage command whose value is `len` bytes long: the value is skipped unseen.
    pub(crate) fn refuse(&self, len: usize, line: &'static str, quiet: bool) -> Parsed<'a> {
        let then = skip(len);
        let refusal = Refusal { line, quiet, then, fault: Fault::Form, forget: None };
        Parsed::Done { request: Request::Refused(refusal), consumed: self.start }
    }

    /// Refuses a storage command whose length cannot be read.
    pub(crate) fn lost(&self) -> Parsed<'a> {
        Parsed::Done { request: close(BAD_FORMAT), consumed: self.start }
    }
}

/// The next request begins behind the value and its line end.
fn skip(len: usize) -> Then {
    Then::Skip(len.saturating_add(2))
}

/// The length of a data block as the line gives it. `None` if it cannot be one.
pub(crate) fn data_len(token: &[u8]) -> Option<usize> {
    let len = parse_u32(token).filter(|_| token.len() <= MAX_LEN_DIGITS)?;
    // Two more bytes, the line end, must still be a 31-bit number, as for memcached.
    (len <= i32::MAX as u32 - 2).then_some(len as usize)
}

fn get(arguments: &[u8], cas: bool) -> Request<'_> {
    keys(arguments, cas, None)
}

fn get_and_touch(mut arguments: &[u8], cas: bool) -> Request<'_> {
    let Some(ttl) = next_token(&mut arguments) else { return bad_format(false) };
    if Keys(arguments).next().is_none() {
        return bad_format(false);
    }
    match parse_exptime(ttl) {
        Some(ttl) => keys(arguments, cas, Some(ttl)),
        None => refused("CLIENT_ERROR invalid exptime argument", false),
    }
}

fn keys(arguments: &[u8], cas: bool, ttl: Option<Exptime>) -> Request<'_> {
    let keys = Keys(arguments);
    // Only a line longer than a key can hold one that is too long.
    let too_long = arguments.len() > MAX_KEY_LEN && keys.clone().any(|key| key.len() > MAX_KEY_LEN);
    if too_long || keys.clone().next().is_none() {
        return bad_format(false);
    }
    Request::Get(Get { keys, cas, ttl })
}

fn store<'a>(mode: Mode, mut arguments: &'a [u8], body: &Body<'a>) -> Parsed<'a> {
    let quiet = wants_no_reply(arguments);
    let Some(head) = StoreHead::take(&mut arguments) else { return body.lost() };
    head.finish(mode, None, quiet, body)
}

fn compare_and_store<'a>(mut arguments: &'a [u8], body: &Body<'a>) -> Parsed<'a> {
    let quiet = wants_no_reply(arguments);
    let Some(head) = StoreHead::take(&mut arguments) else { return body.lost() };
    match next_token(&mut arguments).and_then(parse_u64) {
        Some(cas) => head.finish(Mode::Set, Some(cas), quiet, body),
        None => body.refuse(head.len, BAD_FORMAT, quiet),
    }
}

/// `<key> <flags> <exptime> <bytes>`
struct StoreHead<'a> {
    key: &'a [u8],
    client_flags: &'a [u8],
    exptime: &'a [u8],
    len: usize,
}

impl<'a> StoreHead<'a> {
    /// `None` if the length of the value cannot be told.
    #[inline]
    fn take(arguments: &mut &'a [u8]) -> Option<Self> {
        Some(Self {
            key: next_token(arguments)?,
            client_flags: next_token(arguments)?,
            exptime: next_token(arguments)?,
            len: data_len(next_token(arguments)?)?,
        })
    }

    #[inline]
    fn finish(self, mode: Mode, compare: Option<u64>, quiet: bool, body: &Body<'a>) -> Parsed<'a> {
        let client_flags = parse_u32(unsigned(self.client_flags));
        let exptime = parse_i64(unsigned(self.exptime)).map(Exptime::from_low_bits);
        let (Some(client_flags), Some(exptime), true) =
            (client_flags, exptime, self.key.len() <= MAX_KEY_LEN)
        else {
            return body.refuse(self.len, BAD_FORMAT, quiet);
        };
        let max_len = body.room(self.key, client_flags);
        body.finish(self.len, max_len, |value| {
            let op = Op::Store(Store {
                mode,
                landed: body.landed,
                value,
                client_flags,
                exptime,
                compare,
                max_len,
                ..Store::SET
            });
            classic(self.key, op, Shape::Stored, quiet)
        })
    }
}

fn delete(mut arguments: &[u8]) -> Request<'_> {
    let quiet = wants_no_reply(arguments);
    let Some(key) = next_token(&mut arguments) else { return bad_format(quiet) };
    // Old PHP clients send a delay of 0. Anything else is a mistake: better told than overlooked.
    let sound = match (next_token(&mut arguments), next_token(&mut arguments)) {
        (None | Some(b"0" | b"noreply"), None) | (Some(b"0"), Some(b"noreply")) => {
            next_token(&mut arguments).is_none()
        }
        _ => false,
    };
    if !sound {
        return refused(
            "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]",
            quiet,
        );
    }
    item(key, Op::Delete(Delete::default()), Shape::Deleted, quiet)
}

fn arithmetic(mut arguments: &[u8], decrement: bool) -> Request<'_> {
    let quiet = wants_no_reply(arguments);
    let (Some(key), Some(delta)) = (next_token(&mut arguments), next_token(&mut arguments)) else {
        return bad_format(quiet);
    };
    let delta = parse_u64(delta);
    if delta.is_none() && key.len() <= MAX_KEY_LEN {
        return refused("CLIENT_ERROR invalid numeric delta argument", quiet);
    }
    let op = Op::Arithmetic(Arithmetic {
        decrement,
        delta: delta.unwrap_or_default(),
        ..Arithmetic::INCR
    });
    item(key, op, Shape::Number, quiet)
}

fn touch(mut arguments: &[u8]) -> Request<'_> {
    let quiet = wants_no_reply(arguments);
    let (Some(key), Some(ttl)) = (next_token(&mut arguments), next_token(&mut arguments)) else {
        return bad_format(quiet);
    };
    let ttl = parse_exptime(ttl);
    if ttl.is_none() && key.len() <= MAX_KEY_LEN {
        return refused("CLIENT_ERROR invalid exptime argument", quiet);
    }
    item(key, Op::Fetch(Fetch { ttl, ..Fetch::GET }), Shape::Touched, quiet)
}

/// Commands that name no item, and lines that are no command.
fn other<'a>(name: &[u8], mut arguments: &'a [u8]) -> Request<'a> {
    let quiet = wants_no_reply(arguments);
    let whole = arguments;
    let mut first = || next_token(&mut arguments).filter(|token| !quiet || *token != b"noreply");
    match name {
        b"version" => Request::Version,
        b"quit" => Request::Quit,
        b"stats" => Request::Stats(whole),
        b"flush_all" => match first().map_or(Some(Exptime::NEVER), parse_exptime) {
            Some(delay) => Request::FlushAll { delay, quiet },
            None => refused("CLIENT_ERROR invalid exptime argument", quiet),
        },
        b"verbosity" => match first().and_then(parse_u32) {
            Some(level) => Request::Verbosity { level, quiet },
            None => bad_format(quiet),
        },
        b"cache_memlimit" => match first().and_then(parse_u32) {
            Some(megabytes) => Request::CacheMemlimit { megabytes, quiet },
            None => refused("ERROR", quiet),
        },
        b"rget" if !quiet => {
            Interval::parse(whole).map_or_else(|| refused("ERROR", false), Request::Range)
        }
        b"db_checkpoint" | b"db_archive" if last_token(whole).is_empty() => Request::Checkpoint,
        b"config" if Keys(whole).eq([&b"get"[..], b"cluster"]) => Request::Discover,
        b"shutdown" => match first() {
            None | Some(b"graceful") => Request::Shutdown,
            Some(_) => refused("CLIENT_ERROR invalid shutdown mode", quiet),
        },
        // A browser was led here: what it would say next is not meant for us.
        _ if last_token(whole).starts_with(b"HTTP/") => close(""),
        _ => refused("ERROR", quiet),
    }
}

fn item<'a>(key: &'a [u8], op: Op<'a>, shape: Shape, quiet: bool) -> Request<'a> {
    if key.len() > MAX_KEY_LEN {
        return bad_format(quiet);
    }
    Request::Item(classic(key, op, shape, quiet))
}

fn classic<'a>(key: &'a [u8], op: Op<'a>, shape: Shape, quiet: bool) -> Command<'a> {
    let key = Key { text: key, base64: false };
    Command { key, op, form: Form { shape, quiet, key, flags: &[] } }
}

pub(crate) fn refused(line: &'static str, quiet: bool) -> Request<'static> {
    let then = Then::Continue;
    Request::Refused(Refusal { line, quiet, then, fault: Fault::Form, forget: None })
}

pub(crate) fn bad_format(quiet: bool) -> Request<'static> {
    refused(BAD_FORMAT, quiet)
}

fn close(line: &'static str) -> Request<'static> {
    let then = Then::Close;
    Request::Refused(Refusal { line, quiet: false, then, fault: Fault::Form, forget: None })
}

/// Whether the last word of the line is `noreply`, wherever the command would expect it.
#[inline]
fn wants_no_reply(arguments: &[u8]) -> bool {
    arguments.ends_with(b" noreply")
        || (arguments.ends_with(b" ") && last_token(arguments) == b"noreply")
}

fn last_token(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii_end();
    let start = memchr::memrchr(b' ', text).map_or(0, |space| space + 1);
    text.get(start..).unwrap_or_default()
}

/// A number that may carry a plus, as C's `strtol` allows in the storage commands.
fn unsigned(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"+").unwrap_or(text)
}

/// Exptimes are signed numbers of 32 bits; more digits than that are a mistake.
pub(crate) fn parse_exptime(text: &[u8]) -> Option<Exptime> {
    parse_i64(text).filter(|n| i32::try_from(*n).is_ok()).map(Exptime)
}

pub(crate) const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format";

/// What memcached adds to key and value in an item: its header, a cas unique, a NUL behind the key
/// and a line end behind the value.
const MEMCACHED_ITEM_BYTES: usize = 48 + 8 + 1 + 2;

/// The shortest line that can be a command, its line end included: memcached looks no further.
const MIN_LINE_LEN: usize = 4;

/// The most digits of a data block's length.
const MAX_LEN_DIGITS: usize = 11;

#[cfg(test)]
mod tests;
