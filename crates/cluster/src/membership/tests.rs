//! Members on loopback, each on a runtime of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use larder_peer::{Credentials, Handler, PeerId, Refusal, Secret, Settings, serve};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::{GOSSIP, KNOCK, Membership, MembershipSettings, PeerState};
use crate::member::{Member, Stage};

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(30);

struct Ear(Arc<Membership>);

impl Handler for Ear {
    async fn handle(
        self: Arc<Self>,
        peer: PeerId,
        kind: u8,
        body: Bytes,
    ) -> Result<Bytes, Refusal> {
        self.0.hear(&peer, kind, &body)
    }
}

struct Node {
    runtime: Runtime,
    membership: Arc<Membership>,
    address: String,
}

struct Plan<'p> {
    name: &'p str,
    at: &'p str,
    seeds: &'p [&'p str],
    secret: &'p [u8],
    links: Settings,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        let (at, secret) = ("127.0.0.1:0", b"sixteen bytes it is");
        Self { name: "", at, seeds: &[], secret, links: Settings::default() }
    }
}

/// Each start is later than those before.
static RUN: AtomicU64 = AtomicU64::new(1_000_000);

impl Node {
    fn start(plan: &Plan<'_>) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let (membership, address) = runtime.block_on(async {
            let listener = TcpListener::bind(plan.at).await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let run = RUN.fetch_add(1, Ordering::SeqCst);
            let me = Member {
                name: plan.name.into(),
                run,
                client_address: "127.0.0.1:11211".into(),
                peer_address: address.as_str().into(),
                weight: 1,
                zone: "".into(),
                stage: Stage::Serving,
            };
            let id = PeerId { id: run, name: plan.name.into() };
            let secret = Secret::new(plan.secret).unwrap();
            let credentials = Credentials::new("test", id, secret).unwrap();
            let seeds = plan.seeds.iter().map(ToString::to_string).collect();
            let settings = MembershipSettings { seeds, links: plan.links.clone() };
            let membership = Membership::start(me, credentials.clone(), settings);
            let ear = Arc::new(Ear(Arc::clone(&membership)));
            let never = std::future::pending();
            tokio::spawn(serve(listener, credentials, ear, Settings::default(), never));
            (membership, address)
        });
        Self { runtime, membership, address }
    }

    fn joined(&self) {
        let joined = self.runtime.block_on(async { timeout(LONG, self.membership.joined()).await });
        joined.expect("it joins, or finds that it cannot");
    }

    fn names(&self) -> Vec<String> {
        let view = self.membership.view();
        view.members.iter().map(|member| member.name.to_string()).collect()
    }

    fn state(&self, name: &str) -> Option<PeerState> {
        let peers = self.membership.peers();
        peers.into_iter().find(|peer| *peer.member.name == *name).map(|peer| peer.state)
    }

    fn leave(self) {
        self.runtime.block_on(self.membership.leave());
        self.runtime.shutdown_background();
    }

    fn kill(self) -> String {
        self.runtime.shutdown_background();
        self.address
    }
}

