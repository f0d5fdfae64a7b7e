//! Items of one group in the order of their keys.

use std::ops::{Bound, ControlFlow};

use larder_protocol::{Listed, Page, Seconds};
use serde::{Deserialize, Serialize};

use crate::apply::is_live;
use crate::placement::GroupId;
use crate::shared::Shared;
use crate::state::State;

/// What is asked of one group for a range that begins at a key: one look, which may not go as far as is
/// wanted. What it found says then behind which key to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Span<'a> {
    /// The key where it ends.
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) end: &'a [u8],
    /// Without the first key itself.
    pub(crate) left_open: bool,
    /// Without the last key itself.
    pub(crate) right_open: bool,
    /// The most items.
    pub(crate) most: u32,
    /// The bytes of keys and values with which it is enough. So it never has more than this and one
    /// item.
    pub(crate) bytes: u32,
}

impl Span<'_> {
    /// Looks at the items from `start` on that a group here has.
    pub(crate) fn look(
        &self,
        shared: &Shared,
        group: GroupId,
        start: &[u8],
        state: State,
        now: Seconds,
    ) -> Result<Page, &'static str> {
        let bound = |open, key| if open { Bound::Excluded(key) } else { Bound::Included(key) };
        let keys = (bound(self.left_open, start), bound(self.right_open, self.end));
        let (mut page, mut failed, mut looked, mut bytes) = (Page::default(), None, 0, 0);
        let walked = shared.storage.walk(group, keys, &mut |key, record| {
            let record = match shared.decoded(&key, record) {
                Ok(record) => record,
                Err(why) => {
                    failed = Some(why);
                    return ControlFlow::Break(());
                }
            };
            looked += 1;
            if is_live(&record, state, now) && fits_a_line(&key) {
                bytes += key.len() + record.value.len();
                let client_flags = record.header.client_flags;
                page.items.push(Listed { key: key.clone(), client_flags, value: record.value });
            }
            let is_enough = looked >= LOOKED
                || page.items.len() >= self.most as usize
                || bytes >= self.bytes as usize;
            if is_enough {
                page.after = Some(key);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        if let Err(error) = walked {
            shared.health.unread(error);
            return Err(crate::failure::UNREAD);
        }
        failed.map_or(Ok(page), Err)
    }
}

/// Whether a line of text can have a key in it. One that was sent in base64 may be any bytes.
fn fits_a_line(key: &[u8]) -> bool {
    !key.iter().any(|byte| matches!(byte, b' ' | b'\n'))
}

/// So many records are looked at before other reads have their turn; dead ones are among them.
const LOOKED: usize = 256;
