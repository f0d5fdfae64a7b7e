//! What is written through one node is there through any other.

use std::fmt::Write as _;
use std::io::Write as _;
use std::thread;

use crate::support::caches::Caches;
use crate::support::stores::Client;

/// Another node may take as long as it likes: nobody stands in for who is only slow here.
const PATIENT: &str = "--peer-timeout 30000";

/// So many keys are written through five nodes.
const KEYS: usize = 100_000;

/// So many go in one piece.
const PIPELINE: usize = 500;

fn key(number: usize) -> String {
    format!("key:{number}")
}

fn value(number: usize) -> String {
    format!("{}value of {number}", "x".repeat(number % 100))
}

/// Sends requests in one piece, and takes what is answered.
fn say(client: &mut Client, requests: &str) {
    client.sender().write_all(requests.as_bytes()).unwrap();
}

fn write_all(client: &mut Client, numbers: &[usize]) {
    for some in numbers.chunks(PIPELINE) {
        let mut requests = String::new();
        for number in some {
            let (key, value) = (key(*number), value(*number));
            match number % 2 {
                0 => write!(requests, "set {key} {number} 0 {}\r\n{value}\r\n", value.len()),
                _ => write!(requests, "ms {key} {} F{number}\r\n{value}\r\n", value.len()),
            }
            .unwrap();
        }
        say(client, &requests);
        for number in some {
            assert_eq!(client.line(), if number % 2 == 0 { "STORED" } else { "HD" });
        }
    }
}

/// Reads keys by `get` of many at once, and by `mg` one after the other.
fn read_all(client: &mut Client, numbers: &[usize]) {
    for (round, some) in numbers.chunks(PIPELINE).enumerate() {
        if round % 2 == 0 {
            let keys: Vec<_> = some.iter().map(|number| key(*number)).collect();
            say(client, &format!("get {}\r\n", keys.join(" ")));
            for number in some {
                let value = value(*number);
                assert_eq!(client.line(), format!("VALUE key:{number} {number} {}", value.len()));
                assert_eq!(client.line(), value);
            }
            assert_eq!(client.line(), "END");
        } else {
            let requests = some.iter().fold(String::new(), |requests, number| {
                requests + &format!("mg key:{number} v f O{number}\r\n")
            });
            say(client, &requests);
            for number in some {
                let value = value(*number);
                let first = format!("VA {} f{number} O{number}", value.len());
                assert_eq!((client.line(), client.line()), (first, value));
            }
        }
    }
}

#[test]
fn what_is_written_through_each_node_is_read_through_each_other() {
    let caches = Caches::start(5, PATIENT);
    let turn = |node: u16| (0..KEYS).skip(usize::from(node - 1)).step_by(5).collect::<Vec<_>>();
    thread::scope(|scope| {
        for node in caches.nodes() {
            let mut client = caches.client(node);
            scope.spawn(move || write_all(&mut client, &turn(node)));
        }
    });
    thread::scope(|scope| {
        for node in caches.nodes() {
            let mut client = caches.client(node);
            scope.spawn(move || {
                for other in (1..=5).filter(|other| *other != node) {
                    read_all(&mut client, &turn(other));
                }
            });
        }
    });
    for node in caches.nodes() {
        let stats = caches.stats(node);
        // Of what each was asked about four fifths are others', and many commands go in one call.
        assert!(stats.number("forwarded") > KEYS as u64 / 2, "{stats:?}");
        assert!(stats.number("answered_calls") < stats.number("answered") / 2, "{stats:?}");
        assert_eq!((stats.number("stood_in"), stats.number("not_done")), (0, 0), "{stats:?}");
    }
}

#[test]
fn a_get_of_many_keys_is_answered_in_its_order() {
    let caches = Caches::start(3, PATIENT);
    let mut client = caches.client(1);
    let numbers: Vec<_> = (0..60).collect();
    write_all(&mut client, &numbers);
    // Those of all nodes by turns, some that are not there, and some twice.
    let asked: Vec<_> = (0..100).map(|at| at * 7 % 83).collect();
    let keys: Vec<_> = asked.iter().map(|number| key(*number)).collect();
    for node in caches.nodes() {
        let mut client = caches.client(node);
        say(&mut client, &format!("get {}\r\nmn\r\n", keys.join(" ")));
        for number in asked.iter().filter(|number| **number < 60) {
            let value = value(*number);
            assert_eq!(client.line(), format!("VALUE key:{number} {number} {}", value.len()));
            assert_eq!(client.line(), value);
        }
        assert_eq!((client.line(), client.line()), ("END".to_owned(), "MN".to_owned()));
    }
}

