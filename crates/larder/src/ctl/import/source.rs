//! A server that items are taken from.

use std::io;
use std::time::Duration;

use larder_protocol::response::{Parsed, Response, parse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::failure::Failure;

/// A server that items are taken from, and what it has said that was not read yet.
pub(super) struct Source {
    address: String,
    stream: TcpStream,
    input: Vec<u8>,
}

/// An item of those that a `get` or `rget` is answered with.
pub(super) struct Value {
    pub(super) key: Vec<u8>,
    pub(super) client_flags: u32,
    pub(super) data: Vec<u8>,
}

/// One of several values; `None` behind the last.
pub(super) fn value(response: Response<'_>) -> Result<Option<Value>, String> {
    match response {
        Response::Value { key, client_flags, data, .. } => {
            Ok(Some(Value { key: key.to_vec(), client_flags, data: data.to_vec() }))
        }
        Response::End => Ok(None),
        other => Err(format!("it answers {other:?}")),
    }
}

impl Source {
    pub(super) async fn connect(address: &str) -> Result<Self, Failure> {
        let connected = timeout(PATIENCE, TcpStream::connect(address)).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = connected.map_err(|error| failed(address, &error))?;
        Ok(Self { address: address.to_owned(), stream, input: Vec::new() })
    }

    /// Asks for something.
    pub(super) async fn ask(&mut self, text: &[u8]) -> Result<(), Failure> {
        let sent = timeout(PATIENCE, self.stream.write_all(text)).await;
        let sent = sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        sent.map_err(|error| failed(&self.address, &error))
    }

    /// The next line, without its end.
    pub(super) async fn line(&mut self) -> Result<Vec<u8>, Failure> {
        let mut looked = 0;
        loop {
            let rest = self.input.get(looked..).unwrap_or_default();
            if let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.input.drain(..=looked + at).collect();
                return Ok(line.trim_ascii_end().to_vec());
            }
            looked = self.input.len();
            self.read().await?;
        }
    }

    /// Has `take` look at the next answer, and gives what it makes of it.
    pub(super) async fn answer<T>(
        &mut self,
        take: impl FnOnce(Response<'_>) -> Result<T, String>,
    ) -> Result<T, Failure> {
        loop {
            match parse(&self.input) {
                Parsed::Done { response, consumed } => {
                    let taken = take(response).map_err(|why| self.wrong(&why));
                    self.input.drain(..consumed);
                    return taken;
                }
                Parsed::Incomplete { .. } => self.read().await?,
                Parsed::Desync(desync) => return Err(self.wrong(&desync.to_string())),
            }
        }
    }

    /// That it says what makes no sense.
    pub(super) fn wrong(&self, why: &str) -> Failure {
        Failure::system(format!("{}: {why}", self.address))
    }

    async fn read(&mut self) -> Result<(), Failure> {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await;
        match read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(0) => Err(failed(&self.address, &io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(failed(&self.address, &error)),
        }
    }
}

fn failed(address: &str, error: &io::Error) -> Failure {
    Failure::system(format!("cannot read from {address}: {error}"))
}

/// How long the server may say nothing.
const PATIENCE: Duration = Duration::from_secs(30);
