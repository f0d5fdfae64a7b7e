//! A node that does what a test says, step by step.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::builder::Builder;
use crate::client::Client;

/// No step of a test takes this long, unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A listening node.
pub(crate) struct FakeNode {
    listener: TcpListener,
}

impl FakeNode {
    pub(crate) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    /// The listener without its runtime.
    pub(crate) fn into_std(self) -> std::net::TcpListener {
        self.listener.into_std().unwrap()
    }

    pub(crate) fn from_std(listener: std::net::TcpListener) -> Self {
        Self { listener: TcpListener::from_std(listener).unwrap() }
    }

    pub(crate) fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// A builder with this node alone, patient enough for a slow machine.
    pub(crate) fn builder(&self) -> Builder {
        Client::builder().node(self.address()).timeout(PATIENCE).connect_timeout(PATIENCE)
    }

    /// The next connection, not yet greeted.
    pub(crate) async fn accept_silently(&self) -> Peer {
        let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await;
        Peer { stream: accepted.expect("nobody connects").unwrap().0 }
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> Peer {
        let mut peer = self.accept_silently().await;
        peer.expect("mn\r\n").await;
        peer.send("MN\r\n").await;
        peer
    }
}

/// An address where nobody listens, for as long as it is held.
pub(crate) struct DeadNode {
    socket: TcpSocket,
}

impl DeadNode {
    pub(crate) fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self { socket }
    }

    /// Listens from now on.
    pub(crate) fn revive(self) -> FakeNode {
        FakeNode { listener: self.socket.listen(16).unwrap() }
    }

    pub(crate) fn address(&self) -> String {
        self.socket.local_addr().unwrap().to_string()
    }
}

/// A node of a cluster, which tells of all of it.
pub(crate) struct Member {
    address: String,
    told: watch::Sender<String>,
    asked: watch::Receiver<usize>,
    greeted: mpsc::UnboundedReceiver<Peer>,
    serving: JoinHandle<()>,
}

impl Member {
    pub(crate) async fn start() -> Self {
        let node = FakeNode::start().await;
        let address = node.address();
        let (told, telling) = watch::channel("ERROR\r\n".to_owned());
        let (asking, asked) = watch::channel(0);
        let (greeting, greeted) = mpsc::unbounded_channel();
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = node.listener.accept().await {
                let mut first = [0; 2];
                stream.read_exact(&mut first).await.unwrap();
                let mut peer = Peer { stream };
                if &first == b"co" {
                    peer.expect("nfig get cluster\r\n").await;
                    let list = telling.borrow().clone();
                    peer.send(list).await;
                    asking.send_modify(|asked| *asked += 1);
                } else {
                    peer.expect("\r\n").await;
                    peer.send("MN\r\n").await;
                    greeting.send(peer).ok();
                }
            }
        });
        Self { address, told, asked, greeted, serving }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Tells of nodes, each as `host|ip|port`, from now on.
    pub(crate) fn tell(&self, version: u32, nodes: &[String]) {
        let text = format!("{version}\n{}\n", nodes.join(" "));
        self.told.send_replace(format!("CONFIG cluster 0 {}\r\n{text}\r\nEND\r\n", text.len()));
    }

    /// As it stands in a list.
    pub(crate) fn triple(&self) -> String {
        self.address.replace(':', "|127.0.0.1|")
    }

    /// Waits until it has been asked so many times more.
    pub(crate) async fn asked(&mut self, more: usize) {
        let before = *self.asked.borrow();
        let asked = self.asked.wait_for(|asked| *asked >= before + more);
        tokio::time::timeout(PATIENCE, asked).await.expect("nobody asks").unwrap();
    }

    /// The next connection for requests.
    pub(crate) async fn accept(&mut self) -> Peer {
        let accepted = tokio::time::timeout(PATIENCE, self.greeted.recv()).await;
        accepted.expect("nobody connects").unwrap()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The node's end of a connection.
pub(crate) struct Peer {
    stream: TcpStream,
}

impl Peer {
    /// Reads exactly this.
    pub(crate) async fn expect(&mut self, expected: &str) {
        let mut read = vec![0; expected.len()];
        let done = tokio::time::timeout(PATIENCE, self.stream.read_exact(&mut read)).await;
        done.unwrap_or_else(|_| panic!("{expected:?} does not come")).unwrap();
        assert_eq!(read.escape_ascii().to_string(), expected.as_bytes().escape_ascii().to_string());
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends, whether or not the client is still there.
    pub(crate) async fn send_into_the_void(&mut self, bytes: &str) {
        let _ = self.stream.write_all(bytes.as_bytes()).await;
    }

    /// Waits until the client has closed the connection.
    pub(crate) async fn expect_close(&mut self) {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await;
        // Unread answers make it a reset.
        let _ = closed.expect("the client keeps the connection");
    }

    /// Answers this many gets, each with its own key as the value.
    pub(crate) async fn echo_keys(self, gets: usize) {
        let (from, mut to) = self.stream.into_split();
        let mut lines = BufReader::new(from).lines();
        for _ in 0..gets {
            let line = lines.next_line().await.unwrap().unwrap();
            let (key, opaque) = line.strip_prefix("mg ").unwrap().split_once(" v f c ").unwrap();
            let answer = format!("VA {} {opaque}\r\n{key}\r\n", key.len());
            to.write_all(answer.as_bytes()).await.unwrap();
        }
    }
}
