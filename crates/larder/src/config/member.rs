//! A durable node's place in a cluster.

use std::path::PathBuf;

use toml::Value;

use super::node::{absolute, given, integer, number, path};
use super::{Endpoint, NodeConfig, Note, Setting};
use crate::failure::Failure;
use crate::flags::MemberFlags;
use crate::flags::value::{Port, StaleReads};

/// Where nodes reach each other, unless told otherwise.
pub(crate) const PEER_PORT: u16 = 31201;
/// The cluster of who does not say which.
pub(crate) const CLUSTER: &str = "larder";
const GROUPS: usize = 3;
const REPLICAS: usize = 3;
const LOG_LIMIT_MB: u64 = 1024;

/// A durable node's place in a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberConfig {
    /// Where it listens to other nodes.
    pub(crate) listen: Endpoint,
    /// Where they reach it. Default: there.
    pub(crate) peer_address: String,
    /// Where clients reach it. Default: the first of the addresses it listens on.
    pub(crate) client_address: String,
    /// Name of the cluster. Default: larder.
    pub(crate) cluster: String,
    /// File of its secret.
    pub(crate) secret_file: PathBuf,
    /// Name of the node. Default: that of the machine.
    pub(crate) name: String,
    /// Its zone. Default: none.
    pub(crate) zone: String,
    /// Whether it founds the cluster.
    pub(crate) founds: bool,
    /// Nodes that may let it in.
    pub(crate) join: Vec<String>,
    /// How old what reads see may be. Default: they see all that was acknowledged.
    pub(crate) stale_reads: StaleReads,
    /// How many megabytes of 2^20 bytes its log is to have at most. Default: 1024.
    pub(crate) log_limit_mb: u64,
    /// Into how many groups keys are divided. Default: 3.
    pub(crate) groups: usize,
    /// Of how many replicas. Default: 3.
    pub(crate) replicas: usize,
}

impl MemberConfig {
    /// Resolves `flags`, and adds to `notes` what of them does nothing; nothing if the node is alone.
    pub(crate) fn resolve(
        flags: &MemberFlags,
        node: &NodeConfig,
        notes: &mut Vec<Note>,
    ) -> Result<Option<Self>, Failure> {
        let Some(listen) = flags.peer_listen.as_deref().filter(|listen| !listen.is_empty()) else {
            alone(flags)?;
            notes.extend(useless_alone(flags));
            return Ok(None);
        };
        let wrong = |why: String| Failure::usage(format!("--peer-listen {listen}: {why}"));
        let listen = Endpoint::single(listen, PEER_PORT).map_err(wrong)?;
        let Some(secret_file) = given(flags.cluster_secret_file.as_deref()) else {
            return Err(Failure::usage(
                "--peer-listen: name the file of the cluster's secret with --cluster-secret-file \
                 FILE; openssl rand -base64 32 > FILE writes one, the same for all nodes",
            ));
        };
        let peer_address = match filled(flags.peer_address.as_deref()) {
            Some(address) => reachable("--peer-address", address, PEER_PORT)?,
            None => reachable("--peer-listen", &listen.to_string(), PEER_PORT).map_err(|_| {
                Failure::usage(format!(
                    "--peer-listen {listen}: say with --peer-address HOST:PORT where other nodes \
                     reach it"
                ))
            })?,
        };
        let join = flags.join.iter().flat_map(|list| list.split([',', ';']));
        let join = join.map(str::trim).filter(|address| !address.is_empty());
        Ok(Some(Self {
            client_address: client_address(flags, node)?,
            cluster: flags.cluster.clone().unwrap_or_else(|| CLUSTER.to_owned()),
            secret_file: absolute(secret_file)?,
            name: match filled(flags.node_name.as_deref()) {
                Some(name) => name.to_owned(),
                None => host_name()?,
            },
            zone: flags.zone.clone().unwrap_or_default(),
            founds: flags.found,
            join: join
                .map(|address| reachable("--join", address, PEER_PORT))
                .collect::<Result<_, _>>()?,
            stale_reads: flags.stale_reads.unwrap_or(StaleReads::Off),
            log_limit_mb: flags.log_limit.unwrap_or(LOG_LIMIT_MB),
            groups: number(flags.groups, GROUPS),
            replicas: number(flags.replicas, REPLICAS),
            listen,
            peer_address,
        }))
    }
}

