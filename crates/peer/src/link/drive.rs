//! The task of a link.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::queue::Shared;
use crate::backoff::Backoff;
use crate::complaints::Complaints;
use crate::credentials::Credentials;
use crate::failure::Failure;
use crate::handshake::{Role, Session, shake_hands};
use crate::reader::Reader;
use crate::settings::Settings;
use crate::writer::write;

/// Keeps the link connected until it is closed.
pub(super) async fn drive(
    shared: Arc<Shared>,
    node: Option<u64>,
    me: Credentials,
    settings: Settings,
) {
    // Decides what is outstanding also if the runtime drops this task.
    let _closer = Closer(&shared);
    tokio::select! {
        never = keep(&shared, node, &me, &settings) => match never {},
        () = shared.closing.notified() => {}
    }
}

async fn keep(
    shared: &Shared,
    node: Option<u64>,
    me: &Credentials,
    settings: &Settings,
) -> Infallible {
    let mut backoff = Backoff::new(settings.backoff, settings.seed.unwrap_or_else(rand::random));
    let mut complaints = Complaints::default();
    // The first attempt is due.
    backoff.after(None);
    loop {
        let (failure, lasted) = match connect(&shared.address, node, me, settings).await {
            Ok((stream, session)) => {
                info!("{}: connected to {}", shared.address, session.peer);
                let since = Instant::now();
                shared.up(&session);
                (exchange(shared, stream, session, settings).await, Some(since.elapsed()))
            }
            Err(failure) => (failure, None),
        };
        shared.lost(&failure);
        if let Some(untold) = complaints.due(&failure, Instant::now().into_std()) {
            warn!(untold, "{}: {failure}", shared.address);
        }
        let delay = backoff.after(lasted);
        if !delay.is_zero() {
            shared.down();
            sleep(delay).await;
        }
    }
}

async fn connect(
    address: &str,
    node: Option<u64>,
    me: &Credentials,
    settings: &Settings,
) -> Result<(TcpStream, Session), Failure> {
    let limit = settings.connect_timeout;
    let connected = timeout(limit, TcpStream::connect(address)).await;
    let mut stream = connected.map_err(|_| Failure::Late(limit))??;
    stream.set_nodelay(true)?;
    let session = shake_hands(&mut stream, Role::Dialer, me, settings).await?;
    match node {
        Some(wanted) if wanted != session.peer.id => {
            Err(Failure::WrongNode { wanted, found: session.peer })
        }
        _ => Ok((stream, session)),
    }
}

/// Sends calls and takes answers until that fails.
async fn exchange(
    shared: &Shared,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    session: Session,
    settings: &Settings,
) -> Failure {
    let (from, to) = split(stream);
    let reading = async {
        let mut reader = Reader::new(from, session.receiving, settings);
        loop {
            match reader.next().await {
                Ok(frame) => shared.deliver(frame),
                Err(failure) => return failure,
            }
        }
    };
    let take = |batch: &mut _| shared.take(batch);
    tokio::select! {
        failure = reading => failure,
        ended = write(to, session.sending, session.beat, &shared.wake, take) => {
            ended.err().map_or(Failure::Closed, Failure::from)
        }
    }
}

/// Decides what is outstanding when dropped.
struct Closer<'s>(&'s Shared);

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        self.0.lost(&Failure::LinkClosed);
        self.0.down();
    }
}
