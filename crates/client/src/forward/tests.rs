use larder_protocol::{Fetch, Key, Parsed, Request, Shape, write_reply};
use tokio::join;

use super::*;
use crate::fake::{DeadNode, FakeNode};

const NOW: Seconds = 1_700_000_000;

const GET: Op<'static> = Op::Fetch(Fetch::GET);

/// How a plain `get` or `gets` is answered.
fn form_of_get(key: &[u8], cas: bool) -> Form<'_> {
    let key = Key { text: key, base64: false };
    Form { shape: Shape::Value { cas }, quiet: false, key, flags: &[] }
}

/// What a client is answered that sent this.
async fn through(client: &Client, sent: &str) -> String {
    let limits = larder_protocol::Limits::default();
    let Parsed::Done { request, .. } = larder_protocol::parse(sent.as_bytes(), &limits) else {
        panic!("{sent}")
    };
    let mut answer = Vec::new();
    let (key, op, form) = match request {
        Request::Item(command) => (command.key, command.op, command.form),
        Request::Get(mut get) => {
            let form = form_of_get(get.keys.next().unwrap(), get.cas);
            (form.key, Op::Fetch(Fetch { ttl: get.ttl, ..Fetch::GET }), form)
        }
        other => panic!("{other:?}"),
    };
    let mut scratch = [0; larder_protocol::MAX_KEY_LEN];
    let outcome = client.forward(key.bytes(&mut scratch), &op, &form, 0, || NOW).await.unwrap();
    write_reply(&form, &outcome, NOW, &mut answer);
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_node_is_asked_for_what_the_answer_says_and_no_more() {
    let node = FakeNode::start().await;
    let client = node.builder().build().unwrap();
    let steps = [
        ("get k\r\n", "get k\r\n", "VALUE k 7 2\r\nhi\r\nEND\r\n", "VALUE k 7 2\r\nhi\r\n"),
        ("gets k\r\n", "gets k\r\n", "VALUE k 7 2 9\r\nhi\r\nEND\r\n", "VALUE k 7 2 9\r\nhi\r\n"),
        ("get k\r\n", "get k\r\n", "END\r\n", ""),
        ("gat 30 k\r\n", "gat 30 k\r\n", "END\r\n", ""),
        ("touch k 30\r\n", "touch k 30\r\n", "TOUCHED\r\n", "TOUCHED\r\n"),
        ("touch k 30\r\n", "touch k 30\r\n", "NOT_FOUND\r\n", "NOT_FOUND\r\n"),
        ("mg k t T30 v q\r\n", "mg k t T30 v O6\r\n", "VA 2 t5 O6\r\nhi\r\n", "VA 2 t5\r\nhi\r\n"),
        ("mg k T30 t\r\n", "mg k T30 t O7\r\n", "HD t30 O7\r\n", "HD t30\r\n"),
        ("mg k s h l Oab\r\n", "mg k s h l O8\r\n", "HD s12 h1 l4 O8\r\n", "HD s12 h1 l4 Oab\r\n"),
        ("mg k N9 v\r\n", "mg k N9 v O9\r\n", "VA 0 W O9\r\n\r\n", "VA 0 W\r\n\r\n"),
        ("mg k v\r\n", "mg k v O10\r\n", "VA 1 X Z O10\r\nx\r\n", "VA 1 Z X\r\nx\r\n"),
        (
            "me k\r\n",
            "me k\r\n",
            "ME k exp=5 la=2 cas=3 fetch=yes cls=1 size=63\r\n",
            "ME k exp=5 la=2 cas=3 fetch=yes cls=1 size=63\r\n",
        ),
        ("me k\r\n", "me k\r\n", "EN\r\n", "EN\r\n"),
        ("set k 1 0 2\r\nhi\r\n", "ms k 2 F1 O13\r\nhi\r\n", "HD O13\r\n", "STORED\r\n"),
        ("ms k 2 c s\r\nhi\r\n", "ms k 2 c O14\r\nhi\r\n", "HD c5 O14\r\n", "HD c5 s2\r\n"),
        ("cas k 0 0 1 4\r\nx\r\n", "ms k 1 C4 O15\r\nx\r\n", "EX O15\r\n", "EXISTS\r\n"),
        ("delete k\r\n", "md k O16\r\n", "NF O16\r\n", "NOT_FOUND\r\n"),
        ("incr k 5\r\n", "ma k D5 v O17\r\n", "VA 2 O17\r\n12\r\n", "12\r\n"),
        (
            "incr k 5\r\n",
            "ma k D5 v O18\r\n",
            "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
            "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        ),
    ];
    let (_peer, ()) = join!(
        async {
            let mut peer = node.accept().await;
            for (_, asked, answered, _) in steps {
                peer.expect(asked).await;
                peer.send(answered).await;
            }
            peer
        },
        async {
            for (sent, _, _, told) in steps {
                assert_eq!(through(&client, sent).await, told, "{sent}");
            }
        }
    );
    let report = client.report();
    assert_eq!((report[0].requests, report[0].failures, report[0].connections), (19, 0, 1));
}

#[tokio::test]
async fn a_value_of_another_key_is_no_answer() {
    let node = FakeNode::start().await;
    let client = node.builder().build().unwrap();
    let form = form_of_get(b"one", false);
    let (mut peer, went) = join!(
        async {
            let mut peer = node.accept().await;
            peer.expect("get one\r\n").await;
            peer.send("VALUE two 0 1\r\nx\r\nEND\r\n").await;
            peer
        },
        client.forward(b"one", &GET, &form, 0, || NOW)
    );
    assert!(matches!(went, Err(Error::Violation { .. })), "{went:?}");
    peer.expect_close().await;
}

#[tokio::test]
async fn what_is_not_polled_is_sent_and_what_is_not_answered_ends_all_the_same() {
    let node = FakeNode::start().await;
    let after = std::time::Duration::from_millis(200);
    let client = node.builder().timeout(after).build().unwrap();
    let form = form_of_get(b"k", false);
    let waiting = client.forward(b"k", &GET, &form, 0, || NOW);
    drop(client.forward(b"k", &GET, &form, 0, || NOW));
    let mut peer = node.accept().await;
    peer.expect("get k\r\nget k\r\n").await;
    peer.expect_close().await;
    assert!(matches!(waiting.await, Err(Error::TimedOut { .. })));
}

#[tokio::test]
async fn another_is_asked_for_the_keys_of_one_that_is_down_and_of_none_it_is_said_at_once() {
    let (dead, other) = (DeadNode::start(), DeadNode::start());
    let client = Client::builder().node(dead.address()).node(other.address()).build().unwrap();
    let form = form_of_get(b"k", false);
    for _ in 0..2 {
        let went = client.forward(b"k", &GET, &form, 0, || NOW).await;
        assert!(matches!(went, Err(Error::Unreachable { .. })), "{went:?}");
    }
    assert!(client.report().iter().all(|report| report.is_down));
}
