//! One connection: read, carry out all that has come, write once.

use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use larder_protocol::{Landing, Parsed, keys_ahead, parse_landed};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use tracing::debug;

use crate::backend::Backend;
use crate::bell::Cord;
use crate::budget::Share;
use crate::buffers;
use crate::clock;
use crate::dispatch::{Desk, Next, Rest};
use crate::registry::{Entry, Peer};
use crate::shared::{Shared, Worker};

/// Serves a connection until it is closed, by the client, for an error, or at the end of the
/// server.
pub(crate) async fn serve<B: Backend, S>(
    stream: S,
    entry: Entry,
    shared: Arc<Shared<B>>,
    worker: Arc<Worker>,
    part: Arc<B::Worker>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let peer = &entry.peer;
    debug!(peer = %peer.address, number = peer.number(), "connected");
    let mut connection = Connection::new(stream, peer, &shared, &worker, &part);
    match connection.run().await {
        Ok(()) => debug!(peer = %peer.address, "closed"),
        Err(error) => debug!(peer = %peer.address, %error, "closed"),
    }
}

struct Connection<'a, B: Backend, S> {
    stream: S,
    peer: &'a Peer,
    desk: Desk<'a, B>,
    cord: Cord,
    share: Share<'a, B>,
    /// What has been read and not yet carried out begins at `position`.
    input: Vec<u8>,
    position: usize,
    /// How many bytes the request at `position` needs at least.
    need: usize,
    /// Where the value is that it has, if its front may land elsewhere.
    value: Option<Range<usize>>,
    /// Whether there is no memory for what it needs.
    starved: bool,
    /// How many bytes of a value nobody wants are still to come.
    skip: usize,
    /// The rest of a `get` whose replies had to be written first.
    rest: Option<Rest>,
    /// How many requests are left of this turn.
    turns: usize,
    /// Whether the last turn ended before the input did.
    more: bool,
    /// Whether the client has sent all it will.
    ended: bool,
    /// Whether nothing more is to be carried out.
    closing: bool,
    /// Whether the client was read from once more after it was told to leave.
    last_read: bool,
}

impl<'a, B: Backend, S: AsyncRead + AsyncWrite + Unpin> Connection<'a, B, S> {
    fn new(
        stream: S,
        peer: &'a Peer,
        shared: &'a Shared<B>,
        worker: &'a Worker,
        part: &B::Worker,
    ) -> Self {
        Self {
            stream,
            peer,
            desk: Desk::new(shared, worker, part),
            cord: Cord::new(Arc::clone(&worker.bell)),
            share: Share::new(shared, peer),
            input: Vec::new(),
            position: 0,
            need: 1,
            value: None,
            starved: false,
            skip: 0,
            rest: None,
            turns: shared.settings.requests_per_turn,
            more: false,
            ended: false,
            closing: false,
            last_read: false,
        }
    }

