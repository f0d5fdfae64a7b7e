use super::*;
use crate::client::Client;
use crate::fake::{DeadNode, Member, PATIENCE};
use tokio::join;

const SOON: Duration = Duration::from_millis(20);

fn discover(member: &Member) -> Client {
    let builder = Client::builder().discover(member.address()).poll_interval(SOON);
    builder.timeout(PATIENCE).connect_timeout(PATIENCE).build().unwrap()
}

/// Waits until there are so many nodes.
async fn until_there_are(client: &Client, nodes: usize) {
    let mut known = client.roster.known.subscribe();
    let changed = known
        .wait_for(|known| known.nodes.as_ref().is_some_and(|known| known.pools().len() == nodes));
    tokio::time::timeout(PATIENCE, changed).await.expect("nothing changes").unwrap();
}

/// A key of the node with this address.
fn key_of(client: &Client, address: &str) -> String {
    let nodes = client.roster.now().unwrap();
    let owner = |key: &String| {
        let owner = nodes.candidates(key.as_bytes()).next().unwrap();
        &**nodes.pool(owner).unwrap().node() == address
    };
    (0..10_000).map(|n| format!("key:{n}")).find(owner).unwrap()
}

#[tokio::test]
async fn a_list_is_swapped_under_requests_that_are_answered_all_the_same() {
    let (mut first, mut second) = (Member::start().await, Member::start().await);
    let both = [first.triple(), second.triple()];
    first.tell(1, &both);
    second.tell(1, &both);
    let client = discover(&first);
    assert!(client.roster.nodes(Instant::now() + PATIENCE).await.is_ok());
    let (key, other) = (key_of(&client, first.address()), key_of(&client, second.address()));
    let mut kept = {
        let (item, peer) = join!(client.get(&other), async {
            let mut peer = second.accept().await;
            peer.expect(&format!("mg {other} v f c O0\r\n")).await;
            peer.send("EN O0\r\n").await;
            peer
        });
        assert_eq!(item.unwrap(), None);
        peer
    };
    let (item, ()) = join!(client.get(&key), async {
        let mut peer = first.accept().await;
        peer.expect(&format!("mg {key} v f c O0\r\n")).await;
        let left = [second.triple()];
        first.tell(2, &left);
        second.tell(2, &left);
        until_there_are(&client, 1).await;
        peer.send("VA 2 f0 c1 O0\r\nhi\r\n").await;
        // Nobody waits for anything more.
        peer.expect_close().await;
    });
    assert_eq!(&item.unwrap().unwrap().value[..], b"hi");
    let (item, ()) = join!(client.get(&key), async {
        kept.expect(&format!("mg {key} v f c O1\r\n")).await;
        kept.send("EN O1\r\n").await;
    });
    assert_eq!(item.unwrap(), None);
}

#[tokio::test]
async fn a_list_that_is_not_newer_is_not_taken() {
    let mut member = Member::start().await;
    let dead = DeadNode::start().address().replace(':', "|127.0.0.1|");
    member.tell(5, &[member.triple(), dead]);
    let client = discover(&member);
    client.roster.nodes(Instant::now() + PATIENCE).await.unwrap();
    for version in [5, 4] {
        member.tell(version, &[member.triple()]);
        member.asked(3).await;
        assert_eq!(client.roster.now().unwrap().pools().len(), 2);
    }
    member.tell(6, &[member.triple()]);
    until_there_are(&client, 1).await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_reached_by_its_address() {
    let mut member = Member::start().await;
    // No name has a part so long, so nobody is asked for it.
    let name = "n".repeat(64);
    member.tell(1, &[member.triple().replacen("127.0.0.1", &name, 1)]);
    let client = discover(&member);
    let (item, ()) = join!(client.get("k"), async {
        let mut peer = member.accept().await;
        peer.expect("mg k v f c O0\r\n").await;
        peer.send("EN O0\r\n").await;
    });
    assert_eq!(item.unwrap(), None);
    let nodes = client.roster.now().unwrap();
    assert!(nodes.pools()[0].node().starts_with(&name));
}

#[tokio::test]
async fn while_nobody_tells_of_nodes_it_is_said_why_and_asked_again() {
    let dead = DeadNode::start();
    let mut member = Member::start().await;
    let builder = Client::builder().discover(dead.address()).discover(member.address());
    let client = builder.timeout(PATIENCE).poll_interval(SOON).build().unwrap();
    let error = client.get("k").await.unwrap_err();
    assert!(!error.outcome_unknown());
    let said = error.to_string();
    assert!(said.starts_with(&format!("the nodes are not known: {}: ", dead.address())), "{said}");
    let (member_says, why) = (member.address(), "it is of no cluster: to `config get cluster` it");
    assert!(said.ends_with(&format!("; {member_says}: {why} says ERROR")), "{said}");
    let batch = client.set_many(&[("a", "b"), ("c", "d")], Duration::from_secs(1)).await;
    assert!(batch.iter().all(|result| matches!(result, Err(Error::Undiscovered { .. }))));

    member.tell(1, &[member.triple()]);
    until_there_are(&client, 1).await;
    let (item, ()) = join!(client.get("k"), async {
        let mut peer = member.accept().await;
        peer.expect("mg k v f c O0\r\n").await;
        peer.send("EN O0\r\n").await;
    });
    assert_eq!(item.unwrap(), None);
}

#[tokio::test]
async fn a_client_that_is_dropped_asks_no_more() {
    let mut member = Member::start().await;
    member.tell(1, &[member.triple()]);
    let client = discover(&member);
    client.roster.nodes(Instant::now() + PATIENCE).await.unwrap();
    member.asked(1).await;
    let roster = Arc::downgrade(&client.roster);
    drop(client);
    // The task may be asking just now.
    let gone = async {
        while roster.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

#[test]
fn a_clock_that_was_ahead_is_believed_until_its_node_is_long_silent() {
    let server = |name: &str| -> Server { name.parse().unwrap() };
    let list = |version, node: &str| List { version, nodes: vec![server(node).into()] };
    let mut source = Source::default();
    let start = Instant::now();
    assert!(source.accepts(&server("a"), &list(100, "x"), start));
    assert!(!source.accepts(&server("b"), &list(50, "y"), start));
    // It was only slow.
    assert!(!source.accepts(&server("a"), &list(100, "x"), start + SILENCE / 2));
    assert!(!source.accepts(&server("b"), &list(50, "y"), start + SILENCE));
    // Nothing new.
    assert!(!source.accepts(&server("b"), &list(50, "x"), start + SILENCE * 3));
    assert!(source.accepts(&server("b"), &list(50, "y"), start + SILENCE * 2));
    assert!(source.accepts(&server("c"), &list(51, "z"), start + SILENCE * 2));
}
