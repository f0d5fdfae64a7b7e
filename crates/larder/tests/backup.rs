//! Backups of a durable cluster, as its operator takes them and puts them into others.
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
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::ops::Bound;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use support::stores::{Client, Stores};
use support::{Ended, Running, Stream, ended, free_ports, larder, until};
use tempfile::TempDir;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn verified(directory: &Path) -> Ended {
    ended(&mut larder(&format!("ctl store verify {}", text(directory))))
}

/// A client that writes a number to one key after the other of its own, again and again the next.
struct Writer {
    keys: Vec<String>,
    written: AtomicU64,
}

impl Writer {
    fn new(name: usize) -> Self {
        let keys = (0..8).map(|key| format!("w{name}-{key}")).collect();
        Self { keys, written: AtomicU64::new(0) }
    }

    fn run(&self, mut client: Client, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let round = self.written.load(Ordering::SeqCst) + 1;
            for key in &self.keys {
                client.set_at_last(key, &round.to_string());
            }
            self.written.store(round, Ordering::SeqCst);
        }
    }

    /// Whether what a cluster has of it is what there was at one moment, no earlier than `before`.
    fn check(&self, client: &mut Client, before: u64) {
        let rounds =
            self.keys.iter().map(|key| client.get(key).map_or(0, |it| it.parse().unwrap()));
        let rounds: Vec<u64> = rounds.collect();
        assert!(rounds.is_sorted_by(|earlier, later| earlier >= later), "{rounds:?}");
        assert!(rounds[0] - rounds[7] <= 1, "{rounds:?}");
        assert!(rounds[7] >= before, "{rounds:?}: {before} was acknowledged before");
    }
}

#[test]
fn a_backup_under_load_is_of_one_moment_and_comes_back_to_clusters_of_other_sizes() {
    let stores = Stores::founded(3, "--groups 5");
    let place = TempDir::new().unwrap();
    let directory = |number: usize| place.path().join(format!("backup{number}"));
    let mut client = stores.client(1);
    for number in 0..500 {
        client.set_at_last(&format!("key{number}"), &"v".repeat(number));
    }
    assert_eq!(client.ask("ms all 3 F7 T2147483647\r\nall\r\n"), "HD");
    assert_eq!(client.ask("ms YSBi 6 b\r\nspaced\r\n"), "HD");
    assert_eq!(client.ask("ms stale 3\r\nold\r\nmd stale I\r\n"), "HD");
    assert_eq!(client.line(), "HD");
    assert_eq!(client.ask("ms gone 1 T-1\r\nv\r\n"), "HD");
    let writers: Vec<_> = (0..3).map(Writer::new).collect();
    let stop = AtomicBool::new(false);
    let befores: Vec<Vec<_>> = thread::scope(|scope| {
        for (writer, node) in writers.iter().zip(1..) {
            let (client, stop) = (stores.client(node), &stop);
            scope.spawn(move || writer.run(client, stop));
        }
        let take = |number| {
            let written = |writer: &Writer| writer.written.load(Ordering::SeqCst);
            let befores = writers.iter().map(written).collect();
            let taken = stores.ctl(&format!("backup {}", text(&directory(number))));
            assert!(taken.status.success(), "{taken:?}");
            assert!(taken.out.contains("done: ") && taken.err.contains("backed up"), "{taken:?}");
            until("all write on", || {
                let on = |(writer, before): (&Writer, &u64)| written(writer) > before + 2;
                writers.iter().zip(&befores).all(on).then_some(())
            });
            befores
        };
        let befores = (0..3).map(take).collect();
        stop.store(true, Ordering::Relaxed);
        befores
    });
    let again = stores.ctl(&format!("backup {}", text(&directory(0))));
    assert!(!again.status.success() && again.err.contains("is not empty"), "{again:?}");
    let whole = verified(&directory(0));
    assert!(whole.status.success() && whole.out.starts_with("whole: cluster larder"), "{whole:?}");
    drop(stores);

    let restore = |stores: &Stores, number: usize, flags: &str| {
        stores.ctl(&format!("restore {} {flags}", text(&directory(number))))
    };
    let check = |stores: &Stores, number: usize| {
        let mut client = stores.client(1);
        for number in 0..500 {
            assert_eq!(client.get(&format!("key{number}")).unwrap(), "v".repeat(number));
        }
        assert_eq!(client.ask("mg all f v\r\n"), "VA 3 f7");
        assert_eq!(client.line(), "all");
        let left = client.ask("mg all t\r\n");
        let left: u32 = left.strip_prefix("HD t").unwrap().parse().unwrap();
        assert!(left > 2_592_000, "its exptime is a moment: {left}");
        assert_eq!(client.ask("mg YSBi b v k\r\n"), "VA 6 kYSBi b");
        assert_eq!(client.line(), "spaced");
        assert_eq!(client.ask("mg stale v\r\n"), "VA 3 X W");
        assert_eq!(client.line(), "old");
        assert_eq!(client.get("gone"), None);
        for (writer, before) in writers.iter().zip(&befores[number]) {
            writer.check(&mut client, *before);
        }
    };
    let one = Stores::founded(1, "--groups 1 --replicas 1");
    let restored = restore(&one, 0, "");
    assert!(restored.status.success() && restored.out.starts_with("done: "), "{restored:?}");
    check(&one, 0);
    // What it has is not written over unless that is said, and then comes to the same.
    let refused = restore(&one, 0, "");
    assert!(!refused.status.success() && refused.err.contains("--merge"), "{refused:?}");
    let merged = restore(&one, 1, "--merge");
    assert!(merged.status.success(), "{merged:?}");
    check(&one, 1);
    drop(one);
    let three = Stores::founded(3, "--groups 2");
    let restored = restore(&three, 2, "");
    assert!(restored.status.success(), "{restored:?}");
    check(&three, 2);
}

