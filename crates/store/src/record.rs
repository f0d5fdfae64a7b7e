//! An item as bytes, see the table in the crate's documentation.

use bytes::{Buf, Bytes};
use larder_protocol::{Header, Marks, Seconds};

/// An item as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Its place in the order of writes: what a flush compares.
    pub(crate) sequence: u64,
    pub(crate) header: Header,
    pub(crate) value: Bytes,
}

/// Bytes that are not a record this version reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Written by a newer version.
    Version(u8),
    /// Too short, or with bits that mean nothing.
    Damaged,
}

impl Record {
    pub(crate) fn decode(bytes: Bytes) -> Result<Self, Unreadable> {
        let (sequence, header, rest) = decode_header(&bytes)?;
        let at = bytes.len() - rest.len();
        let mut value = bytes;
        value.advance(at);
        Ok(Self { sequence, header, value })
    }
}

/// The bytes of a record whose value is `value`'s two parts, one after the other.
pub(crate) fn encode(sequence: u64, header: &Header, value: (&[u8], &[u8])) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAX_HEADER_LEN + value.0.len() + value.1.len());
    let mut shape = header.marks.bits() & MARKS;
    if header.client_flags != 0 {
        shape |= HAS_CLIENT_FLAGS;
    }
    if header.exptime != 0 {
        shape |= HAS_EXPTIME;
    }
    if header.cas != sequence {
        shape |= HAS_CAS;
    }
    bytes.extend_from_slice(&[VERSION, shape]);
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&header.last_access.to_le_bytes());
    if header.client_flags != 0 {
        bytes.extend_from_slice(&header.client_flags.to_le_bytes());
    }
    if header.exptime != 0 {
        bytes.extend_from_slice(&header.exptime.to_le_bytes());
    }
    if header.cas != sequence {
        bytes.extend_from_slice(&header.cas.to_le_bytes());
    }
    bytes.extend_from_slice(value.0);
    bytes.extend_from_slice(value.1);
    bytes
}

/// Sequence, header and value of a record.
pub(crate) fn decode_header(bytes: &[u8]) -> Result<(u64, Header, &[u8]), Unreadable> {
    let mut rest = bytes;
    let [version] = take(&mut rest)?;
    if version != VERSION {
        return Err(Unreadable::Version(version));
    }
    let [shape] = take(&mut rest)?;
    if shape & UNUSED != 0 {
        return Err(Unreadable::Damaged);
    }
    let sequence = u64::from_le_bytes(take(&mut rest)?);
    let last_access = Seconds::from_le_bytes(take(&mut rest)?);
    let mut header = Header {
        cas: sequence,
        client_flags: 0,
        exptime: 0,
        last_access,
        marks: Marks::from_bits(shape & MARKS),
    };
    if shape & HAS_CLIENT_FLAGS != 0 {
        header.client_flags = u32::from_le_bytes(take(&mut rest)?);
    }
    if shape & HAS_EXPTIME != 0 {
        header.exptime = Seconds::from_le_bytes(take(&mut rest)?);
    }
    if shape & HAS_CAS != 0 {
        header.cas = u64::from_le_bytes(take(&mut rest)?);
    }
    Ok((sequence, header, rest))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Unreadable> {
    let (taken, left) = rest.split_first_chunk().ok_or(Unreadable::Damaged)?;
    *rest = left;
    Ok(*taken)
}

const VERSION: u8 = 1;
const MARKS: u8 = 0x0f;
const HAS_CLIENT_FLAGS: u8 = 0x10;
const HAS_EXPTIME: u8 = 0x20;
const HAS_CAS: u8 = 0x40;
const UNUSED: u8 = 0x80;
const MAX_HEADER_LEN: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            cas: 7,
            client_flags: 0,
            exptime: 0,
            last_access: 0x0102_0304,
            marks: Marks::STALE,
        }
    }

    #[test]
    fn the_bytes_are_these_for_good() {
        let short = [1, 2, 7, 0, 0, 0, 0, 0, 0, 0, 4, 3, 2, 1, b'a', b'b'];
        assert_eq!(encode(7, &header(), (b"a", b"b")), short);

        let full = Header { cas: 9, client_flags: 0xaabb, exptime: 0x0506_0708, ..header() };
        let long = [
            1, 0x72, 7, 0, 0, 0, 0, 0, 0, 0, 4, 3, 2, 1, 0xbb, 0xaa, 0, 0, 8, 7, 6, 5, 9, 0, 0, 0,
            0, 0, 0, 0, b'x',
        ];
        assert_eq!(encode(7, &full, (b"x", b"")), long);
        let record = Record::decode(Bytes::from(long.to_vec())).unwrap();
        assert_eq!((record.sequence, record.header), (7, full));
        assert_eq!(&record.value[..], b"x");
    }

    #[test]
    fn what_is_not_a_record_is_refused() {
        let good = encode(7, &Header { cas: 9, exptime: 5, ..header() }, (b"", b""));
        for cut in 0..good.len() {
            assert_eq!(decode_header(&good[..cut]).unwrap_err(), Unreadable::Damaged, "{cut}");
        }
        let mut newer = good.clone();
        newer[0] = 2;
        assert_eq!(decode_header(&newer).unwrap_err(), Unreadable::Version(2));
        let mut odd = good;
        odd[1] |= 0x80;
        assert_eq!(decode_header(&odd).unwrap_err(), Unreadable::Damaged);
    }
}
