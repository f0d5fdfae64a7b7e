//! Items as meta commands, which any memcached from 1.6 on takes.

use larder_protocol::encode::{Wishes, is_printable, meta};
use larder_protocol::{Delete, Exptime, Marks, Op, Store};
use larder_store::Item;

use super::sender::Command;
use crate::failure::Failure;

/// What makes an item of a node what this one is.
pub(super) fn command(item: &Item<'_>) -> Result<Command, Failure> {
    let mut text = Vec::with_capacity(item.key.len() + item.value.len() + 64);
    let answers = write(&mut text, item)?;
    Ok(Command { text, answers, origin: named(item.key) })
}

/// Appends what makes an item of a server what this one is, but for its cas unique. Gives how many
/// answers that has.
pub(super) fn write(out: &mut Vec<u8>, item: &Item<'_>) -> Result<usize, Failure> {
    if is_control(item) {
        return Ok(write_as_it_is(out, item));
    }
    let mut say = |op| {
        let said = meta(out, item.key, &op, Wishes::NONE, None);
        said.map_err(|refused| Failure::system(format!("{}: {refused}", named(item.key))))
    };
    let store = Store {
        value: item.value,
        client_flags: item.client_flags,
        exptime: Exptime(item.exptime.into()),
        binary_key: item.marks.has(Marks::BINARY_KEY),
        ..Store::SET
    };
    say(Op::Store(store))?;
    if !is_stale(item) {
        return Ok(1);
    }
    say(Op::Delete(Delete { invalidate: true, ..Delete::default() }))?;
    Ok(2)
}

fn named(key: &[u8]) -> String {
    format!("key \"{}\"", key.escape_ascii())
}

/// Whether its key has control characters that are no line ends, and came as it is: as base64 it would
/// be marked so, and may be too long.
fn is_control(item: &Item<'_>) -> bool {
    let ends = |byte: &u8| matches!(byte, b' ' | b'\r' | b'\n' | 0);
    let is_marked = item.marks.has(Marks::BINARY_KEY);
    !is_marked && !is_printable(item.key) && !item.key.iter().any(ends)
}

fn write_as_it_is(out: &mut Vec<u8>, item: &Item<'_>) -> usize {
    let Item { key, value, client_flags, exptime, .. } = item;
    let line = format!(" {} F{client_flags} T{exptime}\r\n", value.len());
    for part in [b"ms ", *key, line.as_bytes(), value, b"\r\n"] {
        out.extend_from_slice(part);
    }
    if !is_stale(item) {
        return 1;
    }
    for part in [b"md ", *key, b" I\r\n"] {
        out.extend_from_slice(part);
    }
    2
}

/// Whoever was told to bring a new value does so to a cluster that is gone: the next is to be told. An
/// empty item for which somebody was told that is no value that anybody gave.
fn is_stale(item: &Item<'_>) -> bool {
    let is_wanted = item.value.is_empty() && item.marks.has(Marks::WON);
    item.marks.has(Marks::STALE) || is_wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_a_command_or_two() {
        let plain = Item {
            key: b"k",
            value: b"v\r\n",
            client_flags: 0,
            exptime: 0,
            cas: 7,
            last_write: 1,
            marks: Marks::default(),
        };
        let all = Item { client_flags: 5, exptime: 1_700_000_000, ..plain };
        let stale = Item { marks: Marks::STALE.with(Marks::WON), ..plain };
        let wanted = Item { value: b"", marks: Marks::WON, ..plain };
        let won = Item { marks: Marks::WON, ..plain };
        let spaced = Item { key: b"a b", ..plain };
        let long = [1; 250];
        let raw = Item { key: &long, marks: Marks::STALE, ..all };
        let mut raw_text = [b"ms ", &long[..], b" 3 F5 T1700000000\r\nv\r\n\r\n"].concat();
        raw_text.extend_from_slice(&[b"md ", &long[..], b" I\r\n"].concat());
        let marked = Item { marks: Marks::BINARY_KEY.with(Marks::STALE), ..plain };
        for (item, text, answers) in [
            (plain, &b"ms k 3\r\nv\r\n\r\n"[..], 1),
            (all, b"ms k 3 F5 T1700000000\r\nv\r\n\r\n", 1),
            (stale, b"ms k 3\r\nv\r\n\r\nmd k I\r\n", 2),
            (wanted, b"ms k 0\r\n\r\nmd k I\r\n", 2),
            (won, b"ms k 3\r\nv\r\n\r\n", 1),
            (spaced, b"ms YSBi 3 b\r\nv\r\n\r\n", 1),
            (raw, &raw_text, 2),
            (marked, b"ms aw== 3 b\r\nv\r\n\r\nmd k I\r\n", 2),
        ] {
            let mut out = Vec::new();
            assert_eq!(write(&mut out, &item), Ok(answers));
            assert_eq!(out, text, "{}", out.escape_ascii());
        }
    }
}
