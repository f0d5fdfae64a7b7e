//! A glance at the requests that follow: whose keys they name.

use crate::parse::data_len;
use crate::request::next_token;

/// The keys of the first requests in `input`, as far as they are plain to see: of a line that is not
/// one of the usual, or not whole, nothing more is said. Not every key needs to be right, and none
/// is checked: it is for an engine to have them at hand, and the requests are parsed in their turn.
pub fn keys_ahead(mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let newline = memchr::memchr(b'\n', input.get(..MAX_LINE).unwrap_or(input))?;
        let (line, rest) = input.split_at_checked(newline + 1)?;
        let mut line = line.trim_ascii_end();
        let name = next_token(&mut line)?;
        let key = next_token(&mut line)?;
        let value = match name {
            b"get" | b"gets" | b"mg" | b"md" | b"ma" | b"delete" | b"incr" | b"decr" => None,
            b"set" => {
                next_token(&mut line)?;
                next_token(&mut line)?;
                Some(data_len(next_token(&mut line)?)?)
            }
            b"ms" => Some(data_len(next_token(&mut line)?)?),
            _ => return None,
        };
        input = match value {
            None => rest,
            Some(len) => rest.get(len + 2..).unwrap_or_default(),
        };
        Some(key)
    })
}

/// A line longer than this is of many keys, which are looked at as they are fetched.
const MAX_LINE: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_seen_across_values_and_up_to_what_is_unusual() {
        let input = b"get a\r\nset b 0 0 7\r\nget x\r\n\r\nmg c v\r\nms d 2 T0\r\nhi\r\ndelete e\r\nstats\r\nget f\r\n";
        let keys: Vec<_> = keys_ahead(input).collect();
        assert_eq!(keys, [b"a", b"b", b"c", b"d", b"e"]);
        assert_eq!(keys_ahead(b"get whole\r\nget par").count(), 1);
        assert_eq!(keys_ahead(b"set k 0 0 100\r\nhalf").count(), 1);
        assert_eq!(keys_ahead(b"get\r\n").count(), 0);
        assert_eq!(keys_ahead(b"\xff\0\r\n\r\n").count(), 0);
    }
}
