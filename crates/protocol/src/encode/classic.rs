//! The classic commands, written.

use super::{Refused, Wishes, classic_key, end_line, number};
use crate::exptime::Exptime;
use crate::op::{Arithmetic, Delete, Fetch, Mode, Op, Store};

/// Appends `op` on `key` as a classic command.
///
/// A [`Fetch`] that sets an exptime is `gat`, or `touch` unless [`Wishes::VALUE`] is among the
/// wishes; [`Wishes::CAS`] makes `gets` and `gats` of `get` and `gat`; [`Wishes::QUIET`] is
/// `noreply`. Other wishes are left out: classic commands say what they say.
pub fn classic(out: &mut Vec<u8>, key: &[u8], op: &Op<'_>, wishes: Wishes) -> Result<(), Refused> {
    let key = classic_key(key)?;
    let expressible = match *op {
        Op::Fetch(Fetch { ttl, .. }) if *op == Op::Fetch(Fetch { ttl, ..Fetch::GET }) => {
            classic_fetch(out, key, ttl, wishes);
            return Ok(());
        }
        Op::Fetch(_) => false,
        Op::Store(Store { mode, compare, invalidate, new_cas, vivify, .. }) => {
            let compares = mode == Mode::Set || compare.is_none();
            compares && !invalidate && new_cas.is_none() && vivify.is_none()
        }
        Op::Delete(delete) => delete == Delete::default(),
        Op::Arithmetic(Arithmetic { vivify, compare, new_cas, ttl, .. }) => {
            vivify.is_none() && compare.is_none() && new_cas.is_none() && ttl.is_none()
        }
    };
    if !expressible {
        return Err(Refused::NotClassic);
    }
    let noreply: &[u8] = if wishes.has(Wishes::QUIET) { b" noreply" } else { b"" };
    match op {
        Op::Store(op) => {
            classic_store(out, key, op, noreply);
            return Ok(());
        }
        Op::Arithmetic(op) => {
            out.extend_from_slice(if op.decrement { b"decr " } else { b"incr " });
            out.extend_from_slice(key);
            out.push(b' ');
            number(out, op.delta);
        }
        Op::Delete(_) | Op::Fetch(_) => {
            out.extend_from_slice(b"delete ");
            out.extend_from_slice(key);
        }
    }
    out.extend_from_slice(noreply);
    end_line(out);
    Ok(())
}

/// Appends a `get` of several keys, or a `gets`.
pub fn get_many<'k>(
    out: &mut Vec<u8>,
    keys: impl IntoIterator<Item = &'k [u8]>,
    with_cas: bool,
) -> Result<(), Refused> {
    let before = out.len();
    out.extend_from_slice(if with_cas { b"gets" } else { b"get" });
    let command_end = out.len();
    for key in keys {
        match classic_key(key) {
            Ok(key) => {
                out.push(b' ');
                out.extend_from_slice(key);
            }
            Err(refused) => {
                out.truncate(before);
                return Err(refused);
            }
        }
    }
    if out.len() == command_end {
        out.truncate(before);
        return Err(Refused::EmptyKey);
    }
    end_line(out);
    Ok(())
}

fn classic_fetch(out: &mut Vec<u8>, key: &[u8], ttl: Option<Exptime>, wishes: Wishes) {
    let touch = ttl.is_some() && !wishes.has(Wishes::VALUE);
    let command: &[u8] = match (ttl, wishes.has(Wishes::CAS)) {
        _ if touch => b"touch ",
        (None, false) => b"get ",
        (None, true) => b"gets ",
        (Some(_), false) => b"gat ",
        (Some(_), true) => b"gats ",
    };
    out.extend_from_slice(command);
    match ttl {
        // `touch` has its exptime behind the key, `gat` before it.
        Some(Exptime(exptime)) if !touch => {
            number(out, exptime);
            out.push(b' ');
            out.extend_from_slice(key);
        }
        _ => {
            out.extend_from_slice(key);
            if let Some(Exptime(exptime)) = ttl {
                out.push(b' ');
                number(out, exptime);
            }
        }
    }
    if touch && wishes.has(Wishes::QUIET) {
        out.extend_from_slice(b" noreply");
    }
    end_line(out);
}

fn classic_store(out: &mut Vec<u8>, key: &[u8], op: &Store<'_>, noreply: &[u8]) {
    let command: &[u8] = match (op.mode, op.compare) {
        (Mode::Set, Some(_)) => b"cas ",
        (Mode::Set, None) => b"set ",
        (Mode::Add, _) => b"add ",
        (Mode::Replace, _) => b"replace ",
        (Mode::Append, _) => b"append ",
        (Mode::Prepend, _) => b"prepend ",
    };
    out.extend_from_slice(command);
    out.extend_from_slice(key);
    out.push(b' ');
    number(out, op.client_flags);
    out.push(b' ');
    number(out, op.exptime.0);
    out.push(b' ');
    number(out, op.value.len());
    if let Some(cas) = op.compare {
        out.push(b' ');
        number(out, cas);
    }
    out.extend_from_slice(noreply);
    end_line(out);
    out.extend_from_slice(op.value);
    end_line(out);
}
