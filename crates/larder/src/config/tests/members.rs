//! Nodes that are of a cluster, and what means nothing to one that is not.

use super::*;
use crate::flags::value::StaleReads;

const MEMBER: &str = "--peer-listen 10.0.0.1 --cluster-secret-file /s -l 10.0.0.1";

fn member(line: &str) -> CacheMember {
    cache(&format!("{MEMBER} {line}")).unwrap().0.member.unwrap()
}

#[test]
fn a_cache_of_a_cluster_has_a_name_that_clients_place_keys_by() {
    let of = member("");
    let place = &of.place;
    assert_eq!(
        (place.listen.to_string().as_str(), place.peer_address.as_str()),
        ("10.0.0.1:21211", "10.0.0.1:21211")
    );
    assert_eq!(
        (place.client_address.as_str(), place.name.as_str(), place.cluster.as_str()),
        ("10.0.0.1:11211", "10.0.0.1", "larder")
    );
    assert_eq!((of.weight, of.peer_timeout_ms, of.gutter_ttl_secs), (1, 250, 10));
    assert_eq!((of.hot_ttl_ms, of.hot_rate), (0, 100));
    assert!(of.seeds.is_empty());
    for (line, address, name) in [
        ("-p 11212", "10.0.0.1:11212", "10.0.0.1:11212"),
        ("--client-address cache-1:11211", "cache-1:11211", "cache-1"),
        ("--client-address [fd00::1]:11211", "[fd00::1]:11211", "fd00::1"),
        ("--client-address 192.0.2.1:7 --node-name a", "192.0.2.1:7", "a"),
        ("-s /tmp/x --client-address cache-1:7", "cache-1:7", "cache-1:7"),
    ] {
        let place = member(line).place;
        assert_eq!((place.client_address.as_str(), place.name.as_str()), (address, name), "{line}");
    }
    let of = member("--seed 10.0.0.2,10.0.0.3:7 --seed cache-4 --weight 1000 --peer-timeout 50");
    assert_eq!(of.seeds, ["10.0.0.2:21211", "10.0.0.3:7", "cache-4:21211"]);
    assert_eq!((of.weight, of.peer_timeout_ms), (1000, 50));
    // All of one machine.
    let line = "--peer-listen localhost --cluster-secret-file /s";
    assert_eq!(cache(line).unwrap().0.member.unwrap().place.name, "localhost");
}

#[test]
fn a_cache_that_clients_could_not_be_told_of_is_refused() {
    let secret = "--cluster-secret-file /s";
    for (line, wanted) in [
        ("--peer-listen 10.0.0.1".to_owned(), "openssl rand"),
        (format!("--peer-listen 0.0.0.0 {secret}"), "say with --peer-address HOST:PORT"),
        (format!("{MEMBER} --client-address *"), "stands for all addresses"),
        (format!("{MEMBER} --client-address 10.0.0.1"), "write HOST:PORT"),
        (
            format!("--peer-listen 10.0.0.1 {secret} -l 0.0.0.0"),
            "--listen 0.0.0.0:11211: clients are told where each node is; say with --client-address",
        ),
        (format!("{MEMBER} -p -1"), "--listen 10.0.0.1:-1: clients are told where each node is"),
        (format!("{MEMBER} -s /tmp/x"), "-s: clients are told the host and port of each node"),
        (
            format!("--peer-listen 10.0.0.1 {secret}"),
            "told localhost:11211, which is their own machine, while other nodes reach this one at \
             10.0.0.1:21211; say with --client-address HOST:PORT",
        ),
        (format!("{MEMBER} --seed *"), "--seed *: stands for all addresses"),
        (format!("{MEMBER} --weight 0"), "--weight 0: want 1 to 1000 (a weight)"),
        (format!("{MEMBER} --peer-timeout 0"), "--peer-timeout 0: want 1 to 60000 milliseconds"),
        (format!("{MEMBER} --gutter-ttl 0"), "--gutter-ttl 0: want 1 to 3600 seconds"),
        (format!("{MEMBER} --hot-ttl 10001"), "--hot-ttl 10001: want 0 to 10000 milliseconds"),
        (format!("{MEMBER} --hot-rate 0"), "--hot-rate 0: want 1 to 1000000 requests a second"),
        ("--seed a".to_owned(), "--seed: say with --peer-listen"),
        ("--node-name a".to_owned(), "--node-name: say with --peer-listen"),
        ("--peer-address a:1".to_owned(), "--peer-address: say with --peer-listen"),
    ] {
        let failure = cache(&line).unwrap_err().to_string();
        assert!(failure.contains(wanted) && !failure.contains('\n'), "{line}: {failure}");
    }
}

