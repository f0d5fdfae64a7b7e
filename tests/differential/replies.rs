//! Whether two answers are the same, but for what the protocol leaves open.

use std::collections::HashMap;

/// Which cas unique of one server stands for which of the other: equal ones for equal ones.
///
/// memcached's are unique among all items; all that must be is that those of one key are.
#[derive(Default)]
pub(super) struct CasPairs {
    to_left: HashMap<u64, u64>,
    to_right: HashMap<(Vec<u8>, u64), u64>,
    seen: Vec<(Vec<u8>, (u64, u64))>,
    /// How many of those may be sent.
    usable: usize,
}

impl CasPairs {
    /// The pair received last for this key, or `back` before it.
    pub(super) fn recent(&self, key: &[u8], back: usize) -> Option<(u64, u64)> {
        self.seen[..self.usable]
            .iter()
            .rev()
            .filter(|(of, _)| of == key)
            .nth(back)
            .map(|(_, pair)| *pair)
    }

    /// From now on all that have been received may be sent.
    pub(super) fn settle(&mut self) {
        self.usable = self.seen.len();
    }

    /// Whether the two may stand for each other, for this key if it is known which.
    fn same(&mut self, key: Option<&[u8]>, left: u64, right: u64) -> bool {
        // 0 stands for none.
        if left == 0 || right == 0 {
            return left == right;
        }
        if *self.to_left.entry(right).or_insert(left) != left {
            return false;
        }
        let Some(key) = key else { return true };
        if *self.to_right.entry((key.to_vec(), left)).or_insert(right) != right {
            return false;
        }
        self.seen.push((key.to_vec(), (left, right)));
        true
    }
}

/// The length of an answer up to and with a last line, once that is there.
pub(super) fn up_to(last: &[u8], received: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let (line, data) = next(&received[at..])?;
        at += line.len() + data.len();
        if line == last {
            return Some(at);
        }
    }
}

/// The line at the front, with its end, and the value that belongs to it, with its end.
fn next(received: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = received.iter().position(|byte| *byte == b'\n')? + 1;
    let (line, rest) = received.split_at(end);
    let words: Vec<&[u8]> = line.trim_ascii_end().split(|byte| *byte == b' ').collect();
    let len = match words[..] {
        [b"VALUE", _, _, len] | [b"VALUE", _, _, len, _] | [b"VA", len, ..] => {
            number(len).map_or(0, |len| usize::try_from(len).unwrap() + 2)
        }
        _ => 0,
    };
    Some((line, rest.get(..len)?))
}

/// Whether two whole answers are the same. `key` is the one asked about, if it was one.
pub(super) fn same(
    mut left: &[u8],
    mut right: &[u8],
    key: Option<&[u8]>,
    cas: &mut CasPairs,
) -> bool {
    loop {
        match (next(left), next(right)) {
            (Some((left_line, left_data)), Some((right_line, right_data))) => {
                if !same_line(left_line, right_line, key, cas) || left_data != right_data {
                    return false;
                }
                left = &left[left_line.len() + left_data.len()..];
                right = &right[right_line.len() + right_data.len()..];
            }
            _ => return left == right,
        }
    }
}

fn same_line(left: &[u8], right: &[u8], key: Option<&[u8]>, cas: &mut CasPairs) -> bool {
    let (Some(left), Some(right)) = (left.strip_suffix(b"\r\n"), right.strip_suffix(b"\r\n"))
    else {
        return left == right;
    };
    let left: Vec<&[u8]> = left.split(|byte| *byte == b' ').collect();
    let right: Vec<&[u8]> = right.split(|byte| *byte == b' ').collect();
    let kind = left[0];
    let named = left.get(1).copied();
    left.len() == right.len()
        && left.iter().zip(&right).enumerate().all(|(index, (left, right))| match (kind, index) {
            (_, 0) => left == right,
            (b"VALUE", 4) => both(left, right, "", |left, right| cas.same(named, left, right)),
            (b"HD" | b"VA" | b"NS" | b"EX" | b"NF" | b"EN", _) => {
                both(left, right, "c", |left, right| cas.same(key, left, right))
                    || both(left, right, "t", close)
                    || both(left, right, "l", |_, _| true)
                    || (left == right && number_behind(left, "c").is_none())
            }
            (b"ME", _) => {
                both(left, right, "cas=", |left, right| cas.same(named, left, right))
                    || both(left, right, "exp=", close)
                    || ["la=", "cls=", "size="]
                        .iter()
                        .any(|name| both(left, right, name, |_, _| true))
                    || left == right
            }
            (b"VERSION", _) => true,
            _ => left == right,
        })
}

/// Seconds as two clocks count them, that do not begin theirs at the same time.
fn close(left: u64, right: u64) -> bool {
    left.abs_diff(right) <= 2
}

fn both(left: &[u8], right: &[u8], name: &str, same: impl FnOnce(u64, u64) -> bool) -> bool {
    match (number_behind(left, name), number_behind(right, name)) {
        (Some(left), Some(right)) => same(left, right),
        _ => false,
    }
}

fn number_behind(word: &[u8], name: &str) -> Option<u64> {
    number(word.strip_prefix(name.as_bytes())?)
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[test]
fn what_is_open_may_differ_and_nothing_else() {
    let mut cas = CasPairs::default();
    let mut alike = |left: &[u8], right: &[u8]| same(left, right, Some(b"a"), &mut cas);
    assert!(alike(b"VALUE a 0 1 7\r\nx\r\nEND\r\n", b"VALUE a 0 1 9\r\nx\r\nEND\r\n"));
    assert!(alike(b"HD c7 t100 l5\r\n", b"HD c9 t99 l0\r\n"));
    assert!(!alike(b"HD c7\r\n", b"HD c8\r\n"));
    assert!(!alike(b"HD c8\r\n", b"HD c9\r\n"));
    assert!(alike(b"VALUE b 0 0 7\r\n\r\nEND\r\n", b"VALUE b 0 0 5\r\n\r\nEND\r\n"));
    assert!(!alike(b"HD c0\r\n", b"HD c11\r\n"));
    assert!(!alike(b"HD t100\r\n", b"HD t-1\r\n"));
    assert!(!alike(b"HD Oc7\r\n", b"HD Oc9\r\n"));
    assert!(!alike(b"VA 1\r\nx\r\n", b"VA 1\r\ny\r\n"));
    assert!(!alike(b"HD\r\n", b"HD\r\nHD\r\n"));
    assert_eq!(cas.recent(b"b", 0), None);
    cas.settle();
    assert_eq!(cas.recent(b"b", 0), Some((7, 5)));
    assert_eq!(cas.recent(b"a", 0), Some((7, 9)));
    assert_eq!(up_to(b"MN\r\n", b"VA 4\r\nMN\r\n\r\nMN\r\nEN\r\n"), Some(16));
    assert_eq!(up_to(b"MN\r\n", b"VA 4\r\nMN\r\n\r\nM"), None);
}