#[test]
fn a_backup_that_is_damaged_or_did_not_end_is_refused_before_anything_is_written() {
    let mut stores = Stores::founded(3, "--groups 2");
    let place = TempDir::new().unwrap();
    let mut client = stores.client(1);
    let large = "v".repeat(500_000);
    for number in 0..40 {
        client.set_at_last(&format!("key{number}"), &large);
    }
    let whole = place.path().join("whole");
    let taken = stores.ctl(&format!("backup {}", text(&whole)));
    assert!(taken.status.success(), "{taken:?}");
    client.set_at_last("key0", "later");
    let restore = |stores: &Stores, directory: &Path| {
        stores.ctl(&format!("restore {} --merge", text(directory)))
    };
    // A bit in the middle, a file that is cut off, and one that is not there.
    let group = whole.join("group-2");
    let bytes = fs::read(&group).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    for (wrong, wanted) in [
        (Some(&flipped[..]), "group-2 is damaged at offset "),
        (Some(&bytes[..bytes.len() - 20]), "breaks off"),
        (None, "group-2"),
    ] {
        match wrong {
            Some(bytes) => fs::write(&group, bytes).unwrap(),
            None => fs::remove_file(&group).unwrap(),
        }
        for told in [verified(&whole), restore(&stores, &whole)] {
            assert!(!told.status.success() && told.err.contains(wanted), "{wanted}: {told:?}");
        }
        assert_eq!(client.get("key0").unwrap(), "later");
    }
    fs::write(&group, bytes).unwrap();
    assert!(verified(&whole).status.success());

    // One that is killed once it has begun to write.
    let killed = place.path().join("killed");
    let mut running = Running::start(&mut stores.ctl_command(&format!("backup {}", text(&killed))));
    until("it writes", || fs::metadata(killed.join("group-1")).ok());
    running.signal(Signal::SIGKILL);
    running.wait();
    if !killed.join("MANIFEST").exists() {
        let told = verified(&killed);
        assert!(told.err.contains("did not end"), "{told:?}");
    }
    // And a node that is killed while it keeps what is read: no wrong backup comes of it.
    let lost = place.path().join("lost");
    let mut running = Running::start(&mut stores.ctl_command(&format!("backup {}", text(&lost))));
    until("it writes", || fs::metadata(lost.join("group-1")).ok());
    stores.kill(1);
    stores.kill(2);
    stores.kill(3);
    let ended_well = running.wait().success();
    let told = running.all(Stream::Err);
    assert_eq!(verified(&lost).status.success(), ended_well, "{told}");
    assert!(ended_well || told.contains("no whole backup"), "{told}");
}

