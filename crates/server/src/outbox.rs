//! Replies on their way to a client, in the order of its requests.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use larder_protocol::{Form, Key, MAX_KEY_LEN, Outcome, Output, Page, Seconds, Shape, write_reply};
use tokio::io::AsyncWrite;

use crate::counters::{Counters, Tally};
use crate::heat::{Heat, value_sent};
use crate::unsent::Unsent;

/// The replies one connection is owed.
pub(crate) struct Outbox<P> {
    /// What can be written now.
    ready: Unsent,
    /// What waits for an answer, and all that stands behind it.
    waiting: VecDeque<Waiting<P>>,
    /// Bytes of the replies that stand behind an answer to come, but for the last such answer.
    behind: usize,
    /// The weights of what waits.
    weight: usize,
    /// How many bytes an answer to come may have: as many as the largest of late.
    expected: usize,
    /// A key of the `get` whose replies come next could not be fetched: it has been told so, and no more
    /// of it is.
    broken: bool,
    /// How many ends of a `get` wait.
    ends: usize,
}

/// What is still to come, and the replies that follow it: of the keys of one `get` those of the next
/// keys, up to its end.
struct Waiting<P> {
    owed: Owed<P>,
    /// Bytes held for it meanwhile: the value that was sent with it, or that it may bring.
    weight: usize,
    behind: Unsent,
}

/// What is still to come.
enum Owed<P> {
    Answer {
        pending: P,
        form: OwnedForm,
        tally: Tally,
        /// Whether it is one of those that are counted by key.
        sampled: bool,
    },
    /// The last line of a `get` that waits for answers.
    End(&'static [u8]),
}

impl<P> Default for Outbox<P> {
    fn default() -> Self {
        let (ready, waiting) = (Unsent::default(), VecDeque::new());
        Self { ready, waiting, behind: 0, weight: 0, expected: 0, broken: false, ends: 0 }
    }
}

impl<P: Future<Output = Outcome<'static>> + Unpin> Outbox<P> {
    /// Where the next reply goes.
    #[inline]
    pub(crate) fn end(&mut self) -> &mut Unsent {
        match self.waiting.back_mut() {
            None => &mut self.ready,
            Some(last) => &mut last.behind,
        }
    }

    /// Keeps a place for an answer that is still to come, to a request that brought a value of
    /// `sent` bytes.
    pub(crate) fn wait(
        &mut self,
        pending: P,
        form: &Form<'_>,
        tally: Tally,
        sent: usize,
        sampled: bool,
    ) {
        let owed = Owed::Answer { pending, form: OwnedForm::new(form), tally, sampled };
        self.push(owed, sent.max(self.expected));
    }

    /// Ends the replies to a `get` with this line, unless one of its keys cannot be fetched: then the line
    /// that says so is the last, as clients read no further (pymemcache, libmemcached).
    #[inline]
    pub(crate) fn end_get(&mut self, line: &'static [u8]) {
        match self.waiting.back() {
            // Each get ends, so that is of this one.
            Some(Waiting { owed: Owed::Answer { form, .. }, .. }) if form.is_value() => {
                self.push(Owed::End(line), 0);
                self.ends += 1;
            }
            // All of this one that waited has been told, or left out.
            None if std::mem::take(&mut self.broken) => {}
            _ => self.end().put(line),
        }
    }

    /// Whether a key of the `get` that is being carried out could not be fetched, and has been told so.
    #[inline]
    pub(crate) fn is_get_broken(&self) -> bool {
        // Else it is one that has ended.
        self.broken && self.ends == 0
    }

    fn push(&mut self, owed: Owed<P>, weight: usize) {
        self.weight += weight;
        self.behind += self.last_len();
        self.waiting.push_back(Waiting { owed, weight, behind: Unsent::default() });
    }

    /// Bytes of the replies behind the last answer to come.
    fn last_len(&self) -> usize {
        self.waiting.back().map_or(0, |last| last.behind.len())
    }

    /// Whether more requests may be carried out before these replies are gone.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.ready.len() < MAX_UNSENT
            && (self.waiting.is_empty()
                || (self.waiting.len() < MAX_WAITING
                    && self.weight < MAX_WEIGHT
                    && self.behind + self.last_len() < MAX_UNSENT))
    }

    /// Bytes held by replies that can be written now, and how many more are a backend's pieces.
    pub(crate) fn unsent(&self) -> (usize, usize) {
        self.ready.held()
    }

    /// Bytes held for answers to come, and by what stands behind them.
    pub(crate) fn pending(&self) -> usize {
        self.weight + self.behind + self.last_len()
    }

    /// Whether an answer is still to come.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether nothing is owed.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.len() == 0 && self.waiting.is_empty()
    }

    /// Moves the answers that have come to where they can be written, as far as there is room.
    /// Whether there may be more once that is written: it moved some, or had no room to ask for any,
    /// so that nothing would wake who waits.
    #[inline]
    pub(crate) fn poll_answers(
        &mut self,
        cx: &mut Context<'_>,
        counters: &Counters,
        heat: &Heat,
        now: impl Fn() -> Seconds,
    ) -> bool {
        let mut moved = false;
        // An answer that is not moved is at most what its backend holds anyway.
        while self.ready.len() < MAX_UNSENT
            && let Some(first) = self.waiting.front_mut()
        {
            match &mut first.owed {
                Owed::Answer { pending, form, tally, sampled } => {
                    let Poll::Ready(outcome) = Pin::new(pending).poll(cx) else { break };
                    counters.count(*tally, &outcome);
                    if !self.broken {
                        let before = self.ready.len();
                        let reply = form.borrow();
                        if *sampled {
                            let mut scratch = [0; MAX_KEY_LEN];
                            let key = reply.key.bytes(&mut scratch);
                            heat.count_late(key, value_sent(&reply, &outcome), now());
                        }
                        write_reply(&reply, &outcome, now(), &mut self.ready);
                        let answer = self.ready.len() - before;
                        self.expected = answer.max(self.expected - self.expected / 8);
                        self.broken = form.is_value() && outcome.is_failure();
                    }
                    if let Outcome::Listed(Page { after: Some(_), .. }) = outcome {
                        moved = true;
                        continue;
                    }
                }
                Owed::End(line) => {
                    self.ends -= 1;
                    if !std::mem::take(&mut self.broken) {
                        self.ready.put(line);
                    }
                }
            }
            self.weight -= first.weight;
            let behind = first.behind.len();
            if !self.broken {
                self.ready.append(&mut first.behind);
            }
            self.waiting.pop_front();
            // What stands behind the last one was not yet counted.
            self.behind -= if self.waiting.is_empty() { 0 } else { behind };
            moved = true;
        }
        moved || self.ready.len() >= MAX_UNSENT
    }

    /// Writes what can be written. Ready once all of it is gone.
    #[inline]
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        counters: &Counters,
    ) -> Poll<io::Result<()>> {
        while self.ready.len() > 0 {
            let written = ready!(self.ready.poll_write(stream, cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            counters.bytes_written.add(written as u64);
        }
        Poll::Ready(Ok(()))
    }

    /// Gives up the buffer that replies were collected in, once they are gone.
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        self.ready.take_buffer()
    }

    /// Replies are collected in `buffer` from now on, if there is none yet.
    pub(crate) fn lend_buffer(&mut self, buffer: impl FnOnce() -> Vec<u8>) {
        self.ready.lend_buffer(buffer);
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

    /// Whether it is that of a key of a `get`.
    fn is_value(&self) -> bool {
        matches!(self.shape, Shape::Value { .. })
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

#[cfg(test)]
mod tests;
