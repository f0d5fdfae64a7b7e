//! Who is let into a cluster, and what who is not is told.

use std::fs;
use std::net::TcpListener;

use nix::sys::signal::Signal;

use crate::support::caches::Caches;
use crate::support::{Running, Stream, ended, until};

const PATIENT: &str = "--peer-timeout 30000";

/// What who is asked wrongly ends with, as memcached's do.
const USAGE: i32 = 64;

/// What errors of the system end with.
const SYSTEM: i32 = 71;

/// A cluster of the first two of three, with a value.
fn two_of_three() -> Caches {
    let mut caches = Caches::plan(3, PATIENT);
    caches.open(1);
    caches.open(2);
    caches.until_all_know(2);
    assert_eq!(caches.client(1).set("key", "value"), "STORED");
    caches
}

/// That the first two are who they were, and know of no third.
fn are_unharmed(caches: &Caches) {
    for node in [1, 2] {
        let stats = caches.stats(node);
        assert_eq!((stats.number("members"), stats.owners()), (2, 2), "{stats:?}");
        assert_eq!(stats.number("found_silent"), 0, "{stats:?}");
        assert_eq!(caches.client(node).get("key").as_deref(), Some("value"));
    }
}

#[test]
fn who_knows_another_secret_or_cluster_is_told_so_and_serves_alone() {
    let caches = two_of_three();
    let secret = caches.place.path().join("another");
    fs::write(&secret, "fedcba9876543210fedcba9876543210").unwrap();
    let secret = format!("--cluster-secret-file {}", secret.display());
    for (flags, why) in [
        (&*secret, "it has another cluster secret"),
        ("--cluster another", "check the address and the cluster name of both"),
    ] {
        let other = Running::start(&mut caches.command(3, flags));
        other.line(Stream::Err, why);
        other.line(Stream::Err, "no seed answers: this node serves alone until one does");
        other.line(Stream::Err, "listening on ");
        assert_eq!(caches.client(3).get("key"), None);
        let stats = caches.stats(3);
        assert_eq!((stats.number("members"), stats.owners()), (1, 1), "{stats:?}");
        assert_eq!(stats.0["seed0:address"], caches.peer(1));
        assert!(stats.0["seed0:why"].contains(why), "{stats:?}");
        are_unharmed(&caches);
    }
}

#[test]
fn who_has_the_name_of_another_waits_until_that_is_gone() {
    let mut caches = two_of_three();
    let name = format!("--node-name {}", caches.address(1));
    let mut second = Running::start(&mut caches.command(3, &name));
    let told = second.line(Stream::Err, "is taken by ");
    assert!(told.contains(&caches.address(1)) && told.contains(&caches.peer(1)), "{told}");
    assert!(told.contains("give this node another --node-name"), "{told}");
    are_unharmed(&caches);
    // It can be stopped meanwhile.
    second.signal(Signal::SIGTERM);
    assert!(second.wait().success());
    are_unharmed(&caches);
    // The name moves to another address when who had it is gone, however that went.
    let moved = Running::start(&mut caches.command(3, &name));
    moved.line(Stream::Err, "is taken by ");
    caches.kill(1);
    moved.line(Stream::Err, "the name of this node is not taken any more");
    moved.line(Stream::Err, "listening on ");
    caches.running.insert(3, moved);
    caches.until_all_know(2);
    let stats = caches.stats(2);
    assert_eq!(stats.state(&caches.address(1)), Some("serving"), "{stats:?}");
    let is_it = |(name, value): (&String, &String)| {
        name.ends_with(":peer_address") && *value == caches.peer(3)
    };
    assert!(stats.0.iter().any(is_it), "{stats:?}");
    assert_eq!(caches.client(3).set("key", "other"), "STORED");
    assert_eq!(caches.client(2).get("key").as_deref(), Some("other"));
}

#[test]
fn who_finds_no_seed_serves_alone_until_it_does() {
    let mut caches = Caches::plan(2, PATIENT);
    let other = caches.peer(2);
    caches.open_with(1, &format!("--seed {other}"));
    let first = &caches.running[&1];
    let log = until("it says so", || {
        let log = first.all(Stream::Err);
        log.contains("no seed answers").then_some(log)
    });
    assert_eq!(log.matches(&*other).count(), 1, "one line says why: {log}");
    assert_eq!(caches.client(1).set("key", "value"), "STORED");
    // It does not know the first, which finds it.
    caches.open_with(2, &format!("--seed {other}"));
    caches.until_all_know(2);
    let seeds = caches.stats(1).0.keys().filter(|name| name.starts_with("seed")).count();
    assert_eq!(seeds, 0);
    assert_eq!(caches.client(2).set("key", "newer"), "STORED");
    assert_eq!(caches.client(1).get("key").as_deref(), Some("newer"));
}

#[test]
fn what_cannot_be_is_refused_in_one_line() {
    let caches = Caches::plan(1, PATIENT);
    let short = caches.place.path().join("short");
    fs::write(&short, "short").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    for (flags, code, why) in [
        ("--cluster-secret-file /nowhere", USAGE, "/nowhere"),
        (&format!("--cluster-secret-file {}", short.display()), USAGE, "at least 16"),
        ("--seed nowhere:", USAGE, "--seed nowhere:"),
        ("--seed 0.0.0.0:1", USAGE, "--seed 0.0.0.0:1"),
        (&format!("--node-name {}", "n".repeat(300)), USAGE, "is no node name"),
        (&format!("--peer-address {taken} --peer-listen {taken}"), SYSTEM, "--peer-listen"),
    ] {
        let end = ended(&mut caches.command(1, flags));
        assert_eq!(end.status.code(), Some(code), "{flags}: {end:?}");
        let lines: Vec<_> = end.err.lines().filter(|line| line.contains(why)).collect();
        assert_eq!(lines.len(), 1, "{flags}: {end:?}");
    }
}
