use super::*;
use crate::builder::Builder;
use crate::error::Error;
use crate::fake::{DeadNode, FakeNode, PATIENCE, Peer};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::join;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

const MISS: (&str, &str) = ("mg k N30 v f c O0\r\n", "VA 0 f0 c7 W O0\r\n\r\n");

async fn step(peer: &mut Peer, (expected, answer): (&str, &str)) {
    peer.expect(expected).await;
    peer.send(answer).await;
}

/// What a get-or-fill gives, while the node does these steps.
async fn filled(
    configure: impl FnOnce(Builder) -> Builder,
    fill: Result<&'static str, &'static str>,
    steps: &[(&str, &str)],
) -> Result<Bytes, Error> {
    let node = FakeNode::start().await;
    let client = configure(node.builder()).build().unwrap();
    let (filled, _peer) =
        join!(client.get_or_fill("k", Expiry::Never, move || async move { fill }), async {
            let mut peer = node.accept().await;
            for one in steps {
                step(&mut peer, *one).await;
            }
            peer
        });
    filled
}

fn same(builder: Builder) -> Builder {
    builder
}

#[tokio::test]
async fn what_each_answer_means() {
    let found = [("mg k N30 v f c O0\r\n", "VA 2 f0 c7 O0\r\nhi\r\n")];
    assert_eq!(filled(same, Err("unasked"), &found).await.unwrap(), "hi");
    let missed = [MISS, ("ms k 2 C7 O1\r\nhi\r\n", "HD O1\r\n")];
    assert_eq!(filled(same, Ok("hi"), &missed).await.unwrap(), "hi");
    // Deleted or written meanwhile: it is given all the same.
    for answer in ["NF O1\r\n", "EX O1\r\n"] {
        let changed = [MISS, ("ms k 2 C7 O1\r\nhi\r\n", answer)];
        assert_eq!(filled(same, Ok("hi"), &changed).await.unwrap(), "hi");
    }
    let stale = [
        ("mg k N30 v f c O0\r\n", "VA 3 f0 c7 W X O0\r\nold\r\n"),
        ("ms k 2 C7 O1\r\nhi\r\n", "HD O1\r\n"),
    ];
    assert_eq!(filled(same, Ok("hi"), &stale).await.unwrap(), "hi");
    let stale_of_another = [("mg k N30 v f c O0\r\n", "VA 3 f0 c7 X Z O0\r\nold\r\n")];
    assert_eq!(filled(same, Err("unasked"), &stale_of_another).await.unwrap(), "old");
    let soon_gone_of_another = [("mg k N30 v f c O0\r\n", "VA 3 f0 c7 Z O0\r\nold\r\n")];
    assert_eq!(filled(same, Err("unasked"), &soon_gone_of_another).await.unwrap(), "old");
}

#[tokio::test]
async fn who_has_not_won_asks_again_and_fills_in_the_end() {
    let taken = |opaque: u32| {
        (format!("mg k N30 v f c O{opaque}\r\n"), format!("VA 0 f0 c7 Z O{opaque}\r\n\r\n"))
    };
    let (first, second) = (taken(0), taken(1));
    let steps = [
        (&*first.0, &*first.1),
        (&second.0, &second.1),
        ("mg k N30 v f c O2\r\n", "VA 2 f0 c8 O2\r\nhi\r\n"),
    ];
    let patient = |builder: Builder| builder.fill_wait(PATIENCE);
    assert_eq!(filled(patient, Err("unasked"), &steps).await.unwrap(), "hi");
    // A value that the winner has stored meanwhile would not be overwritten.
    let steps = [(&*first.0, &*first.1), ("ms k 2 C7 O1\r\nhi\r\n", "HD O1\r\n")];
    let impatient = |builder: Builder| builder.fill_wait(Duration::ZERO).lease(Duration::ZERO);
    let lease = steps.map(|(ask, answer)| (ask.replace("N30", "N1"), answer));
    let steps = [(&*lease[0].0, lease[0].1), (&lease[1].0, lease[1].1)];
    assert_eq!(filled(impatient, Ok("hi"), &steps).await.unwrap(), "hi");
}

