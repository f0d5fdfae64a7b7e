//! The meta commands, written.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{MAX_BINARY_KEY_LEN, Refused, Wishes, check_key, end_line, is_printable, number};
use crate::exptime::Exptime;
use crate::op::{Arithmetic, Delete, Fetch, Mode, Op, Store};
use crate::request::MAX_KEY_LEN;

/// Appends `op` on `key` as a meta command.
///
/// Wishes that its command does not know are left out. `opaque` comes back with the answer.
pub fn meta(
    out: &mut Vec<u8>,
    key: &[u8],
    op: &Op<'_>,
    wishes: Wishes,
    opaque: Option<u64>,
) -> Result<(), Refused> {
    let mut encoded = [0; MAX_KEY_LEN];
    let (key, base64) = meta_key(key, asks_for_base64(op), &mut encoded)?;
    let (command, known) = match op {
        Op::Fetch(_) => (b"mg ", Wishes::OF_FETCH),
        Op::Store(_) => (b"ms ", Wishes::OF_STORE),
        Op::Delete(_) => (b"md ", Wishes::OF_DELETE),
        Op::Arithmetic(_) => (b"ma ", Wishes::OF_ARITHMETIC),
    };
    out.extend_from_slice(command);
    out.extend_from_slice(key);
    if let Op::Store(op) = op {
        out.push(b' ');
        number(out, op.value.len());
    }
    flag_if(out, b'b', base64);
    // Flags act and report in their order.
    flag_if(out, b't', wishes.only(known).has(Wishes::TTL_BEFORE));
    match op {
        Op::Fetch(op) => fetch_flags(out, op),
        Op::Store(op) => store_flags(out, op),
        Op::Delete(op) => delete_flags(out, op),
        Op::Arithmetic(op) => arithmetic_flags(out, op),
    }
    for letter in wishes.only(known).letters() {
        flag_if(out, letter, true);
    }
    flag(out, b'O', opaque);
    end_line(out);
    if let Op::Store(op) = op {
        out.extend_from_slice(op.value);
        end_line(out);
    }
    Ok(())
}

/// Appends `me`: everything about an item but its value.
pub fn debug(out: &mut Vec<u8>, key: &[u8]) -> Result<(), Refused> {
    let mut encoded = [0; MAX_KEY_LEN];
    let (key, base64) = meta_key(key, false, &mut encoded)?;
    out.extend_from_slice(b"me ");
    out.extend_from_slice(key);
    flag_if(out, b'b', base64);
    end_line(out);
    Ok(())
}

/// Appends `mn`, answered by `MN` once everything before it is.
pub fn noop(out: &mut Vec<u8>) {
    out.extend_from_slice(b"mn\r\n");
}

fn fetch_flags(out: &mut Vec<u8>, op: &Fetch) {
    // Whether `R` looks at the time to live before or after `T` is decided by their order.
    if op.ttl_before_recache {
        flag(out, b'T', op.ttl.map(|ttl| ttl.0));
    }
    flag(out, b'R', op.recache.map(|ttl| ttl.0));
    if !op.ttl_before_recache {
        flag(out, b'T', op.ttl.map(|ttl| ttl.0));
    }
    // A `T` behind `N` would be the exptime of the new item too.
    flag(out, b'N', op.vivify.map(|ttl| ttl.0));
    flag(out, b'E', op.new_cas);
    flag_if(out, b'u', !op.bump);
}

fn store_flags(out: &mut Vec<u8>, op: &Store<'_>) {
    match op.mode {
        Mode::Set => {}
        Mode::Add => out.extend_from_slice(b" ME"),
        Mode::Replace => out.extend_from_slice(b" MR"),
        Mode::Append => out.extend_from_slice(b" MA"),
        Mode::Prepend => out.extend_from_slice(b" MP"),
    }
    flag(out, b'F', Some(op.client_flags).filter(|flags| *flags != 0));
    flag(out, b'T', Some(op.exptime.0).filter(|_| op.exptime != Exptime::NEVER));
    flag(out, b'C', op.compare);
    flag_if(out, b'I', op.invalidate);
    flag(out, b'E', op.new_cas);
    flag(out, b'N', op.vivify.map(|ttl| ttl.0));
}

fn delete_flags(out: &mut Vec<u8>, op: &Delete) {
    flag(out, b'C', op.compare);
    flag_if(out, b'I', op.invalidate);
    flag_if(out, b'x', op.clear);
    flag(out, b'T', op.ttl.map(|ttl| ttl.0));
    flag(out, b'F', Some(op.client_flags).filter(|flags| *flags != 0));
    flag(out, b'E', op.new_cas);
}

fn arithmetic_flags(out: &mut Vec<u8>, op: &Arithmetic) {
    if op.decrement {
        out.extend_from_slice(b" MD");
    }
    flag(out, b'D', Some(op.delta).filter(|delta| *delta != 1));
    // A `T` behind `N` would be the exptime of the new item too.
    flag(out, b'T', op.ttl.map(|ttl| ttl.0));
    flag(out, b'N', op.vivify.map(|ttl| ttl.0));
    flag(out, b'J', Some(op.initial).filter(|initial| *initial != 0));
    flag(out, b'C', op.compare);
    flag(out, b'E', op.new_cas);
}

fn asks_for_base64(op: &Op<'_>) -> bool {
    match op {
        Op::Fetch(op) => op.binary_key,
        Op::Store(op) => op.binary_key,
        Op::Arithmetic(op) => op.binary_key,
        Op::Delete(_) => false,
    }
}

/// The key as a meta command sends it, and whether that is base64.
fn meta_key<'k>(
    key: &'k [u8],
    base64: bool,
    encoded: &'k mut [u8; MAX_KEY_LEN],
) -> Result<(&'k [u8], bool), Refused> {
    check_key(key)?;
    // A printable key that is too long for base64 can still be sent as it is.
    let base64 = (base64 || !is_printable(key)) && key.len() <= MAX_BINARY_KEY_LEN;
    if !base64 {
        return Ok((key, false));
    }
    let len =
        BASE64.encode_slice(key, encoded).map_err(|_| Refused::KeyTooLong(MAX_BINARY_KEY_LEN))?;
    Ok((encoded.get(..len).unwrap_or_default(), true))
}

fn flag(out: &mut Vec<u8>, letter: u8, token: Option<impl itoa::Integer>) {
    if let Some(token) = token {
        out.extend_from_slice(&[b' ', letter]);
        number(out, token);
    }
}

fn flag_if(out: &mut Vec<u8>, letter: u8, set: bool) {
    if set {
        out.extend_from_slice(&[b' ', letter]);
    }
}
