//! Three cache nodes in this process that are one cache, started for one test and stopped with it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use larder::CacheBackend;
use larder_cluster::{Cluster, Clustered, Member, Secret, Settings, Stage};
use larder_server::Listener;

use crate::node::Node;
use crate::wire::{PATIENCE, Wire};

/// Three nodes of which each knows the others. Dropping it stops them.
pub(crate) struct Trio(Vec<Node>);

impl Trio {
    pub(crate) fn start() -> Self {
        let mut nodes = Vec::new();
        let mut seeds = Vec::new();
        for number in 1..=3 {
            // Bound before the first is told of them.
            let peers = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let peer_address = peers.local_addr().unwrap().to_string();
            let clients = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into(), 128).unwrap();
            let me = Member {
                name: format!("node{number}").into(),
                run: number,
                client_address: clients.tcp_address().unwrap().to_string().into(),
                peer_address: peer_address.as_str().into(),
                weight: 1,
                zone: "".into(),
                stage: Stage::Serving,
            };
            let engine = Arc::new(CacheBackend::new(larder_cache::Options::default()));
            let cluster = Cluster::start(peers, me, engine, settings(&seeds)).unwrap();
            seeds.push(peer_address);
            let server = larder_server::Settings { workers: 1, ..Default::default() };
            nodes.push(Node::serve(clients, Clustered::new(cluster), server, None));
        }
        for node in &nodes {
            until_all_are_known(node.address());
        }
        Self(nodes)
    }

    /// Of the first node, the second or the third.
    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        self.0[node].address()
    }
}

fn settings(seeds: &[String]) -> Settings {
    Settings {
        cluster: "trio".to_owned(),
        secret: Secret::new(b"0123456789abcdef").unwrap(),
        seeds: seeds.to_vec(),
        // Nobody stands in for one that is only slow.
        timeout: PATIENCE,
        gutter: 10,
        warm_up: Duration::from_mins(10),
        hot_ttl: Duration::ZERO,
        hot_rate: 100.0,
        max_value: 1 << 20,
        threads: 1,
        clock: larder_server::now,
    }
}

fn until_all_are_known(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    let mut wire = Wire::connect(address);
    loop {
        wire.send(b"stats cluster\r\n");
        let mut known = false;
        loop {
            let line = wire.line().unwrap();
            known |= line == b"STAT members 3\r\n";
            if line == b"END\r\n" {
                break;
            }
        }
        if known {
            return;
        }
        assert!(Instant::now() < deadline, "it does not know the others after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}
