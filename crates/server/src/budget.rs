//! Memory that the buffers of all connections hold together, so that many clients that stop in
//! the middle of something cost no more than was allowed.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use larder_protocol::Seconds;

use crate::backend::Backend;
use crate::buffers;
use crate::clock;
use crate::registry::{Peer, Registry};
use crate::shared::Shared;

/// What all connections hold, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    held: AtomicU64,
    /// Of these, replies that were not taken.
    replies: AtomicU64,
    /// Whether a connection was told to close that still holds its part.
    closing_one: AtomicBool,
    /// The second in which no connection was found that could be closed.
    searched: AtomicU32,
    /// Values that were not waited for, for want of memory.
    pub(crate) refused: AtomicU64,
    /// Connections that were closed because others needed what they held.
    pub(crate) cut_off: AtomicU64,
}

impl Budget {
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Closes the connection that holds most and neither sends nor takes anything. If replies
    /// alone are more than `limit`, the one that left most of them counts as such, however it
    /// dawdles. One at a time: what it gives back may be enough.
    fn make_room(&self, registry: &Registry, limit: u64) {
        let now = clock::now();
        if self.searched.load(Ordering::Relaxed) == now
            || self.closing_one.swap(true, Ordering::AcqRel)
        {
            return;
        }
        let dawdle = self.replies.load(Ordering::Relaxed) > limit;
        if registry.cut_off_one(now.saturating_sub(STALLED), dawdle) {
            self.cut_off.fetch_add(1, Ordering::Relaxed);
        } else {
            self.closing_one.store(false, Ordering::Release);
            self.searched.store(now, Ordering::Relaxed);
        }
    }
}

/// One connection's part, which is given back when it is dropped.
pub(crate) struct Share<'a, B: Backend> {
    shared: &'a Shared<B>,
    peer: &'a Peer,
    input: usize,
    /// Bytes of the backend's for the front of a value that is coming.
    landing: usize,
    /// Replies that the client has not taken.
    replies: usize,
    /// What of them the backend does not count itself.
    copied: usize,
    /// What is held for answers that are not there yet: no client can hurry them.
    pending: usize,
}

impl<'a, B: Backend> Share<'a, B> {
    pub(crate) fn new(shared: &'a Shared<B>, peer: &'a Peer) -> Self {
        Self { shared, peer, input: 0, landing: 0, replies: 0, copied: 0, pending: 0 }
    }

    /// Asks for an input buffer of `bytes`. `false` if that is more than there is.
    pub(crate) fn grow_input(&mut self, bytes: usize) -> bool {
        let before = self.input;
        self.put_input(bytes);
        let limit = self.shared.settings.buffer_memory;
        if self.input <= before || self.shared.budget.held() <= limit {
            return true;
        }
        self.change_input(before);
        self.shared.budget.refused.fetch_add(1, Ordering::Relaxed);
        self.shared.budget.make_room(&self.shared.registry, limit);
        false
    }

    /// Whether so many bytes more may be held.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        self.shared.budget.held() + bytes as u64 <= self.shared.settings.buffer_memory
    }

    /// It has so many bytes of the backend's.
    #[inline]
    pub(crate) fn put_landing(&mut self, bytes: usize) {
        if bytes != self.landing {
            self.hold(self.landing, bytes);
            self.landing = bytes;
            self.note();
        }
    }

    /// The input buffer has this many bytes.
    #[inline]
    pub(crate) fn put_input(&mut self, bytes: usize) {
        let bytes = counted(bytes);
        if bytes != self.input {
            self.change_input(bytes);
            self.note();
        }
    }

    fn change_input(&mut self, bytes: usize) {
        self.hold(self.input, bytes);
        self.lend(self.input, bytes);
        self.input = bytes;
    }

    /// So many bytes were read: it goes on, unless by so few that it only seems to.
    #[inline]
    pub(crate) fn has_read(&self, bytes: usize) {
        if self.input + self.landing > 0 && bytes >= MIN_PROGRESS {
            self.peer.goes_on(clock::now());
        }
    }

    /// Replies that were not taken hold this many bytes, and so many more of the backend's pieces,
    /// and what waits for an answer so many.
    #[inline]
    pub(crate) fn put_output(&mut self, (copied, in_pieces): (usize, usize), pending: usize) {
        let replies = counted(copied + in_pieces);
        let (copied, pending) = (counted(copied), counted(pending));
        if (replies, copied, pending) != (self.replies, self.copied, self.pending) {
            self.change_output(replies, copied, pending);
        }
    }

    fn change_output(&mut self, replies: usize, copied: usize, pending: usize) {
        let (before, after) = (self.replies + self.pending, replies + pending);
        let taken = self.replies as u64;
        let budget = &self.shared.budget;
        budget.replies.fetch_add((replies as u64).wrapping_sub(taken), Ordering::Relaxed);
        self.hold(before, after);
        self.lend(self.copied + self.pending, copied + pending);
        (self.replies, self.copied, self.pending) = (replies, copied, pending);
        self.note();
        let limit = self.shared.settings.buffer_memory;
        if after > before && budget.held() > limit {
            budget.make_room(&self.shared.registry, limit);
        }
    }

    /// Others see what it holds, and that it just did something.
    fn note(&self) {
        self.peer.holds(self.input + self.landing, self.replies);
        self.peer.goes_on(clock::now());
    }

    fn hold(&self, before: usize, after: usize) {
        let change = (after as u64).wrapping_sub(before as u64);
        self.shared.budget.held.fetch_add(change, Ordering::Relaxed);
    }

    fn lend(&self, before: usize, after: usize) {
        if before != after {
            let change = (after as u64).wrapping_sub(before as u64);
            self.shared.backend.lend(change.cast_signed(), clock::now());
        }
    }
}

impl<B: Backend> Drop for Share<'_, B> {
    fn drop(&mut self) {
        self.put_input(0);
        self.put_landing(0);
        self.put_output((0, 0), 0);
        if self.peer.cut_off() {
            let (budget, limit) = (&self.shared.budget, self.shared.settings.buffer_memory);
            budget.closing_one.store(false, Ordering::Release);
            if budget.held() > limit {
                budget.make_room(&self.shared.registry, limit);
            }
        }
    }
}

/// What of a buffer counts: the first bytes do not, so that ordinary requests touch nothing that
/// threads share.
#[inline]
fn counted(bytes: usize) -> usize {
    bytes.saturating_sub(FREE_BYTES)
}

/// What each buffer of a connection may hold uncounted.
const FREE_BYTES: usize = buffers::INPUT_BYTES;

/// A connection that holds much and has done nothing for longer than this many seconds makes way
/// if others need the memory.
const STALLED: Seconds = 2;

/// Fewer bytes than this, of a value that has thousands, are no progress.
const MIN_PROGRESS: usize = 512;
