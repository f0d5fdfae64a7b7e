use super::*;
use crate::connection::Ticket;
use crate::fake::{DeadNode, FakeNode, Peer};
use crate::{Cas, Desync, Refused};
use std::fmt::Write;
use std::time::Duration;
use tokio::join;

const MINUTE: Duration = Duration::from_mins(1);

async fn one_node() -> (FakeNode, Client) {
    let node = FakeNode::start().await;
    let client = node.builder().build().unwrap();
    (node, client)
}

/// The index of the node that owns `key`.
fn owner(client: &Client, key: &str) -> usize {
    client.roster.now().unwrap().candidates(key.as_bytes()).next().unwrap()
}

/// Answers requests of one connection, in order: what must come and what is sent back.
async fn serve(node: &FakeNode, steps: &[(&str, &str)]) -> Peer {
    let mut peer = node.accept().await;
    for (expected, answer) in steps {
        peer.expect(expected).await;
        peer.send(answer).await;
    }
    peer
}

#[tokio::test]
async fn every_operation_says_and_understands_what_the_protocol_has() {
    let (node, client) = one_node().await;
    let steps = [
        ("mg k v f c O0\r\n", "VA 2 f7 c9 O0\r\nhi\r\n"),
        ("mg k v f c O1\r\n", "EN O1\r\n"),
        // As memcached answered before 1.6.18.
        ("mg k v f c O2\r\n", "EN\r\n"),
        ("mg k T60 v f c O3\r\n", "VA 0 f0 c1 O3\r\n\r\n"),
        ("ms k 2 T60 O4\r\nhi\r\n", "HD O4\r\n"),
        ("ms k 2 F7 O5\r\nhi\r\n", "HD O5\r\n"),
        ("ms k 2 ME T-1 O6\r\nhi\r\n", "NS O6\r\n"),
        ("ms k 2 MR O7\r\nhi\r\n", "HD O7\r\n"),
        ("ms k 1 MA O8\r\n!\r\n", "HD O8\r\n"),
        ("ms k 1 MP O9\r\n!\r\n", "NS O9\r\n"),
        ("ms k 2 C9 O10\r\nhi\r\n", "HD O10\r\n"),
        ("ms k 2 C9 O11\r\nhi\r\n", "EX O11\r\n"),
        ("ms k 2 C9 O12\r\nhi\r\n", "NF O12\r\n"),
        ("md k O13\r\n", "HD O13\r\n"),
        ("md k O14\r\n", "NF O14\r\n"),
        ("ma k D5 v O15\r\n", "VA 2 O15\r\n12\r\n"),
        ("ma k MD v O16\r\n", "NF O16\r\n"),
        ("mg k T60 O17\r\n", "HD O17\r\n"),
        ("mg k T60 O18\r\n", "EN O18\r\n"),
        ("mg AGs= b v f c O19\r\n", "EN O19\r\n"),
    ];
    let (_peer, ()) = join!(serve(&node, &steps), async {
        let item = client.get("k").await.unwrap().unwrap();
        assert_eq!((&item.value[..], item.flags, item.cas), (&b"hi"[..], 7, 9));
        assert_eq!(client.get(b"k").await.unwrap(), None);
        assert_eq!(client.get(String::from("k")).await.unwrap(), None);
        assert!(client.get_and_touch("k", MINUTE).await.unwrap().is_some());
        client.set("k", "hi", MINUTE).await.unwrap();
        client.set("k", Value::with_flags(b"hi", 7), Expiry::Never).await.unwrap();
        assert!(!client.add("k", b"hi", Duration::ZERO).await.unwrap());
        assert!(client.replace("k", &vec![b'h', b'i'], Expiry::Never).await.unwrap());
        assert!(client.append("k", "!").await.unwrap());
        assert!(!client.prepend("k", "!").await.unwrap());
        for expected in [Cas::Stored, Cas::Changed, Cas::Gone] {
            assert_eq!(client.cas("k", "hi", Expiry::Never, 9).await.unwrap(), expected);
        }
        assert!(client.delete("k").await.unwrap());
        assert!(!client.delete("k").await.unwrap());
        assert_eq!(client.incr("k", 5).await.unwrap(), Some(12));
        assert_eq!(client.decr("k", 1).await.unwrap(), None);
        assert!(client.touch("k", MINUTE).await.unwrap());
        assert!(!client.touch("k", MINUTE).await.unwrap());
        assert_eq!(client.get(b"\0k").await.unwrap(), None);
    });
}

