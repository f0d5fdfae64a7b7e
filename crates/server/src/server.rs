//! A server: an acceptor, its workers, and their end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};
use tracing::{debug, info, warn};

use crate::backend::Backend;
use crate::clock;
use crate::connection::serve;
use crate::listener::{Kind, Listener, tcp_address};
use crate::registry::Entry;
use crate::settings::{Overflow, Settings};
use crate::shared::{Shared, Worker};

/// Serves `backend` on `listeners` until `shutdown` is ready or a client is allowed to ask for it,
/// then until every connection is answered what it is owed, or the drain timeout is over.
///
/// It blocks the thread it is called on, which accepts; each worker has a thread of its own.
///
/// # Errors
///
/// No thread or no event queue could be had from the system. Connections' errors are their own.
pub fn run<B: Backend>(
    listeners: Vec<Listener>,
    backend: Arc<B>,
    settings: Settings,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let addresses = listeners.iter().map(Listener::address).collect();
    let shared = Arc::new(Shared::new(backend, settings, addresses));
    let crew = Crew::start(&shared)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let mut acceptors = JoinSet::new();
        for listener in listeners {
            acceptors.spawn(accept(Door::open(listener)?, Arc::clone(&shared), crew.desks.clone()));
        }
        if let Some(idle) = shared.settings.idle_timeout {
            acceptors.spawn(dismiss_idle(Arc::clone(&shared), idle));
        }
        tokio::select! {
            () = shutdown => {}
            () = shared.stop.notified() => {}
        }
        // Listeners close first, so that a client that is sent away finds no open door.
        acceptors.shutdown().await;
        drain(&shared).await;
        Ok::<_, io::Error>(())
    })?;
    crew.join();
    Ok(())
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// The worker threads.
struct Crew {
    desks: Vec<UnboundedSender<Guest>>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// A connection on its way to a worker.
struct Guest {
    stream: Stream,
    entry: Entry,
    seat: Seat,
}

enum Stream {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// A connection counted among a worker's.
struct Seat(Arc<Worker>);

impl Seat {
    fn take(worker: &Arc<Worker>) -> Self {
        worker.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(worker))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Crew {
    fn start<B: Backend>(shared: &Arc<Shared<B>>) -> io::Result<Self> {
        let mut crew = Self { desks: Vec::new(), threads: Vec::new() };
        for (number, worker) in shared.workers.iter().enumerate() {
            let bell = Arc::clone(&worker.bell);
            let (desk, guests) = mpsc::unbounded_channel();
            let runtime = runtime()?;
            let shared = Arc::clone(shared);
            let thread =
                thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                    runtime.spawn(async move { bell.listen().await });
                    runtime.block_on(work(guests, shared));
                })?;
            crew.desks.push(desk);
            crew.threads.push(thread);
        }
        Ok(crew)
    }

    /// Lets the workers go and waits for them.
    fn join(self) {
        drop(self.desks);
        for thread in self.threads {
            if thread.join().is_err() {
                warn!("a worker ended by a panic");
            }
        }
    }
}

/// Serves the connections that come, until no more can come. What is still connected then has had
/// its time.
async fn work<B: Backend>(mut guests: UnboundedReceiver<Guest>, shared: Arc<Shared<B>>) {
    let part = Arc::new(shared.backend.worker());
    while let Some(Guest { stream, entry, seat }) = guests.recv().await {
        let (shared, part) = (Arc::clone(&shared), Arc::clone(&part));
        tokio::spawn(async move {
            let worker = Arc::clone(&seat.0);
            match stream {
                Stream::Tcp(stream) => match TcpStream::from_std(stream) {
                    Ok(stream) => serve(stream, entry, shared, worker, part).await,
                    Err(error) => warn!(%error, "a connection could not be watched"),
                },
                Stream::Unix(stream) => match UnixStream::from_std(stream) {
                    Ok(stream) => serve(stream, entry, shared, worker, part).await,
                    Err(error) => warn!(%error, "a connection could not be watched"),
                },
            }
        });
    }
}

/// A listener in the acceptor's event queue.
enum Door {
    Tcp(TcpListener),
    Unix(
        UnixListener,
        #[expect(dead_code, reason = "removes the file when dropped")] crate::listener::SocketFile,
    ),
}

impl Door {
    fn open(listener: Listener) -> io::Result<(Self, Arc<str>)> {
        let address = listener.address().into();
        let door = match listener.kind {
            Kind::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
            Kind::Unix(listener, file) => Self::Unix(UnixListener::from_std(listener)?, file),
        };
        Ok((door, address))
    }

