//! How two nodes convince each other that they belong to the same cluster.

use std::time::Duration;

use blake3::Hash;
use rand::TryRng as _;
use rand::rngs::SysRng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::credentials::{Credentials, PeerId};
use crate::failure::Failure;
use crate::hello::Hello;
use crate::seal::Seal;
use crate::secret::Purpose;
use crate::settings::Settings;

/// Which side of a connection a node is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Dialer,
    Listener,
}

/// What the two have agreed on.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) peer: PeerId,
    pub(crate) sending: Seal,
    pub(crate) receiving: Seal,
    /// The longest body that the other side takes, in bytes.
    pub(crate) max_body: usize,
    /// How often the other side wants a sign of life.
    pub(crate) beat: Duration,
}

/// Meets the other side, in the time that the settings allow.
pub(crate) async fn shake_hands(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    role: Role,
    me: &Credentials,
    settings: &Settings,
) -> Result<Session, Failure> {
    let limit = settings.handshake_timeout;
    let met = timeout(limit, meet(stream, role, me, settings)).await;
    let met = met.unwrap_or(Err(Failure::Late(limit)));
    if met.is_err() {
        // Not longer than that: who does not close is no peer that could want to know.
        let _ = timeout(Duration::from_millis(100), part(stream)).await;
    }
    met
}

async fn meet(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    role: Role,
    me: &Credentials,
    settings: &Settings,
) -> Result<Session, Failure> {
    let mut nonce = [0; 32];
    SysRng.try_fill_bytes(&mut nonce).map_err(|error| Failure::Io(std::io::Error::other(error)))?;
    let sent = Hello::new(me, settings, nonce).encode();
    stream.write_all(&sent).await?;
    stream.flush().await?;
    let (hello, received) = Hello::read(stream).await?;
    if hello.cluster != me.cluster {
        let (ours, theirs) = (me.cluster.as_ref().into(), hello.cluster.as_ref().into());
        return Err(Failure::WrongCluster { ours, theirs });
    }
    if hello.cluster_id != me.cluster_id && hello.cluster_id != 0 && me.cluster_id != 0 {
        return Err(Failure::SecondCluster(hello.cluster.as_ref().into()));
    }
    let (dialer, listener) = match role {
        Role::Dialer => (sent, received),
        Role::Listener => (received, sent),
    };
    let derive = |purpose| me.secret.derive(purpose, &dialer, &listener);
    let (dialers, listeners) = (derive(Purpose::DialerProof), derive(Purpose::ListenerProof));
    let (sending, receiving) = match role {
        Role::Dialer => {
            show(stream, dialers).await?;
            check(stream, listeners).await?;
            (Purpose::DialerKey, Purpose::ListenerKey)
        }
        Role::Listener => {
            if let Err(failure) = check(stream, dialers).await {
                show(stream, Hash::from_bytes([0; 32])).await?;
                return Err(failure);
            }
            show(stream, listeners).await?;
            (Purpose::ListenerKey, Purpose::DialerKey)
        }
    };
    Ok(Session {
        sending: Seal::new(derive(sending)),
        receiving: Seal::new(derive(receiving)),
        max_body: usize::try_from(hello.max_body).unwrap_or(usize::MAX).min(settings.max_body),
        beat: (hello.patience() / 4).max(Duration::from_millis(1)),
        peer: hello.node,
    })
}

async fn show(to: &mut (impl AsyncWrite + Unpin), proof: Hash) -> Result<(), Failure> {
    to.write_all(proof.as_bytes()).await?;
    Ok(to.flush().await?)
}

async fn check(from: &mut (impl AsyncRead + Unpin), proof: Hash) -> Result<(), Failure> {
    let mut theirs = [0; 32];
    from.read_exact(&mut theirs).await?;
    // Hashes are compared in constant time.
    if proof == theirs { Ok(()) } else { Err(Failure::WrongSecret) }
}

/// Closes so that the other side learns why: when a connection is closed with bytes unread, the
/// system has the other side lose what it has not read itself.
async fn part(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests;
