//! The table as its operator writes it: TOML.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use larder_client::Server;
use serde::Deserialize;
use toml::Spanned;

use crate::pool::{Limits, PoolSettings, Tier};
use crate::prefixes::Prefixes;
use crate::table::Table;

/// Why a text is no table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTable {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it, and what to write instead.
    pub why: String,
}

impl fmt::Display for BadTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for BadTable {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    pools: BTreeMap<Spanned<String>, WrittenPool>,
    #[serde(default)]
    routes: Vec<WrittenRoute>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenPool {
    #[serde(default)]
    tier: Tier,
    #[serde(default)]
    nodes: Vec<Spanned<String>>,
    #[serde(default)]
    discover: Vec<Spanned<String>>,
    timeout: Option<Spanned<u64>>,
    connect_timeout: Option<Spanned<u64>>,
    connections: Option<Spanned<u64>>,
    gutter_ttl: Option<Spanned<u64>>,
    max_waiting: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRoute {
    prefix: Spanned<String>,
    pool: Spanned<String>,
}

/// Reads a table. Where a pool says nothing of a limit, these are its.
///
/// # Errors
///
/// The first thing that is wrong with it.
pub fn read(text: &str, limits: Limits) -> Result<Table, BadTable> {
    let bad = |at: usize, why: String| BadTable { line: line(text, at), why };
    let written: Written = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        bad(at, error.message().lines().next().unwrap_or("not TOML").to_owned())
    })?;
    let mut pools = Vec::new();
    for (name, pool) in &written.pools {
        let here = |why| bad(name.span().start, why);
        let settings = settings(name.get_ref(), pool, limits)
            .map_err(|(at, why)| bad(at.unwrap_or(name.span().start), why))?;
        settings.check().map_err(|why| here(format!("pool {}: {why}", name.get_ref())))?;
        if !written.routes.iter().any(|route| route.pool.get_ref() == name.get_ref()) {
            return Err(here(format!(
                "no route leads to pool {0}: write one, [[routes]] with pool = \"{0}\", or take it out",
                name.get_ref()
            )));
        }
        pools.push(settings);
    }
    let mut prefixes: BTreeMap<&[u8], usize> = BTreeMap::new();
    for route in &written.routes {
        let (prefix, name) = (route.prefix.get_ref(), route.pool.get_ref());
        let Some(pool) = pools.iter().position(|pool| pool.name == *name) else {
            let known: Vec<_> = pools.iter().map(|pool| &*pool.name).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let why = format!("there is no pool {name}: write [pools.{name}], or one of {known}");
            return Err(bad(route.pool.span().start, why));
        };
        let at = route.prefix.span().start;
        if prefix.len() > larder_protocol::MAX_KEY_LEN
            || prefix.contains(|c: char| c.is_control() || c == ' ')
        {
            return Err(bad(
                at,
                format!("no key begins with {prefix:?}: want up to 250 bytes, no spaces"),
            ));
        }
        if prefixes.insert(prefix.as_bytes(), pool).is_some() {
            return Err(bad(
                at,
                format!("prefix {prefix:?} is there twice: take one of its routes out"),
            ));
        }
    }
    if prefixes.is_empty() {
        let why =
            "there is no route: write [[routes]] with a prefix, \"\" for all keys, and a pool";
        return Err(bad(0, why.to_owned()));
    }
    let routes = prefixes.len();
    Ok(Table { pools, prefixes: Prefixes::new(prefixes), routes })
}

/// A pool that says where its nodes are, or where it does not, if that is known, and why.
fn settings(
    name: &str,
    pool: &WrittenPool,
    limits: Limits,
) -> Result<PoolSettings, (Option<usize>, String)> {
    if name.is_empty()
        || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    {
        return Err((
            None,
            format!("{name:?} is no name of a pool: want letters, digits, -, _ and ."),
        ));
    }
    let discover = servers(&pool.discover, false)?;
    let nodes = servers(&pool.nodes, true)?;
    if nodes.is_empty() == discover.is_empty() {
        let what =
            if nodes.is_empty() { "neither nodes nor discover" } else { "both nodes and discover" };
        return Err((
            None,
            format!("pool {name} has {what}: write one of them, a list of \"host:port\""),
        ));
    }
    if pool.tier == Tier::Store
        && let Some(ttl) = &pool.gutter_ttl
    {
        let why = "a store's nodes keep what they are given: take gutter-ttl out";
        return Err((Some(ttl.span().start), why.to_owned()));
    }
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let timeout =
        within("timeout", pool.timeout.as_ref(), Limits::TIMEOUT_MS, millis(limits.timeout))?;
    let connect = millis(limits.connect_timeout);
    let connect =
        within("connect-timeout", pool.connect_timeout.as_ref(), Limits::TIMEOUT_MS, connect)?;
    let connections = within(
        "connections",
        pool.connections.as_ref(),
        Limits::CONNECTIONS,
        wide(limits.connections),
    )?;
    let gutter = within(
        "gutter-ttl",
        pool.gutter_ttl.as_ref(),
        Limits::GUTTER_TTL,
        limits.gutter_ttl.into(),
    )?;
    let most = within(
        "max-waiting",
        pool.max_waiting.as_ref(),
        Limits::MAX_WAITING,
        wide(limits.max_waiting),
    )?;
    let limits = Limits {
        timeout: Duration::from_millis(timeout),
        connect_timeout: Duration::from_millis(connect),
        connections: size(connections),
        gutter_ttl: u32::try_from(gutter).unwrap_or(u32::MAX),
        max_waiting: size(most),
    };
    Ok(PoolSettings { name: name.to_owned(), tier: pool.tier, nodes, discover, limits })
}

