//! Where a node is.

use std::io;
use std::net::{IpAddr, SocketAddr};

use larder_ring::Server;
use tokio::net::lookup_host;

/// A node's name, by which keys are placed, and its address for those who cannot resolve that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) server: Server,
    pub(crate) ip: Option<IpAddr>,
}

impl Endpoint {
    /// What to connect to: what the name stands for, else the address that came with it.
    pub(crate) async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let Server { host, port, .. } = &self.server;
        match (lookup_host((host.as_str(), *port)).await, self.ip) {
            (Ok(found), _) => Ok(found.collect()),
            (Err(_), Some(ip)) => Ok(vec![(ip, *port).into()]),
            (Err(error), None) => Err(error),
        }
    }
}

impl From<Server> for Endpoint {
    fn from(server: Server) -> Self {
        Self { server, ip: None }
    }
}
