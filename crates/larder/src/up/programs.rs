//! What the nodes of a local cluster run.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::child::Program;
use super::secret;
use crate::config::UpConfig;
use crate::failure::Failure;

/// The nodes, the stores last, the one that founds their cluster first of these.
pub(super) fn all(config: &UpConfig) -> Result<Vec<Program>, Failure> {
    let secret = secret::file(&config.data)?;
    let mut programs = caches(config, &secret)?;
    programs.extend(stores(config, &secret)?);
    Ok(programs)
}

fn caches(config: &UpConfig, secret: &Path) -> Result<Vec<Program>, Failure> {
    let nodes = config.cache_ports.iter().zip(peers(&config.cache_peer_ports));
    let nodes = nodes.zip(1..).map(|((port, peer), number)| {
        let mut args = args("cache", *port, &peer.address, secret);
        let mut option = |name: &str, value: &OsStr| args.extend([name.into(), value.into()]);
        option("--memory-limit", config.memory_limit_mb.to_string().as_ref());
        if !peer.others.is_empty() {
            option("--seed", peer.others.as_ref());
        }
        Program::new(format!("cache-{number}"), *port, args, None, &config.data)
    });
    nodes.collect()
}

fn stores(config: &UpConfig, secret: &Path) -> Result<Vec<Program>, Failure> {
    let nodes = config.store_ports.iter().zip(peers(&config.peer_ports));
    let nodes = nodes.zip(1..).map(|((port, peer), number)| {
        let name = format!("store-{number}");
        let data = config.data.join(&name);
        let mut args = args("store", *port, &peer.address, secret);
        let mut option = |name: &str, value: &OsStr| args.extend([name.into(), value.into()]);
        option("--data-dir", data.as_ref());
        option("--node-name", name.as_ref());
        if !peer.others.is_empty() {
            option("--join", peer.others.as_ref());
        }
        if number == 1 {
            args.push("--found".into());
        }
        Program::new(name, *port, args, Some(data), &config.data)
    });
    nodes.collect()
}

/// What a node of either tier is told.
fn args(tier: &str, port: u16, peer_listen: &str, secret: &Path) -> Vec<OsString> {
    let port = port.to_string();
    let args = [tier, "--listen", "127.0.0.1", "--port", &port, "--peer-listen", peer_listen];
    let mut args: Vec<OsString> = args.map(Into::into).into();
    args.extend(["--cluster-secret-file".into(), secret.into()]);
    args
}

/// Where a node is reached by the others of its tier, and where these are, separated by commas.
struct Peer {
    address: String,
    others: String,
}

fn peers(ports: &[u16]) -> Vec<Peer> {
    let address = |port: &u16| format!("127.0.0.1:{port}");
    let others = |of: &u16| {
        let others = ports.iter().filter(|port| *port != of).map(address);
        others.collect::<Vec<_>>().join(",")
    };
    ports.iter().map(|port| Peer { address: address(port), others: others(port) }).collect()
}
