//! Keys that servers do not take, made into such that they do.

use std::borrow::Cow;

use larder_protocol::encode::{Refused, check_key, is_printable};

use crate::error::Error;

/// The key that servers know `key` by: the same, unless it is longer than they take.
///
/// A long one is its readable front, `#blake3:` and its BLAKE3 in 64 hexadecimal digits. So is any
/// that ends like that itself: nobody can name the entry of another's long key by a short one.
pub(crate) fn short(key: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    match check_key(key) {
        Ok(()) if !is_hashed(key) => Ok(Cow::Borrowed(key)),
        Ok(()) | Err(Refused::KeyTooLong(_)) => Ok(Cow::Owned(hashed(key))),
        Err(refused) => Err(Error::Key(refused)),
    }
}

fn hashed(key: &[u8]) -> Vec<u8> {
    let front = key.get(..MAX_FRONT).unwrap_or(key);
    let readable = front.iter().take_while(|byte| is_printable(&[**byte])).count();
    let mut short = front.get(..readable).unwrap_or_default().to_vec();
    short.extend_from_slice(MARK);
    short.extend_from_slice(blake3::hash(key).to_hex().as_bytes());
    short
}

fn is_hashed(key: &[u8]) -> bool {
    let end = key.len().checked_sub(MARK.len() + HEX_LEN).and_then(|front| key.get(front..));
    end.and_then(|end| end.strip_prefix(MARK))
        .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
}

const MARK: &[u8] = b"#blake3:";

const HEX_LEN: usize = 2 * blake3::OUT_LEN;

/// What is left of the 250 bytes that servers take.
const MAX_FRONT: usize = 250 - MARK.len() - HEX_LEN;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(key: &[u8]) -> String {
        String::from_utf8(short(key).unwrap().into_owned()).unwrap()
    }

    /// Clients of different versions must find each other's items.
    #[test]
    fn long_keys_become_these() {
        let long = format!("user:{}", "x".repeat(246));
        let expected = format!("user:{}#blake3:{}", "x".repeat(173), blake3::hash(long.as_bytes()));
        assert_eq!((text(long.as_bytes()), expected.len()), (expected, 250));
        let unreadable = ["page:7 ".as_bytes(), &[0; 200]].concat();
        assert_eq!(
            text(&unreadable),
            "page:7#blake3:6bbff1ff4740e033128c0c9811204c0aa5c81ef58826348fa891d09e54c18a4f"
        );
    }

    #[test]
    fn keys_that_servers_take_stay_as_they_are() {
        for key in [&[b'k'; 250][..], &[0; 186], b"k", b"#blake3:", &[0xff; 250]] {
            assert_eq!(short(key).unwrap(), key);
        }
        assert!(matches!(short(b""), Err(Error::Key(Refused::EmptyKey))));
    }

    #[test]
    fn a_short_key_is_not_another_long_one() {
        let long = [b'k'; 251];
        let once = short(&long).unwrap();
        let twice = short(&once).unwrap();
        assert!(once != twice && twice.len() == 250);
        assert_ne!(short(&[b'k'; 252]).unwrap(), once);
    }
}