#[tokio::test]
async fn a_fill_that_fails_gives_the_lease_back_and_what_has_not_expired() {
    let failed = filled(same, Err("no database"), &[MISS, ("md k C7 O1\r\n", "HD O1\r\n")]).await;
    let error = failed.unwrap_err();
    assert_eq!(error.to_string(), "the value could not be made: no database");
    assert!(!error.outcome_unknown());
    let stale = [
        ("mg k N30 v f c O0\r\n", "VA 3 f0 c7 W X O0\r\nold\r\n"),
        ("md k C7 I O1\r\n", "HD O1\r\n"),
    ];
    assert!(filled(same, Err("no database"), &stale).await.is_err());
    let soon_gone = [("mg k N30 v f c O0\r\n", "VA 3 f0 c7 W O0\r\nold\r\n")];
    assert_eq!(filled(same, Err("no database"), &soon_gone).await.unwrap(), "old");
    // What cannot be stored is not waited for by others.
    let refused = [
        MISS,
        ("ms k 2 C7 O1\r\nhi\r\n", "SERVER_ERROR object too large for cache\r\n"),
        ("md k C7 O2\r\n", "NF O2\r\n"),
    ];
    assert_eq!(filled(same, Ok("hi"), &refused).await.unwrap(), "hi");
}

#[tokio::test]
async fn what_a_client_makes_anew_is_asked_for_in_time() {
    let node = FakeNode::start().await;
    let client = node.builder().build().unwrap();
    let (found, ()) = join!(
        client.get_or_fill("k", Duration::from_secs(30), || async { Err::<&str, _>("unasked") }),
        async {
            let mut peer = node.accept().await;
            step(&mut peer, ("mg k R3 N30 v f c O0\r\n", "VA 1 f0 c1 O0\r\nv\r\n")).await;
        }
    );
    assert_eq!(found.unwrap(), "v");
}

#[tokio::test]
async fn without_a_cache_values_are_made_all_the_same() {
    let dead = DeadNode::start();
    let client = Client::builder().node(dead.address()).build().unwrap();
    let value = client.get_or_fill("k", Expiry::Never, || async { Ok::<_, Error>("hi") }).await;
    assert_eq!(value.unwrap(), "hi");
    let refused = client.get_or_fill("", Expiry::Never, || async { Ok::<_, Error>("hi") }).await;
    assert!(matches!(refused, Err(Error::Key(_))));
}

#[tokio::test]
async fn a_fill_that_panics_fails_alone() {
    let node = FakeNode::start().await;
    let client = node.builder().build().unwrap();
    let (value, ()) = join!(
        client.get_or_fill("k", Expiry::Never, || async {
            assert!(std::hint::black_box(false), "as it is meant to");
            Ok::<_, Error>("hi")
        }),
        async {
            let mut peer = node.accept().await;
            step(&mut peer, MISS).await;
            step(&mut peer, ("md k C7 O1\r\n", "HD O1\r\n")).await;
        }
    );
    let said = value.unwrap_err().to_string();
    assert!(said.starts_with("the value could not be made: the fill ended: "), "{said}");
}

/// A fill that counts itself, says that it runs, and waits until it may end.
#[derive(Clone, Default)]
struct Slow {
    fills: Arc<AtomicUsize>,
    begun: Arc<Notify>,
    may_end: Arc<Notify>,
}

impl Slow {
    async fn fill(self) -> Result<&'static str, &'static str> {
        self.fills.fetch_add(1, Ordering::Relaxed);
        self.begun.notify_one();
        self.may_end.notified().await;
        Ok("new")
    }

