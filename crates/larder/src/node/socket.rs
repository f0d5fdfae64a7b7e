//! Binding the sockets a node listens on.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use larder_server::Listener;
use nix::errno::Errno;
use tracing::{debug, warn};

use crate::config::{Endpoint, NodeConfig};
use crate::failure::Failure;
use crate::flags::value::Port;

/// What to do about a port that cannot be had. `larder up` puts its own options in place of `-p`.
pub(crate) const ANOTHER_PORT: &str = "choose another -p";

/// Binds every address of the configuration; none if it is to listen on a UNIX socket.
pub(super) fn bind_tcp(config: &NodeConfig) -> Result<Vec<Listener>, Failure> {
    let mut listeners = Vec::new();
    let port = match config.port {
        _ if config.unix_socket.is_some() => return Ok(listeners),
        Port::Off | Port::Free => 0,
        Port::Number(port) => port,
    };
    for endpoint in &config.listen {
        let mut first_error = None;
        let before = listeners.len();
        for mut address in addresses(endpoint, port)? {
            // One name means one port, even where any free one will do.
            let sibling = listeners.get(before).and_then(Listener::tcp_address);
            if let (0, Some(sibling)) = (address.port(), sibling) {
                address.set_port(sibling.port());
                if let Ok(listener) = Listener::tcp(address, config.backlog) {
                    listeners.push(listener);
                    continue;
                }
                address.set_port(0);
            }
            match Listener::tcp(address, config.backlog) {
                Ok(listener) => listeners.push(listener),
                Err(error) if not_on_this_machine(&error) => {
                    debug!("{address}: left out: {error}");
                    first_error.get_or_insert_with(|| refused(address, &error));
                }
                Err(error) => return Err(refused(address, &error)),
            }
        }
        // A name may stand for addresses of a kind this machine lacks, but not for nothing else.
        if listeners.len() == before
            && let Some(failure) = first_error
        {
            return Err(failure);
        }
    }
    Ok(listeners)
}

/// Binds the UNIX socket at `path`, in place of one that was left there.
pub(super) fn bind_unix(path: &Path, config: &NodeConfig) -> Result<Listener, Failure> {
    Listener::unix(path, config.unix_mask, config.backlog).map_err(|error| {
        Failure::system(format!("-s {}: cannot listen there: {error}", path.display()))
    })
}

/// Warns of addresses that others may reach: nothing asks them who they are.
pub(super) fn warn_if_open(listeners: &[Listener]) {
    let open: Vec<_> = listeners
        .iter()
        .filter_map(Listener::tcp_address)
        .filter(|address| !address.ip().is_loopback())
        .map(|address| address.to_string())
        .collect();
    if !open.is_empty() {
        warn!(
            "{} can be reached from outside this machine without authentication: let only \
             trusted hosts through, or bind loopback with -l 127.0.0.1",
            open.join(" and ")
        );
    }
}

fn addresses(endpoint: &Endpoint, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    endpoint.addresses(port).map_err(|error| {
        Failure::system(format!("--listen {endpoint}: the name does not resolve: {error}"))
    })
}

fn not_on_this_machine(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)
    )
}

fn refused(address: SocketAddr, error: &io::Error) -> Failure {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("another process listens there; stop it, or {ANOTHER_PORT}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("a port below 1024 needs root; {ANOTHER_PORT}")
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address; see -l".to_owned()
        }
        _ => "see -p and -l".to_owned(),
    };
    Failure::system(format!("cannot listen on {address}: {error}: {remedy}"))
}
