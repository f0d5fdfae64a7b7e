//! The nodes that clients may ask, as ElastiCache tells them.

use std::net::IpAddr;

use larder_protocol::Output;

/// The nodes that clients may ask, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Greater with each change: a client takes the list if it has seen none or a smaller one.
    pub version: u32,
    /// In an order that all nodes agree on.
    pub nodes: Vec<Endpoint>,
}

/// Where clients reach a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name, or its address without brackets.
    pub host: String,
    /// What its name stands for, if that is known; the host itself if that is an address. Some clients
    /// connect to the name, some to this and not at all if there is none.
    pub ip: Option<IpAddr>,
    /// Its port.
    pub port: u16,
}

impl Discovery {
    /// `CONFIG cluster 0 <bytes>`, and in so many bytes the version and `<host>|<ip>|<port>` of each
    /// node. Their lines end without a carriage return: clients split at the line feed.
    pub(crate) fn write(&self, out: &mut impl Output) {
        let nodes: Vec<_> = self.nodes.iter().map(Endpoint::triple).collect();
        let text = format!("{}\n{}\n", self.version, nodes.join(" "));
        out.put(format!("CONFIG cluster 0 {}\r\n{text}\r\nEND\r\n", text.len()).as_bytes());
    }
}

impl Endpoint {
    fn triple(&self) -> String {
        let Self { host, ip, port } = self;
        let ip = ip.or_else(|| host.parse().ok()).map(|ip| ip.to_string()).unwrap_or_default();
        format!("{host}|{ip}|{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(discovery: &Discovery) -> String {
        let mut out = Vec::new();
        discovery.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn endpoint(host: &str, ip: Option<&str>, port: u16) -> Endpoint {
        Endpoint { host: host.to_owned(), ip: ip.map(|ip| ip.parse().unwrap()), port }
    }

    /// The bytes are counted as ElastiCache counts them: with the line feed behind the nodes, without
    /// the line end that follows.
    #[test]
    fn it_is_told_as_elasticache_tells_it() {
        let nodes = vec![
            endpoint("test1.rtstcw.0001.apne1.cache.amazonaws.com", Some("172.31.12.60"), 11211),
            endpoint("test1.rtstcw.0002.apne1.cache.amazonaws.com", Some("172.31.3.240"), 11211),
            endpoint("test1.rtstcw.0003.apne1.cache.amazonaws.com", Some("172.31.10.26"), 11211),
        ];
        assert_eq!(
            written(&Discovery { version: 1, nodes }),
            "CONFIG cluster 0 191\r\n1\n\
             test1.rtstcw.0001.apne1.cache.amazonaws.com|172.31.12.60|11211 \
             test1.rtstcw.0002.apne1.cache.amazonaws.com|172.31.3.240|11211 \
             test1.rtstcw.0003.apne1.cache.amazonaws.com|172.31.10.26|11211\n\r\nEND\r\n"
        );
    }

    #[test]
    fn an_address_stands_for_itself_and_an_unknown_one_is_left_out() {
        let nodes = vec![
            endpoint("10.0.0.1", None, 11212),
            endpoint("fd00::1", None, 11211),
            endpoint("cache-3", None, 1),
        ];
        assert_eq!(
            written(&Discovery { version: u32::MAX, nodes }),
            "CONFIG cluster 0 68\r\n4294967295\n\
             10.0.0.1|10.0.0.1|11212 fd00::1|fd00::1|11211 cache-3||1\n\r\nEND\r\n"
        );
    }
}
