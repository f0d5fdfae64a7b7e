//! The side that answers.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::complaints::Complaints;
use crate::credentials::{Credentials, PeerId};
use crate::failure::Failure;
use crate::handshake::{Role, Session, shake_hands};
use crate::settings::Settings;

mod connection;
mod desk;

pub(crate) use desk::Answer;

/// What answers calls.
pub trait Handler: Send + Sync + 'static {
    /// Answers a call of `peer`. This is called in the order in which the calls came; what is then
    /// awaited is so for many calls at the same time, in no order.
    ///
    /// The future is dropped when the connection is lost, or when serving ends and it takes too long:
    /// what must not stop half-way belongs into a task of its own. If it panics, the outcome is
    /// unknown to the caller.
    fn handle(
        self: Arc<Self>,
        peer: PeerId,
        kind: u8,
        body: Bytes,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + 'static;
}

/// Why a handler does not do what it was asked, in words for the caller. They are cut at the longest
/// body that the caller takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

/// Lets `handler` answer the calls of nodes that know the secret, until `shutdown` is ready.
///
/// Then it accepts no more connections and reads no more calls, and returns when those in hand are
/// answered, or their time is over. Nothing that it has spawned outlives it.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    me: Credentials,
    handler: Arc<H>,
    settings: Settings,
    shutdown: impl Future<Output = ()>,
) {
    let shared = Arc::new((me, settings));
    let settings = &shared.1;
    let (stop, stopped) = watch::channel(false);
    let mut strangers = Strangers::default();
    let mut peers = JoinSet::new();
    let mut complaints = Complaints::default();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => strangers.receive(stream, address, &shared),
                Err(error) => refrain(&error).await,
            },
            Some(met) = strangers.meetings.join_next() => match met {
                Ok((address, Ok((stream, session)))) => {
                    let (handler, stopped) = (Arc::clone(&handler), stopped.clone());
                    let shared = Arc::clone(&shared);
                    peers.spawn(async move {
                        let peer = session.peer.clone();
                        info!("{address}: {peer} is connected");
                        let ended = connection::answer(stream, session, handler, &shared.1, stopped);
                        match ended.await {
                            Ok(()) | Err(Failure::Closed) => info!("{address}: {peer} is gone"),
                            Err(failure) => warn!("{address}: lost {peer}: {failure}"),
                        }
                    });
                }
                // Port scans and health checks are not worth more.
                Ok((address, Err(Failure::Closed))) => {
                    debug!("{address}: gone before it said who it is");
                }
                Ok((address, Err(failure))) => {
                    if let Some(untold) = complaints.due(&failure, Instant::now()) {
                        warn!(untold, "{address}: refused: {failure}");
                    }
                }
                Err(_) => debug!("a stranger had to make way"),
            },
            Some(_) = peers.join_next() => {}
        }
    }
    drop(listener);
    strangers.meetings.shutdown().await;
    // Nobody listens only if nobody is connected.
    let _ = stop.send(true);
    let all = async { while peers.join_next().await.is_some() {} };
    if timeout(settings.drain_timeout, all).await.is_err() {
        warn!(connections = peers.len(), "closed before they were done");
    }
    peers.shutdown().await;
}

/// A failed accept: a lack of descriptors or memory will not be over at once, and asking again
/// meanwhile would only burn the processor.
async fn refrain(error: &io::Error) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
        return;
    }
    warn!(%error, "a connection could not be accepted");
    sleep(Duration::from_millis(100)).await;
}

/// What comes of a meeting.
type Met = Result<(TcpStream, Session), Failure>;

/// Connections that have not proved anything yet.
#[derive(Default)]
struct Strangers {
    meetings: JoinSet<(SocketAddr, Met)>,
    by_age: VecDeque<AbortHandle>,
}

impl Strangers {
    fn receive(
        &mut self,
        mut stream: TcpStream,
        address: SocketAddr,
        shared: &Arc<(Credentials, Settings)>,
    ) {
        self.by_age.retain(|meeting| !meeting.is_finished());
        // A peer needs a round trip; those that stay for longer make way for it.
        if self.by_age.len() >= shared.1.max_strangers
            && let Some(oldest) = self.by_age.pop_front()
        {
            oldest.abort();
        }
        let shared = Arc::clone(shared);
        self.by_age.push_back(self.meetings.spawn(async move {
            let (me, settings) = &*shared;
            let met = async {
                stream.set_nodelay(true)?;
                let session = shake_hands(&mut stream, Role::Listener, me, settings).await?;
                Ok((stream, session))
            };
            (address, met.await)
        }));
    }
}
