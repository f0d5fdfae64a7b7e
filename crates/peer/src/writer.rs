//! From frames to bytes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use crate::frame::{Frame, SHARED_FROM};
use crate::seal::Seal;

/// Writes what `take` gives, in one go, each time that `wake` tells of something, and a sign of life
/// whenever there was nothing for as long as `beat`.
///
/// Ends when `take` gives nothing and says that there will be no more.
pub(crate) async fn write(
    mut to: impl AsyncWrite + Unpin,
    mut seal: Seal,
    beat: Duration,
    wake: &Notify,
    mut take: impl FnMut(&mut Vec<Frame>) -> More,
) -> io::Result<()> {
    let mut frames = Vec::new();
    let mut batch = Batch::default();
    let mut beats = interval(beat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let more = take(&mut frames);
        if frames.is_empty() {
            if more == More::Never {
                return to.shutdown().await;
            }
            tokio::select! {
                () = wake.notified() => continue,
                _ = beats.tick() => frames.push(Frame::BEAT),
            }
        }
        for frame in frames.drain(..) {
            batch.push(&frame, &mut seal);
        }
        batch.cut();
        to.write_all_buf(&mut batch.parts).await?;
        to.flush().await?;
    }
}

/// Whether there may be more to write later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum More {
    Maybe,
    Never,
}

/// Bytes for one write: long bodies as they are, the rest gathered between them.
#[derive(Debug, Default)]
struct Batch {
    parts: Parts,
    gathered: BytesMut,
}

impl Batch {
    fn push(&mut self, frame: &Frame, seal: &mut Seal) {
        let header = frame.header();
        self.gathered.extend_from_slice(&header);
        if frame.body.len() < SHARED_FROM {
            self.gathered.extend_from_slice(&frame.body);
        } else {
            self.cut();
            self.parts.0.push_back(frame.body.clone());
        }
        self.gathered.extend_from_slice(&seal.tag(&[&header, &frame.body]));
    }

    /// Makes a part of what has been gathered.
    fn cut(&mut self) {
        self.parts.0.push_back(self.gathered.split().freeze());
    }
}

/// None of them is empty.
#[derive(Debug, Default)]
struct Parts(VecDeque<Bytes>);

impl Buf for Parts {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn has_remaining(&self) -> bool {
        !self.0.is_empty()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], Bytes::as_ref)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.0);
        filled.map(|(slice, part)| *slice = IoSlice::new(part)).count()
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(part) = self.0.front_mut() {
            if count < part.len() {
                part.advance(count);
                return;
            }
            count -= part.len();
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll};

    use super::*;

    /// Takes `room` bytes at a time.
    #[derive(Clone, Default)]
    struct Sink {
        room: usize,
        writes: Arc<Mutex<Vec<Vec<u8>>>>,
    }

    impl AsyncWrite for Sink {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut write: Vec<u8> =
                slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            write.truncate(self.room);
            let len = write.len();
            self.writes.lock().unwrap().push(write);
            Poll::Ready(Ok(len))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_waits_goes_out_by_one_write_whatever_its_length() {
        let bodies = [0, 150, SHARED_FROM, 150, SHARED_FROM + 1, SHARED_FROM, 1];
        let frames: Vec<_> = (1..)
            .zip(bodies)
            .map(|(call, len)| Frame { call, kind: 0, body: vec![b'x'; len].into() })
            .collect();
        let written = async |room| {
            let sink = Sink { room, ..Sink::default() };
            let mut left = Some(frames.clone());
            let take = |batch: &mut Vec<Frame>| {
                batch.append(&mut left.take().unwrap_or_default());
                More::Never
            };
            let seal = Seal::new(blake3::hash(b"a key"));
            write(sink.clone(), seal, Duration::from_secs(1), &Notify::new(), take).await.unwrap();
            Arc::try_unwrap(sink.writes).unwrap().into_inner().unwrap()
        };
        let whole = written(usize::MAX).await;
        assert_eq!(whole.len(), 1);
        assert_eq!(whole[0].len(), bodies.iter().sum::<usize>() + bodies.len() * 29);
        assert!(written(1000).await.concat() == whole[0], "it goes on where a write ended");
    }
}
