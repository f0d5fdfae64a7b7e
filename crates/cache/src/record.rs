//! One item in memory, byte by byte.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | four marks; whether there is an exptime, client flags, a long cas; whether it is dead |
//! | 1 | length of the key |
//! | 1 to 5 | length of the value, seven bits in a byte, lowest first |
//! | 4 | last access |
//! | 5 or 8 | cas unique; 8 from 2^40 on |
//! | 0 or 4 | exptime, if there is one |
//! | 0 or 4 | client flags, if they are not 0 |
//! | 0 or 8 | number of the value's pages, if it is long enough to have any; bytes of their map |
//! | | key |
//! | | value, without what is in pages |
//! | | in a file, the map of the pages: where the next process finds them |
//!
//! Numbers are little-endian. An item without exptime and flags whose value is shorter than 128
//! bytes has a head of 12 bytes; each half of these costs 4 more, a longer value one more.
//!
//! In a file a *seal* of 4 bytes stands before the record: a checksum of all of it but the last
//! access and the mark of a fetch.

use larder_protocol::{Header, Marks, Seconds};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::arena::PAGE_BYTES;
use crate::field::take;

/// What stands before key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) header: Header,
    pub(crate) key_len: u8,
    /// All of the value.
    pub(crate) value_len: u32,
    pub(crate) pages: Option<Paged>,
    pub(crate) dead: bool,
}

/// The part of a value that is in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paged {
    /// Its number in its shard.
    pub(crate) number: u32,
    /// Bytes that the record has of where the pages are.
    pub(crate) map_len: u32,
}

/// Where the parts of a record are, from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Where the key begins.
    pub(crate) key: usize,
    /// Where the value begins.
    pub(crate) value: usize,
    /// Where the map of its pages begins, and the value ends.
    pub(crate) map: usize,
    /// Where the record ends.
    pub(crate) end: usize,
}

/// How many bytes of a value are in pages: all whole pages of one that has any.
#[inline]
pub(crate) fn paged_len(value_len: usize) -> usize {
    if value_len < MIN_PAGED { 0 } else { value_len - value_len % PAGE_BYTES }
}

/// The bytes of a record with such parts.
#[inline]
pub(crate) fn record_len(
    header: &Header,
    key_len: usize,
    value_len: usize,
    map_len: usize,
) -> usize {
    let inline = value_len - paged_len(value_len);
    head_len(header, value_len) + key_len + inline + map_len
}

#[inline]
fn head_len(header: &Header, value_len: usize) -> usize {
    let optional = usize::from(header.exptime != 0)
        + usize::from(header.client_flags != 0)
        + 2 * usize::from(value_len >= MIN_PAGED);
    let cas = if header.cas < SHORT_CAS { 5 } else { 8 };
    2 + len_bytes(value_len) + 4 + cas + 4 * optional
}

#[inline]
fn len_bytes(len: usize) -> usize {
    match len {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => 4,
        _ => 5,
    }
}

impl Head {
    /// Writes the head at the front of `record`, which is the whole record, and says where the
    /// rest belongs. `None` if `record` is too short.
    #[inline]
    pub(crate) fn write(&self, record: &mut [u8]) -> Option<Extent> {
        let value_len = self.value_len as usize;
        let key = head_len(&self.header, value_len);
        let mut out = Cursor { bytes: record.get_mut(..key)?, at: 0 };
        let long_cas = self.header.cas >= SHORT_CAS;
        let bits = self.header.marks.bits()
            | flag(self.header.exptime != 0, HAS_EXPTIME)
            | flag(self.header.client_flags != 0, HAS_FLAGS)
            | flag(long_cas, LONG_CAS)
            | flag(self.dead, DEAD);
        out.put(&[bits, self.key_len]);
        let mut len = self.value_len;
        while len >= 0x80 {
            out.put(&[len.to_le_bytes()[0] | 0x80]);
            len >>= 7;
        }
        out.put(&[len.to_le_bytes()[0]]);
        out.put(&self.header.last_access.to_le_bytes());
        let cas = self.header.cas.to_le_bytes();
        out.put(if long_cas { &cas } else { cas.get(..5)? });
        if self.header.exptime != 0 {
            out.put(&self.header.exptime.to_le_bytes());
        }
        if self.header.client_flags != 0 {
            out.put(&self.header.client_flags.to_le_bytes());
        }
        if let Some(pages) = self.pages {
            out.put(&pages.number.to_le_bytes());
            out.put(&pages.map_len.to_le_bytes());
        }
        Some(self.extent(key))
    }

