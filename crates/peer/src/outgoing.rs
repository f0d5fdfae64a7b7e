//! Frames that wait to be written.

use std::collections::VecDeque;

use crate::frame::Frame;

/// Once a batch has so many bytes of bodies, the rest waits for the next.
const BATCH_BYTES: usize = 512 << 10;

/// Frames that wait to be written or are being written, and the memory they take.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    waiting: VecDeque<Frame>,
    /// Of the bodies that wait.
    waiting_bytes: usize,
    /// How many were taken last, and the bytes of their bodies.
    taken: (usize, usize),
}

impl Outgoing {
    /// Frames that wait or are being written.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.taken.0
    }

    /// The bytes of their bodies.
    pub(crate) fn bytes(&self) -> usize {
        self.waiting_bytes + self.taken.1
    }

    pub(crate) fn push(&mut self, frame: Frame) {
        self.waiting_bytes += frame.body.len();
        self.waiting.push_back(frame);
    }

    /// Takes what is to be written at once, in the order it came. What was taken before has been
    /// written by now.
    pub(crate) fn take(&mut self, batch: &mut Vec<Frame>) {
        self.taken = (0, 0);
        while self.taken.1 < BATCH_BYTES
            && let Some(frame) = self.waiting.pop_front()
        {
            self.taken = (self.taken.0 + 1, self.taken.1 + frame.body.len());
            batch.push(frame);
        }
        self.waiting_bytes -= self.taken.1;
    }

    /// What was taken will not be written any more.
    pub(crate) fn lose_taken(&mut self) {
        self.taken = (0, 0);
    }

    /// Keeps what waits only if `keep` says so.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Frame) -> bool) {
        self.waiting.retain(|frame| {
            let kept = keep(frame);
            if !kept {
                self.waiting_bytes -= frame.body.len();
            }
            kept
        });
    }

    /// Takes the frame of this call back. Calls must have been pushed in ascending order.
    pub(crate) fn withdraw(&mut self, call: u64) {
        if let Ok(at) = self.waiting.binary_search_by_key(&call, |frame| frame.call)
            && let Some(frame) = self.waiting.remove(at)
        {
            self.waiting_bytes -= frame.body.len();
        }
    }
}
