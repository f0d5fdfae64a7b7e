//! Sockets to listen on.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, Socket, Type};

/// A socket that listens. A unix socket's file is removed when it is dropped.
#[derive(Debug)]
pub struct Listener {
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Tcp(std::net::TcpListener),
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// Listens on a TCP address; port 0 is a free one. `backlog` is how many connections may wait
    /// to be accepted.
    ///
    /// # Errors
    ///
    /// As the system tells: the address is in use or not ours, or the port is not allowed.
    pub fn tcp(address: SocketAddr, backlog: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // IPv4 has its own socket, so that both can be listened on side by side.
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        socket.set_nonblocking(true)?;
        Ok(Self { kind: Kind::Tcp(socket.into()) })
    }

    /// Listens on a unix socket with these permission bits. A socket file that nobody listens on
    /// any more is replaced.
    ///
    /// # Errors
    ///
    /// As the system tells; `AddrInUse` if somebody listens there or the file is not a socket.
    pub fn unix(path: &Path, mode: u32, backlog: u32) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() && UnixStream::connect(path).is_err() => {
                fs::remove_file(path)?;
            }
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(_) => {}
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&socket2::SockAddr::unix(path)?)?;
        let file = SocketFile(path.to_owned());
        // Before the first connection can be made: nobody is let in by the umask of the moment.
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        socket.set_nonblocking(true)?;
        Ok(Self { kind: Kind::Unix(UnixListener::from(socket), file) })
    }

    /// The address, as `stats conns` writes it: `tcp:127.0.0.1:11211` or `unix:/run/larder.sock`.
    pub fn address(&self) -> String {
        match &self.kind {
            Kind::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| "tcp:?".to_owned(), tcp_address)
            }
            Kind::Unix(_, file) => format!("unix:{}", file.0.display()),
        }
    }

    /// The TCP address; `None` for a unix socket.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(listener) => listener.local_addr().ok(),
            Kind::Unix(..) => None,
        }
    }
}

pub(crate) fn tcp_address(address: SocketAddr) -> String {
    let family = if address.is_ipv6() { "tcp6" } else { "tcp" };
    format!("{family}:{address}")
}

/// A socket's file, removed with it.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = fs::remove_file(&self.0);
    }
}