    /// The head at the front of `bytes`, and where the rest is. `None` if there is none.
    #[inline]
    pub(crate) fn read(bytes: &[u8]) -> Option<(Self, Extent)> {
        let (&[bits, key_len], mut rest) = bytes.split_first_chunk()?;
        let value_len = take_len(&mut rest)?;
        let last_access = u32::from_le_bytes(take(&mut rest)?);
        let cas = if bits & LONG_CAS == 0 {
            let low = u32::from_le_bytes(take(&mut rest)?);
            let [high] = take(&mut rest)?;
            u64::from(low) | u64::from(high) << 32
        } else {
            u64::from_le_bytes(take(&mut rest)?)
        };
        let mut optional = |is: bool| {
            if is { take(&mut rest).map(u32::from_le_bytes) } else { Some(0) }
        };
        let exptime = optional(bits & HAS_EXPTIME != 0)?;
        let client_flags = optional(bits & HAS_FLAGS != 0)?;
        let has_pages = value_len as usize >= MIN_PAGED;
        let pages = Paged { number: optional(has_pages)?, map_len: optional(has_pages)? };
        let header =
            Header { cas, client_flags, exptime, last_access, marks: Marks::from_bits(bits) };
        let key = bytes.len() - rest.len();
        let pages = has_pages.then_some(pages);
        let head = Self { header, key_len, value_len, pages, dead: bits & DEAD != 0 };
        Some((head, head.extent(key)))
    }

    #[inline]
    fn extent(&self, key: usize) -> Extent {
        let value = key + usize::from(self.key_len);
        let value_len = self.value_len as usize;
        let map = value + value_len - paged_len(value_len);
        Extent { key, value, map, end: map + self.pages.map_or(0, |pages| pages.map_len as usize) }
    }
}

/// The key of the record at the front of `bytes`.
#[inline]
pub(crate) fn key(bytes: &[u8]) -> Option<&[u8]> {
    let (&[bits, key_len], mut rest) = bytes.split_first_chunk()?;
    let value_len = take_len(&mut rest)? as usize;
    let cas = if bits & LONG_CAS == 0 { 5 } else { 8 };
    let optional = usize::from(bits & HAS_EXPTIME != 0)
        + usize::from(bits & HAS_FLAGS != 0)
        + 2 * usize::from(value_len >= MIN_PAGED);
    let start = 4 + cas + 4 * optional;
    rest.get(start..start + usize::from(key_len))
}

/// Marks the record at the front of `bytes` dead.
pub(crate) fn bury(bytes: &mut [u8]) {
    if let Some(bits) = bytes.first_mut() {
        *bits |= DEAD;
    }
}

/// Notes a fetch in the record at the front of `bytes`, whose value has `value_len` bytes. Most
/// fetches change nothing, and then nothing is written.
#[inline]
pub(crate) fn note_fetch(bytes: &mut [u8], value_len: u32, marks: Marks, now: Seconds) {
    let Some(bits) = bytes.first_mut() else { return };
    let noted = *bits & !MARKS | marks.bits();
    if *bits != noted {
        *bits = noted;
    }
    let at = 2 + len_bytes(value_len as usize);
    let Some(last_access) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) else { return };
    if *last_access != now.to_le_bytes() {
        *last_access = now.to_le_bytes();
    }
}

/// What a seal of `record`, which is the whole record, says under a secret.
pub(crate) fn seal(record: &[u8], secret: u64) -> Option<u32> {
    let (&[bits, key_len], mut rest) = record.split_first_chunk()?;
    let value_len = take_len(&mut rest)?;
    let (_last_access, rest) = rest.split_first_chunk::<4>()?;
    let [a, b, c, d] = value_len.to_le_bytes();
    let before = [bits & SEALED, key_len, a, b, c, d, 0, 0];
    let sum = xxh3_64_with_seed(rest, secret ^ u64::from_le_bytes(before));
    let [low @ .., _, _, _, _] = sum.to_le_bytes();
    Some(u32::from_le_bytes(low))
}

/// Whether records of the two headers have heads of one length.
#[inline]
pub(crate) fn same_shape(a: &Header, b: &Header) -> bool {
    (a.exptime == 0) == (b.exptime == 0)
        && (a.client_flags == 0) == (b.client_flags == 0)
        && (a.cas < SHORT_CAS) == (b.cas < SHORT_CAS)
}

struct Cursor<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        if let Some(place) = self.bytes.get_mut(self.at..end) {
            place.copy_from_slice(bytes);
        }
        self.at = end;
    }
}

#[inline]
fn take_len(rest: &mut &[u8]) -> Option<u32> {
    let (&first, left) = rest.split_first()?;
    *rest = left;
    if first < 0x80 {
        return Some(first.into());
    }
    let mut len = u32::from(first & 0x7f);
    for shift in [7, 14, 21, 28] {
        let (&byte, left) = rest.split_first()?;
        *rest = left;
        len |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(len);
        }
    }
    None
}

