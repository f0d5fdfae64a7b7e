//! Memory that the buffers of all connections hold together, so that many clients that stop in
//! the middle of something cost no more than was allowed.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::Backend;
use crate::registry::Peer;
use crate::shared::Shared;

/// What all connections hold, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    held: AtomicU64,
    /// Values that were not waited for, for want of memory.
    pub(crate) refused: AtomicU64,
    /// Connections that were closed because their replies held too much.
    pub(crate) cut_off: AtomicU64,
}

impl Budget {
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

/// One connection's part, which is given back when it is dropped.
pub(crate) struct Share<'a, B: Backend> {
    shared: &'a Shared<B>,
    peer: &'a Peer,
    input: usize,
    output: usize,
}

impl<'a, B: Backend> Share<'a, B> {
    pub(crate) fn new(shared: &'a Shared<B>, peer: &'a Peer) -> Self {
        Self { shared, peer, input: 0, output: 0 }
    }

    /// Asks for an input buffer of `bytes`. `false` if that is more than there is.
    pub(crate) fn grow_input(&mut self, bytes: usize) -> bool {
        let more = counted(bytes).saturating_sub(self.input);
        let limit = self.shared.settings.buffer_memory;
        if self.shared.budget.held() + more as u64 > limit {
            self.shared.budget.refused.fetch_add(1, Ordering::Relaxed);
            self.make_room();
            return false;
        }
        self.put_input(bytes);
        true
    }

    /// The input buffer has this many bytes.
    #[inline]
    pub(crate) fn put_input(&mut self, bytes: usize) {
        let bytes = counted(bytes);
        if bytes != self.input {
            self.settle(self.input, bytes);
            self.input = bytes;
        }
    }

    /// Replies hold this many bytes.
    #[inline]
    pub(crate) fn put_output(&mut self, bytes: usize) {
        let bytes = counted(bytes);
        if bytes != self.output {
            self.peer.owe(bytes);
            self.settle(self.output, bytes);
            let grown = bytes > self.output;
            self.output = bytes;
            if grown && self.shared.budget.held() > self.shared.settings.buffer_memory {
                self.make_room();
            }
        }
    }

    fn make_room(&self) {
        if self.shared.registry.cut_off_slowest_reader() {
            self.shared.budget.cut_off.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn settle(&self, before: usize, after: usize) {
        let held = &self.shared.budget.held;
        let now = if after > before {
            let more = (after - before) as u64;
            held.fetch_add(more, Ordering::Relaxed) + more
        } else {
            let less = (before - after) as u64;
            held.fetch_sub(less, Ordering::Relaxed) - less
        };
        self.shared.backend.set_buffered(now);
    }
}

impl<B: Backend> Drop for Share<'_, B> {
    fn drop(&mut self) {
        self.put_input(0);
        self.put_output(0);
    }
}

/// What of a buffer counts: the first bytes do not, so that ordinary requests touch nothing that
/// threads share.
#[inline]
fn counted(bytes: usize) -> usize {
    bytes.saturating_sub(FREE_BYTES)
}

/// What each buffer of a connection may hold uncounted.
const FREE_BYTES: usize = 16 << 10;
