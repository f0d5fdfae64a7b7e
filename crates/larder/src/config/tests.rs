//! From a command line, an environment and a file to what a command runs on.

mod members;

use std::ffi::OsString;
use std::path::Path;

use clap::FromArgMatches;

use super::*;
use crate::failure::Failure;
use crate::flags::value::{Port, Reserve};
use crate::flags::{CacheFlags, INTERNAL, StoreFlags, UpFlags, command};

/// Options that are taken into others, or into nothing.
const UNSETTLED: [&str; 19] = [
    "config",
    "udp-port",
    "protocol",
    "extended",
    "slab-growth-factor",
    "slab-min-size",
    "enable-largepages",
    "prefix-delimiter",
    "disable-cas",
    "disable-watch",
    "napi-ids",
    "enable-sasl",
    "auth-file",
    "enable-ssl",
    "log-dir",
    "remove-logs",
    "trickle-interval",
    "txn-nosync",
    "log-buffer",
];

fn layers(line: &str) -> Result<Layered, Failure> {
    let args: Vec<OsString> = format!("larder {line}").split_whitespace().map(Into::into).collect();
    layered(&command(), &args, |_| None).map_err(|ended| match ended {
        Ended::Failed(failure) => failure,
        Ended::Asked(shown) => Failure::usage(shown.to_string()),
    })
}

fn cache(line: &str) -> Result<(CacheConfig, Vec<Note>, Sources), Failure> {
    let mut layers = layers(&format!("cache {line}"))?;
    let flags = CacheFlags::from_arg_matches(&layers.matches).unwrap();
    let (config, notes) = CacheConfig::resolve(&flags, &mut layers.sources)?;
    Ok((config, notes, layers.sources))
}

fn store(line: &str, state: Option<&str>) -> Result<(StoreConfig, Vec<Note>, Sources), Failure> {
    let mut layers = layers(&format!("store {line}"))?;
    let flags = StoreFlags::from_arg_matches(&layers.matches).unwrap();
    let (config, notes) = StoreConfig::resolve(&flags, &mut layers.sources, state)?;
    Ok((config, notes, layers.sources))
}

fn up(line: &str) -> Result<UpConfig, Failure> {
    let layers = layers(&format!("up {line}"))?;
    UpConfig::resolve(&UpFlags::from_arg_matches(&layers.matches).unwrap())
}

