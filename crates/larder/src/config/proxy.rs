//! What a proxy runs on.

use std::path::PathBuf;
use std::time::Duration;

use larder_proxy::{Limits, PoolSettings, Table, Tier};
use toml::Value;

use super::node::{absolute, given, integer, number, path};
use super::{NodeConfig, Note, Setting, Sources};
use crate::failure::Failure;
use crate::flags::ProxyFlags;

/// memcached's port.
const PORT: u16 = 11211;

/// Buffers of connections are all that a proxy holds; as with a cache of this many megabytes.
const MEMORY_MB: u64 = 256;

/// What `larder proxy` runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProxyConfig {
    /// What every node has.
    pub(crate) node: NodeConfig,
    /// Where its table is.
    pub(crate) routes: Routes,
    /// Of pools that say nothing of theirs.
    pub(crate) limits: Limits,
}

/// Where a table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Routes {
    /// In this file.
    File(PathBuf),
    /// It is one pool, for all keys.
    One(PoolSettings),
}

impl ProxyConfig {
    /// Resolves `flags`, and notes what of them does nothing.
    pub(crate) fn resolve(
        flags: &ProxyFlags,
        sources: &mut Sources,
    ) -> Result<(Self, Vec<Note>), Failure> {
        let memory = flags.node.memory_limit.unwrap_or(MEMORY_MB);
        let (server, hints) = NodeConfig::resolve(&flags.node, sources, PORT, memory)?;
        let defaults = Limits::default();
        let millis = |given: Option<u64>, default| given.map_or(default, Duration::from_millis);
        let limits = Limits {
            timeout: millis(flags.timeout, defaults.timeout),
            connect_timeout: millis(flags.connect_timeout, defaults.connect_timeout),
            connections: number(flags.connections, defaults.connections),
            gutter_ttl: number(flags.gutter_ttl, defaults.gutter_ttl),
            max_waiting: number(flags.max_waiting, defaults.max_waiting),
        };
        let (nodes, discover) =
            (servers("--nodes", &flags.nodes)?, servers("--discover", &flags.discover)?);
        let file = given(flags.routes.as_deref()).map(absolute).transpose()?;
        let routes = match (file, nodes.len() + discover.len()) {
            (Some(file), 0) if flags.tier.is_none() => Routes::File(file),
            (Some(_), _) => {
                return Err(Failure::usage(
                    "--routes: --nodes, --discover and --tier are for one pool without a table; \
                     leave them out, or write a pool into the file",
                ));
            }
            (None, 0) => {
                return Err(Failure::usage(
                    "a proxy needs to know where keys go: --routes FILE, or --discover HOST:PORT,… of \
                     a cluster, or --nodes HOST:PORT,…",
                ));
            }
            (None, _) => {
                let tier = match flags.tier.as_deref() {
                    None | Some("cache") => Tier::Cache,
                    Some("store") => Tier::Store,
                    Some(other) => {
                        return Err(Failure::usage(format!("--tier {other}: want cache or store")));
                    }
                };
                Routes::One(PoolSettings { name: "all".to_owned(), tier, nodes, discover, limits })
            }
        };
        if flags.check_routes && matches!(routes, Routes::One(_)) {
            return Err(Failure::usage(
                "--check-routes: there is no file to check; add --routes FILE",
            ));
        }
        Ok((Self { node: server, routes, limits }, hints))
    }

    /// The table as it is now.
    pub(crate) fn table(&self) -> Result<Table, String> {
        match &self.routes {
            Routes::One(pool) => Table::single(pool.clone()),
            Routes::File(file) => {
                let shown = file.display();
                let text = std::fs::read_to_string(file)
                    .map_err(|error| format!("--routes {shown}: cannot be read: {error}"))?;
                larder_proxy::read(&text, self.limits)
                    .map_err(|bad| format!("{shown}:{}: {}", bad.line, bad.why))
            }
        }
    }

    /// The options by their long names.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let (file, pool) = match &self.routes {
            Routes::File(file) => (Some(&**file), None),
            Routes::One(pool) => (None, Some(pool)),
        };
        let list = |servers: Option<&Vec<larder_ring::Server>>| {
            let servers = servers.into_iter().flatten();
            Value::Array(servers.map(|server| Value::String(server.to_string())).collect())
        };
        let limits = &self.limits;
        let mut settings = vec![
            ("routes", path(file)),
            ("discover", list(pool.map(|pool| &pool.discover))),
            ("nodes", list(pool.map(|pool| &pool.nodes))),
            ("tier", Value::String(pool.map_or("", |pool| pool.tier.name()).to_owned())),
            ("timeout", integer(limits.timeout.as_millis())),
            ("connect-timeout", integer(limits.connect_timeout.as_millis())),
            ("connections", integer(limits.connections)),
            ("gutter-ttl", integer(limits.gutter_ttl)),
            ("max-waiting", integer(limits.max_waiting)),
        ];
        settings.extend(self.node.settings());
        settings
    }
}

fn servers(flag: &str, lists: &[String]) -> Result<Vec<larder_ring::Server>, Failure> {
    let addresses = lists.iter().flat_map(|list| list.split(',')).map(str::trim);
    let server =
        |address: &str| address.parse().map_err(|why| Failure::usage(format!("{flag}: {why}")));
    addresses.filter(|address| !address.is_empty()).map(server).collect()
}
