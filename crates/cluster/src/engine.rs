//! What carries out commands.

use larder_protocol::{Op, Outcome, Seconds};

/// What holds the items of this node, and carries out commands at once: a cache.
pub trait Engine: Send + Sync + 'static {
    /// Does `op` to `key`, which is 1 to 250 bytes, and gives the answer to `respond` before it returns.
    /// What that borrows is held under a lock, so `respond` only copies.
    fn execute(&self, key: &[u8], op: &Op<'_>, now: Seconds, respond: impl FnOnce(Outcome<'_>));

    /// Everything stored before the second `at` is gone from then on; `at` of 0 means now.
    fn flush_all(&self, at: Seconds, now: Seconds);
}
