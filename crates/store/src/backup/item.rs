//! An item, as it stands in a part of a cut and in the files of a backup.
//!
//! | item | bytes | |
//! |---|---|---|
//! | shape | 1 | bits 0-3 the marks; 4, 5: client flags, exptime are there; 6, 7 are 0 |
//! | last write | 4 | seconds since 1970 |
//! | cas | 8 | its cas unique |
//! | client flags | 0 or 4 | absent if 0 |
//! | exptime | 0 or 4 | absolute, seconds since 1970; absent if never |
//! | key length | 1 | 1 to 250 |
//! | value length | 4 | |
//! | key, value | rest | |
//!
//! Integers are little-endian.

use std::fmt;

use larder_protocol::{Marks, Seconds};

/// An item of a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// 1 to 250 bytes.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// The client's own 32 bits.
    pub client_flags: u32,
    /// The second from which it is gone; 0 means never. It may have passed.
    pub exptime: Seconds,
    /// Its cas unique.
    pub cas: u64,
    /// When it was last written.
    pub last_write: Seconds,
    /// Its yes-or-no properties.
    pub marks: Marks,
}

/// Bytes that are no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Senseless;

impl<'a> Item<'a> {
    /// Reads the item that `bytes` begin with, and leaves them where the next begins.
    ///
    /// # Errors
    ///
    /// They do not begin with one.
    pub fn take(bytes: &mut &'a [u8]) -> Result<Self, Senseless> {
        let [shape] = fixed(bytes)?;
        if shape & UNUSED != 0 {
            return Err(Senseless);
        }
        let last_write = Seconds::from_le_bytes(fixed(bytes)?);
        let cas = u64::from_le_bytes(fixed(bytes)?);
        let mut optional = |bit| {
            if shape & bit == 0 { Ok(0) } else { fixed(bytes).map(u32::from_le_bytes) }
        };
        let (client_flags, exptime) = (optional(HAS_CLIENT_FLAGS)?, optional(HAS_EXPTIME)?);
        let [key_len] = fixed(bytes)?;
        let value_len = u32::from_le_bytes(fixed(bytes)?);
        let key = slice(bytes, key_len.into())?;
        if key.is_empty() {
            return Err(Senseless);
        }
        let value = slice(bytes, usize::try_from(value_len).map_err(|_| Senseless)?)?;
        let marks = Marks::from_bits(shape & MARKS);
        Ok(Self { key, value, client_flags, exptime, cas, last_write, marks })
    }

    /// Reads items that stand one after the other. Behind what is none it reads no further.
    pub fn all(mut bytes: &'a [u8]) -> impl Iterator<Item = Result<Self, Senseless>> {
        std::iter::from_fn(move || {
            let item = (!bytes.is_empty()).then(|| Self::take(&mut bytes))?;
            if item.is_err() {
                bytes = &[];
            }
            Some(item)
        })
    }

    /// Appends it to `bytes`.
    ///
    /// # Errors
    ///
    /// Its key or its value is too long for one.
    pub fn put(&self, bytes: &mut Vec<u8>) -> Result<(), Senseless> {
        let key_len = u8::try_from(self.key.len()).map_err(|_| Senseless)?;
        let value_len = u32::try_from(self.value.len()).map_err(|_| Senseless)?;
        let mut shape = self.marks.bits() & MARKS;
        for (bit, number) in [(HAS_CLIENT_FLAGS, self.client_flags), (HAS_EXPTIME, self.exptime)] {
            shape |= if number == 0 { 0 } else { bit };
        }
        bytes.push(shape);
        bytes.extend_from_slice(&self.last_write.to_le_bytes());
        bytes.extend_from_slice(&self.cas.to_le_bytes());
        for number in [self.client_flags, self.exptime].into_iter().filter(|number| *number != 0) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.push(key_len);
        bytes.extend_from_slice(&value_len.to_le_bytes());
        bytes.extend_from_slice(self.key);
        bytes.extend_from_slice(self.value);
        Ok(())
    }

    /// Whether it is gone at `now`.
    pub fn expired(&self, now: Seconds) -> bool {
        self.exptime != 0 && self.exptime <= now
    }
}

fn fixed<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Senseless> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(Senseless)?;
    *bytes = rest;
    Ok(*taken)
}

fn slice<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], Senseless> {
    let (taken, rest) = bytes.split_at_checked(len).ok_or(Senseless)?;
    *bytes = rest;
    Ok(taken)
}

impl fmt::Display for Senseless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("these bytes are no item")
    }
}

impl std::error::Error for Senseless {}

const MARKS: u8 = 0x0f;
const HAS_CLIENT_FLAGS: u8 = 0x10;
const HAS_EXPTIME: u8 = 0x20;
const UNUSED: u8 = 0xc0;

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Item<'_> = Item {
        key: b"k",
        value: b"value",
        client_flags: 0,
        exptime: 0,
        cas: 7,
        last_write: 0x0102_0304,
        marks: Marks::from_bits(0),
    };
    const ALL: Item<'_> = Item {
        value: b"",
        client_flags: 0xa0b0_c0d0,
        exptime: 9,
        marks: Marks::STALE.with(Marks::BINARY_KEY),
        ..PLAIN
    };

    #[test]
    fn these_are_the_bytes() {
        let mut bytes = Vec::new();
        PLAIN.put(&mut bytes).unwrap();
        let plain = b"\x00\x04\x03\x02\x01\x07\0\0\0\0\0\0\0\x01\x05\0\0\0kvalue";
        assert_eq!(bytes, plain);
        ALL.put(&mut bytes).unwrap();
        let all = b"\x3a\x04\x03\x02\x01\x07\0\0\0\0\0\0\0\xd0\xc0\xb0\xa0\x09\0\0\0\x01\0\0\0\0k";
        assert_eq!(bytes[plain.len()..], *all);
        let mut rest = bytes.as_slice();
        assert_eq!([Item::take(&mut rest), Item::take(&mut rest)], [Ok(PLAIN), Ok(ALL)]);
        assert!(Item::all(&bytes).eq([Ok(PLAIN), Ok(ALL)]));
        let broken = &bytes[..bytes.len() - 1];
        assert!(Item::all(broken).eq([Ok(PLAIN), Err(Senseless)]));
        assert!(rest.is_empty());
    }

    #[test]
    fn what_is_no_item_is_refused() {
        let mut bytes = Vec::new();
        ALL.put(&mut bytes).unwrap();
        for len in 0..bytes.len() {
            assert_eq!(Item::take(&mut &bytes[..len]), Err(Senseless), "{len} bytes");
        }
        for (at, byte) in [(0, 0x40), (0, 0x80), (21, 0)] {
            let mut wrong = bytes.clone();
            wrong[at] = byte;
            assert_eq!(Item::take(&mut wrong.as_slice()), Err(Senseless), "{byte:#x} at {at}");
        }
        let long = [b'k'; 256];
        assert_eq!(Item { key: &long, ..PLAIN }.put(&mut Vec::new()), Err(Senseless));
    }
}
