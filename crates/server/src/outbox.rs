//! Replies on their way to a client, in the order of its requests.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use larder_protocol::{Form, Key, Outcome, Output, Seconds, Shape, Value, write_reply};
use tokio::io::AsyncWrite;

use crate::counters::{Counters, Tally};

/// The replies one connection is owed.
pub(crate) struct Outbox<P> {
    /// What can be written now.
    ready: Pieces,
    /// What waits for an answer, and all that stands behind it.
    waiting: VecDeque<Waiting<P>>,
    /// Bytes of the replies that stand behind an answer to come, but for the last such answer.
    behind: usize,
    /// The weights of what waits.
    weight: usize,
    /// How many bytes an answer to come may have: as many as the largest of late.
    expected: usize,
}

/// An answer that is still to come, and the replies that follow it.
struct Waiting<P> {
    pending: P,
    form: OwnedForm,
    tally: Tally,
    /// Bytes held for it meanwhile: the value that was sent with it, or that it may bring.
    weight: usize,
    behind: Pieces,
}

impl<P> Default for Outbox<P> {
    fn default() -> Self {
        let (ready, waiting) = (Pieces::default(), VecDeque::new());
        Self { ready, waiting, behind: 0, weight: 0, expected: 0 }
    }
}

impl<P: Future<Output = Outcome<'static>> + Unpin> Outbox<P> {
    /// Where the next reply goes.
    #[inline]
    pub(crate) fn end(&mut self) -> &mut Pieces {
        match self.waiting.back_mut() {
            None => &mut self.ready,
            Some(last) => &mut last.behind,
        }
    }

    /// Keeps a place for an answer that is still to come, to a request that brought a value of
    /// `sent` bytes.
    pub(crate) fn wait(&mut self, pending: P, form: &Form<'_>, tally: Tally, sent: usize) {
        let form = OwnedForm::new(form);
        let weight = sent.max(self.expected);
        self.weight += weight;
        self.behind += self.last_len();
        self.waiting.push_back(Waiting { pending, form, tally, weight, behind: Pieces::default() });
    }

    /// Bytes of the replies behind the last answer to come.
    fn last_len(&self) -> usize {
        self.waiting.back().map_or(0, |last| last.behind.len)
    }

    /// Whether more requests may be carried out before these replies are gone.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.ready.len < MAX_UNSENT
            && (self.waiting.is_empty()
                || (self.waiting.len() < MAX_WAITING
                    && self.weight < MAX_WEIGHT
                    && self.behind + self.last_len() < MAX_UNSENT))
    }

    /// Bytes held by replies that can be written now.
    pub(crate) fn unsent(&self) -> usize {
        let shared = self.ready.shared.iter().map(|(_, value)| value.len());
        self.ready.bytes.capacity() + shared.sum::<usize>()
    }

    /// Bytes held for answers to come, and by what stands behind them.
    pub(crate) fn pending(&self) -> usize {
        self.weight + self.behind + self.last_len()
    }

    /// Whether nothing is owed.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.len == 0 && self.waiting.is_empty()
    }

    /// Moves the answers that have come to where they can be written, as far as there is room.
    /// Whether it moved any.
    #[inline]
    pub(crate) fn poll_answers(
        &mut self,
        cx: &mut Context<'_>,
        counters: &Counters,
        now: impl Fn() -> Seconds,
    ) -> bool {
        let mut moved = false;
        // An answer that is not moved is at most what its backend holds anyway.
        while self.ready.len < MAX_UNSENT
            && let Some(first) = self.waiting.front_mut()
        {
            let Poll::Ready(outcome) = Pin::new(&mut first.pending).poll(cx) else { break };
            counters.count(first.tally, &outcome);
            let before = self.ready.len;
            write_reply(&first.form.borrow(), &outcome, now(), &mut self.ready);
            let answer = self.ready.len - before;
            self.expected = answer.max(self.expected - self.expected / 8);
            self.weight -= first.weight;
            let behind = first.behind.len;
            self.ready.append(&mut first.behind);
            self.waiting.pop_front();
            // What stands behind the last one was not yet counted.
            self.behind -= if self.waiting.is_empty() { 0 } else { behind };
            moved = true;
        }
        moved
    }

    /// Writes what can be written. Ready once all of it is gone.
    #[inline]
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        counters: &Counters,
    ) -> Poll<io::Result<()>> {
        while self.ready.len > 0 {
            let written = ready!(self.ready.poll_write(stream, cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            counters.bytes_written.add(written as u64);
            self.ready.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Gives up the buffer that replies were collected in, once they are gone.
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.ready.bytes)
    }

    /// Replies are collected in `buffer` from now on, if there is none yet.
    pub(crate) fn lend_buffer(&mut self, buffer: impl FnOnce() -> Vec<u8>) {
        if self.ready.bytes.capacity() == 0 {
            self.ready.bytes = buffer();
        }
    }
}

/// Bytes to be written, with shared values between them.
#[derive(Default)]
pub(crate) struct Pieces {
    bytes: Vec<u8>,
    /// How much of `bytes` is written.
    written: usize,
    /// Values that stand before the byte of that number.
    shared: VecDeque<(usize, Bytes)>,
    /// Bytes left to be written, all told.
    len: usize,
}

impl Output for Pieces {
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
            Value::Shared(bytes) => {
                self.len += bytes.len();
                self.shared.push_back((self.bytes.len(), bytes.clone()));
            }
        }
    }
}