#[test]
fn what_is_printed_of_a_cache_of_a_cluster_reads_back() {
    let line = format!(
        "{MEMBER} --seed b,c --zone r1 --weight 3 --gutter-ttl 5 --cluster shop --hot-ttl 500 --hot-rate 7"
    );
    let (config, notes, sources) = cache(&line).unwrap();
    let text = print("cache", &config.settings(), &sources, &notes);
    for start in [
        "seed = [\"b:21211\", \"c:21211\"]",
        "weight = 3 ",
        "hot-ttl = 500 ",
        "hot-rate = 7 ",
        "node-name = \"10.0.0.1\" ",
    ] {
        assert!(text.lines().any(|line| line.starts_with(start)), "{text}");
    }
    let (_dir, path) = written(&text);
    assert_eq!(cache(&format!("--config {path}")).unwrap().0, config);
}

#[test]
fn a_cache_alone_says_which_flags_of_a_cluster_it_does_not_heed() {
    let line = "--cluster shop --cluster-secret-file /s --client-address a:1 --zone a --weight 2 \
                --peer-timeout 100 --gutter-ttl 5 --hot-ttl 500 --hot-rate 7";
    let (config, notes, sources) = cache(line).unwrap();
    assert!(config.member.is_none());
    assert_eq!(notes.len(), 9, "{notes:?}");
    assert!(notes.iter().all(|note| note.warning && note.text.contains("--peer-listen")));
    // What it prints of itself is nothing to warn of.
    let text = print("cache", &config.settings(), &sources, &[]);
    let (_dir, path) = written(&text);
    let (_, notes, _) = cache(&format!("--config {path}")).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn a_store_alone_says_which_flags_of_a_cluster_it_does_not_heed() {
    let line = "--replicas 5 --groups 8 --zone a --cluster shop --cluster-secret-file /s \
                --client-address a:1 --stale-reads 500 --log-limit 2048";
    let (config, notes, sources) = store(line, None).unwrap();
    assert!(config.member.is_none());
    assert_eq!(notes.len(), 8, "{notes:?}");
    assert!(notes.iter().all(|note| note.warning && note.text.contains("--peer-listen")));
    // What it prints of itself is nothing to warn of.
    let text = print("store", &config.settings(), &sources, &[]);
    let (_dir, path) = written(&text);
    let (_, notes, _) = store(&format!("--config {path}"), None).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn stale_reads_are_off_or_bounded() {
    let line = "-H /d --peer-listen a:1 --cluster-secret-file /s --node-name n";
    for (more, stale_reads, printed) in [
        ("", StaleReads::Off, "stale-reads = \"off\" "),
        ("--stale-reads off", StaleReads::Off, "stale-reads = \"off\" "),
        ("--stale-reads 500", StaleReads::WithinMs(500), "stale-reads = 500 "),
    ] {
        let (config, notes, sources) = store(&format!("{line} {more}"), None).unwrap();
        assert_eq!(config.member.as_ref().unwrap().stale_reads, stale_reads);
        let text = print("store", &config.settings(), &sources, &notes);
        assert!(text.lines().any(|line| line.starts_with(printed)), "{text}");
        let (_dir, path) = written(&text);
        assert_eq!(store(&format!("--config {path}"), None).unwrap().0, config);
    }
    for wrong in ["0", "9", "1s", "3600001"] {
        let failure =
            store(&format!("{line} --stale-reads {wrong}"), None).unwrap_err().to_string();
        let wanted = format!("--stale-reads {wrong}: want 10 to 3600000 milliseconds, or off");
        assert!(failure.contains(&wanted), "{failure}");
    }
}

#[test]
fn a_log_has_a_limit_that_leaves_it_what_it_takes_anyway() {
    let line = "-H /d --peer-listen a:1 --cluster-secret-file /s --node-name n";
    for (more, megabytes) in [("", 1024), ("--log-limit 512", 512), ("--log-limit 65536", 65536)] {
        let (config, notes, sources) = store(&format!("{line} {more}"), None).unwrap();
        assert_eq!(config.member.as_ref().unwrap().log_limit_mb, megabytes);
        let text = print("store", &config.settings(), &sources, &notes);
        let printed = format!("log-limit = {megabytes} ");
        assert!(text.lines().any(|line| line.starts_with(&printed)), "{text}");
        let (_dir, path) = written(&text);
        assert_eq!(store(&format!("--config {path}"), None).unwrap().0, config);
    }
    let failure = store(&format!("{line} --log-limit 100"), None).unwrap_err().to_string();
    assert!(failure.contains("--log-limit 100: want 512 to 1048576 megabytes"), "{failure}");
}
