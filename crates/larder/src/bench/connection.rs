//! One client: sends, receives, measures.

use std::collections::VecDeque;
use std::io;
use std::ops::RangeInclusive;
use std::task::{Context, Poll};
use std::time::Duration;

use rand::RngExt as _;
use tokio::io::ReadBuf;

use super::command;
use super::keys::Keys;
use super::mix::{Mix, Step};
use super::pace::Pace;
use super::plan::Plan;
use super::reply::{Inbox, Outcome};
use super::stream::Stream;
use super::tally::Done;
use super::timer::Timer;
use super::worker::Desk;

/// A client and its connection, driven by [`Self::poll`].
///
/// All it needs only while it runs (buffers, counts) is its thread's [`Desk`], so that many
/// connections share what fits the processor's caches.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    keys: Keys,
    range: RangeInclusive<u64>,
    mix: Mix,
    inbox: Inbox,
    /// Requests sent and not answered, oldest first.
    in_flight: VecDeque<Sent>,
    /// What the socket did not take yet, and how much of that it took since.
    unsent: Vec<u8>,
    unsent_start: usize,
    /// With `--rate-limiting`.
    pace: Option<(Pace, Timer)>,
    /// Requests still to send.
    left: u64,
    /// Requests sent.
    sent: u64,
}

/// A request, sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// When its latency began, in microseconds after the start of the run.
    since_us: u64,
    bytes: u64,
    step: Step,
}

/// Larger batches than this are written in parts, to bound memory when values are large.
const BATCH_BYTES: usize = 256 * 1024;

impl Connection {
    /// Client `client`, counted over all threads, in run `run`.
    pub(super) fn new(stream: Stream, plan: &Plan, client: u32, run: u32) -> io::Result<Self> {
        let clients = plan.connections();
        let range = plan.keys.of_client(client, clients);
        let pace = match plan.rate {
            Some(rate) => Some((Pace::new(rate, client, clients), Timer::new()?)),
            None => None,
        };
        Ok(Self {
            stream,
            keys: Keys::new(&plan.keys, &range, plan.seed(client, run)),
            range,
            mix: Mix::new(plan.ratio, plan.keys_per_get),
            inbox: Inbox::default(),
            in_flight: VecDeque::with_capacity(plan.pipeline.min(1024)),
            unsent: Vec::new(),
            unsent_start: 0,
            pace,
            left: plan.requests(client).unwrap_or(u64::MAX),
            sent: 0,
        })
    }

