//! The command line of the real program: what it says of itself, and of mistakes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

mod support;

use support::{ended, larder};

/// What usage errors end with, as memcached's do.
const USAGE: i32 = 64;

/// One line on standard error that says `wanted`, and nothing else.
fn complains(line: &str, wanted: &str) {
    let output = ended(&mut larder(line));
    let said = output.err;
    assert_eq!(output.status.code(), Some(USAGE), "{line}: {said}");
    assert!(said.contains(wanted), "{line}: {said}");
    assert_eq!(said.lines().count(), 1, "{line}: {said}");
    assert_eq!(output.out, "", "{line}");
}

fn says(line: &str) -> String {
    let output = ended(&mut larder(line));
    assert!(output.status.success(), "{line}: {output:?}");
    assert_eq!(output.err, "", "{line}");
    output.out
}

#[test]
fn mistakes_are_one_line_that_names_them() {
    for (line, wanted) in [
        ("cahce", "larder: unknown command cahce: the nearest is cache"),
        ("cache --prot 1", "larder: cache: unknown option --prot: the nearest is --port"),
        ("cache --memory-limt=1", "the nearest is --memory-limit"),
        ("cache -z", "unknown option -z: larder cache -h lists all"),
        ("store -m", "--memory-limit <num> needs a value"),
        ("cache -C 300", "unexpected '300'"),
        ("store -A 4096", "there are no pages whose size could be set; leave it out"),
        ("up --node 2", "larder: up: unknown option --node: the nearest is --nodes"),
        ("cache -o hashpwr=20", "-o hashpwr: unknown; the nearest is hashpower"),
        ("cache --config /no/such/file", "--config /no/such/file: cannot be read"),
        ("cache --sed 10.0.0.1", "the nearest is --seed"),
        ("cache --seed 10.0.0.1", "larder: cache: --seed: say with --peer-listen HOST:PORT where"),
    ] {
        complains(line, wanted);
    }
}

#[test]
fn absurd_limits_are_refused() {
    for (line, wanted) in [
        ("cache -m 0", "--memory-limit 0: want 1 to"),
        ("cache -m -1", "-1"),
        ("cache -m 18446744073709551616", "--memory-limit 18446744073709551616: want 1 to"),
        ("cache -m 1", "-m 1: an item of -I 1048576 bytes must fit twice"),
        ("cache -m lots", "--memory-limit lots: want 1 to"),
        ("cache -c 0", "--conn-limit 0: want 1 to"),
        ("cache -c 99999999999", "--conn-limit 99999999999: want 1 to"),
        ("cache -t 0", "--threads 0: want 1 to 1024 threads, or auto"),
        ("cache -I 100", "--max-item-size 100: want 1k to 1024m"),
        ("cache -I 2048m", "--max-item-size 2048m: want 1k to 1024m"),
        ("cache --buffer-memory 1", "--buffer-memory 1: an item of -I 1048576 bytes must fit"),
        ("cache --buffer-memory 33", "it is taken from -m 64, of which half stays with the items"),
        ("cache -o read_buf_mem_limit=lots", "-o read_buf_mem_limit: want megabytes"),
        ("cache -p 65536", "--port 65536: want a port of 1 to 65535"),
        ("cache -R 0", "--max-reqs-per-event 0: want 1 to"),
        ("store -t 0", "--threads 0"),
        ("bench -t 0", "larder: bench: --threads 0: want 1 to 1024 threads"),
        ("bench -t 100000000", "--threads 100000000: want 1 to 1024 threads"),
        ("up --nodes 0", "--nodes 0: want 1 to 64"),
    ] {
        complains(line, wanted);
    }
}

#[test]
fn protection_that_is_not_there_is_not_pretended() {
    for line in ["-S", "-Y /etc/passwd", "-Z", "-U 11211", "-B binary", "-o ssl_key=/x"] {
        let flag = line.split(' ').next().unwrap();
        complains(&format!("cache {line}"), flag);
        complains(&format!("store {line}"), flag);
    }
}

#[test]
fn version_and_license_are_on_standard_output() {
    for line in ["-V", "cache -V", "cache --version", "store -V"] {
        assert!(says(line).contains("memcached 1.6.45"), "{line}");
    }
    assert!(says("cache -i").contains("MIT"));
}

#[test]
fn help_names_what_test_harnesses_look_for() {
    let help = says("cache -h");
    assert!(help.contains("--unix-socket"), "{help}");
    for absent in ["sasl", "enable-ssl"] {
        assert!(!help.to_lowercase().contains(absent), "{help}");
    }
}

#[test]
fn nothing_asked_for_gets_help_and_an_error() {
    let output = ended(&mut larder(""));
    assert_eq!(output.status.code(), Some(USAGE));
    assert!(output.err.contains("cache"));
}

#[test]
fn the_configuration_in_force_can_be_seen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("larder.toml");
    std::fs::write(&path, "[cache]\nthreads = 3\nconn-limit = 5\n").unwrap();
    let mut command = larder("cache --print-config -m 100");
    command.env("LARDER_CONFIG", &path).env("LARDER_CONN_LIMIT", "7");
    let output = ended(&mut command);
    let text = output.out;
    let has = |start: &str, end: &str| {
        text.lines().any(|line| line.starts_with(start) && line.ends_with(end))
    };
    assert!(has("memory-limit = 100 ", "# command line"), "{text}");
    assert!(has("conn-limit = 7 ", "# environment LARDER_CONN_LIMIT"), "{text}");
    assert!(has("threads = 3 ", &format!("# {}:2", path.display())), "{text}");
    assert!(has("port = 11211 ", "# default"), "{text}");
}

#[test]
fn mistakes_of_a_file_name_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("larder.toml");
    for (text, wanted) in [
        ("[cache]\n\nprot = 1\n", ":3: unknown option prot: the nearest is port"),
        ("[cache]\nport = 70000\n", ":2): want a port"),
        ("[cache]\nport = \n", ":2: "),
        ("[caches]\n", ":1: unknown table [caches]: the nearest is [cache]"),
    ] {
        std::fs::write(&path, text).unwrap();
        complains(&format!("cache --config {}", path.display()), wanted);
    }
}
