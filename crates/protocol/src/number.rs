//! Numbers as the protocol writes them: decimal, in ASCII.

/// The longest value that can hold a number with its padding. A longer one is text.
///
/// memcached's limit is its largest slab chunk; no client pads a number that far.
const MAX_STORED_LEN: usize = 512;

/// A stored number as `incr` and `decr` read it: white space, a sign, digits, then white space,
/// a NUL or the end (what C's `strtoull` takes, which is what memcached uses). `None` if it is none.
pub(crate) fn parse_stored(value: &[u8]) -> Option<u64> {
    if value.len() > MAX_STORED_LEN {
        return None;
    }
    let start = value.iter().position(|b| !is_space(*b)).unwrap_or(value.len());
    let text = value.get(start..).unwrap_or_default();
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let digits = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(digits);
    if rest.first().is_some_and(|b| !is_space(*b) && *b != 0) {
        return None;
    }
    let magnitude = parse_u64(digits)?;
    if !negative {
        return Some(magnitude);
    }
    // A negative number is taken only where its two's complement looks positive, as C does.
    let wrapped = magnitude.wrapping_neg();
    (wrapped >> 63 == 0).then_some(wrapped)
}

/// White space as C has it, which counts the vertical tab.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Digits and nothing else, at least one of them.
#[inline]
pub fn parse_u64(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut number = 0_u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

/// As [`parse_u64`], for 32 bits.
#[inline]
pub fn parse_u32(digits: &[u8]) -> Option<u32> {
    parse_u64(digits).and_then(|number| u32::try_from(number).ok())
}

/// Digits with an optional minus.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', digits @ ..] => parse_u64(digits).and_then(|n| 0_i64.checked_sub_unsigned(n)),
        digits => parse_u64(digits).and_then(|n| i64::try_from(n).ok()),
    }
}

/// A number in decimal, padded with spaces to a width.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    text: [u8; MAX_DIGITS],
    digits: usize,
    padding: usize,
}

impl Decimal {
    /// `number`, followed by spaces up to `width` bytes.
    pub fn padded(number: u64, width: usize) -> Self {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number).as_bytes();
        let mut text = [0; MAX_DIGITS];
        for (to, from) in text.iter_mut().zip(digits) {
            *to = *from;
        }
        let padding = width.saturating_sub(digits.len()).min(MAX_STORED_LEN);
        Self { text, digits: digits.len(), padding }
    }

    /// The digits.
    pub fn digits(&self) -> &[u8] {
        self.text.get(..self.digits).unwrap_or_default()
    }

    /// The spaces behind them.
    pub fn padding(&self) -> &'static [u8] {
        SPACES.get(..self.padding).unwrap_or_default()
    }

    /// The length of both, in bytes.
    pub fn width(&self) -> usize {
        self.digits + self.padding
    }
}

/// The digits of 2^64 - 1.
const MAX_DIGITS: usize = 20;

static SPACES: [u8; MAX_STORED_LEN] = [b' '; MAX_STORED_LEN];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_numbers_are_what_strtoull_takes() {
        assert_eq!(parse_stored(b"10"), Some(10));
        assert_eq!(parse_stored(b"10  "), Some(10));
        assert_eq!(parse_stored(b" +7"), Some(7));
        assert_eq!(parse_stored(b"12 abc"), Some(12));
        assert_eq!(parse_stored(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_stored(b"18446744073709551616"), None);
        assert_eq!(parse_stored(b"-1"), None);
        assert_eq!(parse_stored(b"-0"), Some(0));
        assert_eq!(parse_stored(b"\x0b12\x0bx"), Some(12));
        assert_eq!(parse_stored(b"12\0x"), Some(12));
        assert_eq!(parse_stored(b"12abc"), None);
        assert_eq!(parse_stored(b"abc"), None);
        assert_eq!(parse_stored(b"   "), None);
        assert_eq!(parse_stored(b""), None);
        assert_eq!(parse_stored(&[b'1'; 513]), None);
    }

    #[test]
    fn wire_numbers_are_digits_alone() {
        assert_eq!(parse_u64(b"007"), Some(7));
        assert_eq!(parse_u64(b"+7"), None);
        assert_eq!(parse_u64(b""), None);
        assert_eq!(parse_u32(b"4294967296"), None);
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_i64(b"-"), None);
        assert_eq!(parse_i64(b"9223372036854775808"), None);
    }

    #[test]
    fn a_decimal_keeps_a_width() {
        let shorter = Decimal::padded(99, 3);
        assert_eq!(
            (shorter.digits(), shorter.padding(), shorter.width()),
            (&b"99"[..], &b" "[..], 3)
        );
        let longer = Decimal::padded(u64::MAX, 3);
        assert_eq!((longer.digits().len(), longer.padding().len()), (20, 0));
    }
}