    /// Does what can be done now. Ready when all requests are answered and none is to be sent, or,
    /// with the reason, when the connection is of no more use.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        desk: &mut Desk,
    ) -> Poll<Result<(), String>> {
        loop {
            let received = self.receive(cx, desk)?;
            let (filled, done) = self.fill(cx, desk)?;
            let written = self.flush(cx, desk)?;
            if done && written && self.in_flight.is_empty() {
                return Poll::Ready(Ok(()));
            }
            // A batch cut short by its size goes on once it was written.
            let cut_short = filled >= BATCH_BYTES && written;
            if !received && !cut_short {
                return Poll::Pending;
            }
        }
    }

    /// Reads and counts what there is. Whether there was anything.
    fn receive(&mut self, cx: &mut Context<'_>, desk: &mut Desk) -> Result<bool, String> {
        let mut buffer = ReadBuf::new(&mut desk.input);
        match self.stream.poll_read(cx, &mut buffer) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Err(error)) => return Err(format!("{error} after {} requests", self.sent)),
            Poll::Ready(Ok(())) => {}
        }
        let input = buffer.filled();
        if input.is_empty() {
            return Err(format!("closed by the server after {} requests", self.sent));
        }
        let now_us = desk.clock.now_us();
        desk.now_us = now_us;
        let (in_flight, tally) = (&mut self.in_flight, &mut desk.tally);
        let mut answered = 0;
        let read = self.inbox.receive(input, |reply| {
            let Some(sent) = in_flight.pop_front() else {
                return Err("it sent a reply to no request".to_owned());
            };
            answered += 1;
            let done = Done {
                at_us: now_us,
                latency_us: now_us.saturating_sub(sent.since_us),
                bytes_in: reply.bytes,
                bytes_out: sent.bytes,
            };
            match (reply.outcome, sent.step) {
                (Outcome::Stored, Step::Set) => tally.set(done),
                (Outcome::Got { hits }, Step::Get(keys)) => {
                    tally.get(done, hits, keys.get().saturating_sub(hits));
                }
                (Outcome::Refused(line), _) => tally.errors.note(line),
                _ => return Err("it sent the reply to another command".to_owned()),
            }
            Ok(())
        });
        desk.outstanding -= answered;
        desk.publish();
        read.map(|()| true)
    }

    /// Appends requests to the desk's batch until the pipeline is full. Returns the batch's length
    /// in bytes, and whether the client has nothing more to send ever.
    fn fill(&mut self, cx: &mut Context<'_>, desk: &mut Desk) -> Result<(usize, bool), String> {
        desk.output.clear();
        let mut now_us = desk.now_us;
        let done = loop {
            let since_us = self.pace.as_ref().map_or(now_us, |(pace, _)| pace.due_us());
            if self.left == 0 || desk.stopped || since_us >= desk.end_us {
                break true;
            }
            if self.in_flight.len() >= desk.plan.pipeline
                || !self.unsent.is_empty()
                || desk.output.len() >= BATCH_BYTES
            {
                break false;
            }
            if let Some((pace, timer)) = &mut self.pace {
                if since_us > now_us {
                    let due = desk.clock.start + Duration::from_micros(since_us);
                    match timer.poll(due, cx) {
                        Poll::Pending => break false,
                        Poll::Ready(waited) => waited.map_err(|error| error.to_string())?,
                    }
                    now_us = desk.clock.now_us();
                    continue;
                }
                pace.advance();
            }
            self.request(desk, since_us);
        };
        Ok((desk.output.len(), done))
    }

    /// Appends one request to the desk's batch.
    fn request(&mut self, desk: &mut Desk, since_us: u64) {
        let before = desk.output.len();
        let prefix = desk.plan.key_prefix.as_bytes();
        let step = self.mix.step();
        match step {
            Step::Set => {
                let key = self.keys.next_set();
                let position = position(key, &self.range);
                let expiry = desk.plan.expiry_secs;
                let expiry = expiry.map_or(0, |(min, max)| self.keys.rng.random_range(min..=max));
                let value = desk.payload.value(position, &mut self.keys.rng);
                command::set(&mut desk.output, prefix, key, expiry, value);
            }
            Step::Get(count) => {
                let keys = (0..count.get()).map(|_| self.keys.next_get());
                command::get(&mut desk.output, prefix, keys);
            }
        }
        let bytes = (desk.output.len() - before) as u64;
        self.in_flight.push_back(Sent { since_us, bytes, step });
        self.left -= 1;
        self.sent += 1;
        desk.outstanding += 1;
    }

    /// Writes the desk's batch, after what the socket refused before. Whether it took all.
    fn flush(&mut self, cx: &mut Context<'_>, desk: &mut Desk) -> Result<bool, String> {
        while let Some(bytes) = self.unsent.get(self.unsent_start..).filter(|rest| !rest.is_empty())
        {
            match self.stream.poll_write(cx, bytes) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(written)) => self.unsent_start += written,
                Poll::Ready(Err(error)) => return Err(self.write_failure(&error)),
            }
        }
        self.unsent.clear();
        self.unsent_start = 0;

        let mut batch = desk.output.as_slice();
        while !batch.is_empty() {
            match self.stream.poll_write(cx, batch) {
                Poll::Pending => {
                    self.unsent.extend_from_slice(batch);
                    return Ok(false);
                }
                Poll::Ready(Ok(written)) => batch = batch.get(written..).unwrap_or_default(),
                Poll::Ready(Err(error)) => return Err(self.write_failure(&error)),
            }
        }
        Ok(true)
    }

    fn write_failure(&self, error: &io::Error) -> String {
        format!("{error} after {} requests", self.sent)
    }

    /// How many requests were due before `end_us` and not sent.
    pub(super) fn behind(&self, end_us: u64) -> u64 {
        self.pace.as_ref().map_or(0, |(pace, _)| pace.behind(end_us).min(self.left))
    }
}

/// Where `key` lies in `range`: zero at its start, one at its end.
#[expect(clippy::cast_precision_loss, reason = "a value's size need not be exact")]
fn position(key: u64, range: &RangeInclusive<u64>) -> f64 {
    match range.end() - range.start() {
        0 => 0.0,
        length => key.saturating_sub(*range.start()) as f64 / length as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_span_the_range() {
        assert!(position(10, &(10..=20)).abs() < 1e-9);
        assert!((position(15, &(10..=20)) - 0.5).abs() < 1e-9);
        assert!((position(20, &(10..=20)) - 1.0).abs() < 1e-9);
        assert!(position(3, &(3..=3)).abs() < 1e-9);
    }
}