#[test]
fn a_dump_goes_to_any_memcached_and_comes_back() {
    let stores = Stores::founded(1, "--groups 3 --replicas 1");
    let place = TempDir::new().unwrap();
    let mut client = stores.client(1);
    for number in 0..1200 {
        client.set_at_last(&format!("key{number}"), &"v\r\n".repeat(number));
    }
    assert_eq!(client.ask("ms YSBi 6 b F7 T2147483647\r\nspaced\r\n"), "HD");
    assert_eq!(client.ask("ms stale 3\r\nold\r\nmd stale I\r\n"), "HD");
    assert_eq!(client.line(), "HD");
    assert_eq!(client.ask("ms gone 1 T-1\r\nv\r\n"), "HD");
    let file = place.path().join("dump");
    let dumped = stores.ctl(&format!("dump {}", text(&file)));
    assert!(dumped.status.success() && dumped.err.contains("dumped 1202 items"), "{dumped:?}");
    let refused = stores.ctl(&format!("dump {}", text(&file)));
    assert!(!refused.status.success() && refused.err.contains("there already"), "{refused:?}");
    let bytes = fs::read(&file).unwrap();
    let standard = stores.ctl("dump");
    assert!(standard.out.ends_with("\nmn\n"), "{:?}", standard.status);
    drop(stores);

    // To a server that is not ours, by nothing but a socket.
    if let Some((_memcached, port)) = memcached() {
        let mut other = Client::connect(port);
        let lines: Vec<_> = thread::scope(|scope| {
            let mut sender = other.sender();
            scope.spawn(move || sender.write_all(&bytes).unwrap());
            std::iter::repeat_with(|| other.line()).take_while(|line| line != "MN").collect()
        });
        assert_eq!(lines.len(), 1203);
        assert!(lines.iter().all(|line| line == "HD"), "{lines:?}");
        assert_eq!(other.ask("mg YSBi b f v\r\n"), "VA 6 f7");
        assert_eq!(other.line(), "spaced");
    }

    let three = Stores::founded(3, "");
    let loaded = three.ctl(&format!("load {}", text(&file)));
    assert!(loaded.status.success() && loaded.out.contains("1202 items loaded"), "{loaded:?}");
    let mut client = three.client(2);
    for number in [0, 1, 700, 1199] {
        let length = 3 * number;
        assert_eq!(client.ask(&format!("mg key{number} s\r\n")), format!("HD s{length}"));
    }
    assert_eq!(client.ask("mg YSBi b f s\r\n"), "HD f7 s6");
    assert_eq!(client.ask("mg stale s\r\n"), "HD s3 X W");
    // The whole of one that breaks off is not there, and that is said.
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let broken = three.ctl(&format!("load {}", text(&file)));
    assert!(!broken.status.success() && broken.err.contains("breaks off"), "{broken:?}");
}

/// memcached, where it is installed, and its port.
fn memcached() -> Option<(Running, u16)> {
    let port = free_ports(1);
    let mut command = Command::new("memcached");
    command.args(["-l", "127.0.0.1", "-U", "0", "-p", &port.to_string()]);
    if Command::new("memcached").arg("--version").output().is_err() {
        eprintln!("memcached is not installed: nothing is compared with it");
        return None;
    }
    if nix::unistd::geteuid().is_root() {
        command.args(["-u", "root"]);
    }
    Some((Running::start(&mut command), port))
}

