use super::*;
use crate::builder::Builder;
use crate::client::Client;
use crate::fake::{DeadNode, FakeNode, PATIENCE, Peer};
use std::time::Duration;
use tokio::join;

const MINUTE: Duration = Duration::from_mins(1);

const BRIEF: Failover = Failover::Brief { secs: 10 };

/// A client of these, and the first `N` keys that the second owns.
fn client_of<const N: usize>(first: &str, second: &str) -> (Client, [String; N]) {
    client_as(Client::builder(), first, second)
}

fn client_as<const N: usize>(builder: Builder, first: &str, second: &str) -> (Client, [String; N]) {
    let builder = builder.node(first).node(second);
    let client = builder.timeout(PATIENCE).connect_timeout(PATIENCE).build().unwrap();
    let nodes = client.roster.now().unwrap();
    let mut keys = (0..)
        .map(|n| format!("key:{n}"))
        .filter(|key| nodes.candidates(key.as_bytes()).next() == Some(1));
    let keys = std::array::from_fn(|_| keys.next().unwrap());
    (client, keys)
}

async fn step(peer: &mut Peer, expected: String, answer: &str) {
    peer.expect(&expected).await;
    peer.send(answer).await;
}

#[tokio::test]
async fn what_a_dead_node_owns_is_asked_of_the_next_and_kept_there_briefly() {
    let (node, dead) = (FakeNode::start().await, DeadNode::start());
    let (client, [key, other]) = client_of(&node.address(), &dead.address());
    join!(
        async {
            let mut peer = node.accept().await;
            step(&mut peer, format!("mg {key} v f c O0\r\n"), "EN O0\r\n").await;
            step(&mut peer, format!("ms {key} 1 T10 O1\r\nv\r\n"), "HD O1\r\n").await;
            step(&mut peer, format!("ms {key} 1 T2 O2\r\nv\r\n"), "HD O2\r\n").await;
            step(&mut peer, format!("mg {key} T10 O3\r\n"), "HD O3\r\n").await;
            step(&mut peer, format!("ma {key} v O4\r\n"), "VA 1 O4\r\n7\r\n").await;
            step(
                &mut peer,
                format!("ms {key} 1 T10 O5\r\na\r\nms {other} 1 T10 O6\r\nb\r\n"),
                "HD O5\r\nHD O6\r\n",
            )
            .await;
        },
        async {
            assert_eq!(client.get(&key).await.unwrap(), None);
            client.set(&key, "v", MINUTE).await.unwrap();
            client.set(&key, "v", Duration::from_secs(2)).await.unwrap();
            client.touch(&key, MINUTE).await.unwrap();
            assert_eq!(client.incr(&key, 1).await.unwrap(), Some(7));
            for stored in client.set_many(&[(&key, "a"), (&other, "b")], MINUTE).await {
                stored.unwrap();
            }
        }
    );
}

#[tokio::test]
async fn a_batch_goes_on_with_the_next_node_when_the_first_turns_out_to_be_dead() {
    let (node, dead) = (FakeNode::start().await, DeadNode::start());
    let (client, [key, other]) = client_of(&node.address(), &dead.address());
    let keys = [&key, &other];
    let (items, ()) = join!(client.get_many(&keys), async {
        let mut peer = node.accept().await;
        let sent = format!("mg {key} v f c O0\r\nmg {other} v f c O1\r\n");
        step(&mut peer, sent, "EN O0\r\nVA 1 f0 c1 O1\r\nv\r\n").await;
    });
    assert_eq!(*items[0].as_ref().unwrap(), None);
    assert_eq!(&items[1].as_ref().unwrap().as_ref().unwrap().value[..], b"v");
}

#[tokio::test]
async fn a_node_that_is_back_is_asked_again() {
    let (node, dead) = (FakeNode::start().await, DeadNode::start());
    let (client, [key]) = client_of(&node.address(), &dead.address());
    let (item, mut stand_in) = join!(client.get(&key), async {
        let mut peer = node.accept().await;
        step(&mut peer, format!("mg {key} v f c O0\r\n"), "EN O0\r\n").await;
        peer
    });
    item.unwrap();
    let revived = dead.revive();
    // Somebody has to ask for what it owns; each try is a connection of its own.
    let (asked, tried) = (
        async {
            for opaque in 1.. {
                let nodes = client.roster.now().unwrap();
                if Route::new(&nodes, key.as_bytes(), BRIEF).unwrap().index() == 1 {
                    return;
                }
                join!(async { client.get(&key).await.unwrap() }, async {
                    let (ask, answer) =
                        (format!("mg {key} v f c O{opaque}\r\n"), format!("EN O{opaque}\r\n"));
                    step(&mut stand_in, ask, &answer).await;
                });
            }
        },
        revived.accept(),
    );
    join!(asked, tried);
    join!(async { client.set(&key, "v", MINUTE).await.unwrap() }, async {
        let mut peer = revived.accept().await;
        step(&mut peer, format!("ms {key} 1 T60 O0\r\nv\r\n"), "HD O0\r\n").await;
    });
}

