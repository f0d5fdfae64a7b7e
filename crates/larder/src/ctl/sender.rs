//! Commands on their way to the nodes of a cluster, many at a time, each answer looked at.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use larder_protocol::response::{Parsed, Response, Status, parse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::progress::Progress;
use crate::failure::Failure;

/// Commands on their way. What a node does not do for now, or may have done, is sent again, also to
/// another node: so they are to be such as come to the same when they are done twice, and no two of
/// them about one key.
pub(super) struct Sender {
    idle: Vec<Connection>,
    busy: JoinSet<Result<Connection, Failure>>,
    batch: Vec<Command>,
    batch_bytes: usize,
    progress: Progress,
}

/// What is to be done with an item.
pub(super) struct Command {
    /// Commands, as they go over the wire.
    pub(super) text: Vec<u8>,
    /// How many they are.
    pub(super) answers: usize,
    /// Where it comes from, for who reads of it.
    pub(super) origin: String,
}

/// A connection to one of several nodes.
struct Connection {
    addresses: Arc<[String]>,
    /// Which of them.
    at: usize,
    stream: Option<TcpStream>,
    input: Vec<u8>,
}

/// What an answer says.
enum Verdict {
    Done,
    /// It may be done later.
    Again(String),
    /// It is not, however often it is asked for.
    Never(String),
}

impl Sender {
    /// To the nodes that clients reach at these addresses, any of which may do everything.
    pub(super) fn new(addresses: Vec<String>, progress: Progress) -> Self {
        let addresses: Arc<[String]> = addresses.into();
        let connection = |at| Connection {
            addresses: Arc::clone(&addresses),
            at,
            stream: None,
            input: Vec::new(),
        };
        let idle = (0..CONNECTIONS.max(addresses.len())).map(connection).collect();
        Self { idle, busy: JoinSet::new(), batch: Vec::new(), batch_bytes: 0, progress }
    }

    /// Sends a command, together with others.
    ///
    /// # Errors
    ///
    /// One that was sent before is refused, or was not done in time.
    pub(super) async fn send(&mut self, command: Command) -> Result<(), Failure> {
        self.batch_bytes += command.text.len();
        self.batch.push(command);
        if self.batch.len() >= BATCH || self.batch_bytes >= BATCH_BYTES {
            self.send_batch().await?;
        }
        Ok(())
    }

    /// Returns when all that was sent is done.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub(super) async fn finish(mut self) -> Result<(), Failure> {
        self.send_batch().await?;
        while let Some(done) = self.busy.join_next().await {
            flatten(done)?;
        }
        Ok(())
    }

    async fn send_batch(&mut self) -> Result<(), Failure> {
        let connection = match self.idle.pop() {
            Some(connection) => connection,
            None => match self.busy.join_next().await {
                Some(done) => flatten(done)?,
                None => return Err(Failure::system("there is no connection left")),
            },
        };
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        self.busy.spawn(connection.deliver(batch, self.progress.clone()));
        Ok(())
    }
}

fn flatten<T>(done: Result<Result<T, Failure>, tokio::task::JoinError>) -> Result<T, Failure> {
    done.unwrap_or_else(|error| Err(Failure::system(error.to_string())))
}

impl Connection {
    /// Returns when all commands are done.
    async fn deliver(
        mut self,
        mut batch: Vec<Command>,
        progress: Progress,
    ) -> Result<Self, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answered = timeout(ANSWERED, self.attempt(&batch)).await;
            let answered = answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let why = match answered {
                Ok(verdicts) => {
                    let mut why = String::new();
                    let mut left = Vec::new();
                    for (command, verdict) in std::mem::take(&mut batch).into_iter().zip(verdicts) {
                        match verdict {
                            Verdict::Done => progress.add(1, command.text.len() as u64),
                            Verdict::Again(told) => {
                                why = format!("{}: {}: {told}", command.origin, self.address());
                                left.push(command);
                            }
                            Verdict::Never(told) => {
                                let (origin, address) = (&command.origin, self.address());
                                return Err(Failure::system(format!(
                                    "{origin}: {address}: {told}"
                                )));
                            }
                        }
                    }
                    batch = left;
                    why
                }
                Err(error) => {
                    let why = format!("{}: {error}", self.address());
                    self.stream = None;
                    // Another may be there.
                    self.at += 1;
                    why
                }
            };
            if batch.is_empty() {
                return Ok(self);
            }
            if Instant::now() >= deadline {
                return Err(Failure::system(why));
            }
            sleep(PAUSE).await;
        }
    }

    /// Sends all commands, and gives what is said of each.
    async fn attempt(&mut self, batch: &[Command]) -> io::Result<Vec<Verdict>> {
        let mut stream = if let Some(stream) = self.stream.take() {
            stream
        } else {
            self.input.clear();
            let stream = TcpStream::connect(self.address()).await?;
            stream.set_nodelay(true)?;
            stream
        };
        let text: Vec<u8> = batch.iter().flat_map(|command| &command.text).copied().collect();
        let (mut reads, mut writes) = stream.split();
        let input = &mut self.input;
        let answers = async {
            let mut verdicts = Vec::with_capacity(batch.len());
            for command in batch {
                let mut verdict = Verdict::Done;
                for _ in 0..command.answers {
                    let answer = answer(&mut reads, input).await?;
                    if let Verdict::Done = verdict {
                        verdict = answer;
                    }
                }
                verdicts.push(verdict);
            }
            Ok(verdicts)
        };
        let ((), verdicts) = tokio::try_join!(writes.write_all(&text), answers)?;
        self.stream = Some(stream);
        Ok(verdicts)
    }

    fn address(&self) -> &str {
        let at = self.at.checked_rem(self.addresses.len()).unwrap_or_default();
        self.addresses.get(at).map_or("", String::as_str)
    }
}

/// What the next answer says.
async fn answer(
    stream: &mut (impl AsyncReadExt + Unpin),
    input: &mut Vec<u8>,
) -> io::Result<Verdict> {
    loop {
        match parse(input) {
            Parsed::Done { response, consumed } => {
                let verdict = judge(&response);
                input.drain(..consumed);
                return Ok(verdict);
            }
            Parsed::Incomplete { .. } => {
                if stream.read_buf(input).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Parsed::Desync(desync) => return Err(io::Error::other(desync)),
        }
    }
}

fn judge(response: &Response<'_>) -> Verdict {
    let text = |text: &[u8]| text.escape_ascii().to_string();
    match response {
        // What is to be marked may have expired meanwhile.
        Response::Meta { status: Status::Done | Status::NotFound, .. } => Verdict::Done,
        Response::ServerError(told) if told.starts_with(TOO_LARGE) => {
            Verdict::Never(format!("SERVER_ERROR {}; its nodes take more with -I", text(told)))
        }
        Response::ServerError(told) => Verdict::Again(format!("SERVER_ERROR {}", text(told))),
        Response::ClientError(told) => Verdict::Never(format!("CLIENT_ERROR {}", text(told))),
        Response::Error(told) => Verdict::Never(format!("ERROR {}", text(told))),
        other => Verdict::Never(format!("it answers {other:?}")),
    }
}

/// What memcached says of a value that is larger than it takes.
const TOO_LARGE: &[u8] = b"object too large";
/// At least, for all nodes together: each is worth waiting for a disk.
const CONNECTIONS: usize = 4;
/// Commands that go together, and their bytes, at most but for one.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 512 << 10;
/// How long something may not be done: more than it takes until another node leads.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the answers to a batch may take.
const ANSWERED: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
