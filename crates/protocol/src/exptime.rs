//! Expiration times as clients write them.

use crate::item::Seconds;

/// An expiration time as a client wrote it.
///
/// 0 is never; a negative one is already past; up to 30 days it counts from now; above that it is
/// a Unix time (memcached's `doc/protocol.txt`, "Expiration times").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
pub struct Exptime(pub i64);

impl Exptime {
    /// The item never expires.
    pub const NEVER: Self = Self(0);

    /// The longest time that counts from now, in seconds: 30 days.
    pub const LONGEST: Seconds = 60 * 60 * 24 * 30;

    /// Of a number as the storage commands take it: its low 32 bits, signed. libmemcached writes -1
    /// as 4294967295, and memcached's cutting off the rest is what makes that work.
    #[inline]
    pub fn from_low_bits(number: i64) -> Self {
        let [a, b, c, d, ..] = number.to_le_bytes();
        Self(i32::from_le_bytes([a, b, c, d]).into())
    }

    /// The second from which an item is gone, 0 for never.
    #[inline]
    pub fn at(self, now: Seconds) -> Seconds {
        match self.0 {
            0 => 0,
            // Past times must not become 0, which would mean never.
            ..0 => 1,
            relative if relative <= i64::from(Self::LONGEST) => {
                u32::try_from(relative).map_or(Seconds::MAX, |secs| now.saturating_add(secs))
            }
            unix => u32::try_from(unix).unwrap_or(Seconds::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Seconds = 1_700_000_000;

    #[test]
    fn zero_is_never() {
        assert_eq!(Exptime::NEVER.at(NOW), 0);
    }

    #[test]
    fn negative_is_past_and_not_never() {
        assert_eq!(Exptime(-1).at(NOW), 1);
        assert_eq!(Exptime(i64::MIN).at(NOW), 1);
    }

    #[test]
    fn the_storage_commands_take_32_bits() {
        assert_eq!(Exptime::from_low_bits(4_294_967_295), Exptime(-1));
        assert_eq!(Exptime::from_low_bits(4_294_967_296), Exptime::NEVER);
        assert_eq!(Exptime::from_low_bits(-1), Exptime(-1));
        assert_eq!(Exptime::from_low_bits(2_147_483_647), Exptime(2_147_483_647));
    }

    #[test]
    fn thirty_days_is_the_border_between_relative_and_absolute() {
        assert_eq!(Exptime(1).at(NOW), NOW + 1);
        assert_eq!(Exptime(2_592_000).at(NOW), NOW + 2_592_000);
        assert_eq!(Exptime(2_592_001).at(NOW), 2_592_001);
        assert_eq!(Exptime(i64::from(NOW) + 5).at(NOW), NOW + 5);
        assert_eq!(Exptime(i64::MAX).at(NOW), Seconds::MAX);
    }
}
