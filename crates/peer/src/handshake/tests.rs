use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::secret::Secret;
use crate::tests::credentials;

fn settings() -> Settings {
    Settings { handshake_timeout: Duration::from_millis(300), ..Settings::default() }
}

async fn pair(
    dialer: Credentials,
    listener: Credentials,
) -> (Result<Session, Failure>, Result<Session, Failure>) {
    let (mut one, mut other) = duplex(4096);
    let settings = settings();
    tokio::join!(
        shake_hands(&mut one, Role::Dialer, &dialer, &settings),
        shake_hands(&mut other, Role::Listener, &listener, &settings),
    )
}

#[tokio::test]
async fn two_nodes_learn_who_the_other_is_and_share_keys() {
    let (dialer, listener) = pair(credentials(1), credentials(2)).await;
    let (mut dialer, mut listener) = (dialer.unwrap(), listener.unwrap());
    assert_eq!(dialer.peer, credentials(2).node);
    assert_eq!(listener.peer, credentials(1).node);
    assert_eq!(dialer.sending.tag(&[b"x"]), listener.receiving.tag(&[b"x"]));
    assert_eq!(dialer.receiving.tag(&[b"x"]), listener.sending.tag(&[b"x"]));
    assert_ne!(dialer.sending.tag(&[b"x"]), dialer.receiving.tag(&[b"x"]));
    assert_eq!(dialer.beat, Duration::from_millis(500));
}