impl Pieces {
    fn append(&mut self, other: &mut Self) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(other.bytes.get(other.written..).unwrap_or_default());
        let shift = |at: usize| base + at - other.written;
        self.shared.extend(other.shared.drain(..).map(|(at, value)| (shift(at), value)));
        self.len += other.len;
    }

    #[inline]
    fn poll_write<S: AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.shared.is_empty() {
            let rest = self.bytes.get(self.written..).unwrap_or_default();
            return Pin::new(stream).poll_write(cx, rest);
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut places = slices.iter_mut();
        let mut from = self.written;
        for (at, value) in &self.shared {
            let (Some(before), Some(place)) = (places.next(), places.next()) else { break };
            *before = IoSlice::new(self.bytes.get(from..*at).unwrap_or_default());
            *place = IoSlice::new(value);
            from = *at;
        }
        if let Some(last) = places.next() {
            *last = IoSlice::new(self.bytes.get(from..).unwrap_or_default());
        }
        Pin::new(stream).poll_write_vectored(cx, &slices)
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
            if value.len() > written {
                let _ = value.split_to(written);
                break;
            }
            written -= value.len();
            self.shared.pop_front();
        }
        if self.len == 0 {
            self.bytes.clear();
            self.shared.clear();
            self.written = 0;
        }
    }
}

/// A [`Form`] that outlives the request it came from.
struct OwnedForm {
    shape: Shape,
    quiet: bool,
    base64: bool,
    /// The key as it stood in the request, then the flags.
    text: Box<[u8]>,
    key_len: usize,
}

impl OwnedForm {
    fn new(form: &Form<'_>) -> Self {
        Self {
            shape: form.shape,
            quiet: form.quiet,
            base64: form.key.base64,
            text: [form.key.text, form.flags].concat().into(),
            key_len: form.key.text.len(),
        }
    }

    fn borrow(&self) -> Form<'_> {
        let (key, flags) = self.text.split_at_checked(self.key_len).unwrap_or((&self.text, &[]));
        let key = Key { text: key, base64: self.base64 };
        Form { shape: self.shape, quiet: self.quiet, key, flags }
    }
}

/// Past this many bytes a client that does not read is owed, its requests wait.
const MAX_UNSENT: usize = 256 << 10;

/// How many bytes may be held for answers to come. One of them may hold any number.
const MAX_WEIGHT: usize = 1 << 20;

/// How many answers of one connection may be outstanding at once.
const MAX_WAITING: usize = 1024;

/// Below this many bytes a copy costs less than one more piece in a vectored write.
const MIN_SHARED: usize = 4 << 10;

/// The pieces of one vectored write.
const MAX_SLICES: usize = 32;

#[cfg(test)]
mod tests;
