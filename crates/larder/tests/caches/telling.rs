//! What all nodes are told, and what all of them tell.

use crate::support::caches::Caches;
use crate::support::{converse, until};

const KEYS: usize = 200;

fn keys() -> impl Iterator<Item = String> {
    (0..KEYS).map(|number| format!("key{number}"))
}

fn write_all(caches: &Caches, node: u16) {
    let mut client = caches.client(node);
    for key in keys() {
        assert_eq!(client.set(&key, "x"), "STORED");
    }
}

/// How many of the keys are there, through a node.
fn count(caches: &Caches, node: u16) -> usize {
    let mut client = caches.client(node);
    keys().filter(|key| client.get(key).is_some()).count()
}

#[test]
fn a_flush_through_one_node_is_for_all() {
    let caches = Caches::start(3, "--peer-timeout 30000");
    for (from, to) in [(1, 2), (2, 3), (3, 1)] {
        write_all(&caches, from);
        assert_eq!(count(&caches, to), KEYS);
        assert_eq!(converse(&caches.address(to), "flush_all\r\n"), "OK\r\n");
        for node in caches.nodes() {
            assert_eq!(count(&caches, node), 0, "through {node}");
        }
    }
    write_all(&caches, 1);
    // So late that nothing happens here, on any of them.
    assert_eq!(converse(&caches.address(2), "flush_all 100000\r\n"), "OK\r\n");
    for node in caches.nodes() {
        assert_eq!(count(&caches, node), KEYS, "through {node}");
    }
    assert_eq!(converse(&caches.address(2), "flush_all 2\r\n"), "OK\r\n");
    for node in caches.nodes() {
        until("all is forgotten", || (count(&caches, node) == 0).then_some(()));
    }
}

/// The nodes that `config get cluster` names, and its version.
fn configuration(caches: &Caches, node: u16) -> (u64, Vec<String>) {
    let answer = converse(&caches.address(node), "config get cluster\r\n");
    let lines: Vec<_> = answer.split("\r\n").collect();
    let [first, body, "END", ""] = lines[..] else { panic!("{answer:?}") };
    assert_eq!(first, format!("CONFIG cluster 0 {}", body.len()));
    let (version, rest) = body.split_once('\n').unwrap();
    let nodes = rest.strip_suffix('\n').unwrap().split(' ');
    let address = |node: &str| match *node.split('|').collect::<Vec<_>>() {
        [host, ip, port] => {
            assert!(ip.is_empty() || ip == host, "{node}");
            format!("{host}:{port}")
        }
        _ => panic!("{node}"),
    };
    (version.parse().unwrap(), nodes.map(address).collect())
}

/// Waits until each that runs names all that run, and gives their versions.
fn all_name_all(caches: &Caches) -> Vec<u64> {
    let running: Vec<_> = caches.running.keys().copied().collect();
    let mut wanted: Vec<_> = running.iter().map(|node| caches.address(*node)).collect();
    wanted.sort();
    caches.until_all_know(running.len());
    let version = |node: &u16| {
        until("it names all", || {
            let (version, mut nodes) = configuration(caches, *node);
            nodes.sort();
            let stats = caches.stats(*node);
            for name in &wanted {
                let wants = if *name == caches.address(*node) { "here" } else { "serving" };
                if stats.state(name) != Some(wants) {
                    return None;
                }
            }
            // No view came in between.
            (nodes == wanted && stats.number("version") == version).then_some(version)
        })
    };
    running.iter().map(version).collect()
}

#[test]
fn all_name_all_by_a_version_that_rises() {
    let mut caches = Caches::plan(3, "--peer-timeout 30000");
    caches.open(1);
    let mut before = all_name_all(&caches);
    let mut change = |caches: &Caches| {
        let now = all_name_all(caches);
        for (before, now) in before.iter().zip(&now) {
            assert!(now > before, "{now} after {before}");
        }
        before = now;
    };
    caches.open(2);
    change(&caches);
    caches.open(3);
    change(&caches);
    caches.stop(3);
    change(&caches);
    caches.open(3);
    change(&caches);
    caches.kill(3);
    change(&caches);
    let lost = caches.address(3);
    assert_eq!(caches.stats(1).state(&lost), Some("lost"));
    caches.open(3);
    change(&caches);
    // Shares are of all that there is.
    let stats = caches.stats(2);
    let shares = stats.0.iter().filter(|(name, _)| name.ends_with(":keys_percent"));
    let sum: f64 = shares.map(|(_, share)| share.parse::<f64>().unwrap()).sum();
    assert!((sum - 100.0).abs() < 0.1, "{stats:?}");
}
