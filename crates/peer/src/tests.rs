//! Links and servers on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

use crate::credentials::{Credentials, PeerId};
use crate::frame::Frame;
use crate::handshake::{Role, Session, shake_hands};
use crate::reader::Reader;
use crate::seal::Seal;
use crate::secret::Secret;
use crate::{CallError, Handler, Link, Refusal, Settings, serve};

pub(crate) fn credentials(id: u64) -> Credentials {
    let node = PeerId { id, name: format!("node-{id}").into() };
    Credentials::new("test", node, Secret::new(b"sixteen bytes it is").unwrap()).unwrap()
}

const ECHO: u8 = 0;
const REFUSE: u8 = 1;
/// An echo once the gate lets it through.
const WAIT: u8 = 2;
const PANIC: u8 = 3;
/// As many bytes as the body says.
const BYTES: u8 = 4;
const WHO: u8 = 5;

struct Puppet {
    gate: Semaphore,
    begun: AtomicUsize,
}

impl Handler for Puppet {
    async fn handle(
        self: Arc<Self>,
        peer: PeerId,
        kind: u8,
        body: Bytes,
    ) -> Result<Bytes, Refusal> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        match kind {
            REFUSE => return Err(Refusal(String::from_utf8_lossy(&body).into())),
            WAIT => self.gate.acquire().await.unwrap().forget(),
            PANIC => panic!("as it was told"),
            BYTES => {
                let len = u32::from_le_bytes(body[..].try_into().unwrap());
                return Ok(vec![b'x'; len as usize].into());
            }
            WHO => return Ok(peer.to_string().into()),
            _ => {}
        }
        Ok(body)
    }
}

/// Node 2, which serves.
struct Node {
    address: SocketAddr,
    puppet: Arc<Puppet>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Node {
    async fn start(address: &str, settings: &Settings) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let puppet = Arc::new(Puppet { gate: Semaphore::new(0), begun: AtomicUsize::new(0) });
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let (handler, settings) = (Arc::clone(&puppet), settings.clone());
        let task = tokio::spawn(serve(listener, credentials(2), handler, settings, shutdown));
        Self { address, puppet, stop, task }
    }

    fn link(&self, settings: &Settings) -> Link {
        Link::open(&self.address.to_string(), Some(2), credentials(1), settings.clone())
    }

    fn begun(&self) -> usize {
        self.puppet.begun.load(Ordering::SeqCst)
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(LONG, self.task).await.unwrap().unwrap();
    }

