//! From bytes to answered exchanges.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use larder_protocol::response::{Limits, Parsed, parse_within};

use super::exchange::Exchange;
use crate::error::Violation;

/// A value at least this long leaves the buffer by reference. A shorter one is copied, so that it
/// does not keep a whole buffer in memory.
const SHARED_FROM: usize = 32 << 10;

/// The least and the most room made for one read, in bytes. The most bounds what a server gets
/// by announcing a value that it does not send.
const READ_ROOM: (usize, usize) = (16 << 10, 1 << 20);

/// The bytes that are not yet answers.
#[derive(Debug)]
pub(super) struct Reader {
    buffer: BytesMut,
    /// The length from which on parsing can get further.
    enough: usize,
    limits: Limits,
}

impl Reader {
    pub(super) fn new(max_value: usize) -> Self {
        let limits = Limits { value: max_value, ..Limits::DEFAULT };
        Self { buffer: BytesMut::new(), enough: 1, limits }
    }

    /// The buffer, with room to read into.
    pub(super) fn room(&mut self) -> &mut BytesMut {
        let (least, most) = READ_ROOM;
        self.buffer.reserve(self.enough.saturating_sub(self.buffer.len()).clamp(least, most));
        &mut self.buffer
    }

    /// Matches all whole answers to exchanges, and completes those that have all of theirs.
    ///
    /// `more` is called for the exchanges that wait when `waiting` has none left. Returns how many
    /// exchanges were completed.
    pub(super) fn digest(
        &mut self,
        waiting: &mut VecDeque<Exchange>,
        mut more: impl FnMut(&mut VecDeque<Exchange>),
    ) -> Result<usize, Violation> {
        let mut completed = 0;
        while self.buffer.len() >= self.enough {
            let (response, consumed) = match parse_within(&self.buffer, &self.limits) {
                Parsed::Done { response, consumed } => (response, consumed),
                Parsed::Incomplete { missing } => {
                    self.enough = self.buffer.len().saturating_add(missing.unwrap_or(1));
                    break;
                }
                Parsed::Desync(desync) => return Err(Violation::Unreadable(desync)),
            };
            if waiting.is_empty() {
                more(waiting);
            }
            let mut shared_len = None;
            let exchange = waiting.front_mut().ok_or(Violation::Unasked)?;
            let accepted = exchange.accept(&response, |value| {
                if value.len() < SHARED_FROM {
                    return Bytes::copy_from_slice(value);
                }
                shared_len = Some(value.len());
                Bytes::new()
            });
            if let Some(len) = shared_len {
                // A value is the end of its response, but for the end of the line.
                let block = self.buffer.split_to(consumed).freeze();
                let end = consumed.saturating_sub(b"\r\n".len());
                exchange.set_value(block.slice(end.saturating_sub(len)..end));
            } else {
                self.buffer.advance(consumed);
            }
            if exchange.is_complete()
                && let Some(exchange) = waiting.pop_front()
            {
                exchange.complete();
                completed += 1;
            }
            accepted?;
            self.enough = 1;
        }
        Ok(completed)
    }
}
