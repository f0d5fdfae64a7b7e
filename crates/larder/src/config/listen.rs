//! Where to listen, as `-l` says it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// One element of `-l`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// A name, an address without brackets, or `*`.
    pub(crate) host: String,
    /// Its own port, 0 for any free one; else that of `-p`.
    pub(crate) port: Option<u16>,
}

impl Endpoint {
    /// The endpoints of a list, and a note for each part of it that does nothing here.
    pub(crate) fn list(text: &str, notes: &mut Vec<String>) -> Result<Vec<Self>, String> {
        text.split([',', ';'])
            .map(str::trim)
            .filter(|element| !element.is_empty())
            .map(|element| {
                Self::parse(element, notes).map_err(|why| format!("--listen {element}: {why}"))
            })
            .collect()
    }

    /// The one endpoint that `text` names, at `port` unless it says another.
    pub(crate) fn single(text: &str, port: u16) -> Result<Self, String> {
        let text = text.trim();
        if text.contains([',', ';']) {
            return Err("want one address".to_owned());
        }
        let endpoint = Self::parse(text, &mut Vec::new())?;
        Ok(Self { port: endpoint.port.or(Some(port)), ..endpoint })
    }

    fn parse(element: &str, notes: &mut Vec<String>) -> Result<Self, String> {
        for tls in ["notls:", "btls:", "mtls:"] {
            if element.starts_with(tls) {
                return Err("there is no TLS yet; leave it to a proxy in front".to_owned());
            }
        }
        if element.starts_with("unix:") || element.starts_with('/') {
            return Err("a UNIX socket is asked for with -s FILE".to_owned());
        }
        let element = without_protocol(element)?;
        let address = without_tag(element)?;
        if address.len() < element.len() {
            notes.push(format!("--listen {element}: listeners have no tags; ignored"));
        }
        let (host, port) = if let Some(rest) = address.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or("its bracket is not closed")?;
            (host, rest.strip_prefix(':'))
        } else {
            match address.split_once(':') {
                // More than one colon and no brackets: IPv6 without a port.
                Some((_, rest)) if rest.contains(':') => (address, None),
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            }
        };
        let port = match port {
            None => None,
            Some("-1") => Some(0),
            Some(digits) => Some(digits.parse().map_err(|_| {
                format!("{digits} is no port; want 1 to 65535, or -1 for any free one")
            })?),
        };
        if host.is_empty() {
            return Err("names no address; write * for all".to_owned());
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// The addresses it stands for, at the port of `-p` unless it has its own.
    pub(crate) fn addresses(&self, port: u16) -> io::Result<Vec<SocketAddr>> {
        let port = self.port.unwrap_or(port);
        let pair = |v4: Ipv4Addr, v6: Ipv6Addr| {
            vec![SocketAddr::new(IpAddr::V4(v4), port), SocketAddr::new(IpAddr::V6(v6), port)]
        };
        match self.host.as_str() {
            "*" => Ok(pair(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED)),
            // Not left to the resolver: it is the default, and must be loopback whatever a hosts
            // file says.
            "localhost" => Ok(pair(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)),
            host => {
                let mut found: Vec<_> = (host, port).to_socket_addrs()?.collect();
                found.dedup();
                Ok(found)
            }
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.host.contains(':'), self.port) {
            (true, _) => write!(f, "[{}]", self.host)?,
            (false, _) => f.write_str(&self.host)?,
        }
        match self.port {
            Some(0) => f.write_str(":-1"),
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// `proto[ascii]:rest`, when the protocol is one we speak.
fn without_protocol(part: &str) -> Result<&str, String> {
    let Some(rest) = part.strip_prefix("proto[") else { return Ok(part) };
    match rest.split_once("]:") {
        Some(("ascii" | "negotiating" | "auto", rest)) => Ok(rest),
        Some((other, _)) => Err(format!("protocol {other} is not spoken; want ascii")),
        None => Err("want proto[ascii]:address".to_owned()),
    }
}

/// `tag[name]:rest` or `tag_name_:rest`.
fn without_tag(part: &str) -> Result<&str, String> {
    let rest = if let Some(rest) = part.strip_prefix("tag[") {
        rest.split_once("]:")
    } else if let Some(rest) = part.strip_prefix("tag_") {
        rest.split_once("_:")
    } else {
        return Ok(part);
    };
    match rest {
        Some((name, rest)) if (1..=8).contains(&name.len()) => Ok(rest),
        _ => Err("want tag[name]:address, the name of 1 to 8 letters".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<(String, Option<u16>), String> {
        let mut list = Endpoint::list(text, &mut Vec::new())?;
        assert_eq!(list.len(), 1);
        let endpoint = list.remove(0);
        Ok((endpoint.host, endpoint.port))
    }

    #[test]
    fn hosts_and_ports_read_as_memcached_reads_them() {
        for (text, host, port) in [
            ("127.0.0.1", "127.0.0.1", None),
            ("127.0.0.1:11212", "127.0.0.1", Some(11212)),
            ("::1", "::1", None),
            ("[::1]", "::1", None),
            ("[::1]:11212", "::1", Some(11212)),
            ("*", "*", None),
            ("cache.example:-1", "cache.example", Some(0)),
            ("proto[ascii]:tag[web]:10.0.0.1:11211", "10.0.0.1", Some(11211)),
            ("tag_web_:10.0.0.1", "10.0.0.1", None),
        ] {
            assert_eq!(one(text), Ok((host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn lists_are_split_at_commas_and_semicolons() {
        let list = Endpoint::list("a,b:1;[::1]:2,", &mut Vec::new()).unwrap();
        let shown: Vec<_> = list.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a", "b:1", "[::1]:2"]);
    }

    #[test]
    fn what_would_listen_otherwise_than_asked_is_refused() {
        for (text, wanted) in [
            ("proto[binary]:127.0.0.1", "binary is not spoken"),
            ("mtls:127.0.0.1", "no TLS"),
            ("unix:/tmp/x", "-s FILE"),
            ("127.0.0.1:http", "http is no port"),
            ("[::1", "not closed"),
            (":11211", "names no address"),
        ] {
            let why = one(text).unwrap_err();
            assert!(why.contains(wanted), "{text}: {why}");
        }
    }

    #[test]
    fn tags_are_noted() {
        let mut notes = Vec::new();
        Endpoint::list("tag[web]:10.0.0.1", &mut notes).unwrap();
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn localhost_is_both_loopbacks_without_a_resolver() {
        let endpoint = Endpoint { host: "localhost".into(), port: None };
        let addresses = endpoint.addresses(7).unwrap();
        assert_eq!(addresses, ["127.0.0.1:7".parse().unwrap(), "[::1]:7".parse().unwrap()]);
    }
}