    /// As if the machine lost power, but for the system's goodbye.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(20);

fn soon() -> Instant {
    Instant::now() + LONG
}

fn in_ms(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

async fn until(mut condition: impl FnMut() -> bool) {
    let all = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, all).await.expect("it does not come about");
}

fn not_sent(answer: &Result<Bytes, CallError>) -> &str {
    let Err(CallError::NotSent(why)) = answer else { panic!("{answer:?}") };
    why
}

fn unknown(answer: &Result<Bytes, CallError>) -> &str {
    let Err(CallError::Unknown(why)) = answer else { panic!("{answer:?}") };
    why
}

#[tokio::test]
async fn answers_go_to_their_calls_in_whatever_order_they_come() {
    let node = Node::start("127.0.0.1:0", &Settings::default()).await;
    let link = node.link(&Settings::default());
    let slow = link.call(WAIT, "slow".into(), soon());
    let quick = link.call(ECHO, "quick".into(), soon());
    assert_eq!(quick.await.unwrap(), "quick");
    node.puppet.gate.add_permits(1);
    assert_eq!(slow.await.unwrap(), "slow");
    assert_eq!(link.call(WHO, Bytes::new(), soon()).await.unwrap(), "node 1 (node-1)");
    let long = Bytes::from(vec![7; 5 << 20]);
    assert_eq!(link.call(ECHO, long.clone(), soon()).await.unwrap(), long);
    let stats = link.stats();
    assert_eq!((stats.calls, stats.outstanding, stats.reconnects), (4, 0, 0));
    assert!(stats.connected && stats.round_trip.is_some() && stats.last_error.is_none());
    assert_eq!(stats.bytes_out, 9 + (5 << 20));
    assert_eq!(stats.bytes_in, 9 + 15 + (5 << 20));
    node.stop().await;
}

#[tokio::test]
async fn a_call_that_is_not_answered_says_why() {
    let settings = Settings { max_body: 1000, ..Settings::default() };
    let node = Node::start("127.0.0.1:0", &settings).await;
    let link = node.link(&Settings::default());
    // Made before this node knows of the other's limit, and after.
    for _ in 0..2 {
        let long = link.call(ECHO, vec![0; 1001].into(), soon()).await;
        assert_eq!(long, Err(CallError::TooLarge { len: 1001, max: 1000 }));
        link.call(ECHO, vec![0; 1000].into(), soon()).await.unwrap();
    }
    let refused = link.call(REFUSE, "not the leader".into(), soon()).await;
    assert_eq!(refused, Err(CallError::Refused("not the leader".into())));
    assert!(unknown(&link.call(PANIC, Bytes::new(), soon()).await).contains("without an answer"));
    let link = Link::open(&node.address.to_string(), None, credentials(1), settings);
    let long = link.call(BYTES, Bytes::copy_from_slice(&1001_u32.to_le_bytes()), soon()).await;
    assert!(unknown(&long).contains("has 1001 bytes; the limit is 1000"));
    link.call(ECHO, Bytes::new(), soon()).await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_calls_at_once() {
    let node = Node::start("127.0.0.1:0", &Settings::default()).await;
    let link = Arc::new(node.link(&Settings::default()));
    let mut calls = JoinSet::new();
    for number in 0..10_000_u32 {
        let link = Arc::clone(&link);
        calls.spawn(async move {
            let body = Bytes::from(format!("{number} {}", "x".repeat(number as usize % 300)));
            assert_eq!(link.call(WAIT, body.clone(), soon()).await.unwrap(), body);
        });
    }
    until(|| node.begun() == 10_000).await;
    assert_eq!(link.stats().outstanding, 10_000);
    node.puppet.gate.add_permits(10_000);
    calls.join_all().await;
    assert_eq!(link.stats().outstanding, 0);
    node.stop().await;
}

#[tokio::test]
async fn a_late_answer_goes_to_nobody() {
    let node = Node::start("127.0.0.1:0", &Settings::default()).await;
    let link = node.link(&Settings::default());
    link.call(ECHO, Bytes::new(), soon()).await.unwrap();
    for round in 0..50 {
        let late = link.call(WAIT, format!("late {round}").into(), in_ms(5));
        let dropped = link.call(WAIT, format!("dropped {round}").into(), soon());
        until(|| node.begun() == 3 + round * 3).await;
        drop(dropped);
        assert!(unknown(&late.await).contains("in time"));
        assert_eq!(link.stats().outstanding, 0);
        node.puppet.gate.add_permits(2);
        let next = Bytes::from(format!("next {round}"));
        assert_eq!(link.call(ECHO, next.clone(), soon()).await.unwrap(), next);
    }
    until(|| link.stats().bytes_in > 50 * 15).await;
    node.stop().await;
}

#[tokio::test]
async fn a_peer_that_dies_leaves_sent_calls_unknown_and_others_unsent() {
    let node = Node::start("127.0.0.1:0", &Settings::default()).await;
    let address = node.address.to_string();
    let name = format!("localhost:{}", node.address.port());
    let link = Link::open(&name, Some(2), credentials(1), Settings::default());
    let call = link.call(WAIT, "sent".into(), soon());
    until(|| node.begun() == 1).await;
    node.kill().await;
    assert!(unknown(&call.await).contains(&name));
    let refused = |error: Arc<str>| error.contains("Connection refused");
    until(|| link.stats().last_error.is_some_and(refused)).await;
    let unsent = link.call(ECHO, Bytes::new(), soon()).await;
    assert!(not_sent(&unsent).contains("Connection refused"), "{unsent:?}");
    // By now it does not wait for an attempt.
    let failed_fast = link.call(ECHO, Bytes::new(), soon()).await;
    assert!(not_sent(&failed_fast).ends_with(" ago"), "{failed_fast:?}");
    // Back on the same address.
    let node = Node::start(&address, &Settings::default()).await;
    until(|| link.stats().connected).await;
    assert_eq!(link.call(ECHO, "back".into(), soon()).await.unwrap(), "back");
    assert_eq!(link.stats().reconnects, 1);
    drop(link);
    node.stop().await;
}

#[tokio::test]
async fn another_node_at_the_address_is_not_talked_to() {
    let node = Node::start("127.0.0.1:0", &Settings::default()).await;
    let address = node.address.to_string();
    let link = Link::open(&address, Some(3), credentials(1), Settings::default());
    let call = link.call(ECHO, Bytes::new(), soon()).await;
    assert!(not_sent(&call).contains("node 2 (node-2) is there, not node 3"), "{call:?}");
    assert_eq!(node.begun(), 0);
    node.stop().await;
}

#[tokio::test]
async fn a_link_that_is_closed_decides_its_calls() {
    let node = Node::start("127.0.0.1:0", &Settings::default()).await;
    let link = node.link(&Settings::default());
    let unsent = link.call(ECHO, Bytes::new(), soon());
    drop(link);
    assert!(not_sent(&unsent.await).contains("was closed"));
    let link = node.link(&Settings::default());
    let sent = link.call(WAIT, Bytes::new(), soon());
    until(|| node.begun() == 1).await;
    drop(link);
    assert!(unknown(&sent.await).contains("was closed"));
    node.stop().await;
}

/// A node that has met node 1's link, or node 2, and does with the connection what a test says.
struct Raw {
    stream: TcpStream,
    session: Session,
}

impl Raw {
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        Self::meet(stream, Role::Listener, &credentials(2)).await
    }

    async fn dial(node: &Node) -> Self {
        let stream = TcpStream::connect(node.address).await.unwrap();
        Self::meet(stream, Role::Dialer, &credentials(1)).await
    }

    async fn meet(mut stream: TcpStream, role: Role, me: &Credentials) -> Self {
        let session = shake_hands(&mut stream, role, me, &Settings::default()).await.unwrap();
        Self { stream, session }
    }

    async fn send(&mut self, frame: &Frame) -> std::io::Result<()> {
        let bytes = sealed(frame, &mut self.session.sending);
        self.stream.write_all(&bytes).await
    }

    async fn until_closed(mut self) {
        let all = async {
            let mut bytes = [0; 4096];
            while matches!(self.stream.read(&mut bytes).await, Ok(1..)) {}
        };
        timeout(LONG, all).await.expect("the connection stays open");
    }
}

fn sealed(frame: &Frame, seal: &mut Seal) -> Vec<u8> {
    let header = frame.header();
    [&header[..], &frame.body, &seal.tag(&[&header, &frame.body])].concat()
}

fn call(call: u64, kind: u8, body: impl Into<Bytes>) -> Frame {
    Frame { call, kind, body: body.into() }
}

#[tokio::test]
async fn what_is_not_in_order_closes_the_connection() {
    let node = Node::start("127.0.0.1:0", &Settings::default()).await;
    let echo = call(1, ECHO, "body");
    // Altered.
    let mut raw = Raw::dial(&node).await;
    let mut bytes = sealed(&echo, &mut raw.session.sending);
    bytes[15] ^= 1;
    raw.stream.write_all(&bytes).await.unwrap();
    raw.until_closed().await;
    // Repeated.
    let mut raw = Raw::dial(&node).await;
    let bytes = sealed(&echo, &mut raw.session.sending).repeat(2);
    raw.stream.write_all(&bytes).await.unwrap();
    raw.until_closed().await;
    // With the key of another connection.
    let mut raw = Raw::dial(&node).await;
    let mut other = Raw::dial(&node).await;
    let bytes = sealed(&echo, &mut other.session.sending);
    drop(other);
    raw.stream.write_all(&bytes).await.unwrap();
    raw.until_closed().await;
    // Too long.
    let mut raw = Raw::dial(&node).await;
    raw.stream.write_all(&[255; 13]).await.unwrap();
    raw.until_closed().await;
    // Cut short.
    let mut raw = Raw::dial(&node).await;
    let bytes = sealed(&echo, &mut raw.session.sending);
    raw.stream.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
    raw.stream.shutdown().await.unwrap();
    raw.until_closed().await;
    assert!(node.begun() <= 1, "only what was repeated, and that once");
    node.stop().await;
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_given_up_in_time_and_one_that_is_idle_is_not() {
    let patience = Duration::from_millis(400);
    let settings = Settings { patience, ..Settings::default() };
    let node = Node::start("127.0.0.1:0", &settings).await;
    let idle = node.link(&settings);
    idle.call(ECHO, Bytes::new(), soon()).await.unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let link = Link::open(&address, None, credentials(1), settings);
    let _silent = Raw::accept(&listener).await;
    let began = Instant::now();
    let lost = link.call(ECHO, Bytes::new(), soon()).await;
    assert!(unknown(&lost).contains("nothing was heard from it for 400ms"), "{lost:?}");
    assert!((patience / 2..patience * 3).contains(&began.elapsed()), "{:?}", began.elapsed());

    until(|| began.elapsed() > patience * 3).await;
    assert_eq!(idle.call(ECHO, "here".into(), soon()).await.unwrap(), "here");
    assert_eq!(idle.stats().reconnects, 0);
    node.stop().await;
}

#[tokio::test]
async fn a_peer_that_stops_reading_costs_bounded_memory() {
    let settings = Settings { max_bytes: 8 << 20, max_calls: 100, ..Settings::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let link = Link::open(&address, None, credentials(1), settings);
    let mut raw = Raw::accept(&listener).await;
    let body = Bytes::from(vec![0; 1 << 20]);
    let mut calls = Vec::new();
    let refused = loop {
        let mut next = Box::pin(link.call(ECHO, body.clone(), soon()));
        match timeout(Duration::from_millis(1), &mut next).await {
            Err(_) => calls.push(next),
            Ok(answer) => break answer,
        }
        // It is alive, for all that.
        raw.send(&Frame::BEAT).await.unwrap();
    };
    let Err(CallError::TooMany { calls: outstanding, bytes }) = refused else {
        panic!("{refused:?}")
    };
    assert!(bytes <= 8 << 20 && outstanding <= 100 && outstanding == calls.len());
    // What is given up before it is sent makes room.
    calls.truncate(outstanding - 4);
    let withdrawn = link.call(ECHO, body.clone(), in_ms(10)).await;
    assert!(not_sent(&withdrawn).contains("too late"));
    drop(raw);
    let lost = calls.remove(0).await;
    unknown(&lost);
}

#[tokio::test]
async fn a_server_reads_no_more_than_it_may_have_in_hand() {
    let settings = Settings { max_calls: 10, ..Settings::default() };
    let node = Node::start("127.0.0.1:0", &settings).await;
    let link = node.link(&Settings::default());
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        calls.spawn(link.call(WAIT, Bytes::new(), soon()));
    }
    // Another connection has limits of its own.
    let other = node.link(&Settings::default());
    until(|| node.begun() >= 10).await;
    for _ in 0..100 {
        other.call(ECHO, Bytes::new(), soon()).await.unwrap();
    }
    assert_eq!(node.begun(), 110);
    node.puppet.gate.add_permits(100);
    assert!(calls.join_all().await.iter().all(Result::is_ok));

    // The same for answers that nobody reads.
    let mut raw = Raw::dial(&node).await;
    let begun = node.begun();
    let len = Bytes::copy_from_slice(&(1_u32 << 20).to_le_bytes());
    for number in 1..=100 {
        raw.send(&call(number, BYTES, len.clone())).await.unwrap();
    }
    for _ in 0..100 {
        other.call(ECHO, Bytes::new(), soon()).await.unwrap();
    }
    // What the system's buffers take of the answers, and ten.
    let answered = node.begun() - begun - 100;
    assert!((10..30).contains(&answered), "{answered}");
    let Raw { stream, session } = raw;
    let mut reader = Reader::new(stream, session.receiving, &Settings::default());
    let mut numbers = Vec::new();
    while numbers.len() < 100 {
        numbers.push(reader.next().await.unwrap().call);
    }
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=100));
    drop(reader);
    node.stop().await;
}

