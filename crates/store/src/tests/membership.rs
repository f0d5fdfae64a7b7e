//! Stores that come into a cluster, serve it and leave it, as programs open them.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use larder_peer::Secret;
use larder_protocol::{Op, Outcome};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::basics::{NOW, count, get, put, set, small};
use super::block_on;
use super::cluster::{eventually, set_at_last};
use crate::replica::Part;
use crate::slots::{group_of, slot_of};
use crate::{Admin, ClusterStatus, Entrance, Node, Options, Session, Store};

/// Nodes `db1`, `db2` … of one cluster, the first of which founds it.
struct Nodes {
    place: TempDir,
    addresses: Vec<String>,
    runtime: Runtime,
    options: Options,
}

impl Nodes {
    fn new(nodes: usize) -> Self {
        Self::with(nodes, &small())
    }

    fn with(nodes: usize, options: &Options) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners: Vec<_> = (0..nodes).map(|_| free()).collect();
        let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
        Self {
            place: TempDir::new().unwrap(),
            addresses: listeners.iter().map(address).collect(),
            runtime: Runtime::new().unwrap(),
            options: Options { leader_within: Duration::from_secs(10), ..options.clone() },
        }
    }

    fn path(&self, node: usize) -> PathBuf {
        self.place.path().join(node.to_string())
    }

    fn node(&self, node: usize) -> Node {
        let others = self.addresses.iter().filter(|address| **address != self.addresses[node]);
        let others: Vec<_> = others.cloned().collect();
        Node {
            cluster: "shop".to_owned(),
            secret: secret(),
            name: format!("db{}", node + 1),
            zone: String::new(),
            peer_address: self.addresses[node].clone(),
            client_address: String::new(),
            entrance: if node == 0 {
                Entrance::Found { groups: 3, replicas: 3, unless: others }
            } else {
                Entrance::Join(others)
            },
        }
    }

    fn open(&self, node: usize) -> Store {
        let listener =
            eventually("its port is free", || TcpListener::bind(&self.addresses[node]).ok());
        let (path, options) = (self.path(node), self.options.clone());
        Store::open_among(path, options, listener, self.node(node)).unwrap()
    }

    fn admin(&self) -> Admin {
        let _runtime = self.runtime.enter();
        Admin::connect("shop", &secret(), &self.addresses).unwrap()
    }

    /// Returns once so many nodes have all that they are to have.
    fn settled(&self, nodes: usize) -> ClusterStatus {
        let admin = self.admin();
        eventually("it holds", || {
            let status = self.runtime.block_on(admin.status()).ok()?;
            (status.nodes.len() == nodes && status.holds).then_some(status)
        })
    }
}

fn secret() -> Secret {
    Secret::new(b"0123456789abcdef").unwrap()
}

#[test]
fn three_nodes_are_one_store_and_one_is_lost_without_a_write() {
    let nodes = Nodes::new(3);
    let mut stores: Vec<_> = (0..3).map(|node| Some(nodes.open(node))).collect();
    let status = nodes.settled(3);
    for group in &status.groups {
        assert_eq!(group.voters.len(), 3, "{group:?}");
    }
    let mut sessions: Vec<_> = stores.iter().flatten().map(Store::session).collect();
    let keys: Vec<_> = (0..60).map(|number| format!("key{number}")).collect();
    for (at, key) in keys.iter().enumerate() {
        set(&mut sessions[at % 3], key, "first", NOW);
        assert_eq!(get(&mut sessions[(at + 1) % 3], key, NOW).as_deref(), Some("first"));
    }
    let mut lost = stores[1].take().unwrap();
    lost.cut_off();
    drop((lost, sessions.remove(1)));
    for (at, key) in keys.iter().enumerate() {
        set_at_last(&mut sessions[at % 2], key, "second");
    }
    stores[1] = Some(nodes.open(1));
    nodes.settled(3);
    let mut session = stores[1].as_ref().unwrap().session();
    for key in &keys {
        assert_eq!(get(&mut session, key, NOW).as_deref(), Some("second"));
    }
    // All stop, and are there again.
    drop((session, sessions));
    thread::scope(|scope| {
        for store in stores.iter_mut().filter_map(Option::take) {
            scope.spawn(move || store.close().unwrap());
        }
    });
    let stores: Vec<_> = (0..3).map(|node| nodes.open(node)).collect();
    let mut session = stores[2].session();
    for key in &keys {
        set_at_last(&mut session, "another", "v");
        assert_eq!(get(&mut session, key, NOW).as_deref(), Some("second"));
    }
}

