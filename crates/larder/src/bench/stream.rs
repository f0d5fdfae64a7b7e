//! Where the server is, and a connection to it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream as StdTcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// The server, as named on the command line.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Tcp { host: String, port: u16, family: Family },
    Unix(PathBuf),
}

/// Which of the addresses of a name are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Any,
    V4,
    V6,
}

/// The server, found.
#[derive(Debug, Clone)]
pub(super) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// How long a connection attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl Target {
    /// Resolves the name and connects once, so that a server that is not there is one clear line
    /// instead of one per connection.
    pub(super) fn find(&self) -> Result<Address, String> {
        match self {
            Self::Unix(path) => std::os::unix::net::UnixStream::connect(path)
                .map(|_| Address::Unix(path.clone()))
                .map_err(|error| self.not_there(&error)),
            Self::Tcp { host, port, family } => {
                let addresses = (host.as_str(), *port)
                    .to_socket_addrs()
                    .map_err(|error| format!("cannot resolve {host}: {error}; check --server"))?;
                let mut failure = None;
                for address in addresses.filter(|address| family.has(address)) {
                    match StdTcpStream::connect_timeout(&address, PATIENCE) {
                        Ok(_) => return Ok(Address::Tcp(address)),
                        Err(error) => failure = Some(error),
                    }
                }
                Err(match failure {
                    Some(error) => self.not_there(&error),
                    None => format!("{host} has no address of that family; check -4 and -6"),
                })
            }
        }
    }

    fn not_there(&self, error: &io::Error) -> String {
        let advice = match self {
            Self::Tcp { .. } => "start a server there, or name one with --server and --port",
            Self::Unix(_) => "start a server there, or name its socket with --unix-socket",
        };
        format!("cannot connect to {self}: {error}; {advice}")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Family {
    fn has(self, address: &SocketAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

impl Stream {
    pub(super) async fn connect(address: &Address) -> io::Result<Self> {
        let connected = tokio::time::timeout(PATIENCE, async {
            Ok(match address {
                Address::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    Self::Tcp(stream)
                }
                Address::Unix(path) => Self::Unix(UnixStream::connect(path).await?),
            })
        });
        connected.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reads what is there into `buffer`; nothing means that the server closed the connection.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }

    /// Writes as much of `bytes` as fits, and says how much.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_server_that_is_not_there_is_named_with_advice() {
        // Bound and closed again: the port is free, and nobody else was given it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let target = Target::Tcp { host: "127.0.0.1".to_owned(), port, family: Family::Any };
        let message = target.find().unwrap_err();
        assert!(message.contains(&format!("127.0.0.1:{port}")), "{message}");
        assert!(message.contains("--port"), "{message}");
        let message = Target::Unix("/nowhere/larder.sock".into()).find().unwrap_err();
        assert!(message.contains("/nowhere/larder.sock"), "{message}");
    }

    #[test]
    fn a_family_the_name_lacks_is_named() {
        let target = Target::Tcp { host: "127.0.0.1".to_owned(), port: 1, family: Family::V6 };
        assert!(target.find().unwrap_err().contains("-6"));
    }
}
