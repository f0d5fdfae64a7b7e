//! One peer, served.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Handler;
use super::desk::Desk;
use crate::failure::Failure;
use crate::handshake::Session;
use crate::reader::Reader;
use crate::settings::Settings;
use crate::writer::write;

/// Answers calls until the peer goes or `stopped` becomes true, and in that case those in hand.
pub(super) async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    session: Session,
    handler: Arc<impl Handler>,
    settings: &Settings,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let desk = Arc::new(Desk::new(settings, session.max_body));
    let (from, to) = split(stream);
    let reading = async {
        let mut handling = JoinSet::new();
        let mut reader = Reader::new(from, session.receiving, settings);
        let calls = async {
            loop {
                let frame = reader.next().await?;
                while handling.try_join_next().is_some() {}
                let receipt = desk.admit(&frame).await;
                let handler = Arc::clone(&handler);
                let answer = handler.handle(session.peer.clone(), frame.kind, frame.body);
                handling.spawn(async move { receipt.answer(answer.await) });
            }
        };
        tokio::select! {
            ended = calls => return ended,
            // It fails when who would stop is gone, which is as good.
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        while handling.join_next().await.is_some() {}
        desk.close();
        // Until the peer has closed too: bytes that are unread when this side closes would have the
        // system take the last answers from it.
        while reader.next().await.is_ok() {}
        Ok::<_, Failure>(())
    };
    let writing = async {
        let take = |batch: &mut _| desk.take(batch);
        Ok(write(to, session.sending, session.beat, &desk.wake, take).await?)
    };
    tokio::try_join!(reading, writing)?;
    Ok(())
}