/// What a pool says of a limit, if it may be, or the default.
fn within(
    what: &str,
    value: Option<&Spanned<u64>>,
    range: RangeInclusive<u64>,
    default: u64,
) -> Result<u64, (Option<usize>, String)> {
    match value {
        None => Ok(default),
        Some(value) if range.contains(value.get_ref()) => Ok(*value.get_ref()),
        Some(value) => {
            let (least, most) = range.into_inner();
            let why = format!("{what} {}: want {least} to {most}", value.get_ref());
            Err((Some(value.span().start), why))
        }
    }
}

/// Each `host:port`, and where that has a meaning ` weight <number>` behind it.
fn servers(
    written: &[Spanned<String>],
    weighted: bool,
) -> Result<Vec<Server>, (Option<usize>, String)> {
    let server = |text: &Spanned<String>| {
        let at = Some(text.span().start);
        let (address, weight) = match text.get_ref().split_once(" weight ") {
            Some((address, weight)) if weighted => {
                let weight =
                    weight.trim().parse().ok().filter(|weight| (1..=1000).contains(weight));
                let why = || (at, format!("{:?}: want a weight of 1 to 1000", text.get_ref()));
                (address.trim(), weight.ok_or_else(why)?)
            }
            _ => (text.get_ref().trim(), 1),
        };
        let server: Server = address.parse().map_err(|why| (at, format!("{why}")))?;
        Ok(Server { weight, ..server })
    };
    written.iter().map(server).collect()
}

fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[pools.web]
discover = ["10.0.0.1:11211", "10.0.0.2"]
timeout = 250
[pools.sessions]
tier = "store"
nodes = ["10.0.0.1:21201", "10.0.0.2:21201"]
[pools.old]
nodes = ["10.0.0.9:11211", "10.0.0.10:11211 weight 2"]
gutter-ttl = 0
[[routes]]
prefix = "session:"
pool = "sessions"
[[routes]]
prefix = "old:"
pool = "old"
[[routes]]
prefix = ""
pool = "web"
"#;

    #[test]
    fn a_good_table_is_what_it_says() {
        let table = read(GOOD, Limits::default()).unwrap();
        assert_eq!(table.count(), (3, 3));
        let to = |key: &[u8]| &*table.pools[table.prefixes.find(key).unwrap()].name;
        assert_eq!([to(b"session:1"), to(b"old:x"), to(b"oldest")], ["sessions", "old", "web"]);
        let [old, sessions, web] = &table.pools[..] else { panic!() };
        assert_eq!((old.nodes[1].weight, old.limits.gutter_ttl), (2, 0));
        assert_eq!((sessions.tier, sessions.limits), (Tier::Store, Limits::default()));
        assert_eq!(web.discover[1].to_string(), "10.0.0.2:11211");
        assert_eq!(web.limits.timeout, Duration::from_millis(250));
    }

    #[test]
    fn a_bad_table_is_refused_with_its_line_and_what_to_write() {
        for (from, to, why) in [
            ("timeout = 250", "timeuot = 250", "line 4: unknown field `timeuot`, expected one of"),
            ("timeout = 250", "timeout = 0", "line 4: timeout 0: want 1 to 60000"),
            ("timeout = 250", "nodes = [\"a\"]", "line 2: pool web has both nodes and discover"),
            (
                "nodes = [\"10.0.0.1:21201\", \"10.0.0.2:21201\"]",
                "",
                "line 5: pool sessions has neither",
            ),
            ("tier = \"store\"", "tier = \"shop\"", "line 6: unknown variant `shop`, expected"),
            (
                "tier = \"store\"",
                "tier = \"store\"\ngutter-ttl = 5",
                "line 7: a store's nodes keep",
            ),
            ("10.0.0.9:11211", "10.0.0.9:x", "line 9: \"10.0.0.9:x\" is not an address: write"),
            ("weight 2", "weight 0", "line 9: \"10.0.0.10:11211 weight 0\": want a weight"),
            (
                "10.0.0.9:11211",
                "10.0.0.10:11211",
                "line 8: pool old: node 10.0.0.10:11211 is there",
            ),
            (
                "pool = \"sessions\"",
                "pool = \"session\"",
                "line 5: no route leads to pool sessions",
            ),
            ("pool = \"old\"", "pool = \"web\"", "line 8: no route leads to pool old"),
            ("prefix = \"\"", "prefix = \"old:\"", "line 18: prefix \"old:\" is there twice"),
            ("prefix = \"\"", "prefix = \"a b\"", "line 18: no key begins with \"a b\""),
            ("[pools.web]", "[pools.\"w b\"]", "line 2: \"w b\" is no name of a pool"),
            ("[pools.web]", "[pools.web", "line 2: "),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let said = read(&GOOD.replace(from, to), Limits::default()).unwrap_err().to_string();
            assert!(said.starts_with(why), "{to}: {said}");
        }
        let unknown = format!("{GOOD}[[routes]]\nprefix = \"x\"\npool = \"none\"\n");
        let said = read(&unknown, Limits::default()).unwrap_err().to_string();
        assert_eq!(
            said,
            "line 22: there is no pool none: write [pools.none], or one of old, sessions, web"
        );
        let said = read("", Limits::default()).unwrap_err().to_string();
        assert!(said.starts_with("line 1: there is no route: write [[routes]]"), "{said}");
    }
}