#[tokio::test]
async fn of_what_may_have_been_done_only_what_may_be_done_twice_is() {
    let (idle, node) = (FakeNode::start().await, FakeNode::start().await);
    let (client, [key]) = client_of(&idle.address(), &node.address());
    join!(
        async {
            for ask in [format!("md {key} O0\r\n"), format!("ma {key} v O0\r\n")] {
                let mut peer = node.accept().await;
                peer.expect(&ask).await;
                drop(peer);
                if ask.starts_with("md") {
                    let mut again = node.accept().await;
                    step(&mut again, ask, "NF O0\r\n").await;
                }
            }
        },
        async {
            assert!(!client.delete(&key).await.unwrap());
            // The connection was closed behind the answer.
            let error = client.incr(&key, 1).await.unwrap_err();
            assert!(matches!(error, Error::Disconnected { .. }), "{error}");
        }
    );
}

#[tokio::test]
async fn any_node_of_a_store_keeps_what_it_is_given_and_no_write_is_done_twice() {
    let (node, dead) = (FakeNode::start().await, DeadNode::start());
    let durable = Client::builder().durable();
    let (client, [key]) = client_as(durable.clone(), &node.address(), &dead.address());
    join!(async { client.set(&key, "v", MINUTE).await.unwrap() }, async {
        let mut peer = node.accept().await;
        step(&mut peer, format!("ms {key} 1 T60 O0\r\nv\r\n"), "HD O0\r\n").await;
    });
    let (idle, node) = (FakeNode::start().await, FakeNode::start().await);
    let (client, [key]) = client_as(durable, &idle.address(), &node.address());
    join!(
        async {
            for _ in 0..2 {
                node.accept().await.expect(&format!("mg {key} v f c O0\r\n")).await;
            }
            let mut other = idle.accept().await;
            step(&mut other, format!("mg {key} v f c O0\r\n"), "EN O0\r\n").await;
            let mut peer = node.accept().await;
            peer.expect(&format!("ms {key} 1 O0\r\nv\r\n")).await;
        },
        async {
            // A read may be done again, at the same node first.
            assert_eq!(client.get(&key).await.unwrap(), None);
            let error = client.set(&key, "v", crate::Expiry::Never).await.unwrap_err();
            assert!(matches!(error, Error::Disconnected { .. }), "{error}");
        }
    );
}

#[tokio::test]
async fn a_node_that_times_out_again_and_again_is_skipped() {
    let (idle, node) = (FakeNode::start().await, FakeNode::start().await);
    let builder = Client::builder().node(idle.address()).node(node.address());
    let client = builder.timeout(Duration::from_millis(20)).build().unwrap();
    let nodes = client.roster.now().unwrap();
    let key = (0..10_000)
        .map(|n| n.to_string())
        .find(|key| nodes.candidates(key.as_bytes()).next() == Some(1));
    let key = key.unwrap();
    let route = || Route::new(&nodes, key.as_bytes(), BRIEF).unwrap();
    for _ in 0..3 {
        assert_eq!(route().index(), 1);
        let error = client.get(&key).await.unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    }
    assert_eq!(route().index(), 0);
    assert_eq!(Route::new(&nodes, key.as_bytes(), Failover::None).unwrap().index(), 1);
}

#[test]
fn what_changes_by_being_done_twice_is_known() {
    use crate::ask;
    use crate::expiry::Expiry;
    let value = || (b"v").into();
    let store = |mode, compare| ask::store(b"k", mode, value(), Expiry::Never, compare).op;
    for (op, expected) in [
        (ask::fetch(b"k", None).op, true),
        (ask::touch(b"k", larder_protocol::Exptime::NEVER).op, true),
        (ask::delete(b"k").op, true),
        (store(Mode::Set, None), true),
        (store(Mode::Set, Some(1)), false),
        (store(Mode::Add, None), false),
        (store(Mode::Replace, None), false),
        (store(Mode::Append, None), false),
        (store(Mode::Prepend, None), false),
        (ask::count(b"k", 1, false).op, false),
    ] {
        assert_eq!(is_idempotent(&op), expected, "{op:?}");
    }
}