/// The options by their long names, of a node that is one of a cluster or none.
pub(crate) fn settings(member: Option<&MemberConfig>) -> Vec<Setting> {
    let text = |value: Option<&str>| Value::String(value.unwrap_or_default().to_owned());
    let of = |value: fn(&MemberConfig) -> &str| text(member.map(value));
    let join = member.iter().flat_map(|member| &member.join);
    vec![
        ("peer-listen", text(member.map(|member| member.listen.to_string()).as_deref())),
        ("peer-address", of(|member| &member.peer_address)),
        ("client-address", of(|member| &member.client_address)),
        ("cluster", text(Some(member.map_or(CLUSTER, |member| &member.cluster)))),
        ("cluster-secret-file", path(member.map(|member| &*member.secret_file))),
        ("node-name", of(|member| &member.name)),
        ("zone", of(|member| &member.zone)),
        ("found", Value::Boolean(member.is_some_and(|member| member.founds))),
        ("join", Value::Array(join.map(|address| text(Some(address))).collect())),
        (
            "stale-reads",
            match member.map_or(StaleReads::Off, |member| member.stale_reads) {
                StaleReads::Off => text(Some("off")),
                StaleReads::WithinMs(ms) => integer(ms),
            },
        ),
        ("log-limit", integer(member.map_or(LOG_LIMIT_MB, |member| member.log_limit_mb))),
        ("groups", integer(member.map_or(GROUPS, |member| member.groups))),
        ("replicas", integer(member.map_or(REPLICAS, |member| member.replicas))),
    ]
}

/// A node alone has nothing to say about a cluster: who does believes that it is of one.
fn alone(flags: &MemberFlags) -> Result<(), Failure> {
    let said = [
        (filled(flags.peer_address.as_deref()).is_some(), "--peer-address"),
        (filled(flags.node_name.as_deref()).is_some(), "--node-name"),
        (flags.found, "--found"),
        (flags.join.iter().any(|list| !list.is_empty()), "--join"),
    ];
    match said.into_iter().find(|(said, _)| *said) {
        Some((_, flag)) => Err(Failure::usage(format!(
            "{flag}: say with --peer-listen HOST:PORT where other nodes of the cluster reach this \
             one; without it the node is alone"
        ))),
        None => Ok(()),
    }
}

/// What a node alone does not heed, though it is not wrong: another line makes it one of a cluster.
fn useless_alone(flags: &MemberFlags) -> impl Iterator<Item = Note> {
    let said = [
        (flags.cluster.as_deref().is_some_and(|name| name != CLUSTER), "--cluster"),
        (given(flags.cluster_secret_file.as_deref()).is_some(), "--cluster-secret-file"),
        (filled(flags.client_address.as_deref()).is_some(), "--client-address"),
        (filled(flags.zone.as_deref()).is_some(), "--zone"),
        (matches!(flags.stale_reads, Some(StaleReads::WithinMs(_))), "--stale-reads"),
        (flags.log_limit.is_some_and(|megabytes| megabytes != LOG_LIMIT_MB), "--log-limit"),
        (number(flags.groups, GROUPS) != GROUPS, "--groups"),
        (number(flags.replicas, REPLICAS) != REPLICAS, "--replicas"),
    ];
    said.into_iter().filter(|(said, _)| *said).map(|(_, flag)| Note {
        text: format!("{flag}: without --peer-listen the node is alone; ignored"),
        warning: true,
    })
}

fn client_address(flags: &MemberFlags, node: &NodeConfig) -> Result<String, Failure> {
    if let Some(address) = filled(flags.client_address.as_deref()) {
        return reachable("--client-address", address, 0);
    }
    let port = match node.port {
        Port::Number(port) => port,
        Port::Off | Port::Free => 0,
    };
    let first = node
        .listen
        .first()
        .map(|first| Endpoint { port: first.port.or(Some(port)), ..first.clone() });
    // It is told to people and programs, and nothing here needs it.
    Ok(first.map(|first| first.to_string()).unwrap_or_default())
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

fn filled(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

fn host_name() -> Result<String, Failure> {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty())
        .ok_or_else(|| Failure::system("the machine has no name; give --node-name NAME"))
}
