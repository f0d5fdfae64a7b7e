//! A store whose volume has less room than it is to keep free, as its operator sees it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

mod support;

use std::path::Path;

use nix::sys::signal::Signal;
use nix::sys::statvfs::statvfs;
use support::{Running, Stream, converse, larder, until};

fn started(data: &Path, reserve: &str) -> (Running, String) {
    let line = format!("store -l 127.0.0.1 -p -1 -H {} --reserve {reserve}", data.display());
    let node = Running::start(&mut larder(&line));
    let said = node.line(Stream::Err, "listening on ");
    let address = said.rsplit(' ').next().unwrap().to_owned();
    (node, address)
}

fn stopped(mut node: Running) -> String {
    node.signal(Signal::SIGTERM);
    assert!(node.wait().success());
    node.all(Stream::Err)
}

fn stat(address: &str, name: &str) -> Option<String> {
    let stats = converse(address, "stats\r\n");
    let start = format!("STAT {name} ");
    stats.lines().find_map(|line| line.strip_prefix(&start)).map(ToOwned::to_owned)
}

#[test]
fn a_full_volume_refuses_writes_and_says_so() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("store");
    let (node, address) = started(&data, "0");
    assert_eq!(
        converse(&address, "set a 0 0 1\r\n1\r\nset b 0 0 1\r\n2\r\n"),
        "STORED\r\nSTORED\r\n"
    );
    assert_eq!(stat(&address, "store_condition").unwrap(), "serving");
    assert_eq!(stat(&address, "store_reserve_bytes").unwrap(), "0");
    assert_eq!(stat(&address, "store_failure"), None);
    let room: u64 = stat(&address, "store_room_bytes").unwrap().parse().unwrap();
    assert!(room > 0);
    assert!(!stopped(node).contains("out of disk space"));

    // More than there is, but not so much more that nothing may be deleted.
    let volume = statvfs(&data).unwrap();
    let room = volume.blocks_available() * volume.fragment_size();
    let reserve = (room + room / 8).to_string();
    let (node, address) = started(&data, &reserve);
    let answer = converse(&address, "set c 0 0 1\r\n3\r\n");
    assert!(answer.starts_with("SERVER_ERROR out of disk space: not written"), "{answer}");
    assert_eq!(converse(&address, "get a c\r\n"), "VALUE a 0 1\r\n1\r\nEND\r\n");
    assert_eq!(converse(&address, "delete b\r\nget b\r\n"), "DELETED\r\nEND\r\n");
    assert_eq!(stat(&address, "store_condition").unwrap(), "out_of_space");
    assert_eq!(stat(&address, "store_reserve_bytes").unwrap(), reserve);
    let failures: u64 = stat(&address, "store_failures").unwrap().parse().unwrap();
    assert_eq!(failures, 1);
    let log = stopped(node);
    let said: Vec<_> = log.lines().filter(|line| line.contains("out of disk space")).collect();
    assert!(
        matches!(said[..], [line] if line.contains(" WARN ") && line.contains("writes are refused")),
        "{log}"
    );

    // So much that nothing may be written at all.
    let (node, address) = started(&data, "1000000g");
    let answer = converse(&address, "delete a\r\nget a\r\n");
    assert!(answer.starts_with("SERVER_ERROR out of disk space: not written"), "{answer}");
    assert!(answer.ends_with("VALUE a 0 1\r\n1\r\nEND\r\n"), "{answer}");
    stopped(node);

    let (_node, address) = started(&data, "auto");
    until("writes are taken", || {
        (converse(&address, "set c 0 0 1\r\n3\r\n") == "STORED\r\n").then_some(())
    });
    assert_eq!(
        converse(&address, "get a b c\r\n"),
        "VALUE a 0 1\r\n1\r\nVALUE c 0 1\r\n3\r\nEND\r\n"
    );
}

#[test]
fn a_damaged_store_is_refused_and_left_as_it_was() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("store");
    let (node, address) = started(&data, "0");
    for number in 0..9 {
        converse(&address, &format!("set key{number} 0 0 5\r\nvalue\r\n"));
    }
    stopped(node);
    let journal = data.join("data/0.jnl");
    let mut bytes = std::fs::read(&journal).unwrap();
    let at = bytes.windows(4).position(|bytes| bytes == b"key4").unwrap();
    bytes[at - 50..at].fill(0x55);
    std::fs::write(&journal, &bytes).unwrap();
    for _ in 0..2 {
        let output = support::ended(&mut larder(&format!("store -p -1 -H {}", data.display())));
        assert_eq!(output.status.code(), Some(71), "{output:?}");
        let said = output.err.lines().last().unwrap();
        assert!(said.starts_with("larder: store: --data-dir: "), "{said}");
        assert!(said.contains("is damaged: ") && said.contains("keep a copy as it is"), "{said}");
        assert!(std::fs::read(&journal).unwrap() == bytes, "it was changed");
    }
}