#[test]
fn what_a_memcached_has_is_imported_with_flags_and_exptimes() {
    let Some((_memcached, port)) = memcached() else { return };
    let mut other = Client::connect(port);
    for number in 0..250 {
        let key = format!("key%{number}");
        assert_eq!(other.set(&key, &"v\r\n".repeat(number)), "STORED");
    }
    assert_eq!(other.ask("ms YSBi 6 b F7 T2147483647\r\nspaced\r\n"), "HD");
    assert_eq!(other.ask("set k 5 1000 1\r\nv\r\n"), "STORED");
    let stores = Stores::founded(1, "--groups 2 --replicas 1");
    let imported = stores.ctl(&format!("import --from 127.0.0.1:{port}"));
    assert!(imported.status.success() && imported.out.contains("252 items"), "{imported:?}");
    let mut client = stores.client(1);
    for number in 0..250 {
        let told = client.ask(&format!("mg key%{number} s t\r\n"));
        assert_eq!(told, format!("HD s{} t-1", 3 * number));
    }
    assert_eq!(client.ask("mg YSBi b f v\r\n"), "VA 6 f7");
    assert_eq!(client.line(), "spaced");
    let told = client.ask("mg k f t\r\n");
    let left: u32 = told.strip_prefix("HD f5 t").unwrap().parse().unwrap();
    assert!((1..=1000).contains(&left), "{told}");
    let nobody = stores.ctl(&format!("import --from 127.0.0.1:{}", free_ports(1)));
    assert!(!nobody.status.success() && nobody.err.contains("cannot read from"), "{nobody:?}");
}

/// What a MemcacheDB answers of these items, to one connection after the other.
fn serve_rget(listener: &TcpListener, items: &BTreeMap<String, String>) {
    for stream in listener.incoming() {
        let mut stream = BufReader::new(stream.unwrap());
        let mut bytes = Vec::new();
        while stream.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
            let line = String::from_utf8_lossy(&bytes).into_owned();
            bytes.clear();
            let words: Vec<_> = line.split_whitespace().collect();
            let mut answer = String::new();
            if let ["rget", start, _, open, "0", max] = words[..] {
                let from = match open {
                    "1" => Bound::Excluded(start.to_owned()),
                    _ => Bound::Included(start.to_owned()),
                };
                let page = items.range((from, Bound::Unbounded)).take(max.parse().unwrap());
                for (key, value) in page {
                    let line = format!("VALUE {key} 9 {}\r\n{value}\r\n", value.len());
                    answer.push_str(&line);
                }
                answer += "END\r\n";
            } else {
                answer += "ERROR\r\n";
            }
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    }
}

#[test]
fn what_a_memcachedb_has_is_imported_page_by_page() {
    let items: BTreeMap<_, _> = (0..250).map(|n| (format!("key{n}"), n.to_string())).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let from = listener.local_addr().unwrap();
    let served = items.clone();
    thread::spawn(move || serve_rget(&listener, &served));
    let stores = Stores::founded(1, "--groups 2 --replicas 1");
    let imported = stores.ctl(&format!("import --from {from}"));
    assert!(imported.status.success() && imported.out.contains("250 items"), "{imported:?}");
    let mut client = stores.client(1);
    for (key, value) in items {
        let head = format!("VA {} f9 t-1", value.len());
        assert_eq!(client.ask(&format!("mg {key} f t v\r\n")), head);
        assert_eq!(client.line(), value);
    }
    // One that can do neither says so.
    let cache = Running::start(&mut larder("cache -l 127.0.0.1 -p -1"));
    let listening = cache.line(Stream::Err, "listening on ");
    let address = listening.rsplit("listening on ").next().unwrap().split_whitespace().next();
    let refused = stores.ctl(&format!("import --from {}", address.unwrap()));
    assert!(!refused.status.success() && refused.err.contains("neither"), "{refused:?}");
}