/// Values of which each is a good part of an entry, and a key that is counted up meanwhile.
struct Load {
    session: Session,
    rounds: u64,
    counted: u64,
}

impl Load {
    const KEYS: u64 = 100;

    fn value(key: u64, round: u64) -> String {
        format!("{key} {round} {:4000}", "")
    }

    /// Sets each key once, a few at a time.
    fn round(&mut self) {
        self.rounds += 1;
        let keys: Vec<_> = (0..Self::KEYS).collect();
        for some in keys.chunks(20) {
            let set = |key: &u64| {
                let value = Self::value(*key, self.rounds);
                let op = Op::Store(put(value.as_bytes()));
                self.session.execute(format!("key{key}").as_bytes(), &op, NOW)
            };
            let answers: Vec<_> = some.iter().map(set).collect();
            for (key, answer) in some.iter().zip(answers) {
                // Another may be about to lead.
                if !matches!(block_on(answer), Outcome::Stored { .. }) {
                    let (key, value) = (format!("key{key}"), Self::value(*key, self.rounds));
                    set_at_last(&mut self.session, &key, &value);
                }
            }
            self.counted += 1;
            match block_on(self.session.execute(b"n", &count(1), NOW)) {
                Outcome::Counted(counted) => assert_eq!(counted.number, self.counted),
                _ => set_at_last(&mut self.session, "n", &self.counted.to_string()),
            }
        }
    }

    fn rounds(&mut self, bytes: u64) {
        let round = Self::KEYS * 4000;
        (0..bytes.div_ceil(round)).for_each(|_| self.round());
    }

    /// What a store has of its own is what was written last.
    fn is_in(&self, store: &Store) -> bool {
        (0..Self::KEYS).all(|number| {
            let key = format!("key{number}");
            let group = group_of(slot_of(key.as_bytes()), 3);
            let record = store.shared().record(group, key.as_bytes()).unwrap();
            let value = Self::value(number, self.rounds);
            record.is_some_and(|record| record.value == value.as_bytes())
        })
    }
}

#[test]
fn the_log_is_bounded_while_a_node_is_away_which_is_given_all_there_is_when_it_is_back() {
    let limit = 8 << 20;
    let options = Options {
        log_file_bytes: 128 << 10,
        log_bytes: 512 << 10,
        log_limit_bytes: limit,
        batch_bytes: 8 << 10,
        checkpoint_every: Duration::from_millis(200),
        ..small()
    };
    let nodes = Nodes::with(3, &options);
    let mut stores: Vec<_> = (0..3).map(|node| nodes.open(node)).collect();
    let admin = nodes.admin();
    let until = |is_so: &dyn Fn(&ClusterStatus) -> bool| {
        eventually("the groups are so", || {
            let status = nodes.runtime.block_on(admin.status()).ok()?;
            is_so(&status).then_some(())
        });
    };
    let has_all_votes = |status: &ClusterStatus| {
        status.holds && status.groups.iter().all(|group| group.voters.len() == 3)
    };
    // Who leads the others leads on, and knows what was on its way to who is away.
    until(&|status| has_all_votes(status) && status.nodes.iter().all(|node| node.leads > 0));
    let mut load = Load { session: stores[0].session(), rounds: 0, counted: 0 };
    set_at_last(&mut load.session, "n", "0");
    load.round();
    stores.pop().unwrap().cut_off();
    for _ in 0..2 {
        load.rounds(4 * limit);
        eventually("the logs are short", || {
            stores.iter().all(|store| store.stats().log.disk_bytes < limit).then_some(())
        });
    }
    stores.push(nodes.open(2));
    load.rounds(limit);
    until(&has_all_votes);
    let all = || stores.iter().all(|store| load.is_in(store)).then_some(());
    eventually("all have what was written", all);
    let through_it = get(&mut stores[2].session(), "n", NOW).unwrap();
    assert_eq!(through_it.trim_end(), load.counted.to_string());
    // It counts: one of the others may go.
    drop(stores.remove(1));
    load.round();
    let key = get(&mut stores[1].session(), "key7", NOW);
    assert_eq!(key, Some(Load::value(7, load.rounds)));
}

