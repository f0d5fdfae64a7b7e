//! Bytes on their way to a socket, with values between them that are shared, not copied.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use larder_protocol::{Output, Pieces, Value};
use tokio::io::AsyncWrite;

/// Bytes to be written, with shared values between them.
#[derive(Default)]
pub(crate) struct Unsent {
    bytes: Vec<u8>,
    /// How much of `bytes` is written.
    written: usize,
    /// Values that stand before the byte of that number.
    shared: VecDeque<(usize, Shared)>,
    /// Bytes left to be written, all told.
    len: usize,
}

/// A value that is shared with an engine.
enum Shared {
    Bytes(Bytes),
    /// Of which these are written: so many pieces, and so many bytes of the next.
    Pieces {
        pieces: Pieces,
        number: usize,
        written: usize,
    },
}

impl Output for Unsent {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    #[inline]
    fn put_value(&mut self, value: &Value<'_>) {
        match value {
            Value::Slice(bytes) => self.put(bytes),
            Value::Shared(bytes) if bytes.len() < MIN_SHARED => self.put(bytes),
            Value::Shared(bytes) => self.share(bytes.len(), Shared::Bytes(bytes.clone())),
            Value::Long(pieces, rest) => {
                let shared = Shared::Pieces { pieces: pieces.clone(), number: 0, written: 0 };
                self.share(pieces.len(), shared);
                self.put(rest);
            }
        }
    }
}

impl Unsent {
    /// Bytes left to be written.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many bytes it holds, also of what others hold too, and how many more are in pieces.
    pub(crate) fn held(&self) -> (usize, usize) {
        let (mut bytes_held, mut in_pieces) = (self.bytes.capacity(), 0);
        for (_, value) in &self.shared {
            match value {
                Shared::Bytes(bytes) => bytes_held += bytes.len(),
                Shared::Pieces { pieces, .. } => in_pieces += pieces.len(),
            }
        }
        (bytes_held, in_pieces)
    }

    /// Puts `other` behind, and leaves it empty.
    pub(crate) fn append(&mut self, other: &mut Self) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(other.bytes.get(other.written..).unwrap_or_default());
        let shift = |at: usize| base + at - other.written;
        self.shared.extend(other.shared.drain(..).map(|(at, value)| (shift(at), value)));
        self.len += other.len;
        *other = Self::default();
    }

    /// Gives up the buffer, once all is written.
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Collects in `buffer` from now on, if there is none yet.
    #[inline]
    pub(crate) fn lend_buffer(&mut self, buffer: impl FnOnce() -> Vec<u8>) {
        if self.bytes.capacity() == 0 {
            self.bytes = buffer();
        }
    }

    /// Writes once, as much as the stream takes. How many bytes that was.
    #[inline]
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let poll = if self.shared.is_empty() {
            let rest = self.bytes.get(self.written..).unwrap_or_default();
            Pin::new(stream).poll_write(cx, rest)
        } else {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let len = self.fill(&mut slices);
            let slices = slices.get(..len).unwrap_or_default();
            Pin::new(stream).poll_write_vectored(cx, slices)
        };
        if let Poll::Ready(Ok(written)) = poll {
            self.advance(written);
        }
        poll
    }

    /// The first pieces that are to be written, as many as there is place for. How many.
    fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut places = slices.iter_mut();
        let mut used = 0;
        let mut place = |bytes: &'a [u8]| {
            if bytes.is_empty() {
                return true;
            }
            let Some(place) = places.next() else { return false };
            *place = IoSlice::new(bytes);
            used += 1;
            true
        };
        let mut from = self.written;
        let mut go_on = true;
        for (at, value) in &self.shared {
            go_on = place(self.bytes.get(from..*at).unwrap_or_default())
                && value.slices().all(&mut place);
            if !go_on {
                break;
            }
            from = *at;
        }
        if go_on {
            place(self.bytes.get(from..).unwrap_or_default());
        }
        used
    }

    fn advance(&mut self, mut written: usize) {
        self.len -= written;
        while written > 0 {
            let until = self.shared.front().map_or(self.bytes.len(), |(at, _)| *at);
            let plain = written.min(until - self.written);
            self.written += plain;
            written -= plain;
            if written == 0 {
                break;
            }
            let Some((_, value)) = self.shared.front_mut() else { break };
            let left = value.advance(written);
            if left == 0 && value.slices().next().is_some() {
                break;
            }
            written = left;
            self.shared.pop_front();
        }
        if self.len == 0 {
            self.bytes.clear();
            self.shared.clear();
            self.written = 0;
        }
    }

    fn share(&mut self, len: usize, value: Shared) {
        self.len += len;
        self.shared.push_back((self.bytes.len(), value));
    }
}

impl Shared {
    /// What is left to be written.
    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let (bytes, pieces) = match self {
            Self::Bytes(bytes) => (Some(&**bytes).filter(|bytes| !bytes.is_empty()), None),
            Self::Pieces { pieces, number, written } => (None, Some((pieces, *number, *written))),
        };
        let pieces = pieces.into_iter().flat_map(|(pieces, number, mut written)| {
            pieces.from(number).map(move |piece| {
                let left = piece.get(written..).unwrap_or_default();
                written = 0;
                left
            })
        });
        bytes.into_iter().chain(pieces)
    }

    /// Takes off what was written, and says how much more than this that was.
    fn advance(&mut self, mut by: usize) -> usize {
        match self {
            Self::Bytes(bytes) => {
                let own = by.min(bytes.len());
                bytes.advance(own);
                by - own
            }
            Self::Pieces { pieces, number, written } => {
                while by > 0 {
                    let Some(piece) = pieces.0.piece(*number) else { break };
                    let own = by.min(piece.len() - *written);
                    by -= own;
                    *written += own;
                    if *written == piece.len() {
                        (*number, *written) = (*number + 1, 0);
                    }
                }
                by
            }
        }
    }
}

/// Below this many bytes a copy costs less than one more piece in a vectored write.
pub(crate) const MIN_SHARED: usize = 4 << 10;

/// The pieces of one vectored write.
pub(crate) const MAX_SLICES: usize = 64;
