//! Outcomes as bytes, for the node that forwarded the commands: one behind the other, in postcard.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::item::{Header, Marks, Seconds, Value};
use crate::page::{Listed, Page};
use crate::rules::{Counted, Hit, Outcome};

/// An outcome. What is declared here is what goes from node to node: other kinds are added at the end.
#[derive(Clone, Debug, Deserialize, Serialize)]
enum Told<'a> {
    Hit {
        cas: u64,
        client_flags: u32,
        exptime_before: Seconds,
        last_access: Seconds,
        marks: u8,
        exptime: Seconds,
        created: bool,
        won: bool,
        #[serde(borrow, with = "serde_bytes")]
        value: &'a [u8],
    },
    Miss,
    Stored {
        cas: u64,
        len: usize,
    },
    NotStored,
    Exists,
    NotFound,
    Deleted,
    Counted {
        number: u64,
        cas: u64,
        created: bool,
        exptime_before: Seconds,
        exptime: Seconds,
    },
    NotANumber,
    TooLarge,
    NoMemory,
    Failed(u8),
    Listed {
        #[serde(borrow)]
        items: Vec<ToldItem<'a>>,
        #[serde(borrow)]
        after: Option<&'a serde_bytes::Bytes>,
    },
    Done,
}

/// An item of a range.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct ToldItem<'a> {
    #[serde(borrow, with = "serde_bytes")]
    key: &'a [u8],
    client_flags: u32,
    #[serde(borrow, with = "serde_bytes")]
    value: &'a [u8],
}

/// Appends an outcome. A failure goes by its `number`: its words are those of who is told.
///
/// `None` if it cannot be written, which no outcome is.
pub fn write(
    outcome: &Outcome<'_>,
    bytes: Vec<u8>,
    number: impl FnOnce(&'static str) -> u8,
) -> Option<Vec<u8>> {
    let whole;
    let told = match outcome {
        Outcome::Hit(Hit { before, exptime, created, won, value }) => {
            whole = value.to_bytes();
            Told::Hit {
                cas: before.cas,
                client_flags: before.client_flags,
                exptime_before: before.exptime,
                last_access: before.last_access,
                marks: before.marks.bits(),
                exptime: *exptime,
                created: *created,
                won: *won,
                value: &whole,
            }
        }
        Outcome::Miss => Told::Miss,
        Outcome::Stored { cas, len } => Told::Stored { cas: *cas, len: *len },
        Outcome::NotStored => Told::NotStored,
        Outcome::Exists => Told::Exists,
        Outcome::NotFound => Told::NotFound,
        Outcome::Deleted => Told::Deleted,
        Outcome::Counted(Counted { number, cas, created, exptime_before, exptime }) => {
            Told::Counted {
                number: *number,
                cas: *cas,
                created: *created,
                exptime_before: *exptime_before,
                exptime: *exptime,
            }
        }
        Outcome::NotANumber => Told::NotANumber,
        Outcome::TooLarge => Told::TooLarge,
        Outcome::NoMemory => Told::NoMemory,
        Outcome::Failed(why) => Told::Failed(number(why)),
        Outcome::Listed(Page { items, after }) => {
            fn item(item: &Listed) -> ToldItem<'_> {
                let Listed { key, client_flags, value } = item;
                ToldItem { key, client_flags: *client_flags, value }
            }
            Told::Listed {
                items: items.iter().map(item).collect(),
                after: after.as_deref().map(serde_bytes::Bytes::new),
            }
        }
        Outcome::Done => Told::Done,
    };
    postcard::to_extend(&told, bytes).ok()
}

/// The outcomes of `count` commands, whose failures have these numbers. Values are shared with `bytes`.
///
/// `None` if they make no sense to this version.
pub fn read(
    bytes: &Bytes,
    count: usize,
    of_number: impl Fn(u8) -> &'static str,
) -> Option<Vec<Outcome<'static>>> {
    let (mut outcomes, mut rest) = (Vec::with_capacity(count), &bytes[..]);
    while !rest.is_empty() {
        let (told, behind) = postcard::take_from_bytes(rest).ok()?;
        outcomes.push(outcome(told, bytes, &of_number));
        rest = behind;
    }
    Some(outcomes).filter(|outcomes| outcomes.len() == count)
}