#[tokio::test]
async fn who_does_not_belong_together_is_told_so_on_both_sides() {
    let mut stranger = credentials(1);
    stranger.secret = Secret::new(b"another sixteen bytes").unwrap();
    for (dialer, listener) in
        [(stranger.clone(), credentials(2)), (credentials(2), stranger.clone())]
    {
        let (dialer, listener) = pair(dialer, listener).await;
        for side in [dialer, listener] {
            let told = side.unwrap_err().to_string();
            assert!(told.contains("another cluster secret: give all nodes"), "{told}");
        }
    }
    let mut stranger = credentials(1);
    stranger.cluster = "staging\n".into();
    let (dialer, listener) = pair(stranger, credentials(2)).await;
    let dialer = dialer.unwrap_err().to_string();
    assert!(dialer.contains(r#"cluster "test", this node to "staging\n": check"#), "{dialer}");
    let listener = listener.unwrap_err().to_string();
    assert!(listener.contains(r#"cluster "staging\n", this node to "test": check"#), "{listener}");
}

#[tokio::test]
async fn nodes_of_two_clusters_of_one_name_do_not_connect_and_strangers_do() {
    let of = |node, cluster_id| credentials(node).of_cluster(cluster_id);
    let (dialer, listener) = pair(of(1, 7), of(2, 8)).await;
    for side in [dialer, listener] {
        let told = side.unwrap_err().to_string();
        assert!(told.contains(r#"another cluster that is called "test" too"#), "{told}");
    }
    for (dialer, listener) in [(7, 7), (0, 7), (7, 0)] {
        let (dialer, listener) = pair(of(1, dialer), of(2, listener)).await;
        assert!(dialer.is_ok() && listener.is_ok());
    }
}

/// The dialer's side of a meeting, byte by byte, with a listener that is of node 2.
struct Bare {
    stream: DuplexStream,
    listener: tokio::task::JoinHandle<Result<Session, Failure>>,
}

impl Bare {
    fn new() -> Self {
        let (stream, mut other) = duplex(4096);
        let listener = tokio::spawn(async move {
            shake_hands(&mut other, Role::Listener, &credentials(2), &settings()).await
        });
        Self { stream, listener }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// What the listener said after its hello, and what it made of the meeting.
    async fn end(mut self) -> (Vec<u8>, Result<Session, Failure>) {
        let mut said = Vec::new();
        Hello::read(&mut self.stream).await.unwrap();
        self.stream.shutdown().await.unwrap();
        self.stream.read_to_end(&mut said).await.unwrap();
        (said, self.listener.await.unwrap())
    }
}

#[tokio::test]
async fn another_version_is_named_even_by_a_hello_of_unknown_form() {
    let mut bare = Bare::new();
    bare.send(b"larder\0\x02and then something else").await;
    let (said, met) = bare.end().await;
    let told = met.unwrap_err().to_string();
    assert!(told.contains("version 2") && told.contains("this node version 1: run"), "{told}");
    assert!(said.is_empty());
}

#[tokio::test]
async fn what_is_no_peer_is_told_from_one() {
    for sent in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"larder\0\x01\xff\xff", b"larder\0\x01\x01\0x"] {
        let mut bare = Bare::new();
        bare.send(sent).await;
        let (_, met) = bare.end().await;
        assert!(matches!(met, Err(Failure::NotAPeer)), "{met:?}");
    }
    let Bare { stream: _open, listener } = Bare::new();
    let met = listener.await.unwrap();
    assert!(matches!(met, Err(Failure::Late(_))), "{met:?}");
}

#[tokio::test]
async fn a_repeated_meeting_leads_nowhere() {
    // A dialer that is in order, recorded.
    let (mut one, mut wire) = duplex(4096);
    let mut bare = Bare::new();
    let dialer = tokio::spawn(async move {
        shake_hands(&mut one, Role::Dialer, &credentials(1), &settings()).await
    });
    let (_, hello) = Hello::read(&mut wire).await.unwrap();
    bare.send(&hello).await;
    let (_, answer) = Hello::read(&mut bare.stream).await.unwrap();
    wire.write_all(&answer).await.unwrap();
    let mut proof = [0; 32];
    wire.read_exact(&mut proof).await.unwrap();
    bare.send(&proof).await;
    let mut answer = [0; 32];
    bare.stream.read_exact(&mut answer).await.unwrap();
    wire.write_all(&answer).await.unwrap();
    assert!(dialer.await.unwrap().is_ok() && bare.listener.await.unwrap().is_ok());
    // The same bytes again.
    let mut bare = Bare::new();
    bare.send(&[&hello[..], &proof].concat()).await;
    let (said, met) = bare.end().await;
    assert!(matches!(met, Err(Failure::WrongSecret)), "{met:?}");
    assert_eq!(said, [0; 32], "it proves nothing to who has proved nothing");
}

#[tokio::test]
async fn a_node_is_not_fooled_by_its_own_echo() {
    let (mut one, other) = duplex(4096);
    let (mut from, mut to) = tokio::io::split(other);
    let echo = tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
    let met = shake_hands(&mut one, Role::Dialer, &credentials(1), &settings()).await;
    assert!(matches!(met, Err(Failure::WrongSecret)), "{met:?}");
    drop(one);
    echo.await.unwrap().unwrap();
}

#[test]
fn the_bytes_are_those_of_the_documentation() {
    let bytes = |hex: &str| -> Vec<u8> {
        let pairs = hex.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    };
    let hello = |id, nonce| {
        let settings = Settings { max_body: 0x0102_0304, ..Settings::default() };
        Hello::new(&credentials(id).of_cluster(0x0908), &settings, [nonce; 32]).encode()
    };
    let (dialer, listener) = (hello(1, 0xaa), hello(2, 0xbb));
    let expected = [
        "6c617264657200",
        "01",
        "4400",
        "04030201",
        "d0070000",
        "0100000000000000",
        &"aa".repeat(32),
        "0809000000000000",
        "04",
        "74657374",
        "06",
        "6e6f64652d31",
    ];
    assert_eq!(dialer, bytes(&expected.concat()));
    let derive = |purpose| credentials(1).secret.derive(purpose, &dialer, &listener);
    let secrets =
        [Purpose::DialerProof, Purpose::ListenerProof, Purpose::DialerKey, Purpose::ListenerKey]
            .map(|purpose| derive(purpose).to_hex());
    // These are what Python's blake3 has for them.
    let expected = [
        "b5f2cf9c7821cd2b8ab78040f908ce41ba21e3f3c62ec2ecace725642c56ea4e",
        "0db53fc52e2344994fee5851f6664ce38f30236e9a918656311fcdf89376c3c4",
        "b8f1450e4c738e517e39dd421e6b2034ccfc12dc6b1db65138349f0a4b9b147f",
        "177b9e23abe4e1519bb6c43a632dd54ae26198d22954c851da32c96fd851ea8b",
    ];
    assert_eq!(secrets.map(|secret| secret.to_string()), expected);
    let frame = crate::frame::Frame { call: 0x0807, kind: 9, body: "body".into() };
    let mut seal = Seal::new(derive(Purpose::DialerKey));
    let header = frame.header();
    assert_eq!(header[..], bytes("1d000000070800000000000009"));
    assert_eq!(seal.tag(&[&header, &frame.body])[..], bytes("7f57aaed90383db70990a3ef409e19f4"));
    assert_eq!(seal.tag(&[&header, &frame.body])[..], bytes("65338ea4e6d170bce3f5db03e0bc04aa"));
}
