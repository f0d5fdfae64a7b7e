//! The task of a connection.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use larder_protocol::response::{self, Parsed, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep, timeout};

use super::Shared;
use super::exchange::Exchange;
use super::reader::Reader;
use crate::builder::Options;
use crate::endpoint::Endpoint;
use crate::error::{Error, Violation};

/// A write buffer that has grown beyond this many bytes is given back after use.
const KEPT_BUFFER: usize = 1 << 20;

/// Connects, then writes and reads until the connection is closed.
pub(super) async fn drive(shared: Arc<Shared>, endpoint: Endpoint, options: Options) {
    // What waits for answers must be dropped after the reason is put down: see `Shared::close`.
    let mut waiting = VecDeque::new();
    // Closes the connection too if the runtime drops this task.
    let closer = Closer(&shared);
    let serve = async {
        let after = options.connect_timeout;
        let connected = timeout(after, connect(&shared.node, &endpoint)).await;
        let mut stream = connected.unwrap_or_else(|_| {
            let late = format!("no connection within {after:?}");
            Err(unreachable(&shared.node, io::Error::new(io::ErrorKind::TimedOut, late)))
        })?;
        let (from, to) = stream.split();
        // Both at once: a server may not take more requests before its answers are read.
        tokio::select! {
            ended = read(&shared, from, Reader::new(options.max_value), &mut waiting) => ended,
            ended = write(&shared, to, options.timeout) => ended,
        }
    };
    tokio::select! {
        Err(error) = serve => shared.close(error),
        () = shared.closing.notified() => {}
    }
    drop(closer);
}

/// What never ends well.
type Ended = Result<std::convert::Infallible, Error>;

/// Opens a connection and asks for a sign that the server knows the meta commands: one that does
/// not would take the value of an `ms` for requests.
pub(crate) async fn connect(node: &Arc<str>, endpoint: &Endpoint) -> Result<TcpStream, Error> {
    let connected = async {
        let mut stream = TcpStream::connect(&endpoint.addresses().await?[..]).await?;
        stream.set_nodelay(true)?;
        let mut request = Vec::new();
        larder_protocol::encode::noop(&mut request);
        stream.write_all(&request).await?;
        Ok(stream)
    };
    let mut stream = connected.await.map_err(|error| unreachable(node, error))?;
    let mut answer = Vec::new();
    loop {
        match stream.read_buf(&mut answer).await {
            Ok(0) => return Err(unreachable(node, io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(error) => return Err(unreachable(node, error)),
        }
        match response::parse(&answer) {
            Parsed::Incomplete { .. } => {}
            Parsed::Done { response: Response::Noop, consumed } if consumed == answer.len() => {
                return Ok(stream);
            }
            Parsed::Done { response: Response::Error(_), .. } => {
                return Err(violation(node, Violation::NoMetaCommands));
            }
            Parsed::Done {
                response: Response::ClientError(_) | Response::ServerError(_), ..
            } => {
                let said = answer.trim_ascii_end().escape_ascii().to_string();
                return Err(Error::Server { node: Arc::clone(node), said });
            }
            Parsed::Done { .. } => return Err(violation(node, Violation::WrongAnswer)),
            Parsed::Desync(desync) => {
                return Err(violation(node, Violation::Unreadable(desync)));
            }
        }
    }
}

/// Writes what callers have put down, and sees that none of it waits for longer than `patience`.
async fn write(shared: &Shared, mut to: WriteHalf<'_>, patience: Duration) -> Ended {
    let late = || {
        let late = "a request on it was not answered in time";
        Err(shared.disconnected(io::Error::new(io::ErrorKind::TimedOut, late)))
    };
    let mut batch = Vec::new();
    let mut guard = Guard::default();
    let mut alarm = pin!(sleep(patience / LOOKS));
    loop {
        let (sent, outstanding) = shared.take_unwritten(&mut batch);
        if !batch.is_empty() {
            match timeout(patience, to.write_all(&batch)).await {
                Ok(written) => written.map_err(|error| shared.disconnected(error))?,
                Err(_) => return late(),
            }
            batch.clear();
            batch.shrink_to(KEPT_BUFFER);
            continue;
        }
        tokio::select! {
            biased;
            () = shared.wake.notified() => {}
            () = &mut alarm, if outstanding > 0 => {
                let now = Instant::now();
                let answered = sent.saturating_sub(u64::try_from(outstanding).unwrap_or(u64::MAX));
                if guard.finds_late(now, sent, answered, patience) {
                    return late();
                }
                alarm.as_mut().reset(now + patience / LOOKS);
            }
        }
    }
}

/// How often it is looked, while a request may wait, whether one waits too long.
const LOOKS: u32 = 8;

/// When how many requests had been sent.
#[derive(Debug, Default)]
struct Guard(VecDeque<(Instant, u64)>);

impl Guard {
    /// Whether one of those is not answered that were sent so long ago.
    fn finds_late(&mut self, now: Instant, sent: u64, answered: u64, patience: Duration) -> bool {
        while self.0.pop_front_if(|(_, sent)| *sent <= answered).is_some() {}
        if self.0.front().is_some_and(|(at, _)| now.duration_since(*at) >= patience) {
            return true;
        }
        self.0.push_back((now, sent));
        false
    }
}

async fn read(
    shared: &Shared,
    mut from: ReadHalf<'_>,
    mut reader: Reader,
    waiting: &mut VecDeque<Exchange>,
) -> Ended {
    loop {
        match from.read_buf(reader.room()).await {
            Ok(0) => return Err(shared.disconnected(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(error) => return Err(shared.disconnected(error)),
        }
        let completed = reader
            .digest(waiting, |waiting| waiting.append(&mut shared.queue().waiting))
            .map_err(|why| violation(&shared.node, why))?;
        if completed > 0 {
            let mut queue = shared.queue();
            queue.outstanding = queue.outstanding.saturating_sub(completed);
        }
    }
}

fn unreachable(node: &Arc<str>, source: io::Error) -> Error {
    Error::Unreachable { node: Arc::clone(node), source: Arc::new(source) }
}

fn violation(node: &Arc<str>, why: Violation) -> Error {
    Error::Violation { node: Arc::clone(node), why }
}

/// Closes the connection when dropped, if nothing else has.
struct Closer<'s>(&'s Shared);

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        let stopped = io::Error::new(io::ErrorKind::ConnectionAborted, "the runtime has stopped");
        self.0.close(self.0.disconnected(stopped));
    }
}
