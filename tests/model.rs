//! memcache, naively: a map, and what each command does to it in the fewest words. It is the
//! judge of the engines, so it shares nothing with the rules they follow.

use std::collections::{BTreeMap, BTreeSet};

use larder_protocol::{Arithmetic, Delete, Exptime, Fetch, Mode, Op, Store};

use crate::engines::Said;

/// A map of items.
#[derive(Default)]
pub(crate) struct Model {
    items: BTreeMap<Vec<u8>, Kept>,
    last_cas: u64,
    flush_at: Option<u32>,
}

#[derive(Clone, Default)]
struct Kept {
    value: Vec<u8>,
    cas: u64,
    client_flags: u32,
    exptime: u32,
    marks: Marks,
}

/// As the protocol's letters: `h` fetched, `X` stale, `Z` won, `b` a key in base64.
pub(crate) type Marks = BTreeSet<char>;

impl Model {
    /// The answer, and the cas unique told with it.
    pub(crate) fn execute(&mut self, key: &[u8], op: &Op<'_>, now: u32) -> (Said, Option<u64>) {
        self.flush(now);
        let item = self.items.remove(key).filter(|item| item.exptime == 0 || item.exptime > now);
        let (item, said) = match op {
            Op::Fetch(op) => self.fetch(item, op, now),
            Op::Store(op) => self.store(item, op, now),
            Op::Delete(op) => self.delete(item, op, now),
            Op::Arithmetic(op) => self.count(item, op, now),
        };
        let told = matches!(said, Said::Found { .. } | Said::Stored { .. } | Said::Counted { .. });
        let cas = item.as_ref().map(|item| item.cas).filter(|_| told);
        self.items.extend(item.map(|item| (key.to_vec(), item)));
        (said, cas)
    }

    pub(crate) fn flush_all(&mut self, at: u32, now: u32) {
        self.flush(now);
        self.flush_at = Some(at.max(now));
    }

    fn flush(&mut self, now: u32) {
        if self.flush_at.take_if(|at| *at <= now).is_some() {
            self.items.clear();
        }
    }

    fn cas(&mut self, given: Option<u64>) -> u64 {
        self.last_cas += 1;
        given.unwrap_or(self.last_cas)
    }

    fn fetch(&mut self, old: Option<Kept>, op: &Fetch, now: u32) -> (Option<Kept>, Said) {
        let created = old.is_none();
        let (before, ttl) = match (old, op.vivify) {
            (None, None) => return (None, Said::Missing),
            (None, ttl) => (Kept { cas: self.cas(op.new_cas), ..fresh(op.binary_key) }, ttl),
            (Some(item), _) => (item, op.ttl),
        };
        let mut item = before.clone();
        item.exptime = ttl.map_or(before.exptime, |ttl| when(ttl, now));
        let seen = if op.ttl_before_recache { item.exptime } else { before.exptime };
        let soon = op.recache.is_some_and(|within| seen != 0 && seen < when(within, now));
        let due = (soon || before.marks.contains(&'X')) && !before.marks.contains(&'Z');
        let wins = created || (op.may_win && due);
        item.marks.extend(wins.then_some('Z'));
        item.marks.extend(op.bump.then_some('h'));
        let Kept { value, client_flags, marks, .. } = before;
        let times = (before.exptime, item.exptime);
        (Some(item), Said::Found { value, client_flags, times, marks, wins })
    }