#[tokio::test]
async fn an_answer_may_come_byte_by_byte() {
    let (node, client) = one_node().await;
    let answers = "VA 5 f1 c2 O0\r\na\r\nbc\r\nEN O1\r\n";
    join!(
        async {
            let mut peer = serve(&node, &[("mg k v f c O0\r\nmg l v f c O1\r\n", "")]).await;
            for byte in answers.bytes() {
                peer.send([byte]).await;
                tokio::task::yield_now().await;
            }
            peer.expect("md k O2\r\n").await;
            peer.send("HD O2\r\n").await;
        },
        async {
            let (first, second) = join!(client.get("k"), client.get("l"));
            assert_eq!(&first.unwrap().unwrap().value[..], b"a\r\nbc");
            assert_eq!(second.unwrap(), None);
            assert!(client.delete("k").await.unwrap());
        }
    );
}

#[tokio::test]
async fn an_answer_may_be_split_anywhere() {
    let answer = b"VA 5 f1 c2 O0\r\nhello\r\n";
    for split in 1..answer.len() {
        let (node, client) = one_node().await;
        let (item, _peer) = join!(client.get("k"), async {
            let mut peer = serve(&node, &[("mg k v f c O0\r\n", "")]).await;
            peer.send(&answer[..split]).await;
            tokio::task::yield_now().await;
            peer.send(&answer[split..]).await;
            peer
        });
        assert_eq!(&item.unwrap().unwrap().value[..], b"hello");
    }
}

#[tokio::test]
async fn large_values_come_whole() {
    let (node, client) = one_node().await;
    let value: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let (results, _peer) = join!(client.get_many(&["a", "b", "c"]), async {
        let mut peer = node.accept().await;
        peer.expect("mg a v f c O0\r\nmg b v f c O1\r\nmg c v f c O2\r\n").await;
        peer.send("VA 1 O0\r\nx\r\n").await;
        peer.send(format!("VA {} O1\r\n", value.len())).await;
        peer.send(&value).await;
        peer.send("\r\nVA 1 O2\r\ny\r\n").await;
        peer
    });
    let values: Vec<_> =
        results.into_iter().map(|item| item.unwrap().unwrap().value.to_vec()).collect();
    assert!(values == [b"x".to_vec(), value, b"y".to_vec()]);
}

/// Sends a get without waiting for its answer.
fn send_get(client: &Client, key: &str) -> Ticket {
    let nodes = client.roster.now().unwrap();
    let route = Route::new(&nodes, key.as_bytes(), Failover::None).unwrap();
    route.pool().unwrap().send(&[fetch(key.as_bytes(), None)]).unwrap()
}

