//! A node's place in a cluster, whichever tier it is of.

use std::net::IpAddr;
use std::path::PathBuf;

use larder_ring::Server;
use toml::Value;

use super::node::{absolute, given, path};
use super::{Endpoint, NodeConfig, Note, Setting};
use crate::failure::Failure;
use crate::flags::PlaceFlags;
use crate::flags::value::Port;

/// The cluster of who does not say which.
pub(crate) const CLUSTER: &str = "larder";

/// A node's place in a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where it listens to other nodes.
    pub(crate) listen: Endpoint,
    /// Where they reach it. Default: there.
    pub(crate) peer_address: String,
    /// Where clients reach it, `host:port`. Default: the first of the addresses it listens on.
    pub(crate) client_address: String,
    /// Name of the cluster. Default: larder.
    pub(crate) cluster: String,
    /// File of its secret.
    pub(crate) secret_file: PathBuf,
    /// Name of the node. Default: a store's that of the machine, a cache's as libmemcached names it
    /// by the client address.
    pub(crate) name: String,
    /// Its zone. Default: none.
    pub(crate) zone: String,
}

/// What a cluster is of: its nodes are found and named in different ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// Of caches
    Cache,
    /// Of stores
    Store,
}

impl Tier {
    /// Where nodes reach each other, unless told otherwise.
    pub(crate) const fn peer_port(self) -> u16 {
        match self {
            Self::Cache => 21211,
            Self::Store => 31201,
        }
    }
}

impl Place {
    /// Resolves `flags`; nothing if the node is alone.
    pub(super) fn resolve(
        flags: &PlaceFlags,
        node: &NodeConfig,
        tier: Tier,
    ) -> Result<Option<Self>, Failure> {
        let Some(listen) = filled(flags.peer_listen.as_deref()) else { return Ok(None) };
        let wrong = |why: String| Failure::usage(format!("--peer-listen {listen}: {why}"));
        let port = tier.peer_port();
        let listen = Endpoint::single(listen, port).map_err(wrong)?;
        let Some(secret_file) = given(flags.cluster_secret_file.as_deref()) else {
            return Err(Failure::usage(
                "--peer-listen: name the file of the cluster's secret with --cluster-secret-file \
                 FILE; openssl rand -base64 32 > FILE writes one, the same for all nodes",
            ));
        };
        let peer_address = match filled(flags.peer_address.as_deref()) {
            Some(address) => reachable("--peer-address", address, port)?,
            None => reachable("--peer-listen", &listen.to_string(), port).map_err(|_| {
                Failure::usage(format!(
                    "--peer-listen {listen}: say with --peer-address HOST:PORT where other nodes \
                     reach it"
                ))
            })?,
        };
        let named = filled(flags.client_address.as_deref())
            .map(|address| reachable("--client-address", address, 0))
            .transpose()?;
        let (client_address, name) = match tier {
            // It is told to people and programs, and nothing here needs it.
            Tier::Store => (named.or_else(|| first_of_listen(node)).unwrap_or_default(), None),
            Tier::Cache => {
                let server = server(named, node, &peer_address)?;
                (server.to_string(), Some(server.ring_name()))
            }
        };
        Ok(Some(Self {
            client_address,
            cluster: flags.cluster.clone().unwrap_or_else(|| CLUSTER.to_owned()),
            secret_file: absolute(secret_file)?,
            name: match filled(flags.node_name.as_deref()).map(ToOwned::to_owned).or(name) {
                Some(name) => name,
                None => host_name()?,
            },
            zone: flags.zone.clone().unwrap_or_default(),
            listen,
            peer_address,
        }))
    }
}

/// The options by their long names, of a node that is one of a cluster or none.
pub(super) fn settings(place: Option<&Place>) -> Vec<Setting> {
    let text = |value: Option<&str>| Value::String(value.unwrap_or_default().to_owned());
    let of = |value: fn(&Place) -> &str| text(place.map(value));
    vec![
        ("peer-listen", text(place.map(|place| place.listen.to_string()).as_deref())),
        ("peer-address", of(|place| &place.peer_address)),
        ("client-address", of(|place| &place.client_address)),
        ("cluster", text(Some(place.map_or(CLUSTER, |place| &place.cluster)))),
        ("cluster-secret-file", path(place.map(|place| &*place.secret_file))),
        ("node-name", of(|place| &place.name)),
        ("zone", of(|place| &place.zone)),
    ]
}

