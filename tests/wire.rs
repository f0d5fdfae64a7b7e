//! The client's end of a connection, for tests: every wait has a deadline.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection and what has been received but not yet looked at.
pub(crate) struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
    closed: bool,
}

/// Why there is nothing to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The server closed the connection.
    Closed,
    /// Nothing came in time.
    TimedOut,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, received: Vec::new(), closed: false }
    }

    /// Sends all of `bytes`. A server that has closed the connection shows when reading.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            let gone = matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
            assert!(gone, "cannot send: {error}");
        }
    }

    /// What has been received and not yet taken.
    pub(crate) fn received(&self) -> &[u8] {
        &self.received
    }

    /// Whether the server has been seen to close the connection.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes the first `count` received bytes.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        self.received.drain(..count).collect()
    }

    /// Waits for more bytes to be received.
    pub(crate) fn receive(&mut self, patience: Duration) -> Result<(), Silence> {
        if self.closed {
            return Err(Silence::Closed);
        }
        self.stream.set_read_timeout(Some(patience)).unwrap();
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(count @ 1..) => {
                self.received.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(Silence::TimedOut)
            }
            // A connection closed with data unread is reset.
            Ok(0) | Err(_) => {
                self.closed = true;
                Err(Silence::Closed)
            }
        }
    }

    /// The next line, with its end.
    pub(crate) fn line(&mut self) -> Result<Vec<u8>, Silence> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.received[searched..].iter().position(|b| *b == b'\n') {
                return Ok(self.take(searched + end + 1));
            }
            searched = self.received.len();
            self.receive(PATIENCE)?;
        }
    }
}

/// How long a test waits for a reply that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