#[test]
fn a_node_is_drained_and_removed_while_all_is_served() {
    let nodes = Nodes::new(4);
    let mut stores: Vec<_> = (0..4).map(|node| nodes.open(node)).collect();
    nodes.settled(4);
    let keys: Vec<_> = (0..60).map(|number| format!("key{number}")).collect();
    for (at, key) in keys.iter().enumerate() {
        set(&mut stores[at % 4].session(), key, "v", NOW);
    }
    let admin = nodes.admin();
    let drained = nodes.runtime.block_on(admin.drain("db2", true)).unwrap();
    let status = nodes.runtime.block_on(admin.wait(drained, |_| {})).unwrap();
    assert!(status.groups.iter().all(|group| !group.voters.contains(&2)), "{status:?}");
    // It has nothing, and answers for all the same.
    for key in &keys {
        assert_eq!(get(&mut stores[1].session(), key, NOW).as_deref(), Some("v"));
    }
    nodes.runtime.block_on(admin.remove("db2", false)).unwrap();
    stores.remove(1).close().unwrap();
    let status = nodes.settled(3);
    assert!(status.nodes.iter().all(|node| node.name != "db2"));
    for key in &keys {
        assert_eq!(get(&mut stores[0].session(), key, NOW).as_deref(), Some("v"));
    }
}

/// Tells those who count that they are to end, also if a test fails.
struct Stops<'a>(&'a [AtomicBool]);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|stop| stop.store(true, Ordering::Relaxed));
    }
}

/// Counts a key up until it is to end: each time is known, and is done once.
fn count_up(mut session: Session, key: &str, stop: &AtomicBool) {
    set(&mut session, key, "0", NOW);
    for number in 1.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match block_on(session.execute(key.as_bytes(), &count(1), NOW)) {
            Outcome::Counted(counted) => assert_eq!(counted.number, number, "{key}"),
            other => panic!("{key}, {number}: {other:?}"),
        }
    }
}

/// Has each group led by each of its nodes, one after the other.
fn hand_round(stores: &[Store]) {
    let leader = |group| {
        eventually("it is led", || {
            let mut replicas = stores.iter().filter_map(|store| store.groups().replica(group));
            let leads = replicas.find(|replica| matches!(replica.part(), Part::Leads(_)));
            leads.map(|replica| replica.group())
        })
    };
    for group in 1..=3 {
        for to in leader(group).standing().voters.into_iter().flatten() {
            // It may lead already, or another by now: the cluster puts leaders in their places meanwhile.
            let leader = leader(group);
            let handed = leader.hand_over(to, Duration::from_secs(2));
            let _ = stores[0].groups().runtime().block_on(handed);
        }
    }
}

#[test]
fn clients_know_of_all_they_ask_while_groups_are_handed_round_and_nodes_go() {
    let nodes = Nodes::new(4);
    let mut stores: Vec<_> = (0..4).map(|node| nodes.open(node)).collect();
    nodes.settled(4);
    let (admin, stops) = (nodes.admin(), [const { AtomicBool::new(false) }; 8]);
    thread::scope(|scope| {
        let _stops = Stops(&stops);
        let mut clients = Vec::new();
        for (client, stop) in stops.iter().enumerate() {
            let session = stores[client % 4].session();
            clients.push(scope.spawn(move || count_up(session, &format!("n{client}"), stop)));
        }
        let drain = |name, drains| {
            let version = nodes.runtime.block_on(admin.drain(name, drains)).unwrap();
            nodes.runtime.block_on(admin.wait(version, |_| {})).unwrap();
        };
        for name in ["db1", "db3", "db2", "db4"] {
            hand_round(&stores);
            drain(name, true);
            hand_round(&stores);
            drain(name, false);
        }
        drain("db4", true);
        for client in [7, 3] {
            stops[client].store(true, Ordering::Relaxed);
            clients.remove(client).join().unwrap();
        }
        nodes.runtime.block_on(admin.remove("db4", false)).unwrap();
        stores.pop().unwrap().close().unwrap();
        nodes.settled(3);
        hand_round(&stores);
    });
}

#[test]
fn a_store_is_opened_as_what_it_is() {
    let nodes = Nodes::new(2);
    nodes.open(0).close().unwrap();
    let alone = Store::open(nodes.path(0), small()).unwrap_err().to_string();
    assert!(alone.contains("\"db1\" of the cluster \"shop\""), "{alone}");

    let other = nodes.place.path().join("alone");
    Store::open(&other, small()).unwrap().close().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = Store::open_among(&other, small(), listener, nodes.node(0)).unwrap_err();
    assert!(refused.to_string().contains("opened alone"), "{refused}");
    Store::open(&other, small()).unwrap();

    let renamed = Node { name: "db9".to_owned(), ..nodes.node(0) };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = Store::open_among(nodes.path(0), small(), listener, renamed).unwrap_err();
    assert!(refused.to_string().contains("db9"), "{refused}");
    // Nothing was done to it.
    let store = nodes.open(0);
    set(&mut store.session(), "k", "v", NOW);
}