/// A node alone has nothing to say about a cluster. Who says what is `senseless` then believes that it is
/// of one, and is refused; what is only `useless` is not wrong, since another line makes the node one of
/// a cluster, and is noted. Both come on top of what all tiers have.
pub(super) fn alone(
    flags: &PlaceFlags,
    senseless: &[(bool, &'static str)],
    useless: &[(bool, &'static str)],
) -> Result<Vec<Note>, Failure> {
    let refused = [
        (filled(flags.peer_address.as_deref()).is_some(), "--peer-address"),
        (filled(flags.node_name.as_deref()).is_some(), "--node-name"),
    ];
    if let Some((_, flag)) = refused.iter().chain(senseless).find(|(said, _)| *said) {
        return Err(Failure::usage(format!(
            "{flag}: say with --peer-listen HOST:PORT where other nodes of the cluster reach this \
             one; without it the node is alone"
        )));
    }
    let ignored = [
        (flags.cluster.as_deref().is_some_and(|name| name != CLUSTER), "--cluster"),
        (given(flags.cluster_secret_file.as_deref()).is_some(), "--cluster-secret-file"),
        (filled(flags.client_address.as_deref()).is_some(), "--client-address"),
        (filled(flags.zone.as_deref()).is_some(), "--zone"),
    ];
    let notes = ignored.iter().chain(useless).filter(|(said, _)| *said).map(|(_, flag)| Note {
        text: format!("{flag}: without --peer-listen the node is alone; ignored"),
        warning: true,
    });
    Ok(notes.collect())
}

/// The addresses in `lists`, at `port` unless they say another.
pub(super) fn addresses(flag: &str, lists: &[String], port: u16) -> Result<Vec<String>, Failure> {
    let all = lists.iter().flat_map(|list| list.split([',', ';'])).map(str::trim);
    all.filter(|address| !address.is_empty())
        .map(|address| reachable(flag, address, port))
        .collect()
}

/// `host:port` that others can reach.
pub(crate) fn reachable(flag: &str, address: &str, port: u16) -> Result<String, Failure> {
    let wrong = |why: &str| Failure::usage(format!("{flag} {address}: {why}"));
    let endpoint = Endpoint::single(address, port).map_err(|why| wrong(&why))?;
    if ["*", "0.0.0.0", "::"].contains(&endpoint.host.as_str()) {
        return Err(wrong("stands for all addresses; name one that others can reach"));
    }
    match endpoint.port {
        None | Some(0) => Err(wrong("has no port that others could know; write HOST:PORT")),
        Some(_) => Ok(endpoint.to_string()),
    }
}

/// The first address that a node listens on, whether others reach it or not.
fn first_of_listen(node: &NodeConfig) -> Option<String> {
    let port = match node.port {
        Port::Number(port) => port,
        Port::Off | Port::Free => 0,
    };
    let first = node.listen.first()?;
    Some(Endpoint { port: first.port.or(Some(port)), ..first.clone() }.to_string())
}

/// A cache as clients are told of it: at the address that is `named` for that, or the first it listens on.
fn server(named: Option<String>, node: &NodeConfig, peer_address: &str) -> Result<Server, Failure> {
    const REMEDY: &str = "say with --client-address HOST:PORT where clients reach this node";
    let wrong = |what: &str| Failure::usage(format!("{what}; {REMEDY}"));
    let address = match (named, &node.unix_socket) {
        (Some(address), _) => address,
        (None, Some(_)) => {
            return Err(wrong("-s: clients are told the host and port of each node"));
        }
        (None, None) => {
            let first = first_of_listen(node).unwrap_or_default();
            reachable("--listen", &first, 0).map_err(|_| {
                wrong(&format!("--listen {first}: clients are told where each node is"))
            })?
        }
    };
    let server: Server =
        address.parse().map_err(|why| Failure::usage(format!("--client-address: {why}")))?;
    // Each would tell the clients of the others that it is where they are.
    if is_loopback(&server.host)
        && peer_address.parse().is_ok_and(|of: Server| !is_loopback(&of.host))
    {
        return Err(wrong(&format!(
            "clients would be told {address}, which is their own machine, while other nodes reach this \
             one at {peer_address}"
        )));
    }
    Ok(server)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn filled(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

fn host_name() -> Result<String, Failure> {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty())
        .ok_or_else(|| Failure::system("the machine has no name; give --node-name NAME"))
}