    fn store(&mut self, old: Option<Kept>, op: &Store<'_>, now: u32) -> (Option<Kept>, Said) {
        let mut new = fresh(op.binary_key);
        (new.value, new.client_flags) = (op.value.to_vec(), op.client_flags);
        new.exptime = when(op.exptime, now);
        let joins = matches!(op.mode, Mode::Append | Mode::Prepend);
        let refused = match (op.mode, &old, op.compare) {
            (Mode::Set, _, None) | (Mode::Add, None, _) | (Mode::Replace, Some(_), None) => None,
            (Mode::Add, Some(_), _) | (Mode::Replace, None, None) => Some(Said::NotStored),
            (Mode::Set | Mode::Replace, None, Some(_)) => Some(Said::NotFound),
            (Mode::Set | Mode::Replace, Some(old), Some(cas)) if cas == old.cas => None,
            (Mode::Set | Mode::Replace, Some(old), Some(1..)) if older(op, old) => {
                new.exptime = old.exptime;
                new.marks.extend(old.marks.get(&'Z'));
                new.marks.insert('X');
                None
            }
            (Mode::Set | Mode::Replace, Some(_), Some(_)) => Some(Said::Exists),
            (_, Some(old), Some(cas @ 1..)) if cas != old.cas => Some(Said::Exists),
            (_, Some(old), _) => {
                let value = match op.mode {
                    Mode::Append => [&old.value, op.value].concat(),
                    _ => [op.value, &old.value].concat(),
                };
                new = Kept { value, marks: binary(&old.marks), ..old.clone() };
                None
            }
            (_, None, _) => op.vivify.is_none().then_some(Said::NotStored),
        };
        if let Some(refused) = refused {
            return (old, refused);
        }
        if let (true, None, Some(ttl)) = (joins, old, op.vivify) {
            new.exptime = when(ttl, now);
        }
        new.cas = self.cas(op.new_cas);
        let len = new.value.len();
        (Some(new), Said::Stored { len })
    }

    fn delete(&mut self, old: Option<Kept>, op: &Delete, now: u32) -> (Option<Kept>, Said) {
        let mut item = match old {
            None => return (None, Said::NotFound),
            Some(item) if op.compare.is_some_and(|cas| cas != item.cas) => {
                return (Some(item), Said::Exists);
            }
            Some(_) if !op.clear && !op.invalidate => return (None, Said::Deleted),
            Some(item) => item,
        };
        if op.clear {
            let (cas, client_flags) = (item.cas, op.client_flags);
            item = Kept { cas, client_flags, marks: binary(&item.marks), ..Kept::default() };
        }
        if op.invalidate {
            item.marks.insert('X');
            item.marks.remove(&'Z');
        }
        if op.invalidate || op.new_cas.is_some() {
            item.cas = self.cas(op.new_cas);
        }
        item.exptime = op.ttl.map_or(item.exptime, |ttl| when(ttl, now));
        (Some(item), Said::Deleted)
    }

    fn count(&mut self, old: Option<Kept>, op: &Arithmetic, now: u32) -> (Option<Kept>, Said) {
        let (mut item, number, ttl) = match (old, op.vivify) {
            (None, None) => return (None, Said::NotFound),
            (None, ttl) => (fresh(op.binary_key), op.initial, ttl),
            (Some(item), _) => {
                let other = op.compare.is_some_and(|cas| cas != 0 && cas != item.cas);
                let text = String::from_utf8_lossy(&item.value).into_owned();
                let number = text.split_whitespace().next().and_then(|n| n.parse::<u64>().ok());
                match number {
                    _ if item.value.is_empty() => return (Some(item), Said::NotANumber),
                    _ if other => return (Some(item), Said::Exists),
                    None => return (Some(item), Said::NotANumber),
                    Some(n) if op.decrement => (item, n.saturating_sub(op.delta), op.ttl),
                    Some(n) => (item, n.wrapping_add(op.delta), op.ttl),
                }
            }
        };
        let (len, before) = (item.value.len(), item.exptime);
        item.value = format!("{number:<len$}").into_bytes();
        if item.value.len() > len {
            item.marks = binary(&item.marks);
        }
        item.exptime = ttl.map_or(before, |ttl| when(ttl, now));
        item.cas = self.cas(op.new_cas);
        let times = (before, item.exptime);
        (Some(item), Said::Counted { number, times })
    }
}

/// An item with nothing in it.
fn fresh(binary: bool) -> Kept {
    Kept { marks: binary.then_some('b').into_iter().collect(), ..Kept::default() }
}

fn binary(marks: &Marks) -> Marks {
    marks.get(&'b').copied().into_iter().collect()
}

/// Whether what is stored is an older version of what is kept, and may be stored as stale.
fn older(op: &Store<'_>, kept: &Kept) -> bool {
    op.invalidate && op.compare.is_some_and(|cas| cas < kept.cas)
}

/// The second from which an item is gone; 0 for never.
fn when(exptime: Exptime, now: u32) -> u32 {
    match exptime.0 {
        0 => 0,
        ..0 => 1,
        secs @ ..=2_592_000 => now + u32::try_from(secs).unwrap(),
        date => u32::try_from(date).unwrap(),
    }
}