fn written(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("larder.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

#[test]
fn defaults_are_safe() {
    let (config, notes, _) = cache("").unwrap();
    assert_eq!(notes, []);
    assert_eq!(config.memory_limit_mb, 64);
    assert!(config.evict);
    let node = config.node;
    assert_eq!(
        (node.port, node.connections, node.item_size_max),
        (Port::Number(11211), 1024, 1 << 20)
    );
    let addresses: Vec<_> =
        node.listen.iter().flat_map(|endpoint| endpoint.addresses(1).unwrap()).collect();
    assert!(!addresses.is_empty());
    assert!(addresses.iter().all(|address| address.ip().is_loopback()));
    assert!(!node.shutdown_enabled);
}

/// The example shows every option, and what it shows is what is in force without it.
#[test]
fn the_example_is_the_defaults() {
    let example = include_str!("../../../../deploy/larder.toml");
    let is_option = |line: &str| {
        line.split_once(" = ").is_some_and(|(key, _)| {
            key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-')
        })
    };
    let stated: String = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(option) if is_option(option) => format!("{option}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let (_dir, path) = written(&stated);

    let (config, _, sources) = cache(&format!("--config {path}")).unwrap();
    let (defaults, ..) = cache("").unwrap();
    assert_eq!(config, defaults);
    assert!(config.settings().iter().all(|(option, _)| sources.given(option)));

    let (config, _, sources) = store(&format!("--config {path}"), None).unwrap();
    let (defaults, ..) = store("", None).unwrap();
    assert_eq!(config, defaults);
    assert!(config.settings().iter().all(|(option, _)| sources.given(option)));

    let config = up(&format!("--config {path}")).unwrap();
    assert_eq!(config, up("").unwrap());
    for (option, _) in config.settings() {
        let table = stated.split("[up]").nth(1).unwrap();
        assert!(table.contains(&format!("\n{option} = ")), "{option}");
    }
}

#[test]
fn every_option_is_settled() {
    let grammar = command();
    for (name, settings) in [
        ("cache", cache("").unwrap().0.settings()),
        ("store", store("", None).unwrap().0.settings()),
        ("up", up("").unwrap().settings()),
    ] {
        for arg in grammar.find_subcommand(name).unwrap().get_arguments() {
            let option = arg.get_long().unwrap();
            let settled = settings.iter().any(|(key, _)| *key == option);
            let exempt = UNSETTLED.contains(&option)
                || INTERNAL.contains(&option)
                || (name == "store" && ["disable-evictions", "memory-file"].contains(&option));
            assert!(settled != exempt, "{name}: {option}");
        }
    }
}

/// What `--print-config` shows can be read again, and gives the same.
#[test]
fn what_is_printed_reads_back() {
    let line = "-l 127.0.0.1:1,[::1]:-1 -p -1 -m 100 -I 2m -M -o idle_timeout=9 -vv -P /x/pid -A";
    let (config, notes, sources) = cache(line).unwrap();
    let text = print("cache", &config.settings(), &sources, &notes);
    assert!(text.contains("memory-limit = 100"));
    let (_dir, path) = written(&text);
    let (again, _, _) = cache(&format!("--config {path}")).unwrap();
    assert_eq!(again, config);
}

#[test]
fn what_is_printed_says_where_from() {
    let (_dir, path) = written("[cache]\nthreads = 3\n");
    let (config, notes, sources) = cache(&format!("--config {path} -m 100 -f 1.5")).unwrap();
    let text = print("cache", &config.settings(), &sources, &notes);
    let line = |option: &str| {
        let start = format!("{option} = ");
        text.lines().find(|line| line.starts_with(&start)).unwrap().to_owned()
    };
    assert!(line("memory-limit").ends_with("# command line"), "{text}");
    assert!(line("threads").ends_with(&format!("# {path}:2")), "{text}");
    assert!(line("port").ends_with("# default"), "{text}");
    assert!(text.contains("# -f: Larder has no slab classes; ignored"), "{text}");
}

#[test]
fn an_extended_option_counts_where_it_was_said() {
    let (_dir, path) = written("[cache]\nidle-timeout = 5\n");
    let (config, _, sources) = cache(&format!("--config {path} -o idle_timeout=9")).unwrap();
    assert_eq!(config.node.idle_timeout_secs, 9);
    assert_eq!(sources.of("idle-timeout").to_string(), "command line");
    let (_dir, path) = written("[cache]\nextended = [\"idle_timeout=5\", \"no_maxconns_fast\"]\n");
    let (config, ..) = cache(&format!("--config {path} --idle-timeout 9")).unwrap();
    assert_eq!(config.node.idle_timeout_secs, 9);
    assert!(!config.node.maxconns_fast);
}

#[test]
fn what_cannot_be_is_refused_with_a_remedy() {
    for (line, wanted) in [
        ("-S", "-S: there is no SASL"),
        ("-Y /x", "-Y: there is no authentication file"),
        ("-Z", "-Z: there is no TLS"),
        ("-U 11211", "-U 11211: there is no UDP; write -U 0"),
        ("-B binary", "write -B ascii"),
        ("-B btree", "-B btree: want ascii or auto"),
        ("-p 0", "-p 0 leaves nothing to listen on"),
        ("-m 1", "-m 1: an item of -I 1048576 bytes must fit twice; write -m 2"),
        ("-m 100 -I 1024m", "write -m 2048 or more"),
        ("-f 1", "-f 1: want a number above 1"),
        ("-o hashpwr=1", "-o hashpwr: unknown; the nearest is hashpower"),
        ("-l mtls:127.0.0.1", "there is no TLS"),
    ] {
        let failure = cache(line).unwrap_err().to_string();
        assert!(failure.contains(wanted), "{line}: {failure}");
        assert!(!failure.contains('\n'), "{failure}");
    }
    let long = format!("-s /{}", "x".repeat(107));
    assert!(cache(&long).unwrap_err().to_string().contains("choose a shorter one"));
}

#[test]
fn what_does_not_matter_is_noted_once() {
    let line = "-U 0 -B ascii -f 1.1 -n 96 -L -D : -C -N 2 -o hashpower=20 -k";
    let (_, notes, _) = cache(line).unwrap();
    let (warnings, lines): (Vec<_>, Vec<_>) = notes.iter().partition(|note| note.warning);
    assert_eq!(lines.len(), 7, "{lines:?}");
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn a_unix_socket_stands_alone() {
    let (config, notes, _) = cache("-s /tmp/x -p 0").unwrap();
    assert_eq!(config.node.unix_socket.as_deref(), Some(Path::new("/tmp/x")));
    assert_eq!(notes, []);
    let (_, notes, _) = cache("-s /tmp/x -p 11211").unwrap();
    assert!(notes[0].text.contains("-p and -l ignored"));
}

#[test]
fn a_store_knows_where_its_data_is() {
    let here = std::env::current_dir().unwrap();
    assert_eq!(store("", None).unwrap().0.data_dir, here.join("larder-data/store"));
    assert_eq!(store("", Some("/var/lib/a:/b")).unwrap().0.data_dir, Path::new("/var/lib/a"));
    assert_eq!(store("-H /d", Some("/a")).unwrap().0.data_dir, Path::new("/d"));
    assert_eq!(store("", None).unwrap().0.node.port, Port::Number(21201));
    let failure = store("-d", None).unwrap_err().to_string();
    assert!(failure.contains("-H DIR"), "{failure}");
}

#[test]
fn a_store_takes_the_flags_of_memcachedb_that_are_not_memcacheds() {
    let (config, notes, _) =
        store("-H /d -G /log -E -T 30 -B btree -f default.db -m 256 -C 300 -N -L 4096", None)
            .unwrap();
    assert_eq!((config.memory_limit_mb, config.checkpoint_interval_secs), (256, 300));
    assert_eq!(notes.len(), 7, "{notes:?}");
    let wanted = ["-N: a write is answered once it is on disk; ignored", "-L: the log has"];
    assert!(wanted.iter().all(|text| notes.iter().any(|note| note.text.starts_with(text))));
    // They keep their long names, and -A is memcached's.
    let (config, notes, _) = store("--disable-cas --napi-ids 2 -A -R 7 -C 0", None).unwrap();
    assert!(config.node.shutdown_enabled && notes.len() == 2, "{notes:?}");
    assert_eq!((config.node.requests_per_event, config.checkpoint_interval_secs), (7, 0));
    assert!(!store("-A=false", None).unwrap().0.node.shutdown_enabled);
    for (line, wanted) in [
        ("-A 4096", "4096: there are no pages whose size could be set; leave it out"),
        ("-A=perhaps", "want true or false"),
        ("-R 10.0.0.1:31211", "other nodes reach this one is --peer-listen HOST:PORT"),
        ("-R 0", "want 1 to 1000000 requests"),
        ("-S", "-S: no node is started as a slave"),
        ("-C never", "want 0 to 86400 seconds"),
    ] {
        let failure = store(line, None).unwrap_err().to_string();
        assert!(failure.contains(wanted) && !failure.contains('\n'), "{line}: {failure}");
    }
    // -O names another site, which MemcacheDB takes part with from the start.
    let line = "-O 10.0.0.2 --peer-listen 10.0.0.1 --cluster-secret-file /s --node-name db1";
    let member = store(line, None).unwrap().0.member.unwrap();
    assert_eq!(
        (member.join, member.place.peer_address.as_str()),
        (vec!["10.0.0.2:31201".to_owned()], "10.0.0.1:31201")
    );
}

#[test]
fn a_store_keeps_the_reserve_it_is_given() {
    assert_eq!(store("", None).unwrap().0.reserve, Reserve::Auto);
    for (line, reserve, printed) in [
        ("--reserve 0", Reserve::Bytes(0), "reserve = 0 "),
        ("--reserve=20g", Reserve::Bytes(20 << 30), "reserve = 21474836480 "),
        ("--reserve auto", Reserve::Auto, "reserve = \"auto\" "),
    ] {
        let (config, notes, sources) = store(&format!("-H /d {line}"), None).unwrap();
        assert_eq!(config.reserve, reserve);
        let text = print("store", &config.settings(), &sources, &notes);
        let line = text.lines().find(|line| line.starts_with(printed));
        assert!(line.is_some_and(|line| line.ends_with("# command line")), "{text}");
        let (_dir, path) = written(&text);
        assert_eq!(store(&format!("--config {path}"), None).unwrap().0, config);
    }
    let failure = store("--reserve lots", None).unwrap_err().to_string();
    assert!(failure.contains("--reserve lots: want bytes, a number with k, m or g"), "{failure}");
}

#[test]
fn a_cluster_has_ports_for_its_nodes() {
    let config = up("--nodes 2 --cache-port 4000 --store-port 5000 --store-nodes 1").unwrap();
    assert_eq!((config.cache_ports, config.store_ports), (vec![4000, 4001], vec![5000]));
    let config = up("").unwrap();
    assert_eq!(config.store_ports, [21201, 21202, 21203]);
    assert_eq!(config.peer_ports, [31201, 31202, 31203]);
    assert_eq!(config.cache_peer_ports, [21211, 21212, 21213]);
    for (line, wanted) in [
        ("--cache-port 65534", "--cache-port 65534: 3 nodes need ports up to 65536"),
        ("--store-port 11211", "--store-port 11211: another node has 11211 of the ports 11211 to"),
        ("--peer-port 21203", "--peer-port 21203: another node has 21203"),
        ("--peer-port 21213", "--peer-port 21213: another node has 21213"),
        ("--cache-peer-port 21203", "--cache-peer-port 21203: another node has 21203"),
    ] {
        let failure = up(line).unwrap_err().to_string();
        assert!(failure.contains(wanted), "{failure}");
    }
}