#[tokio::test]
async fn strangers_do_not_keep_peers_out() {
    let settings = Settings { max_strangers: 3, handshake_timeout: LONG, ..Settings::default() };
    let node = Node::start("127.0.0.1:0", &settings).await;
    let mut strangers = Vec::new();
    for _ in 0..10 {
        strangers.push(TcpStream::connect(node.address).await.unwrap());
    }
    let link = node.link(&Settings::default());
    link.call(ECHO, Bytes::new(), soon()).await.unwrap();
    for stranger in &mut strangers[..7] {
        let mut bytes = Vec::new();
        // The system may tell that it was aborted; either way it is over.
        let _ = timeout(LONG, stranger.read_to_end(&mut bytes)).await.expect("it is let stay");
    }
    node.stop().await;
}

#[tokio::test]
async fn when_it_stops_calls_in_hand_are_answered_and_nothing_is_left() {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let settings = Settings { drain_timeout: Duration::from_millis(100), ..Settings::default() };
    for hangs in [false, true] {
        let node = Node::start("127.0.0.1:0", &settings).await;
        let link = node.link(&Settings::default());
        let _stranger = TcpStream::connect(node.address).await.unwrap();
        let in_hand = tokio::spawn(link.call(WAIT, "in hand".into(), soon()));
        until(|| node.begun() == 1).await;
        let puppet = Arc::clone(&node.puppet);
        let stopping = tokio::spawn(node.stop());
        if hangs {
            unknown(&in_hand.await.unwrap());
        } else {
            puppet.gate.add_permits(1);
            assert_eq!(in_hand.await.unwrap().unwrap(), "in hand");
        }
        stopping.await.unwrap();
        assert_eq!(Arc::strong_count(&puppet), 1);
        drop(link);
        until(|| tasks() == before).await;
    }
}

