//! From answers to bytes.

use base64::Engine as _;

use crate::item::{Marks, Seconds, Value};
use crate::page::Page;
use crate::request::{BASE64, Form, Key, MAX_KEY_LEN, Shape, next_token};
use crate::rules::{Counted, Hit, Outcome};

/// Where replies go: a buffer, or pieces for a vectored write.
pub trait Output {
    /// Some bytes, copied.
    fn put(&mut self, bytes: &[u8]);

    /// The bytes of a value; shared ones need not be copied.
    fn put_value(&mut self, value: &Value<'_>);
}

impl Output for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn put_value(&mut self, value: &Value<'_>) {
        value.parts().for_each(|part| self.extend_from_slice(part));
    }
}

/// Writes the answer to a command.
#[inline]
pub fn write_reply(form: &Form<'_>, outcome: &Outcome<'_>, now: Seconds, out: &mut impl Output) {
    match (form.shape, outcome) {
        (Shape::Value { cas }, Outcome::Hit(hit)) => {
            let cas = cas.then_some(hit.before.cas);
            value(form.key.text, hit.before.client_flags, cas, &hit.value, out);
        }
        (Shape::Value { .. }, Outcome::Miss) => {}
        (Shape::MetaGet { value, unless_cas }, Outcome::Hit(hit)) => {
            let value = value && unless_cas != Some(hit.before.cas);
            meta_hit(form, hit, value, now, out);
        }
        (Shape::MetaDebug, Outcome::Hit(hit)) => meta_debug(form, hit, now, out),
        (Shape::MetaArithmetic { value }, Outcome::Counted(counted)) => {
            meta_number(form, counted, value, now, out);
        }
        (Shape::MetaSet { sent }, outcome) if code(outcome).is_some() => {
            meta_stored(form, outcome, sent, out);
        }
        (Shape::MetaGet { .. } | Shape::MetaDelete | Shape::MetaArithmetic { .. }, outcome)
            if code(outcome).is_some() =>
        {
            meta_code(form, outcome, out);
        }
        (Shape::MetaDebug, Outcome::Miss) => out.put(b"EN\r\n"),
        (_, Outcome::Listed(page)) => list(page, out),
        (_, outcome) => line(form, outcome, out),
    }
}

/// `VALUE <key> <flags> <bytes> [<cas unique>]` and the value.
#[inline]
fn value(
    key: &[u8],
    client_flags: u32,
    cas: Option<u64>,
    value: &Value<'_>,
    out: &mut impl Output,
) {
    let mut number = itoa::Buffer::new();
    out.put(b"VALUE ");
    out.put(key);
    out.put(b" ");
    out.put(number.format(client_flags).as_bytes());
    out.put(b" ");
    out.put(number.format(value.len()).as_bytes());
    if let Some(cas) = cas {
        out.put(b" ");
        out.put(number.format(cas).as_bytes());
    }
    out.put(b"\r\n");
    out.put_value(value);
    out.put(b"\r\n");
}

/// The items of a range, and `END` if that is its end.
fn list(page: &Page, out: &mut impl Output) {
    for item in &page.items {
        value(&item.key, item.client_flags, None, &Value::Shared(item.value.clone()), out);
    }
    if page.after.is_none() {
        out.put(b"END\r\n");
    }
}