fn outcome(
    told: Told<'_>,
    all: &Bytes,
    of_number: &impl Fn(u8) -> &'static str,
) -> Outcome<'static> {
    match told {
        Told::Hit {
            cas,
            client_flags,
            exptime_before,
            last_access,
            marks,
            exptime,
            created,
            won,
            value,
        } => {
            let marks = Marks::from_bits(marks);
            let before = Header { cas, client_flags, exptime: exptime_before, last_access, marks };
            let value = Value::Shared(all.slice_ref(value));
            Outcome::Hit(Hit { before, exptime, created, won, value })
        }
        Told::Miss => Outcome::Miss,
        Told::Stored { cas, len } => Outcome::Stored { cas, len },
        Told::NotStored => Outcome::NotStored,
        Told::Exists => Outcome::Exists,
        Told::NotFound => Outcome::NotFound,
        Told::Deleted => Outcome::Deleted,
        Told::Counted { number, cas, created, exptime_before, exptime } => {
            Outcome::Counted(Counted { number, cas, created, exptime_before, exptime })
        }
        Told::NotANumber => Outcome::NotANumber,
        Told::TooLarge => Outcome::TooLarge,
        Told::NoMemory => Outcome::NoMemory,
        Told::Failed(number) => Outcome::Failed(of_number(number)),
        Told::Listed { items, after } => {
            let item = |ToldItem { key, client_flags, value }| {
                let [key, value] = [key, value].map(|bytes| all.slice_ref(bytes));
                Listed { key, client_flags, value }
            };
            let after = after.map(|key| all.slice_ref(key));
            Outcome::Listed(Page { items: items.into_iter().map(item).collect(), after })
        }
        Told::Done => Outcome::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "one";
    const SIXTEEN: &str = "sixteen";

    fn number(failure: &'static str) -> u8 {
        if failure == ONE { 1 } else { 16 }
    }

    fn of_number(number: u8) -> &'static str {
        if number == 1 { ONE } else { SIXTEEN }
    }

    #[test]
    fn the_bytes_are_these_for_good_and_come_back_as_they_were() {
        let before =
            Header { cas: 300, client_flags: 2, exptime: 3, last_access: 4, marks: Marks::STALE };
        let value = Value::Slice(b"ab");
        let counted = Counted { number: 6, cas: 7, created: false, exptime_before: 8, exptime: 9 };
        let item = Listed { key: "c".into(), client_flags: 300, value: "xy".into() };
        let outcomes = [
            Outcome::Hit(Hit { before, exptime: 5, created: false, won: true, value }),
            Outcome::Miss,
            Outcome::Stored { cas: 1, len: 2 },
            Outcome::NotStored,
            Outcome::Exists,
            Outcome::NotFound,
            Outcome::Deleted,
            Outcome::Counted(counted),
            Outcome::NotANumber,
            Outcome::TooLarge,
            Outcome::NoMemory,
            Outcome::Failed(ONE),
            Outcome::Failed(SIXTEEN),
            Outcome::Listed(Page { items: vec![item], after: Some("d".into()) }),
            Outcome::Listed(Page::default()),
            Outcome::Done,
        ];
        let written =
            outcomes.iter().try_fold(Vec::new(), |bytes, outcome| write(outcome, bytes, number));
        let bytes = Bytes::from(written.unwrap());
        let expected = [
            &[0, 172, 2, 2, 3, 4, 2, 5, 0, 1, 2, b'a', b'b', 1, 2, 1, 2, 3, 4, 5, 6][..],
            &[7, 6, 7, 0, 8, 9, 8, 9, 10, 11, 1, 11, 16],
            &[12, 1, 1, b'c', 172, 2, 2, b'x', b'y', 1, 1, b'd', 12, 0, 0, 13],
        ]
        .concat();
        assert_eq!(bytes, expected);
        let told = |outcomes: &[Outcome<'_>]| format!("{outcomes:?}").replace("Slice", "Shared");
        let back = read(&bytes, outcomes.len(), of_number).unwrap();
        let owned: Vec<_> = outcomes.into_iter().map(Outcome::into_owned).collect();
        assert_eq!(told(&back), told(&owned));
        let is_none = |bytes, count| read(bytes, count, of_number).is_none();
        assert!(is_none(&bytes, 12) && is_none(&bytes.slice(..5), 1));
    }
}