#[test]
#[allow(clippy::many_single_char_names, reason = "they are keys in lines that are to be read")]
fn what_is_not_to_be_answered_is_done_and_not_answered() {
    let caches = Caches::start(3, PATIENT);
    let owners = caches.owners();
    let mut client = caches.client(1);
    for owner in caches.nodes() {
        let keys: Vec<_> = ["a", "b", "c", "d", "e"].map(|key| owners.key(key, owner)).into();
        let [a, b, c, d, e] = &keys[..] else { unreachable!() };
        let requests = format!(
            "set {a} 0 0 1 noreply\r\n1\r\nincr {a} 4 noreply\r\nms {b} 1 q\r\nx\r\n\
             mg {c} v q\r\nmg {b} v q k\r\nmd {c} q\r\nms {d} 1 MR q\r\nx\r\n\
             ms {c} 1 ME q\r\nx\r\nms {c} 1 ME q\r\ny\r\nma {e} q N0 J7\r\ndelete {e}x noreply\r\ntouch {a} 0 noreply\r\n\
             mn\r\nget {a} {b} {c} {d} {e}\r\n"
        );
        say(&mut client, &requests);
        let mut lines = vec![format!("VA 1 k{b}"), "x".into()];
        // Of what is quiet only what went as hoped is.
        lines.extend(["NF", "NS", "NS", "MN"].map(ToOwned::to_owned));
        for (key, value) in [(a, "5"), (b, "x"), (c, "x"), (e, "7")] {
            lines.extend([format!("VALUE {key} 0 1"), value.into()]);
        }
        lines.push("END".into());
        for line in lines {
            assert_eq!(client.line(), line, "of {owner}: {requests}");
        }
        // Others see the same.
        let mut other = caches.client(1 + owner % 3);
        assert_eq!(other.get(a), Some("5".to_owned()));
        assert_eq!(other.get(d), None);
    }
}

#[test]
fn any_bytes_may_be_a_key() {
    let caches = Caches::start(3, PATIENT);
    let mut client = caches.client(1);
    // Base64 of three bytes that are no key in clear: a space, a zero, and something that counts.
    let keys: Vec<_> = (b'A'..=b'Z').map(|letter| format!("IAA{}", char::from(letter))).collect();
    for key in &keys {
        assert_eq!(client.ask(&format!("ms {key} 4 b\r\n{key}\r\n")), "HD");
    }
    for node in caches.nodes() {
        let mut client = caches.client(node);
        for key in &keys {
            assert_eq!(client.ask(&format!("mg {key} b v k\r\n")), format!("VA 4 k{key} b"));
            assert_eq!(client.line(), *key);
            assert_eq!(
                client.ask(&format!("mg {key} v\r\n")),
                "EN",
                "it is not its bytes in clear"
            );
        }
    }
    for key in &keys {
        assert_eq!(client.ask(&format!("md {key} b\r\n")), "HD");
    }
}

#[test]
fn large_values_go_between_nodes_and_larger_ones_leave_nothing() {
    for (flags, limit) in [("", 1 << 20), ("-I 3m", 3 << 20)] {
        let caches = Caches::start(3, &format!("{PATIENT} {flags}"));
        let owners = caches.owners();
        let keys: Vec<_> = caches.nodes().map(|owner| owners.key("large", owner)).collect();
        // Key and header count too, as they do in memcached.
        let longest = limit - 300;
        let values = ["p", "q", "r"].map(|letter| letter.repeat(longest));
        let mut client = caches.client(1);
        // In one piece, so that they are on their way at once.
        let sets = keys.iter().zip(&values);
        let sets = sets.map(|(key, value)| format!("set {key} 0 0 {longest}\r\n{value}\r\n"));
        say(&mut client, &sets.collect::<String>());
        assert_eq!(keys.iter().map(|_| client.line()).collect::<Vec<_>>(), ["STORED"; 3]);
        for node in caches.nodes() {
            let mut client = caches.client(node);
            say(&mut client, &format!("get {}\r\n", keys.join(" ")));
            for (key, value) in keys.iter().zip(&values) {
                assert_eq!(client.line(), format!("VALUE {key} 0 {longest}"));
                assert!(client.line() == *value, "{key} through {node}");
            }
            assert_eq!(client.line(), "END");
        }
        // What would come of it is too large, which only who has the key can say.
        for key in &keys {
            let append = format!("append {key} 0 0 {longest}\r\n{}\r\n", values[0]);
            assert_eq!(client.ask(&append), "NOT_STORED", "{key}");
            assert_eq!(client.get(key).map(|value| value.len()), Some(longest), "{key}");
        }
        let value = "s".repeat(limit);
        for key in &keys {
            assert_eq!(client.set(key, &value), TOO_LARGE, "{key}");
            // Asked on this connection first: its owner has done by then what came before.
            assert_eq!(client.get(key), None, "{key}");
            for node in caches.nodes() {
                assert_eq!(caches.client(node).get(key), None, "{key} through {node}");
            }
        }
    }
}

const TOO_LARGE: &str = "SERVER_ERROR object too large for cache";