fn all_see(nodes: &[&Node], names: &[&str]) {
    until(&format!("{names:?}"), || nodes.iter().all(|node| node.names() == names));
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn three_join_by_one_seed_and_one_is_lost_comes_back_and_leaves() {
    let a = Node::start(&Plan { name: "a", ..Plan::default() });
    a.joined();
    assert_eq!(a.names(), ["a"]);
    let seeds = [a.address.as_str()];
    let b = Node::start(&Plan { name: "b", seeds: &seeds, ..Plan::default() });
    let c = Node::start(&Plan { name: "c", seeds: &seeds, ..Plan::default() });
    c.joined();
    assert!(c.names().contains(&"a".to_owned()), "who has joined knows who was there");
    all_see(&[&a, &b, &c], &["a", "b", "c"]);
    let version = a.membership.view().version;

    let address = c.kill();
    all_see(&[&a, &b], &["a", "b"]);
    assert!(matches!(a.state("c"), Some(PeerState::Lost { .. })));
    assert!(a.membership.view().version > version);

    let c = Node::start(&Plan { name: "c", at: &address, seeds: &seeds, ..Plan::default() });
    all_see(&[&a, &b, &c], &["a", "b", "c"]);
    until("b has an answer from c", || {
        let peers = b.membership.peers();
        peers.iter().any(|peer| *peer.member.name == *"c" && peer.round_trip.is_some())
    });

    c.membership.begin_leaving();
    let leaving = |node: &Node| {
        let view = node.membership.view();
        view.members
            .last()
            .is_some_and(|member| *member.name == *"c" && member.stage == Stage::Leaving)
    };
    until("all know that it is about to go", || leaving(&a) && leaving(&b) && leaving(&c));
    assert_eq!(a.state("c"), Some(PeerState::Leaving));
    c.leave();
    all_see(&[&a, &b], &["a", "b"]);
    assert_eq!(a.state("c"), None, "nobody waits for it");
}

#[test]
fn a_seed_that_is_not_there_yet_is_waited_for_in_service() {
    // The port is free again, and nobody else is given it soon.
    let at = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let b = Node::start(&Plan { name: "b", seeds: &[&at], ..Plan::default() });
    b.joined();
    assert_eq!(b.names(), ["b"]);
    let silent = b.membership.silent_seeds();
    assert_eq!(*silent[0].address, *at);
    assert!(silent[0].why.contains("refused"), "{silent:?}");
    let a = Node::start(&Plan { name: "a", at: &at, seeds: &[&at], ..Plan::default() });
    a.joined();
    all_see(&[&a, &b], &["a", "b"]);
    assert_eq!(b.membership.silent_seeds(), []);
}

#[test]
fn who_has_another_secret_stays_alone_and_harms_nobody() {
    let a = Node::start(&Plan { name: "a", ..Plan::default() });
    let seeds = [a.address.as_str()];
    let secret = b"another secret it is";
    let stranger = Node::start(&Plan { name: "b", seeds: &seeds, secret, ..Plan::default() });
    stranger.joined();
    assert_eq!(stranger.names(), ["b"]);
    let silent = stranger.membership.silent_seeds();
    assert!(silent[0].why.contains("another cluster secret"), "{silent:?}");
    let b = Node::start(&Plan { name: "b", seeds: &seeds, ..Plan::default() });
    all_see(&[&a, &b], &["a", "b"]);
    assert_eq!(stranger.names(), ["b"]);
}

#[test]
fn a_name_that_is_taken_is_waited_for() {
    let a = Node::start(&Plan { name: "a", ..Plan::default() });
    let seeds = [a.address.as_str()];
    let first = Node::start(&Plan { name: "b", seeds: &seeds, ..Plan::default() });
    all_see(&[&a, &first], &["a", "b"]);
    let second = Node::start(&Plan { name: "b", seeds: &seeds, ..Plan::default() });
    until("it is told so", || !second.membership.silent_seeds().is_empty());
    all_see(&[&a, &first], &["a", "b"]);
    assert_eq!(second.names(), ["b"]);
    assert_eq!(*a.membership.view().members[1].peer_address, first.address);
    first.kill();
    second.joined();
    all_see(&[&a, &second], &["a", "b"]);
    assert_eq!(*a.membership.view().members[1].peer_address, second.address);
}

#[test]
fn who_is_heard_is_connected_to_at_once_whenever_the_next_attempt_is_due() {
    let hour = Duration::from_hours(1);
    let links = Settings { backoff: (hour, hour), ..Settings::default() };
    let a = Node::start(&Plan { name: "a", links, ..Plan::default() });
    let seeds = [a.address.as_str()];
    let b = Node::start(&Plan { name: "b", seeds: &seeds, ..Plan::default() });
    all_see(&[&a, &b], &["a", "b"]);
    let at = b.kill();
    all_see(&[&a], &["a"]);
    let b = Node::start(&Plan { name: "b", at: &at, seeds: &seeds, ..Plan::default() });
    until("a is connected to b", || {
        let peers = a.membership.peers();
        peers.iter().any(|peer| peer.state == PeerState::Serving && peer.connected)
    });
    all_see(&[&a, &b], &["a", "b"]);
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    let a = Node::start(&Plan { name: "a", ..Plan::default() });
    let stranger = PeerId { id: 7, name: "b".into() };
    let hear = |kind, body: &[u8]| a.membership.hear(&stranger, kind, body).unwrap_err().0;
    assert!(hear(GOSSIP, b"").contains("cut short"));
    assert!(hear(GOSSIP, b"\x07").contains("version 7"));
    assert!(hear(KNOCK, b"\x01\xff\xff").contains("cannot be read"));
    assert!(hear(77, b"").contains("kind 77"));
    assert_eq!(a.names(), ["a"]);
}