#[inline]
const fn flag(is: bool, bit: u8) -> u8 {
    if is { bit } else { 0 }
}

const MARKS: u8 = 15;
const HAS_EXPTIME: u8 = 16;
const HAS_FLAGS: u8 = 32;
const LONG_CAS: u8 = 64;
const DEAD: u8 = 128;
/// What tells which parts a record has, and the marks that no fetch makes.
const SEALED: u8 = HAS_EXPTIME | HAS_FLAGS | LONG_CAS | MARKS & !Marks::FETCHED.bits();
const SHORT_CAS: u64 = 1 << 40;

/// A value of this many bytes or more has its whole pages outside of its record.
pub(crate) const MIN_PAGED: usize = 2 * PAGE_BYTES;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(cas: u64, client_flags: u32, exptime: Seconds) -> Header {
        let marks = Marks::FETCHED;
        Header { cas, client_flags, exptime, last_access: 77, marks }
    }

    #[test]
    fn the_layout_is_as_documented() {
        let head = Head {
            header: header(0x01_0203_0405, 0, 0),
            key_len: 3,
            value_len: 100,
            pages: None,
            dead: false,
        };
        let mut record = [0; 115];
        let extent = head.write(&mut record).unwrap();
        assert_eq!(extent, Extent { key: 12, value: 15, map: 115, end: 115 });
        assert_eq!(record[..12], [1, 3, 100, 77, 0, 0, 0, 5, 4, 3, 2, 1]);

        let header = header(u64::MAX, 0x0a0b_0c0d, 0x0102_0304);
        let head = Head { header, key_len: 1, value_len: 500, pages: None, dead: true };
        let mut record = [0; 525];
        let extent = head.write(&mut record).unwrap();
        assert_eq!(extent, Extent { key: 24, value: 25, map: 525, end: 525 });
        assert_eq!(record[..4], [1 | 16 | 32 | 64 | 128, 1, 0xf4, 3]);
        assert_eq!(
            record[8..24],
            [255, 255, 255, 255, 255, 255, 255, 255, 4, 3, 2, 1, 13, 12, 11, 10]
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            cas in 1..u64::MAX, flags in prop_oneof![Just(0), any::<u32>()],
            exptime in prop_oneof![Just(0), any::<u32>()], last_access: u32, marks in 0..16_u8,
            key_len in 1..=250_u8, value_len in prop_oneof![0..300_u32, 0..20_000_u32, 0..1_u32 << 30],
            short in any::<bool>(), dead: bool, number: u32, map_len in 0..4_000_u32, now: u32,
            secret: u64,
        ) {
            let cas = if short { cas % SHORT_CAS } else { cas };
            let marks = Marks::from_bits(marks);
            let header = Header { cas, client_flags: flags, exptime, last_access, marks };
            let pages = (value_len as usize >= MIN_PAGED).then_some(Paged { number, map_len });
            let map_len = pages.map_or(0, |pages| pages.map_len as usize);
            let head = Head { header, key_len, value_len, pages, dead };
            let len = record_len(&header, key_len.into(), value_len as usize, map_len);
            prop_assert!(len <= 16 << 10, "it fits the smallest segment");
            let mut record = vec![0; len];
            let extent = head.write(&mut record).unwrap();
            prop_assert_eq!(extent.end, len);
            prop_assert_eq!(Head::read(&record), Some((head, extent)));
            prop_assert_eq!(key(&record), Some(&record[extent.key..extent.value]));
            let sealed = seal(&record, secret).unwrap();
            let fetched_too = marks.with_if(Marks::FETCHED, true);
            note_fetch(&mut record, value_len, fetched_too, now);
            let (fetched, _) = Head::read(&record).unwrap();
            let header = Header { last_access: now, marks: fetched_too, ..header };
            prop_assert_eq!(fetched, Head { header, ..head });
            bury(&mut record);
            prop_assert!(Head::read(&record).unwrap().0.dead);
            prop_assert_eq!(seal(&record, secret), Some(sealed), "a fetch needs no new seal");
            let last = record.len() - 1;
            record[last] ^= 1;
            prop_assert_ne!(seal(&record, secret), Some(sealed));
        }

        #[test]
        fn no_bytes_are_misread_beyond_their_end(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some((_, extent)) = Head::read(&bytes) {
                prop_assert!(extent.key <= bytes.len() && extent.key <= extent.value);
            }
            key(&bytes);
            seal(&bytes, 0);
        }
    }
}