/// The answers that are one line of words, and the errors of all commands.
fn line(form: &Form<'_>, outcome: &Outcome<'_>, out: &mut impl Output) {
    // A meta command's errors are always told.
    if form.quiet && !form.shape.is_meta() {
        return;
    }
    let words: &[u8] = match (outcome, form.shape) {
        (Outcome::Stored { .. }, _) => b"STORED",
        (Outcome::NotStored, _) => b"NOT_STORED",
        (Outcome::Exists, _) => b"EXISTS",
        (Outcome::NotFound | Outcome::Miss, _) => b"NOT_FOUND",
        (Outcome::Deleted, Shape::Flushed) | (Outcome::Done, _) => b"OK",
        // MemcacheDB says no more.
        (Outcome::Failed(_), Shape::Checkpoint) => b"ERROR",
        (Outcome::Deleted, _) => b"DELETED",
        (Outcome::Hit(_), _) => b"TOUCHED",
        (Outcome::Counted(counted), _) => {
            out.put(itoa::Buffer::new().format(counted.number).as_bytes());
            b""
        }
        // Written above.
        (Outcome::Listed(_), _) => return,
        (Outcome::NotANumber, _) => b"CLIENT_ERROR cannot increment or decrement non-numeric value",
        (Outcome::TooLarge, _) => b"SERVER_ERROR object too large for cache",
        (Outcome::NoMemory, _) => b"SERVER_ERROR out of memory storing object",
        (Outcome::Failed(why), _) => {
            out.put(b"SERVER_ERROR ");
            why.as_bytes()
        }
    };
    out.put(words);
    out.put(b"\r\n");
}

/// A meta answer's two letters; `None` for an error.
fn code(outcome: &Outcome<'_>) -> Option<&'static [u8]> {
    match outcome {
        Outcome::Miss => Some(b"EN"),
        Outcome::Stored { .. } | Outcome::Deleted => Some(b"HD"),
        Outcome::NotStored => Some(b"NS"),
        Outcome::Exists => Some(b"EX"),
        Outcome::NotFound => Some(b"NF"),
        _ => None,
    }
}

/// An answer of which only opaque and key are wanted.
fn meta_code(form: &Form<'_>, outcome: &Outcome<'_>, out: &mut impl Output) {
    if form.quiet && matches!(outcome, Outcome::Miss | Outcome::Deleted) {
        return;
    }
    out.put(code(outcome).unwrap_or_default());
    for flag in Flags(form.flags) {
        match flag {
            [b'O', ..] => opaque(flag, out),
            [b'k', ..] => own_key(form.key, out),
            _ => {}
        }
    }
    out.put(b"\r\n");
}

fn meta_stored(form: &Form<'_>, outcome: &Outcome<'_>, sent: usize, out: &mut impl Output) {
    let (cas, len) = match outcome {
        Outcome::Stored { .. } if form.quiet => return,
        Outcome::Stored { cas, len } => (*cas, *len),
        _ => (0, sent),
    };
    out.put(code(outcome).unwrap_or_default());
    for flag in Flags(form.flags) {
        match flag {
            [b'O', ..] => opaque(flag, out),
            [b'k', ..] => own_key(form.key, out),
            [b'c', ..] => number(b" c", cas, out),
            [b's', ..] => number(b" s", len as u64, out),
            _ => {}
        }
    }
    out.put(b"\r\n");
}

fn meta_hit(form: &Form<'_>, hit: &Hit<'_>, value: bool, now: Seconds, out: &mut impl Output) {
    let before = &hit.before;
    if value {
        number(b"VA ", hit.value.len() as u64, out);
    } else {
        out.put(b"HD");
    }
    // Flags act and report in their order: a `t` before `T` tells the old time to live.
    let mut exptime = before.exptime;
    for flag in Flags(form.flags) {
        match flag {
            [b'T', ..] => exptime = hit.exptime,
            [b'N', ..] if hit.created => exptime = hit.exptime,
            [b'O', ..] => opaque(flag, out),
            [b'k', ..] => item_key(form.key, before.marks, out),
            [b'c', ..] => number(b" c", before.cas, out),
            [b'f', ..] => number(b" f", u64::from(before.client_flags), out),
            [b'h', ..] => number(b" h", u64::from(before.marks.has(Marks::FETCHED)), out),
            [b'l', ..] => number(b" l", u64::from(now.saturating_sub(before.last_access)), out),
            [b's', ..] => number(b" s", hit.value.len() as u64, out),
            [b't', ..] => ttl(exptime, now, out),
            _ => {}
        }
    }
    if before.marks.has(Marks::WON) {
        out.put(b" Z");
    }
    if before.marks.has(Marks::STALE) {
        out.put(b" X");
    }
    if hit.won {
        out.put(b" W");
    }
    out.put(b"\r\n");
    if value {
        out.put_value(&hit.value);
        out.put(b"\r\n");
    }
}

fn meta_number(
    form: &Form<'_>,
    counted: &Counted,
    value: bool,
    now: Seconds,
    out: &mut impl Output,
) {
    if form.quiet {
        return;
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(counted.number).as_bytes();
    if value {
        number(b"VA ", digits.len() as u64, out);
    } else {
        out.put(b"HD");
    }
    let mut exptime = counted.exptime_before;
    for flag in Flags(form.flags) {
        match flag {
            [b'T', ..] => exptime = counted.exptime,
            [b'N', ..] if counted.created => exptime = counted.exptime,
            [b'O', ..] => opaque(flag, out),
            [b'k', ..] => own_key(form.key, out),
            [b'c', ..] => number(b" c", counted.cas, out),
            [b't', ..] => ttl(exptime, now, out),
            _ => {}
        }
    }
    out.put(b"\r\n");
    if value {
        out.put(digits);
        out.put(b"\r\n");
    }
}

/// `ME <key> exp=… la=… cas=… fetch=… cls=… size=…`, as memcached's. There is one class of items,
/// and the size is that of key and value.
fn meta_debug(form: &Form<'_>, hit: &Hit<'_>, now: Seconds, out: &mut impl Output) {
    let before = &hit.before;
    let mut scratch = [0; MAX_KEY_LEN];
    let key_len = form.key.bytes(&mut scratch).len();
    out.put(b"ME ");
    kept_key(form.key, before.marks, out);
    match before.ttl(now) {
        None => out.put(b" exp=-1"),
        Some(left) => number(b" exp=", u64::from(left), out),
    }
    number(b" la=", u64::from(now.saturating_sub(before.last_access)), out);
    number(b" cas=", before.cas, out);
    out.put(if before.marks.has(Marks::FETCHED) { b" fetch=yes" } else { b" fetch=no" });
    out.put(b" cls=1");
    number(b" size=", (key_len + hit.value.len()) as u64, out);
    out.put(b"\r\n");
}

/// The flags of a meta command, one by one.
struct Flags<'a>(&'a [u8]);

impl<'a> Iterator for Flags<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        next_token(&mut self.0)
    }
}