#[tokio::test]
async fn when_it_stops_what_it_does_not_read_takes_no_answer_away() {
    let node = Node::start("127.0.0.1:0", &Settings::default()).await;
    let mut raw = Raw::dial(&node).await;
    let body = Bytes::from(vec![7; 512 << 10]);
    raw.send(&call(1, WAIT, body.clone())).await.unwrap();
    until(|| node.begun() == 1).await;
    let (address, puppet) = (node.address, Arc::clone(&node.puppet));
    let mut stopping = tokio::spawn(node.stop());
    while TcpStream::connect(address).await.is_ok() {}
    raw.send(&call(2, WAIT, "too late")).await.unwrap();
    puppet.gate.add_permits(1);
    // The answer is written, more than the peer's system takes without its reading.
    let early = timeout(Duration::from_millis(100), &mut stopping).await;
    assert!(early.is_err(), "it closed before its peer had the answer");
    let Raw { stream, session } = raw;
    let mut reader = Reader::new(stream, session.receiving, &Settings::default());
    assert!(reader.next().await.unwrap().body == body);
    drop(reader);
    stopping.await.unwrap();
}

#[tokio::test]
async fn lost_connections_leave_no_task_and_no_handler() {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let node = Node::start("127.0.0.1:0", &Settings::default()).await;
    let before = tasks();
    for round in 1..=3 {
        let link = node.link(&Settings::default());
        let call = link.call(WAIT, Bytes::new(), soon());
        until(|| node.begun() == round).await;
        drop((call, link));
        until(|| tasks() == before).await;
    }
    assert_eq!(Arc::strong_count(&node.puppet), 2);
    node.stop().await;
}