    async fn accept(&self) -> io::Result<(Stream, String)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                socket2::SockRef::from(&stream).set_keepalive(true)?;
                Ok((Stream::Tcp(stream.into_std()?), tcp_address(peer)))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream.into_std()?), "unix:?".to_owned()))
            }
        }
    }
}

/// Accepts connections and deals each to the worker that has the fewest.
async fn accept<B: Backend>(
    (door, listener): (Door, Arc<str>),
    shared: Arc<Shared<B>>,
    desks: Vec<UnboundedSender<Guest>>,
) {
    loop {
        wait_for_room(&shared).await;
        let (stream, peer) = match door.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                refrain(&error).await;
                continue;
            }
        };
        if shared.registry.len() >= shared.settings.max_connections
            && shared.settings.overflow == Overflow::Refuse
        {
            shared.rejected.fetch_add(1, Ordering::Relaxed);
            debug!(%peer, "refused: too many connections");
            stream.refuse();
            continue;
        }
        // Another listener may have taken the last place meanwhile.
        wait_for_room(&shared).await;
        let entry = shared.registry.enter(peer, Arc::clone(&listener), clock::now());
        let fewest = shared
            .workers
            .iter()
            .zip(&desks)
            .min_by_key(|(worker, _)| worker.connections.load(Ordering::Relaxed));
        if let Some((worker, desk)) = fewest {
            // It fails only when the workers are gone, and then so is the server.
            let _ = desk.send(Guest { stream, entry, seat: Seat::take(worker) });
        }
    }
}

/// Where connections past the limit are to wait: waits until there is room for one.
async fn wait_for_room<B: Backend>(shared: &Shared<B>) {
    let limit = shared.settings.max_connections;
    if shared.settings.overflow == Overflow::Refuse || shared.registry.len() < limit {
        return;
    }
    shared.listen_disabled.fetch_add(1, Ordering::Relaxed);
    shared.accepting.store(false, Ordering::Relaxed);
    shared.registry.fewer_than(limit).await;
    shared.accepting.store(true, Ordering::Relaxed);
}

/// A failed accept: a client that is gone again is nothing; a lack of descriptors or memory will
/// not be over at once, and asking again meanwhile would only burn the processor.
async fn refrain(error: &io::Error) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
        return;
    }
    warn!(%error, "a connection could not be accepted");
    sleep(Duration::from_millis(100)).await;
}

/// Closes connections that have asked for nothing for `idle`.
async fn dismiss_idle<B: Backend>(shared: Arc<Shared<B>>, idle: Duration) {
    let mut seconds = interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        let now = clock::now();
        for peer in shared.registry.peers() {
            if Duration::from_secs(peer.idle(now).into()) >= idle {
                peer.find_idle();
            }
        }
    }
}

/// Sends every client away and waits until they are gone, as long as patience lasts.
async fn drain<B: Backend>(shared: &Shared<B>) {
    info!(connections = shared.registry.len(), "stopping");
    for peer in shared.registry.peers() {
        peer.dismiss();
    }
    if timeout(shared.settings.drain_timeout, shared.registry.fewer_than(1)).await.is_err() {
        warn!(connections = shared.registry.len(), "closed before they were done");
    }
}

impl Stream {
    /// Says that there are too many connections, and closes.
    fn refuse(self) {
        let line = b"ERROR Too many open connections\r\n";
        // It fits any socket's buffer; a client that is gone does not miss it.
        let _ = match self {
            Self::Tcp(mut stream) => io::Write::write(&mut stream, line),
            Self::Unix(mut stream) => io::Write::write(&mut stream, line),
        };
    }
}
