//! A server over a real socket, and a backend that answers at once, later, or when it is told.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use larder_protocol::{Form, Hit, Op, Outcome, Seconds, Store, Value};
use larder_server::{Backend, Discovery, Listener, Session, Settings, StatsGroup, run};
use tokio::sync::oneshot;

/// How long a condition may take to become true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Keys that begin with `later` are answered when [`Fake::answer`] says so, in any order.
#[derive(Default)]
pub(crate) struct Fake {
    items: Mutex<HashMap<Vec<u8>, Value<'static>>>,
    pub(crate) waiting: Mutex<Vec<(Vec<u8>, oneshot::Sender<Outcome<'static>>)>>,
    /// The cluster it is one of, if any.
    pub(crate) cluster: Mutex<Option<Discovery>>,
}

impl Fake {
    /// Waits until a command on `key` waits, and answers it.
    pub(crate) fn answer(&self, key: &str, outcome: Outcome<'static>) {
        let sender = until("the command comes", || {
            let mut waiting = self.waiting.lock().unwrap();
            let found = waiting.iter().position(|(waiting, _)| waiting == key.as_bytes())?;
            Some(waiting.remove(found).1)
        });
        // The connection may be gone.
        let _ = sender.send(outcome);
    }
}

#[derive(Clone)]
struct FakeSession(Arc<Fake>);

type Answer = Pin<Box<dyn Future<Output = Outcome<'static>> + Send>>;

impl Session for FakeSession {
    type Pending = Answer;
    type Landing = Infallible;

    fn execute<R: FnOnce(Outcome<'_>)>(
        &mut self,
        key: &[u8],
        op: &Op<'_>,
        _form: &Form<'_>,
        _landed: Option<Infallible>,
        now: Seconds,
        respond: R,
    ) -> Option<Answer> {
        if key.starts_with(b"later") {
            let (sender, receiver) = oneshot::channel();
            self.0.waiting.lock().unwrap().push((key.to_vec(), sender));
            return Some(Box::pin(async { receiver.await.unwrap_or(Outcome::Failed("dropped")) }));
        }
        let mut items = self.0.items.lock().unwrap();
        let current = items
            .get(key)
            .map(|value| larder_protocol::Item { header: header(now), value: value.clone() });
        if let Op::Store(Store { value, .. }) = op {
            items.insert(key.to_vec(), Value::Slice(value).into_owned());
        }
        drop(items);
        respond(larder_protocol::decide(current, op, now, || 1).outcome);
        None
    }

    fn refused(&mut self, key: &[u8], _now: Seconds) {
        self.0.items.lock().unwrap().remove(key);
    }

    fn flush_all(&mut self, _at: Seconds, _now: Seconds) -> Option<Answer> {
        self.0.items.lock().unwrap().clear();
        None
    }
}

pub(crate) fn header(now: Seconds) -> larder_protocol::Header {
    larder_protocol::Header {
        cas: 1,
        client_flags: 0,
        exptime: 0,
        last_access: now,
        marks: larder_protocol::Marks::default(),
    }
}

struct FakeBackend(Arc<Fake>);

impl Backend for FakeBackend {
    type Worker = ();
    type Session = FakeSession;

    fn worker(&self) {}

    fn session(&self, (): &()) -> FakeSession {
        FakeSession(Arc::clone(&self.0))
    }

    fn stats(&self, group: StatsGroup, _now: Seconds, emit: &mut dyn FnMut(&str, &str)) {
        if let (StatsGroup::Cluster, Some(cluster)) = (group, &*self.0.cluster.lock().unwrap()) {
            emit("version", &cluster.version.to_string());
        }
    }

    fn list(&self, _most: usize, _now: Seconds, _emit: &mut dyn FnMut(&[u8], usize, Seconds)) {}

    fn lend(&self, _change: i64, _now: Seconds) {}

    fn reset_stats(&self) {}

    fn set_memory_limit(&self, _bytes: u64, _now: Seconds) -> Result<(), &'static str> {
        Ok(())
    }

    fn discovery(&self) -> Option<Discovery> {
        self.0.cluster.lock().unwrap().clone()
    }
}

/// A running server, stopped when it is dropped.
pub(crate) struct Running {
    address: SocketAddr,
    pub(crate) fake: Arc<Fake>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(settings: Settings) -> Self {
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), 128).unwrap();
        let address = listener.tcp_address().unwrap();
        let fake = Arc::new(Fake::default());
        let backend = Arc::new(FakeBackend(Arc::clone(&fake)));
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let shutdown = async {
                let _ = stopped.await;
            };
            run(vec![listener], backend, settings, shutdown).unwrap();
        });
        Self { address, fake, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    pub(crate) fn tell_to_stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tell_to_stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn one_worker() -> Settings {
    Settings { workers: 1, drain_timeout: PATIENCE, ..Settings::default() }
}

pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn expect(stream: &mut TcpStream, expected: &str) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), expected);
}

pub(crate) fn rest(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

pub(crate) fn hit(value: &'static str) -> Outcome<'static> {
    Outcome::Hit(Hit {
        before: header(0),
        exptime: 0,
        created: false,
        won: false,
        value: Value::Slice(value.as_bytes()),
    })
}