#[tokio::test]
async fn a_late_answer_finds_nobody() {
    let (node, client) = one_node().await;
    let old = send_get(&client, "old");
    let mut first = serve(&node, &[("mg old v f c O0\r\n", "")]).await;
    let error = old.redeem(Instant::now(), Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(error.outcome_unknown());
    let (item, _second) = join!(client.get("new"), async {
        let mut second = node.accept().await;
        second.expect("mg new v f c O0\r\n").await;
        first.send_into_the_void("VA 3 f0 c1 O0\r\nold\r\n").await;
        second.send("VA 3 f0 c1 O0\r\nnew\r\n").await;
        first.expect_close().await;
        second
    });
    assert_eq!(&item.unwrap().unwrap().value[..], b"new");
}

#[tokio::test]
async fn a_timeout_ends_what_shares_its_connection() {
    let (node, client) = one_node().await;
    let first = send_get(&client, "a");
    let second = client.get("b");
    let (second, ()) = join!(second, async {
        let mut peer = serve(&node, &[("mg a v f c O0\r\nmg b v f c O1\r\n", "")]).await;
        first.redeem(Instant::now(), Duration::ZERO).await.unwrap_err();
        peer.expect_close().await;
    });
    let error = second.unwrap_err();
    assert!(error.to_string().ends_with("was not answered in time"), "{error}");
    assert!(error.outcome_unknown());
}

#[tokio::test]
async fn a_node_that_never_answers_times_out() {
    let node = FakeNode::start().await;
    let client = node.builder().timeout(Duration::from_millis(20)).build().unwrap();
    let error = client.get("k").await.unwrap_err();
    assert!(error.to_string().contains("did not answer within 20ms"), "{error}");
}

#[tokio::test]
async fn a_node_with_too_much_outstanding_is_given_no_more() {
    let (node, client) = one_node().await;
    let tickets: Vec<_> = (0..4096).map(|_| send_get(&client, "k")).collect();
    let error = client.get("k").await.unwrap_err();
    assert!(matches!(error, Error::Overloaded { .. }), "{error:?}");
    assert!(!error.outcome_unknown());
    let mut peer = node.accept().await;
    peer.expect("mg k v f c O0\r\n").await;
    peer.send("EN O0\r\n").await;
    let mut tickets = tickets.into_iter();
    let patient = Instant::now() + MINUTE;
    tickets.next().unwrap().redeem(patient, MINUTE).await.unwrap();
    // One is answered: there is room for one.
    send_get(&client, "k");
}

#[tokio::test]
async fn a_cancelled_request_takes_its_own_answer_along() {
    let (node, client) = one_node().await;
    join!(
        async {
            let mut peer =
                serve(&node, &[("mg dropped v f c O0\r\nmg kept v f c O1\r\n", "")]).await;
            peer.send("VA 3 f0 c1 O0\r\nold\r\nVA 3 f0 c1 O1\r\nnew\r\n").await;
        },
        async {
            {
                let mut dropped = std::pin::pin!(client.get("dropped"));
                // One poll sends it.
                std::future::poll_fn(|context| {
                    assert!(dropped.as_mut().poll(context).is_pending());
                    std::task::Poll::Ready(())
                })
                .await;
            }
            assert_eq!(&client.get("kept").await.unwrap().unwrap().value[..], b"new");
        }
    );
}

/// What a get gives if the node answers it so, and whether the connection is closed then.
async fn get_answered(answer: &str) -> Error {
    let (node, client) = one_node().await;
    let (result, ()) = join!(client.get("k"), async {
        let mut peer = serve(&node, &[("mg k v f c O0\r\n", answer)]).await;
        peer.expect_close().await;
    });
    result.unwrap_err()
}

#[tokio::test]
async fn what_is_not_the_answer_closes_the_connection() {
    for (answer, expected) in [
        ("EN O1\r\n", Violation::WrongOpaque),
        ("EN Ox\r\n", Violation::WrongOpaque),
        ("HD\r\n", Violation::WrongOpaque),
        ("VA 2 f0 c0\r\nhi\r\n", Violation::WrongOpaque),
        ("STORED\r\n", Violation::WrongAnswer),
        ("MN\r\n", Violation::WrongAnswer),
        ("hello\r\n", Violation::Unreadable(Desync::UnknownLine)),
        ("VA 99999999 O0\r\n", Violation::Unreadable(Desync::ValueTooLong)),
        ("VA 1 O0\r\nxyz\r\n", Violation::Unreadable(Desync::ValueEnd)),
    ] {
        match get_answered(answer).await {
            Error::Violation { why, .. } => assert_eq!(why, expected, "{answer:?}"),
            error => panic!("{answer:?}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn answers_nobody_asked_for_close_the_connection() {
    let (node, client) = one_node().await;
    let (result, ()) = join!(client.get("k"), async {
        let mut peer = serve(&node, &[("mg k v f c O0\r\n", "EN O0\r\nEN O0\r\n")]).await;
        peer.expect_close().await;
    });
    assert!(result.is_ok());
}

#[tokio::test]
async fn a_node_that_closes_in_the_middle_is_an_error_and_the_next_request_reconnects() {
    let (node, client) = one_node().await;
    join!(
        async {
            drop(serve(&node, &[("mg k v f c O0\r\n", "VA 5 O0\r\nhe")]).await);
            serve(&node, &[("mg k v f c O0\r\n", "EN O0\r\n")]).await
        },
        async {
            let error = client.get("k").await.unwrap_err();
            assert!(matches!(error, Error::Disconnected { .. }), "{error}");
            assert!(error.outcome_unknown());
            assert_eq!(client.get("k").await.unwrap(), None);
        }
    );
}

#[tokio::test]
async fn a_refused_connection_names_the_node() {
    let dead = DeadNode::start();
    let address = dead.address();
    let client = Client::builder().node(&address).build().unwrap();
    let error = client.set("k", "v", MINUTE).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(!error.outcome_unknown());
    assert!(error.to_string().starts_with(&format!("{address} is unreachable: ")), "{error}");
}

#[tokio::test]
async fn a_node_that_does_not_greet_in_time_is_unreachable() {
    let node = FakeNode::start().await;
    let client = node.builder().connect_timeout(Duration::from_millis(30)).build().unwrap();
    let (result, mut peer) = join!(client.get("k"), node.accept_silently());
    let error = result.unwrap_err();
    assert!(error.to_string().ends_with("no connection within 30ms"), "{error}");
    peer.expect_close().await;
}

#[tokio::test]
async fn no_value_reaches_a_server_without_meta_commands() {
    let (node, client) = one_node().await;
    let (result, ()) = join!(client.set("k", "flush_all\r\n", MINUTE), async {
        let mut peer = node.accept_silently().await;
        peer.expect("mn\r\n").await;
        peer.send("ERROR\r\n").await;
        // Nothing but the end may follow.
        peer.expect_close().await;
    });
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Violation { why: Violation::NoMetaCommands, .. }), "{error:?}");
}

#[tokio::test]
async fn errors_of_the_server_are_passed_on_and_the_connection_stays() {
    let (node, client) = one_node().await;
    let steps = [
        ("ms k 1 O0\r\nv\r\n", "SERVER_ERROR out of memory storing object\r\n"),
        ("ma k v O1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
        ("mg k v f c O2\r\n", "EN O2\r\n"),
    ];
    let (_peer, ()) = join!(serve(&node, &steps), async {
        let said = |error| match error {
            Error::Server { said, .. } => said,
            error => panic!("{error:?}"),
        };
        let stored = client.set("k", "v", Expiry::Never).await;
        assert_eq!(said(stored.unwrap_err()), "SERVER_ERROR out of memory storing object");
        let counted = client.incr("k", 1).await;
        assert!(said(counted.unwrap_err()).starts_with("CLIENT_ERROR cannot"));
        assert_eq!(client.get("k").await.unwrap(), None);
    });
}

#[tokio::test]
async fn a_rejected_store_closes_the_connection() {
    let (node, client) = one_node().await;
    let (result, ()) = join!(client.set("k", "v", Expiry::Never), async {
        let steps = [("ms k 1 O0\r\nv\r\n", "CLIENT_ERROR bad command line format\r\n")];
        serve(&node, &steps).await.expect_close().await;
    });
    assert!(matches!(result, Err(Error::Server { .. })), "{result:?}");
}

#[tokio::test]
async fn keys_and_values_that_no_server_takes_are_not_sent() {
    let client = Client::builder().node("127.0.0.1:1").max_value(3).build().unwrap();
    assert!(matches!(client.get("").await, Err(Error::Key(Refused::EmptyKey))));
    let error = client.set("k", "four", MINUTE).await.unwrap_err();
    assert!(matches!(error, Error::ValueTooLong { len: 4, max: 3 }));
}

#[tokio::test]
async fn a_long_key_is_one_of_another_name() {
    let (node, client) = one_node().await;
    let long = "k".repeat(251);
    let short = format!("{}#blake3:{}", "k".repeat(178), blake3::hash(long.as_bytes()));
    let steps = [
        (format!("mg {short} v f c O0\r\n"), "EN O0\r\n"),
        (format!("mg {short} v f c O1\r\nmg k v f c O2\r\n"), "EN O1\r\nEN O2\r\n"),
        (format!("mg {short} N30 v f c O3\r\n"), "VA 1 f0 c1 O3\r\nv\r\n"),
    ];
    let steps: Vec<_> = steps.iter().map(|(ask, answer)| (&**ask, *answer)).collect();
    join!(serve(&node, &steps), async {
        assert_eq!(client.get(&long).await.unwrap(), None);
        for item in client.get_many(&[&long, "k"]).await {
            assert_eq!(item.unwrap(), None);
        }
        let fill = || async { Err::<&str, _>("unasked") };
        assert_eq!(client.get_or_fill(&long, Expiry::Never, fill).await.unwrap(), "v");
    });
}

#[tokio::test]
async fn values_of_any_type_are_stored_with_what_they_are() {
    let (node, client) = one_node().await;
    let steps = [
        ("ms k 1 F1280446465 O0\r\n\x05\r\n", "HD O0\r\n"),
        ("mg k v f c O1\r\n", "VA 1 f1280446465 c1 O1\r\n\x02\r\n"),
        ("mg k v f c O2\r\n", "EN O2\r\n"),
        ("mg k v f c O3\r\n", "VA 1 f0 c1 O3\r\n\x02\r\n"),
        ("mg k N30 v f c O4\r\n", "VA 0 f0 c7 W O4\r\n\r\n"),
        ("ms k 1 F1280446465 C7 O5\r\n\x07\r\n", "HD O5\r\n"),
    ];
    join!(serve(&node, &steps), async {
        client.set_as("k", &5_u8, Expiry::Never).await.unwrap();
        assert_eq!(client.get_as("k").await.unwrap(), Some(2_u8));
        assert_eq!(client.get_as::<u8>("k").await.unwrap(), None);
        assert!(matches!(client.get_as::<u8>("k").await, Err(Error::Unreadable { .. })));
        let fill = || async { Ok::<_, Error>(7_u8) };
        assert_eq!(client.get_or_fill_as("k", Expiry::Never, fill).await.unwrap(), 7_u8);
    });
}

#[tokio::test]
async fn a_batch_tells_each_key_how_it_went() {
    let node = FakeNode::start().await;
    let dead = DeadNode::start();
    let client = node.builder().node(dead.address()).failover(Duration::ZERO).build().unwrap();
    let keys: Vec<String> = (0..40).map(|n| format!("key:{n}")).collect();
    let mine: Vec<bool> = keys.iter().map(|key| owner(&client, key) == 0).collect();
    assert!(mine.contains(&true) && mine.contains(&false));
    let (mut expected, mut answers) = (String::new(), String::new());
    for (opaque, (key, _)) in keys.iter().zip(&mine).filter(|(_, mine)| **mine).enumerate() {
        write!(expected, "mg {key} v f c O{opaque}\r\n").unwrap();
        write!(answers, "VA 2 f{opaque} c1 O{opaque}\r\nhi\r\n").unwrap();
    }
    let mut asked = keys.clone();
    asked.push(String::new());
    let step = [(expected.as_str(), answers.as_str())];
    let (results, _peer) = join!(client.get_many(&asked), serve(&node, &step));
    assert_eq!(results.len(), 41);
    let mut next_flags = 0;
    for (result, mine) in results.iter().zip(&mine) {
        match result {
            Ok(Some(item)) if *mine => {
                assert_eq!(item.flags, next_flags);
                next_flags += 1;
            }
            Err(Error::Unreachable { node, .. }) if !mine => assert_eq!(**node, dead.address()),
            result => panic!("{mine}: {result:?}"),
        }
    }
    assert!(matches!(results[40], Err(Error::Key(Refused::EmptyKey))));
}

#[tokio::test]
async fn connections_are_used_in_turn() {
    let node = FakeNode::start().await;
    let client = node.builder().connections_per_node(2).build().unwrap();
    let (_peers, ()) = join!(
        async {
            let first = serve(&node, &[("mg a v f c O0\r\n", "EN O0\r\n")]).await;
            (first, serve(&node, &[("mg b v f c O0\r\n", "EN O0\r\n")]).await)
        },
        async {
            client.get("a").await.unwrap();
            client.get("b").await.unwrap();
        }
    );
}

#[test]
fn a_client_outlives_the_runtime_its_connections_were_made_in() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (node, client) = first.block_on(one_node());
    let listener = first.block_on(async {
        let step = [("mg a v f c O0\r\n", "EN O0\r\n")];
        let (_peer, result) = join!(serve(&node, &step), client.get("a"));
        result.unwrap();
        node.into_std()
    });
    drop(first);
    runtime().block_on(async {
        let node = FakeNode::from_std(listener);
        let step = [("mg b v f c O0\r\n", "EN O0\r\n")];
        let (_peer, result) = join!(serve(&node, &step), client.get("b"));
        result.unwrap();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_share_a_connection() {
    let node = FakeNode::start().await;
    let client = node.builder().build().unwrap();
    let server = tokio::spawn(async move { node.accept().await.echo_keys(400).await });
    let tasks: Vec<_> = (0..20)
        .map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                for n in 0..20 {
                    let key = format!("key:{task}:{n}");
                    let item = client.get(&key).await.unwrap().unwrap();
                    assert_eq!(item.value, key.as_bytes());
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    server.await.unwrap();
}
