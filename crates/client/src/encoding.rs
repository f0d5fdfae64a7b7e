//! How typed values lie in the cache: as `MessagePack`, compressed if that makes them shorter. The
//! client flags say which, so that a value is never taken for what it is not.
//!
//! ```text
//! bits 31..16  0x4c52
//! bits 15..12  version of this format: 1
//! bits 11..8   0
//! bits 7..4    compression: 0 none, 1 LZ4 (a block behind its length, 4 bytes, lowest first)
//! bits 3..0    encoding: 1 MessagePack, structs as maps of field names
//! ```
//!
//! Field names make values longer than their order would; but fields can be added, moved and left
//! out (`#[serde(default)]`) while older values are in the cache.

use bytes::Bytes;
use lz4_flex::block::{compress_prepend_size, decompress, uncompressed_size};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::builder::Options;
use crate::error::Error;
use crate::flights::Filled;

/// Encodes a value.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, options: &Options) -> Result<Filled, Error> {
    let plain = rmp_serde::to_vec_named(value)
        .map_err(|error| Error::Unwritable { why: error.to_string().into() })?;
    // It has to be read again.
    if plain.len() > options.max_value {
        return Err(Error::ValueTooLong { len: plain.len(), max: options.max_value });
    }
    if plain.len() >= options.compress_from {
        let compressed = compress_prepend_size(&plain);
        if compressed.len() < plain.len() {
            return Ok(Filled { bytes: compressed.into(), flags: LZ4, ttl_secs: None });
        }
    }
    Ok(Filled { bytes: plain.into(), flags: PLAIN, ttl_secs: None })
}

/// Decodes a value that has these flags.
pub(crate) fn decode<T: DeserializeOwned>(
    bytes: &Bytes,
    flags: u32,
    options: &Options,
) -> Result<T, Error> {
    let unreadable = |why: String| Error::Unreadable { why: why.into() };
    let read =
        |plain: &[u8]| rmp_serde::from_slice(plain).map_err(|error| unreadable(error.to_string()));
    match flags {
        PLAIN => read(bytes),
        LZ4 => {
            let broken = |error| unreadable(format!("it cannot be decompressed: {error}"));
            let (len, block) = uncompressed_size(bytes).map_err(broken)?;
            if len > options.max_value {
                return Err(Error::ValueTooLong { len, max: options.max_value });
            }
            read(&decompress(block, len).map_err(broken)?)
        }
        other => Err(unreadable(format!("its flags, {other:#x}, are not those of a typed value"))),
    }
}

const PLAIN: u32 = 0x4c52_1001;
const LZ4: u32 = 0x4c52_1011;

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct User {
        name: String,
        #[serde(default)]
        age: u8,
    }

    fn options() -> Options {
        crate::builder::Builder::new().max_value(10_000).options()
    }

    /// Clients of different versions must read each other's values.
    #[test]
    fn values_are_these_bytes() {
        let user = User { name: "Ada".to_owned(), age: 36 };
        let encoded = encode(&user, &options()).unwrap();
        assert_eq!(encoded.flags, 0x4c52_1001);
        assert_eq!(&encoded.bytes[..], b"\x82\xa4name\xa3Ada\xa3age\x24");
        assert_eq!(decode::<User>(&encoded.bytes, encoded.flags, &options()).unwrap(), user);
        let long = "a".repeat(2000);
        let encoded = encode(&long, &options()).unwrap();
        assert_eq!(encoded.flags, 0x4c52_1011);
        assert!(encoded.bytes.starts_with(b"\xd3\x07\0\0") && encoded.bytes.len() < 100);
        // As lz4_flex 0.13.1 writes it; another's block of the same text must do.
        let block = b"\xd3\x07\0\0\x4f\xda\x07\xd0\x61\x01\0";
        assert!(encoded.bytes.starts_with(block), "{}", encoded.bytes.escape_ascii());
        assert_eq!(decode::<String>(&encoded.bytes, encoded.flags, &options()).unwrap(), long);
    }

    #[test]
    fn fields_may_come_and_go() {
        let older = encode(&[("name", "Ada")].into_iter().collect::<Fields>(), &options()).unwrap();
        let user: User = decode(&older.bytes, older.flags, &options()).unwrap();
        assert_eq!(user, User { name: "Ada".to_owned(), age: 0 });
        let newer = [("name", "Ada"), ("title", "Countess")].into_iter().collect::<Fields>();
        let newer = encode(&newer, &options()).unwrap();
        assert!(decode::<User>(&newer.bytes, newer.flags, &options()).is_ok());
    }

    type Fields = std::collections::BTreeMap<&'static str, &'static str>;

    #[test]
    fn what_compression_does_not_make_shorter_is_left_as_it_is() {
        let noise: String =
            (0..3000).map(|_| char::from(rand::random_range(b'!'..=b'~'))).collect();
        for text in [noise, "a".repeat(1900)] {
            assert_eq!(encode(&text, &options()).unwrap().flags, PLAIN);
        }
    }

    #[test]
    fn what_is_not_such_a_value_says_why() {
        let said = |bytes: &'static [u8], flags| {
            decode::<User>(&Bytes::from_static(bytes), flags, &options()).unwrap_err().to_string()
        };
        let plain = "the value cannot be read: its flags, 0x0, are not those of a typed value";
        assert_eq!(said(b"hi", 0), plain);
        assert!(said(b"\xa2hi", PLAIN).starts_with("the value cannot be read: invalid type"));
        assert!(said(b"\x82", PLAIN).starts_with("the value cannot be read: "));
        assert!(said(b"\x01", LZ4).starts_with("the value cannot be read: it cannot be decomp"));
        let bomb = said(b"\xff\xff\xff\xff\0", LZ4);
        assert_eq!(bomb, "the value has 4294967295 bytes; the limit is 10000");
        assert!(said(b"\x10\0\0\0\xff", LZ4).contains("it cannot be decompressed"));
        assert!(matches!(
            encode(&"a".repeat(10_001), &options()),
            Err(Error::ValueTooLong { max: 10_000, .. })
        ));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = decode::<User>(&Bytes::from(bytes.clone()), PLAIN, &options());
            let _ = decode::<User>(&Bytes::from(bytes), LZ4, &options());
        }
    }
}
