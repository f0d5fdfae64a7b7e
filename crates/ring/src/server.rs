//! A node's address and weight.

use std::fmt;
use std::str::FromStr;

/// memcached's port, for addresses that name none.
const DEFAULT_PORT: u16 = 11211;

/// Where a node is and how much of the keys it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name or address, as its clients write it: ketama's placement depends on the spelling.
    pub host: String,
    /// Its port. Default: 11211.
    pub port: u16,
    /// Its weight beside the other nodes'. Default: 1.
    pub weight: u32,
}

impl Server {
    /// The name its points on the ring are made of: the host alone at port 11211, as libmemcached
    /// does, else `host:port`.
    pub fn ring_name(&self) -> String {
        if self.port == DEFAULT_PORT {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Server {
    type Err = BadAddress;

    /// Reads `host`, `host:port`, `[ipv6]` or `[ipv6]:port`.
    fn from_str(address: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(address.to_owned());
        let (host, port) = match address.strip_prefix('[') {
            Some(bracketed) => {
                let (host, rest) = bracketed.split_once(']').ok_or_else(bad)?;
                match rest.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if rest.is_empty() => (host, None),
                    None => return Err(bad()),
                }
            }
            None => match address.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_| bad())?,
            None => DEFAULT_PORT,
        };
        if host.is_empty() || host.contains(char::is_whitespace) || port == 0 {
            return Err(bad());
        }
        Ok(Self { host: host.to_owned(), port, weight: 1 })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Text that is no node's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAddress(pub String);

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not an address: write host:port, or [ipv6]:port", self.0)
    }
}

impl std::error::Error for BadAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_their_ring_names() {
        for (address, shown, ring_name) in [
            ("10.0.0.1", "10.0.0.1:11211", "10.0.0.1"),
            ("10.0.0.1:11211", "10.0.0.1:11211", "10.0.0.1"),
            ("cache-1:11212", "cache-1:11212", "cache-1:11212"),
            ("[::1]", "[::1]:11211", "::1"),
            ("[::1]:7", "[::1]:7", "::1:7"),
        ] {
            let server: Server = address.parse().unwrap();
            assert_eq!(
                (server.to_string().as_str(), server.ring_name().as_str()),
                (shown, ring_name)
            );
        }
    }

    #[test]
    fn what_is_no_address() {
        for text in ["", ":1", "a:", "a:0", "a:65536", "a:x", "::1", "[::1", "[::1]x", "a b:1"] {
            assert_eq!(text.parse::<Server>(), Err(BadAddress(text.to_owned())));
        }
    }
}
