//! The calls of one connection that are in hand, and the answers to be sent.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Refusal;
use crate::frame::Frame;
use crate::outgoing::Outgoing;
use crate::settings::Settings;
use crate::writer::More;

/// How a call ended, as the kind of the frame that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done = 0,
    Refused = 1,
    /// Nobody knows.
    Lost = 2,
}

impl Answer {
    pub(crate) fn from_kind(kind: u8) -> Self {
        match kind {
            0 => Self::Done,
            1 => Self::Refused,
            _ => Self::Lost,
        }
    }
}

/// The calls of one connection that are in hand, and the answers to be sent.
#[derive(Debug)]
pub(super) struct Desk {
    state: Mutex<State>,
    /// There is something to write.
    pub(super) wake: Notify,
    /// There may be room for another call.
    room: Notify,
    max_calls: usize,
    max_bytes: usize,
    /// The longest body that the caller takes, in bytes.
    max_body: usize,
}

#[derive(Debug, Default)]
struct State {
    calls: usize,
    /// Of the bodies of these calls.
    bytes: usize,
    outgoing: Outgoing,
    closed: bool,
}

impl Desk {
    pub(super) fn new(settings: &Settings, max_body: usize) -> Self {
        Self {
            state: Mutex::default(),
            wake: Notify::new(),
            room: Notify::new(),
            max_calls: settings.max_calls.max(1),
            max_bytes: settings.max_bytes,
            max_body,
        }
    }

    /// Waits until there is room for this call.
    pub(super) async fn admit(self: &Arc<Self>, call: &Frame) -> Receipt {
        let len = call.body.len();
        loop {
            {
                let mut state = self.state.lock();
                let calls = state.calls + state.outgoing.len();
                let bytes = state.bytes + state.outgoing.bytes();
                if calls < self.max_calls && (bytes == 0 || bytes + len <= self.max_bytes) {
                    state.calls += 1;
                    state.bytes += len;
                    break;
                }
            }
            self.room.notified().await;
        }
        Receipt { desk: Arc::clone(self), call: call.call, len, answer: None }
    }

    /// Gives answers to the connection.
    pub(super) fn take(&self, batch: &mut Vec<Frame>) -> More {
        let mut state = self.state.lock();
        state.outgoing.take(batch);
        self.room.notify_one();
        if state.closed { More::Never } else { More::Maybe }
    }

    /// There will be no more answers.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_one();
    }
}

/// The duty to answer a call. When it is dropped, the call is answered.
pub(super) struct Receipt {
    desk: Arc<Desk>,
    call: u64,
    len: usize,
    answer: Option<Result<Bytes, Refusal>>,
}

impl Receipt {
    pub(super) fn answer(mut self, answer: Result<Bytes, Refusal>) {
        self.answer = Some(answer);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let max = self.desk.max_body;
        let (kind, mut body) = match self.answer.take() {
            Some(Ok(body)) if body.len() > max => {
                let text = format!("the answer has {} bytes; the limit is {max}", body.len());
                (Answer::Lost, text.into())
            }
            Some(Ok(body)) => (Answer::Done, body),
            Some(Err(Refusal(text))) => (Answer::Refused, text.into()),
            None => (Answer::Lost, "the handler ended without an answer".into()),
        };
        body.truncate(max);
        let mut state = self.desk.state.lock();
        state.calls -= 1;
        state.bytes -= self.len;
        state.outgoing.push(Frame { call: self.call, kind: kind as u8, body });
        drop(state);
        self.desk.wake.notify_one();
    }
}
