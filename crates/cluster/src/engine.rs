//! What carries out commands.

use larder_protocol::{Item, Op, Outcome, Seconds};

/// What holds the items of this node, and carries out commands at once: a cache.
pub trait Engine: Send + Sync + 'static {
    /// How far a visit of all items is.
    type Walk: Send + 'static;

    /// How far the items have been handed over.
    type HandOver: Send + 'static;

    /// These keys are about to be asked for: a chance to have them at hand.
    fn expect(&self, keys: &[&[u8]]);

    /// Does `op` to `key`, which is 1 to 250 bytes, and gives the answer to `respond` before it returns.
    /// What that borrows is held under a lock, so `respond` only copies.
    fn execute(&self, key: &[u8], op: &Op<'_>, now: Seconds, respond: impl FnOnce(Outcome<'_>));

    /// Everything stored before the second `at` is gone from then on; `at` of 0 means now.
    fn flush_all(&self, at: Seconds, now: Seconds);

    /// How many items there are, about; 0 only if there are none.
    fn items(&self) -> u64;

    /// A key is not this node's any more, or was changed elsewhere: forgets it.
    fn forget(&self, key: &[u8], now: Seconds);

    /// Keeps what another node had, with all but its cas unique, unless there is something. Whether it did.
    fn take_over(&self, key: &[u8], item: &Item<'_>, now: Seconds) -> bool;

    /// Begins to hand over all items.
    fn hand_over(&self, now: Seconds) -> Self::HandOver;

    /// Gives some more items, the hottest first. `false` once all were.
    fn hand_over_a_step(
        &self,
        hand_over: &mut Self::HandOver,
        now: Seconds,
        give: impl FnMut(&[u8], Item<'_>),
    ) -> bool;

    /// Begins a visit of all items.
    fn walk(&self) -> Self::Walk;

    /// Visits some more items, and forgets those that are not to be kept. `false` once all that were there
    /// when it began have been visited.
    fn drop_a_step(
        &self,
        walk: &mut Self::Walk,
        now: Seconds,
        keep: impl FnMut(&[u8]) -> bool,
    ) -> bool;
}
