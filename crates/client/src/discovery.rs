//! Which nodes there are, as one of them tells it: `config get cluster`, in ElastiCache's form.

use std::io;
use std::net::IpAddr;
use std::str::from_utf8;
use std::time::Duration;

use larder_ring::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::endpoint::Endpoint;

/// The nodes of a cluster at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List {
    /// Greater with each change that the node which tells it has seen.
    pub(crate) version: u32,
    pub(crate) nodes: Vec<Endpoint>,
}

/// Asks nodes for the list, in this order, until one has told it: the next is asked when one has
/// failed or has not answered for a moment. Gives also which one told it, or why none did.
pub(crate) async fn ask_any(
    nodes: impl IntoIterator<Item = Endpoint>,
    patience: Duration,
) -> Result<(Server, List), String> {
    let mut left = nodes.into_iter();
    let mut asked = JoinSet::new();
    let mut whys = Vec::new();
    loop {
        if let Some(node) = left.next() {
            asked.spawn(ask(node, patience));
        } else if asked.is_empty() {
            return Err(whys.join("; "));
        }
        if let Ok(Some(Ok((server, told)))) = timeout(HEAD_START, asked.join_next()).await {
            match told {
                Ok(list) => return Ok((server, list)),
                Err(why) => whys.push(format!("{server}: {why}")),
            }
        }
    }
}

async fn ask(node: Endpoint, patience: Duration) -> (Server, io::Result<List>) {
    let told = timeout(patience, converse(&node)).await.unwrap_or_else(|_| {
        let late = format!("no answer within {patience:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, late))
    });
    (node.server, told)
}

async fn converse(node: &Endpoint) -> io::Result<List> {
    let mut stream = TcpStream::connect(&node.addresses().await?[..]).await?;
    stream.write_all(b"config get cluster\r\n").await?;
    let mut answer = Vec::new();
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(list) = parse(&answer).map_err(invalid)? {
            return Ok(list);
        }
        if answer.len() > MAX_LEN {
            return Err(invalid(format!("its list is longer than {MAX_LEN} bytes")));
        }
    }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Reads `CONFIG cluster <flags> <bytes>`, so many bytes and `END`; `None` if that is not all there.
///
/// In the bytes are the version in a line, and in another `<host>|<ip>|<port>` of each node.
fn parse(answer: &[u8]) -> Result<Option<List>, String> {
    let Some(line_end) = find(answer, b"\r\n") else { return Ok(None) };
    let (head, rest) = answer.split_at(line_end);
    let len = from_utf8(head)
        .ok()
        .and_then(|head| head.strip_prefix("CONFIG cluster "))
        .and_then(|sizes| sizes.split(' ').nth(1)?.parse::<usize>().ok());
    let Some(len) = len else {
        let said = head.escape_ascii();
        return Err(format!("it is of no cluster: to `config get cluster` it says {said}"));
    };
    let Some(body) = rest.get(b"\r\n".len()..) else { return Ok(None) };
    let Some((text, end)) = body.split_at_checked(len) else { return Ok(None) };
    if end.len() < END.len() {
        return Ok(None);
    }
    if end != END {
        return Err("its list does not end where it was said to".to_owned());
    }
    let mut lines = from_utf8(text).map_err(|_| "its list is no text")?.lines();
    let version = lines.next().and_then(|version| version.trim().parse().ok());
    let version = version.ok_or("its list has no version")?;
    let nodes: Result<Vec<_>, _> =
        lines.next().unwrap_or_default().split_whitespace().map(endpoint).collect();
    let nodes = nodes?;
    if nodes.is_empty() {
        return Err("it knows of no node that serves".to_owned());
    }
    Ok(Some(List { version, nodes }))
}

/// Reads `<host>|<ip>|<port>`, of which host or ip may be empty.
fn endpoint(triple: &str) -> Result<Endpoint, String> {
    let read = || {
        let mut parts = triple.split('|');
        let (host, ip, port) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
        let ip: Option<IpAddr> = if ip.is_empty() { None } else { Some(ip.parse().ok()?) };
        let host = if host.is_empty() { ip?.to_string() } else { host.to_owned() };
        let known = parts.next().is_none() && port != 0;
        known.then_some(Endpoint { server: Server { host, port, weight: 1 }, ip })
    };
    read().ok_or_else(|| format!("{triple:?} in its list is no node: want host|ip|port"))
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

const END: &[u8] = b"\r\nEND\r\n";

/// How long a node is alone asked before another is asked too.
const HEAD_START: Duration = Duration::from_millis(100);

/// The longest list taken: some ten thousand nodes.
const MAX_LEN: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "CONFIG cluster 0 68\r\n4294967295\n\
                        10.0.0.1|10.0.0.1|11212 fd00::1|fd00::1|11211 cache-3||1\n\r\nEND\r\n";

    #[test]
    fn a_list_is_read_once_it_is_whole() {
        for part in 0..TOLD.len() {
            assert_eq!(parse(&TOLD.as_bytes()[..part]), Ok(None), "{part}");
        }
        let list = parse(TOLD.as_bytes()).unwrap().unwrap();
        assert_eq!(list.version, u32::MAX);
        let names: Vec<_> = list.nodes.iter().map(|node| node.server.ring_name()).collect();
        assert_eq!(names, ["10.0.0.1:11212", "fd00::1", "cache-3:1"]);
        let ips: Vec<_> = list.nodes.iter().map(|node| node.ip.is_some()).collect();
        assert_eq!(ips, [true, true, false]);
    }

    #[test]
    fn what_is_no_list_says_why() {
        for (answer, why) in [
            ("ERROR\r\n", "it is of no cluster: to `config get cluster` it says ERROR"),
            ("CONFIG cluster 0 x\r\n", "it is of no cluster: to `config get cluster` it says CON"),
            ("CONFIG cluster 0 3\r\n1\n\n\r\nEND\r\n", "it knows of no node that serves"),
            ("CONFIG cluster 0 2\r\n\n\n\r\nEND\r\n", "its list has no version"),
            ("CONFIG cluster 0 1\r\n1\n\n\r\nEND\r\n", "its list does not end where it was said"),
            ("CONFIG cluster 0 6\r\n1\na|b\n\r\nEND\r\n", "\"a|b\" in its list is no node: want"),
            ("CONFIG cluster 0 8\r\n1\na|x|1\n\r\nEND\r\n", "\"a|x|1\" in its list is no node"),
            ("CONFIG cluster 0 7\r\n1\n||11\n\r\nEND\r\n", "\"||11\" in its list is no node"),
            ("CONFIG cluster 0 7\r\n1\na||0\n\r\nEND\r\n", "\"a||0\" in its list is no node"),
        ] {
            let said = parse(answer.as_bytes()).unwrap_err();
            assert!(said.starts_with(why), "{answer:?}: {said}");
        }
    }
}