    async fn run(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            self.peer.wake_by(cx);
            Poll::Ready(())
        })
        .await;
        while poll_fn(|cx| self.poll_input(cx)).await? {
            self.carry_out();
            if self.more || self.turns == 0 {
                self.flush().await?;
                tokio::task::yield_now().await;
                self.begin_turn();
            }
        }
        self.say_goodbye().await
    }

    fn begin_turn(&mut self) {
        // A turn of no request would never end.
        self.turns = self.desk.shared.settings.requests_per_turn.max(1);
    }

    /// Closes a connection whose client may still be sending, so that what was written arrives: a
    /// socket closed with bytes unread is reset, and takes replies on their way with it.
    async fn say_goodbye(&mut self) -> io::Result<()> {
        if !self.closing || self.ended {
            return Ok(());
        }
        self.stream.shutdown().await?;
        let mut unread = buffers::take_input();
        let drained = async {
            while self.stream.read_buf(&mut unread).await? > 0 {
                unread.clear();
            }
            io::Result::Ok(())
        };
        let result = timeout(GOODBYE, drained).await;
        buffers::give_input(unread);
        result.unwrap_or(Ok(()))
    }

    /// Writes what the socket takes now.
    async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            let outbox = &mut self.desk.outbox;
            match outbox.poll_write(&mut self.stream, cx, self.desk.counters) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Ready(Ok(())),
            }
        })
        .await
    }

    /// Writes replies until there is something to carry out. `false` when the connection is done.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let poll = self.poll_once(cx);
        if poll.is_pending() {
            self.begin_turn();
        }
        poll
    }

    fn poll_once(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.peer.cut_off() {
            return Poll::Ready(Err(io::Error::other("it held memory that others need")));
        }
        let outbox = &mut self.desk.outbox;
        let (counters, heat) = (self.desk.counters, self.desk.heat);
        let unsent = loop {
            let moved = outbox.is_waiting() && {
                let mut cx = Context::from_waker(self.cord.waker(cx.waker()));
                outbox.poll_answers(&mut cx, counters, heat, clock::now)
            };
            let unsent = outbox.poll_write(&mut self.stream, cx, counters)?.is_pending();
            // Writing made room for answers that nothing would wake us for.
            if unsent || !moved {
                break unsent;
            }
        };
        if outbox.is_empty() {
            self.share.put_output((0, 0), 0);
            buffers::give_output(outbox.take_buffer());
            if self.closing || (self.ended && !self.more) {
                return Poll::Ready(Ok(false));
            }
        } else {
            self.share.put_output(outbox.unsent(), outbox.pending());
        }
        if self.closing || unsent || !outbox.has_room() {
            return Poll::Pending;
        }
        if self.more {
            // The others have had their turn since.
            return Poll::Ready(Ok(true));
        }
        if self.ended {
            return Poll::Pending;
        }
        let owes_nothing = self.desk.outbox.is_empty();
        if owes_nothing && self.peer.found_idle() {
            self.desk.shared.idle_kicks.fetch_add(1, Ordering::Relaxed);
            return Poll::Ready(Ok(false));
        }
        let leaving = self.peer.dismissed() && self.input.is_empty();
        if leaving && self.last_read {
            // A client that never pauses would keep the server from ending.
            self.closing = true;
            return if owes_nothing { Poll::Ready(Ok(false)) } else { Poll::Pending };
        }
        self.last_read |= leaving;
        match self.poll_read(cx)? {
            Poll::Ready(_) if self.starved => Poll::Ready(Ok(true)),
            Poll::Ready(0) => {
                self.ended = true;
                if owes_nothing { Poll::Ready(Ok(false)) } else { Poll::Pending }
            }
            Poll::Ready(read) => {
                counters.bytes_read.add(read as u64);
                self.share.has_read(read);
                Poll::Ready(Ok(true))
            }
            // Half a request may still be completed, until the server's patience ends.
            Poll::Pending if leaving && owes_nothing => Poll::Ready(Ok(false)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Reads once, into a buffer that an idle connection does not hold.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<usize>> {
        if self.input.capacity() == 0 {
            self.input = buffers::take_input();
        }
        if let Some(value) = self.value.take_if(|_| self.input.len() == self.input.capacity()) {
            self.land(value);
        }
        if self.desk.lengthen() {
            // It wakes only once sockets were looked at: the others may not yet be known to be ready.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
            return Ok(Poll::Pending);
        }
        if self.desk.landing.as_mut().is_some_and(|landing| !landing.room().is_empty()) {
            return self.poll_landing(cx);
        }
        if self.input.len() == self.input.capacity() {
            // What was announced is believed as it comes, eight times what has come: a line alone
            // costs nothing, and a large value is not copied with each doubling.
            let missing = self.need.saturating_sub(self.input.len());
            let believed = (7 * self.input.len()).clamp(buffers::INPUT_BYTES, MAX_GROWTH);
            let more = missing.clamp(buffers::INPUT_BYTES, believed);
            self.starved = !self.share.grow_input(self.input.len() + more);
            if self.starved {
                return Ok(Poll::Ready(0));
            }
            self.input.try_reserve_exact(more).map_err(|_| io::ErrorKind::OutOfMemory)?;
        }
        let poll = pin!(self.stream.read_buf(&mut self.input)).poll(cx)?;
        if poll.is_pending() && self.input.is_empty() {
            buffers::give_input(std::mem::take(&mut self.input));
            self.share.put_input(0);
        }
        Ok(poll)
    }

    /// Has the front of a value go where it will stay, from what has come of it on. If there is no
    /// room for that, it goes on coming into the input.
    fn land(&mut self, value: Range<usize>) {
        if value.len() < MIN_LANDED || !self.share.has_room_for(value.len()) {
            return;
        }
        let landed = self.desk.land(value.len(), clock::now());
        self.need -= landed;
        self.share.put_landing(landed);
        let mut come = self.input.get(value.start..).unwrap_or_default();
        while !come.is_empty() {
            // Hardly ever for more than the first part, which is longer than most inputs.
            self.desk.lengthen();
            let Some(landing) = &mut self.desk.landing else { return };
            let room = landing.room();
            let (landed, left) = come.split_at(come.len().min(room.len()));
            if landed.is_empty() {
                break;
            }
            room.get_mut(..landed.len()).unwrap_or_default().copy_from_slice(landed);
            landing.advance(landed.len());
            come = left;
        }
        let left = self.input.len() - come.len();
        self.input.drain(value.start..left);
    }

    /// Reads once, where the front of a value belongs.
    fn poll_landing(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<usize>> {
        let Some(landing) = &mut self.desk.landing else { return Ok(Poll::Ready(0)) };
        let mut room = ReadBuf::new(landing.room());
        if Pin::new(&mut self.stream).poll_read(cx, &mut room)?.is_pending() {
            return Ok(Poll::Pending);
        }
        let read = room.filled().len();
        landing.advance(read);
        Ok(Poll::Ready(read))
    }

    /// Carries out what has come, as far as a turn goes.
    fn carry_out(&mut self) {
        let enough = self.input.len() - self.position >= self.need || self.starved;
        if !enough && self.skip == 0 && self.rest.is_none() {
            return;
        }
        (self.need, self.value) = (1, None);
        let mut limits = self.desk.shared.settings.limits;
        if std::mem::take(&mut self.starved) {
            limits.buffer = self.input.len();
        }
        let now = clock::now();
        self.desk.outbox.lend_buffer(buffers::take_output);
        self.more = false;
        let mut expected = 0_usize;
        while !self.closing {
            if self.skip > 0 {
                let skipped = self.skip.min(self.input.len() - self.position);
                self.skip -= skipped;
                self.position += skipped;
            }
            let input = self.input.get(self.position..).unwrap_or_default();
            if input.is_empty() {
                break;
            }
            if self.turns == 0 || !self.desk.outbox.has_room() {
                self.more = true;
                break;
            }
            self.turns -= 1;
            if let Some(rest) = self.rest.take() {
                self.rest = self.desk.go_on(input, rest, now);
                match self.rest {
                    None => self.position += rest.consumed,
                    Some(_) => self.turns = 0,
                }
                continue;
            }
            if expected == 0 {
                expected = self.desk.expect(keys_ahead(input)).max(1);
            }
            expected -= 1;
            match parse_landed(input, self.desk.landed(), &limits) {
                Parsed::Incomplete { need, value } if need <= limits.buffer => {
                    (self.need, self.value) = (need, value);
                    break;
                }
                Parsed::Incomplete { .. } => {
                    // A list of keys: nothing of it was answered, and its end is not in sight.
                    self.desk.say(false, "SERVER_ERROR out of memory reading request");
                    self.closing = true;
                }
                Parsed::Done { request, consumed } => {
                    self.peer.asked(now);
                    self.share.put_landing(0);
                    match self.desk.carry_out(request, input, consumed, now) {
                        Next::Request => self.position += consumed,
                        Next::Skip(bytes) => {
                            self.position += consumed;
                            self.skip = bytes;
                        }
                        Next::Rest(rest) => {
                            self.rest = Some(rest);
                            self.turns = 0;
                        }
                        Next::Close => self.closing = true,
                    }
                }
            }
        }
        if self.more {
            self.desk.counters.conn_yields.add(1);
        }
        self.tidy();
    }

    /// Moves what is left of the input to the front, and gives up a buffer that holds nothing.
    fn tidy(&mut self) {
        if self.more {
            return;
        }
        if self.position == self.input.len() || self.closing {
            buffers::give_input(std::mem::take(&mut self.input));
            self.share.put_input(0);
        } else {
            self.input.drain(..self.position);
        }
        self.position = 0;
    }
}

/// An input buffer grows by no more at once: others wait while room is made for it.
const MAX_GROWTH: usize = 8 << 20;

/// A shorter value is copied: that costs less than to have it land.
const MIN_LANDED: usize = 64 << 10;

/// How long a connection that the server closes waits for its client to close too.
const GOODBYE: Duration = Duration::from_secs(1);
