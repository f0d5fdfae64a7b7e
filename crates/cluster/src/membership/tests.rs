//! Members on loopback, each on a runtime of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use larder_peer::{Credentials, Handler, PeerId, Refusal, Secret, Settings, serve};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::{Membership, MembershipSettings, PeerState};
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
    run: Option<u64>,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self { name: "", at: "127.0.0.1:0", seeds: &[], secret: b"sixteen bytes it is", run: None }
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
            let run = plan.run.unwrap_or_else(|| RUN.fetch_add(1, Ordering::SeqCst));
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
            let settings = MembershipSettings { seeds, links: Settings::default() };
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
    let all = |nodes: &[&Node], names: &[&str]| {
        until(&format!("{names:?}"), || nodes.iter().all(|node| node.names() == names));
    };
    all(&[&a, &b, &c], &["a", "b", "c"]);
    let version = a.membership.view().version;

    let address = c.kill();
    all(&[&a, &b], &["a", "b"]);
    assert!(matches!(a.state("c"), Some(PeerState::Lost { .. })));
    assert!(a.membership.view().version > version);

    let c = Node::start(&Plan { name: "c", at: &address, seeds: &seeds, ..Plan::default() });
    all(&[&a, &b, &c], &["a", "b", "c"]);
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
    all(&[&a, &b], &["a", "b"]);
    assert_eq!(a.state("c"), None, "nobody waits for it");
}
