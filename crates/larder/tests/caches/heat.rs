//! Hot keys are served by the nodes that are asked for them, for a bounded time.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::distr::Distribution as _;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;

use crate::support::caches::Caches;
use crate::support::stores::Client;
use crate::support::{converse, until};

/// Nobody stands in for who is only slow here.
const PATIENT: &str = "--peer-timeout 30000";

/// Each of some clients asks a node for a key until it is told to end, and looks at what it gets.
fn read(client: &mut Client, key: &str, stop: &AtomicBool, mut look: impl FnMut(Instant, u64)) {
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let value = client.get(key).expect("it is there");
        look(asked, value.parse().unwrap());
    }
}

/// Has readers end, also if the test fails first.
pub(crate) struct Ending<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_is_read_is_no_older_than_may_be_and_who_wrote_it_reads_it() {
    const TTL: Duration = Duration::from_millis(200);
    let flags = format!("{PATIENT} -t 2 --hot-rate 2 --hot-ttl {}", TTL.as_millis());
    let caches = Caches::start(3, &flags);
    let key = caches.owners().key("key", 1);
    // When each value was known to be stored.
    let stored = Mutex::new(Vec::new());
    let write = |client: &mut Client| {
        let number = stored.lock().len();
        assert_eq!(client.set(&key, &number.to_string()), "STORED");
        stored.lock().push(Instant::now());
        number as u64
    };
    write(&mut caches.client(1));
    let hits = |node| caches.stats(node).number("hot_hits");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let ending = Ending(&stop);
        for node in caches.nodes().flat_map(|node| [node; 3]) {
            let (mut client, key, stop, stored) = (caches.client(node), &key, &stop, &stored);
            scope.spawn(move || {
                read(&mut client, key, stop, |asked, value| {
                    let next = stored.lock().get(usize::try_from(value).unwrap() + 1).copied();
                    let age =
                        next.map_or(Duration::ZERO, |next| asked.saturating_duration_since(next));
                    assert!(age <= TTL, "through {node}: {value} had been overwritten for {age:?}");
                });
            });
        }
        // At first one only reads, so that its copies end in their time and not by its own writes.
        until("a copy is served", || (hits(3) > 0).then_some(()));
        let (mut writer, mut reader) = (caches.client(2), caches.client(3));
        let mut seen = BTreeSet::new();
        until("copies end", || {
            write(&mut writer);
            seen.insert(reader.get(&key));
            (seen.len() > 10).then_some(())
        });
        // Each node writes in turn, the owner too, and others' copies are served in between.
        for node in [2, 3, 1].into_iter().cycle().take(30) {
            let mut clients = [caches.client(node), caches.client(node), caches.client(node)];
            let last = write(&mut clients[0]);
            for client in &mut clients {
                assert_eq!(client.get(&key), Some(last.to_string()), "through {node}");
            }
            for other in [2, 3] {
                let before = hits(other);
                until("a copy is served", || (hits(other) > before + 20).then_some(()));
            }
        }
        drop(ending);
    });
    // It is forgotten by all, also by those who had copies.
    assert_eq!(converse(&caches.address(3), "flush_all\r\n"), "OK\r\n");
    assert_eq!(caches.client(3).get(&key), None);
    assert_eq!(caches.stats(1).number("hot_hits"), 0, "its own");
}

/// What a node has executed: what its clients asked that it did not send on, and what others sent.
fn executed(caches: &Caches, node: u16) -> u64 {
    let answer = converse(&caches.address(node), "stats\r\n");
    let mut stats: HashMap<_, _> =
        answer.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' ')).collect();
    let mut number = |name| stats.remove(name).unwrap().parse::<u64>().unwrap();
    let asked = number("cmd_get") + number("cmd_set");
    let cluster = caches.stats(node);
    asked - cluster.number("forwarded") + cluster.number("answered")
}

/// Keys 0 to 9,999 by Zipf's law with 1.2.
struct Zipf(WeightedIndex<f64>);

impl Zipf {
    fn new() -> Self {
        Self(WeightedIndex::new((1..=KEYS).map(|rank| f64::from(rank).powf(-1.2))).unwrap())
    }

    /// Asks for so many, some tens in one piece.
    fn ask(&self, client: &mut Client, chance: &mut StdRng, pieces: usize) {
        for _ in 0..pieces {
            let mut requests = String::new();
            for _ in 0..PIPELINE {
                write!(requests, "mg key{} v\r\n", self.0.sample(chance)).unwrap();
            }
            client.sender().write_all(requests.as_bytes()).unwrap();
            for _ in 0..PIPELINE {
                assert_eq!((client.line(), client.line()), ("VA 1".to_owned(), "x".to_owned()));
            }
        }
    }
}

const KEYS: u32 = 10_000;
const PIPELINE: usize = 50;

const NODES: u16 = 5;

/// Of each node.
const CLIENTS: usize = 3;

/// How much more the node executes that executes most than all do on average, of a Zipf load on five nodes
/// with these flags, once each has copies of so many keys.
fn most_over_mean(flags: &str, copies: u64) -> f64 {
    let caches = Caches::start(NODES, &format!("{PATIENT} {flags}"));
    let mut client = caches.client(1);
    for key in 0..KEYS {
        assert_eq!(client.set(&format!("key{key}"), "x"), "STORED");
    }
    let zipf = Zipf::new();
    let mut clients: Vec<_> = caches
        .nodes()
        .flat_map(|node| [node; CLIENTS])
        .enumerate()
        .map(|(number, node)| (caches.client(node), StdRng::seed_from_u64(number as u64)))
        .collect();
    let mut ask = |pieces| {
        thread::scope(|scope| {
            for (client, chance) in &mut clients {
                let zipf = &zipf;
                scope.spawn(move || zipf.ask(client, chance, pieces));
            }
        });
    };
    until("the hottest are known", || {
        ask(20);
        caches.nodes().all(|node| caches.stats(node).number("hot_keys") >= copies).then_some(())
    });
    let all_executed = || caches.nodes().map(|node| executed(&caches, node)).collect::<Vec<_>>();
    let before = all_executed();
    ask(100);
    let loads: Vec<_> =
        all_executed().iter().zip(before).map(|(now, before)| now - before).collect();
    let figure = |load: &u64| f64::from(u32::try_from(*load).unwrap());
    let most = loads.iter().map(figure).fold(0.0, f64::max);
    let mean = loads.iter().map(figure).sum::<f64>() / f64::from(NODES);
    let ratio = most / mean;
    println!("{flags}: {loads:?}, the most {ratio:.2} of the mean");
    ratio
}

#[test]
fn with_copies_of_hot_keys_no_node_has_much_more_to_do_than_others() {
    let without = most_over_mean("", 0);
    let with = most_over_mean("--hot-ttl 10000 --hot-rate 1", 5);
    assert!(with < without && with <= 1.5, "{with:.2}, and without copies {without:.2}");
}
