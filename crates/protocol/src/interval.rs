//! An interval of keys, as `rget` names it.

use crate::number::parse_u32;
use crate::request::{MAX_KEY_LEN, next_token};

/// An interval of keys, and how many of its items are wanted. Keys are ordered by their bytes, a key
/// before those that it is the beginning of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval<'a> {
    /// Where it begins, 1 to 250 bytes. There need be no such key.
    pub start: &'a [u8],
    /// Where it ends, likewise. What ends before it begins is empty.
    pub end: &'a [u8],
    /// Without the first key itself: so who has a part of the items asks for the rest.
    pub left_open: bool,
    /// Without the last key itself.
    pub right_open: bool,
    /// The most items; [`usize::MAX`] for all there are.
    pub most: usize,
}

impl<'a> Interval<'a> {
    /// Reads `<start> <end> <left_open> <right_open> <max>`. `None` if that is not five words; `Some(None)`
    /// if it is, and they are not what they are to be.
    #[expect(clippy::option_option, reason = "other words are another command's, or none's")]
    pub(crate) fn parse(mut words: &'a [u8]) -> Option<Option<Self>> {
        let [start, end, left, right, most] = [(); 5].map(|()| next_token(&mut words));
        let (start, end, left, right, most) = (start?, end?, left?, right?, most?);
        if next_token(&mut words).is_some() {
            return None;
        }
        let read = || {
            let most = parse_u32(most).filter(|most| *most <= MAX_ITEMS)?;
            let (left_open, right_open) = (is_open(left)?, is_open(right)?);
            let named = start.len() <= MAX_KEY_LEN && end.len() <= MAX_KEY_LEN;
            // MemcacheDB counts up to the limit, and never meets 0.
            let most = if most == 0 { usize::MAX } else { most as usize };
            named.then_some(Self { start, end, left_open, right_open, most })
        };
        Some(read())
    }
}

fn is_open(flag: &[u8]) -> Option<bool> {
    match flag {
        b"0" => Some(false),
        b"1" => Some(true),
        _ => None,
    }
}

/// MemcacheDB's limit.
const MAX_ITEMS: u32 = 100;
