//! From requests to bytes, in memcached's text protocol.

/// Appends `set <prefix><key> 0 <expiry> <length>` and its data.
pub(super) fn set(out: &mut Vec<u8>, prefix: &[u8], key: u64, expiry_secs: u32, data: &[u8]) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(b"set ");
    out.extend_from_slice(prefix);
    out.extend_from_slice(digits.format(key).as_bytes());
    out.extend_from_slice(b" 0 ");
    out.extend_from_slice(digits.format(expiry_secs).as_bytes());
    out.push(b' ');
    out.extend_from_slice(digits.format(data.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Appends `get <prefix><key> ...` for all `keys`.
pub(super) fn get(out: &mut Vec<u8>, prefix: &[u8], keys: impl Iterator<Item = u64>) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(b"get");
    for key in keys {
        out.push(b' ');
        out.extend_from_slice(prefix);
        out.extend_from_slice(digits.format(key).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_written_as_the_protocol_has_them() {
        let mut out = Vec::new();
        set(&mut out, b"memtier-", 42, 9, b"xxxx");
        get(&mut out, b"k", [7].into_iter());
        get(&mut out, b"k", [1, 2, u64::MAX].into_iter());
        let expected =
            "set memtier-42 0 9 4\r\nxxxx\r\nget k7\r\nget k1 k2 k18446744073709551615\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
