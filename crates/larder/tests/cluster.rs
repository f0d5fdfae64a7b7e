//! A durable cluster as its operator runs it: three processes and `larder ctl`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use support::stores::{Client, Stores};
use support::{Running, Stream, ended, free_ports, larder, until};
use tempfile::TempDir;

#[test]
fn a_node_is_killed_under_a_running_client_and_nothing_is_lost() {
    let mut stores = Stores::start(3);
    let mut written = 0;
    let mut write = |client: &mut Client, count: u32| {
        for _ in 0..count {
            client.set_at_last(&format!("key{written}"), &written.to_string());
            written += 1;
        }
        written
    };
    let mut clients: BTreeMap<_, _> = (1..=3).map(|node| (node, stores.client(node))).collect();
    // Each in turn, so also who leads the most.
    for killed in 1..=3 {
        let survivor = killed % 3 + 1;
        write(clients.get_mut(&survivor).unwrap(), 100);
        stores.kill(killed);
        let since = Instant::now();
        let count = write(clients.get_mut(&survivor).unwrap(), 100);
        println!("100 writes after db{killed} was killed took {:?}", since.elapsed());
        stores.open(killed);
        stores.until_settled(3);
        clients.insert(killed, stores.client(killed));
        let back = clients.get_mut(&killed).unwrap();
        for number in 0..count {
            assert_eq!(back.get(&format!("key{number}")), Some(number.to_string()));
        }
    }
    // And all at once.
    let count = write(clients.get_mut(&1).unwrap(), 100);
    for node in 1..=3 {
        stores.kill(node);
    }
    for node in 1..=3 {
        stores.open(node);
    }
    let mut client = stores.client(2);
    client.set_at_last("again", "v");
    for number in 0..count {
        assert_eq!(client.get(&format!("key{number}")), Some(number.to_string()));
    }
    for node in 1..=3 {
        stores.running[&node].signal(Signal::SIGTERM);
    }
    for mut running in std::mem::take(&mut stores.running).into_values() {
        assert!(running.wait().success(), "{}", running.all(Stream::Err));
    }
}

#[test]
fn a_minority_takes_no_write_and_says_so_in_time() {
    let mut stores = Stores::start(3);
    let mut client = stores.client(1);
    client.set_at_last("k", "v");
    stores.kill(2);
    stores.kill(3);
    for (command, before) in [("set k 0 0 1\r\nw\r\n", "not written"), ("get k\r\n", "not read")] {
        let since = Instant::now();
        let told = client.ask(command);
        println!("after {:?}: {told}", since.elapsed());
        let unknown = told.starts_with("SERVER_ERROR outcome unknown");
        assert!(unknown || told.starts_with(&format!("SERVER_ERROR {before}")), "{told}");
    }
    stores.open(2);
    client.set_at_last("k", "x");
    assert_eq!(client.get("k").as_deref(), Some("x"));
}

#[test]
fn nodes_come_and_go_by_ctl_while_clients_are_served() {
    let mut stores = Stores::start(4);
    let mut client = stores.client(4);
    for number in 0..200 {
        client.set_at_last(&format!("key{number}"), "v");
    }
    let refused = stores.ctl("remove db1");
    assert!(!refused.status.success());
    assert!(refused.err.contains("refused: ") && refused.err.contains("drain"), "{refused:?}");
    let drained = stores.ctl("drain db1");
    assert!(drained.status.success(), "{drained:?}");
    assert!(drained.out.contains("waiting until it is so"), "{drained:?}");
    let status = stores.status().unwrap();
    let groups = status["groups"].as_array().unwrap();
    let has = |group: &Value| group["voters"].as_array().unwrap().contains(&Value::from(1));
    assert!(!groups.iter().any(has), "{status}");
    // It has nothing any more, and answers all the same.
    let mut through = stores.client(1);
    for number in 0..200 {
        assert_eq!(through.get(&format!("key{number}")).as_deref(), Some("v"));
    }
    let removed = stores.ctl("remove db1");
    assert!(removed.status.success(), "{removed:?}");
    // It learns of it while it runs.
    stores.running.get_mut(&1).unwrap().line(Stream::Err, "does not let this node take part");
    stores.kill(1);
    let table = stores.ctl("status").out;
    assert!(table.contains("3 nodes") && !table.contains("db1"), "{table}");
    for number in 0..200 {
        assert_eq!(client.get(&format!("key{number}")).as_deref(), Some("v"));
    }
    // A node that was removed does not come back as if nothing had been.
    let mut back = Running::start(&mut stores.command(1));
    back.line(Stream::Err, "removed");
    back.signal(Signal::SIGTERM);
    back.wait();
}