fn opaque(flag: &[u8], out: &mut impl Output) {
    out.put(b" ");
    out.put(flag);
}

fn number(label: &[u8], number: u64, out: &mut impl Output) {
    out.put(label);
    out.put(itoa::Buffer::new().format(number).as_bytes());
}

/// Seconds left to live, -1 for ever.
fn ttl(exptime: Seconds, now: Seconds, out: &mut impl Output) {
    match exptime {
        0 => out.put(b" t-1"),
        _ => number(b" t", u64::from(exptime.saturating_sub(now)), out),
    }
}

/// The key as the request has it.
fn own_key(key: Key<'_>, out: &mut impl Output) {
    out.put(b" k");
    out.put(key.text);
    if key.base64 {
        out.put(b" b");
    }
}

/// The key as the item has it, for `k`.
fn item_key(key: Key<'_>, marks: Marks, out: &mut impl Output) {
    out.put(b" k");
    kept_key(key, marks, out);
    if marks.has(Marks::BINARY_KEY) {
        out.put(b" b");
    }
}

/// The key as the item has it: in base64 if that is how the item was stored, however it was asked
/// for.
fn kept_key(key: Key<'_>, marks: Marks, out: &mut impl Output) {
    match (key.base64, marks.has(Marks::BINARY_KEY)) {
        (true, false) => out.put(key.bytes(&mut [0; MAX_KEY_LEN])),
        (false, true) => {
            let mut text = [0; MAX_KEY_LEN.div_ceil(3) * 4];
            let len = BASE64.encode_slice(key.text, &mut text).unwrap_or(0);
            out.put(text.get(..len).unwrap_or_default());
        }
        _ => out.put(key.text),
    }
}

#[cfg(test)]
mod tests;