    /// The first who asks, and the node that has given it this answer, so that its fill runs.
    async fn begin(
        &self,
        node: &FakeNode,
        client: &Client,
        asked: (&str, &str),
    ) -> (JoinHandle<Result<Bytes, Error>>, Peer) {
        let first = tokio::spawn(self.ask(client));
        let mut peer = node.accept().await;
        step(&mut peer, asked).await;
        self.begun.notified().await;
        (first, peer)
    }

    fn ask(&self, client: &Client) -> impl Future<Output = Result<Bytes, Error>> + use<> {
        let (client, slow) = (client.clone(), self.clone());
        async move { client.get_or_fill("k", Expiry::Never, || slow.fill()).await }
    }
}

#[tokio::test]
async fn callers_share_a_fill_and_the_first_may_leave() {
    let node = FakeNode::start().await;
    let client = node.builder().build().unwrap();
    let slow = Slow::default();
    let (first, mut peer) = slow.begin(&node, &client, MISS).await;
    let others: Vec<_> = (0..50).map(|_| tokio::spawn(slow.ask(&client))).collect();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    slow.may_end.notify_one();
    step(&mut peer, ("ms k 3 C7 O1\r\nnew\r\n", "HD O1\r\n")).await;
    for other in others {
        assert_eq!(other.await.unwrap().unwrap(), "new");
    }
    assert_eq!(slow.fills.load(Ordering::Relaxed), 1);
    assert_eq!(client.flights.len(), 0);
}

#[tokio::test]
async fn others_are_given_the_stale_value_at_once() {
    let node = FakeNode::start().await;
    let client = node.builder().build().unwrap();
    let slow = Slow::default();
    let (first, mut peer) =
        slow.begin(&node, &client, (MISS.0, "VA 3 f0 c7 W X O0\r\nold\r\n")).await;
    assert_eq!(slow.ask(&client).await.unwrap(), "old");
    slow.may_end.notify_one();
    step(&mut peer, ("ms k 3 C7 O1\r\nnew\r\n", "HD O1\r\n")).await;
    assert_eq!(first.await.unwrap().unwrap(), "new");
    assert_eq!(slow.fills.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn who_asks_after_a_write_is_not_given_what_was_asked_for_before() {
    let node = FakeNode::start().await;
    let client = node.builder().build().unwrap();
    let slow = Slow::default();
    let (first, mut peer) = slow.begin(&node, &client, MISS).await;
    join!(step(&mut peer, ("ms k 3 O1\r\nset\r\n", "HD O1\r\n")), async {
        client.set("k", "set", Expiry::Never).await.unwrap();
    });
    let (second, ()) = join!(
        slow.ask(&client),
        step(&mut peer, ("mg k N30 v f c O2\r\n", "VA 3 f0 c9 O2\r\nset\r\n"))
    );
    assert_eq!(second.unwrap(), "set");
    slow.may_end.notify_one();
    step(&mut peer, ("ms k 3 C7 O3\r\nnew\r\n", "EX O3\r\n")).await;
    assert_eq!(first.await.unwrap().unwrap(), "new");
    assert_eq!(client.flights.len(), 0);
}

#[tokio::test]
async fn to_a_plain_get_what_is_being_filled_is_a_miss() {
    let node = FakeNode::start().await;
    let client = node.builder().build().unwrap();
    join!(
        async {
            assert_eq!(client.get("k").await.unwrap(), None);
            assert!(client.get("k").await.unwrap().is_some());
            assert!(client.get("k").await.unwrap().is_some());
        },
        async {
            let mut peer = node.accept().await;
            step(&mut peer, ("mg k v f c O0\r\n", "VA 0 f0 c7 Z O0\r\n\r\n")).await;
            step(&mut peer, ("mg k v f c O1\r\n", "VA 1 f0 c7 Z O1\r\nv\r\n")).await;
            step(&mut peer, ("mg k v f c O2\r\n", "VA 0 f0 c7 O2\r\n\r\n")).await;
        }
    );
}