#[test]
fn memcachedbs_commands_are_about_the_whole_cluster() {
    let mut stores = Stores::start(3);
    let mut client = stores.client(1);
    for number in 0..30 {
        client.set_at_last(&format!("key{number:02}"), "v");
    }
    for node in 1..=3 {
        let mut client = stores.client(node);
        let mut listed = |ask: &str, end: &str| {
            let mut lines = vec![client.ask(ask)];
            while lines.last().is_some_and(|line| line != end) {
                lines.push(client.line());
            }
            lines.pop();
            lines
        };
        let items = listed("rget key05 key99 1 0 10\r\n", "END");
        let expected = (6..16).flat_map(|number| [format!("VALUE key{number:02} 0 1"), "v".into()]);
        assert_eq!(items, expected.collect::<Vec<_>>());
        assert_eq!(listed("db_checkpoint\r\n", "OK"), [""; 0]);
        let rep = listed("stats rep\r\n", "END");
        assert!(rep.contains(&"STAT st_nsites 3".to_owned()), "{rep:?}");
        let config = listed("stats repcfg\r\n", "END").join("\n");
        assert_eq!(
            config,
            "STAT rep_ack_policy 6\nSTAT rep_ack_timeout 2000000\nSTAT rep_nsites 3"
        );
        until("all are known, and who leads", || {
            let sites = listed("stats repms\r\n", "END");
            let [own, others @ ..] = &sites[..] else { panic!("nobody") };
            let peer = stores.peer(node);
            assert!(own.starts_with(&format!("STAT site-00 {peer}/")) && own.ends_with("/--"));
            let linked = others.iter().filter(|site| site.ends_with("/CONNECTED")).count();
            let led = sites.iter().any(|site| site.contains("/MASTER/"));
            (linked == 2 && led).then_some(())
        });
    }
    stores.kill(2);
    until("it is missed", || {
        let mut client = stores.client(3);
        let own = client.ask("stats repms\r\n");
        assert!(own.starts_with("STAT site-00 "), "{own}");
        let sites = [client.line(), client.line()];
        let gone = format!("{}/CLIENT/DISCONNECTED", stores.peer(2));
        sites.iter().any(|site| site.ends_with(&gone)).then_some(())
    });
    let mut client = stores.client(3);
    until("its groups are led by another", || {
        let first = client.ask("rget a z 0 0 1\r\n");
        let rest = first.starts_with("VALUE key00").then(|| [client.line(), client.line()])?;
        (rest[1] == "END").then_some(())
    });
}

#[test]
fn what_is_wrong_is_said_and_what_to_write_instead() {
    let place = TempDir::new().unwrap();
    let secret = place.path().join("secret");
    fs::write(&secret, "short").unwrap();
    let data = place.path().join("data");
    let said = |line: &str| {
        let line = line
            .replace("SECRET", secret.to_str().unwrap())
            .replace("DATA", data.to_str().unwrap());
        let ended = ended(&mut larder(&line));
        assert!(!ended.status.success(), "{line}: {ended:?}");
        ended.err
    };
    for (line, wanted) in [
        ("store --join a:1", "--join: say with --peer-listen"),
        (
            "store --peer-listen 127.0.0.1:0 --cluster-secret-file SECRET --found",
            "--peer-address HOST:PORT",
        ),
        ("store --peer-listen 127.0.0.1 --found", "--cluster-secret-file FILE"),
        ("store --peer-listen * --cluster-secret-file SECRET --found", "--peer-address HOST:PORT"),
        (
            "store -H DATA -p -1 --peer-listen 127.0.0.1:1 --cluster-secret-file SECRET --found",
            "--cluster-secret-file",
        ),
        ("ctl", "Usage"),
        ("ctl store", "Usage"),
        ("ctl store status", "--cluster-secret-file FILE"),
        ("ctl store status --cluster-secret-file SECRET", "16"),
        ("ctl store drain --cluster-secret-file SECRET", "<NAME>"),
    ] {
        let told = said(line);
        assert!(told.contains(wanted), "{line}: {told}");
    }
    assert!(!data.exists(), "nothing was begun");
    fs::write(&secret, "0123456789abcdef").unwrap();
    let port = free_ports(1);
    let since = Instant::now();
    let told =
        said(&format!("ctl store status --nodes 127.0.0.1:{port} --cluster-secret-file SECRET"));
    assert!(told.contains(&format!("127.0.0.1:{port}")), "{told}");
    assert!(since.elapsed() < Duration::from_secs(30));
}
