//! A client's end of a connection, for instruments: bytes are sent, answers are taken one by one,
//! and every wait has an end.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use larder_protocol::response::{Parsed, Response, parse};

/// A connection, and what was received and not yet taken.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Connection {
    /// Connects to a server.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn new(address: impl ToSocketAddrs) -> io::Result<Self> {
        Self::with(TcpStream::connect(address)?, PATIENCE)
    }

    /// Connects to a server that may not be there; that, and every wait after it, is for so long.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn patient(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        Self::with(TcpStream::connect_timeout(&address, patience)?, patience)
    }

    fn with(stream: TcpStream, patience: Duration) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream, buffer: vec![0; MIN_BUFFER], start: 0, end: 0 })
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    ///
    /// Those of the system, above all if the server takes nothing in time.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Waits for the next answer and takes it.
    ///
    /// # Errors
    ///
    /// Those of the system, the end of the connection, silence for too long, and what is no answer.
    pub fn next<T>(&mut self, take: impl FnOnce(&Response<'_>) -> T) -> io::Result<T> {
        let taken = self.next_if(|response| Some(take(response)))?;
        taken.ok_or_else(|| ErrorKind::InvalidData.into())
    }

    /// Waits for the next answer, and leaves it if it is `None` to `take`.
    ///
    /// # Errors
    ///
    /// As of [`next`](Self::next).
    pub fn next_if<T>(
        &mut self,
        take: impl FnOnce(&Response<'_>) -> Option<T>,
    ) -> io::Result<Option<T>> {
        loop {
            let received = self.buffer.get(self.start..self.end).unwrap_or_default();
            match parse(received) {
                Parsed::Done { response, consumed } => {
                    let taken = take(&response);
                    if taken.is_some() {
                        self.start += consumed;
                    }
                    return Ok(taken);
                }
                Parsed::Incomplete { missing } => self.receive(missing.unwrap_or(1))?,
                Parsed::Desync(desync) => {
                    let shown = received.get(..80).unwrap_or(received).escape_ascii();
                    let text = format!("the server sent {desync}: {shown}");
                    return Err(io::Error::new(ErrorKind::InvalidData, text));
                }
            }
        }
    }

    /// Waits for some of the bytes that are missing, and makes room for all.
    fn receive(&mut self, missing: usize) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < self.end + missing {
            self.buffer.resize((self.end + missing).next_power_of_two(), 0);
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        match self.stream.read(room) {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed it")),
            Ok(count) => {
                self.end += count;
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(io::Error::new(ErrorKind::TimedOut, "an answer did not come in time"))
            }
            Err(error) => Err(error),
        }
    }
}

const MIN_BUFFER: usize = 64 << 10;

/// How long an answer may take, if nothing else is said.
const PATIENCE: Duration = Duration::from_secs(30);
