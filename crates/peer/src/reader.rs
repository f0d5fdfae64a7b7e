//! From bytes to frames.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::failure::Failure;
use crate::frame::{Decoded, Decoder, Frame};
use crate::seal::Seal;
use crate::settings::Settings;

/// The least room made for one read, in bytes.
const READ_ROOM: usize = 64 << 10;

/// Reads frames.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    from: R,
    buffer: BytesMut,
    decoder: Decoder,
    patience: Duration,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(from: R, seal: Seal, settings: &Settings) -> Self {
        let decoder = Decoder::new(seal, settings.max_body);
        Self { from, buffer: BytesMut::new(), decoder, patience: settings.patience }
    }

    /// The next frame that is not a sign of life.
    pub(crate) async fn next(&mut self) -> Result<Frame, Failure> {
        loop {
            match self.decoder.decode(&mut self.buffer)? {
                Decoded::Frame(Frame { call: 0, .. }) => {}
                Decoded::Frame(frame) => return Ok(frame),
                Decoded::Missing(missing) => {
                    self.buffer.reserve(missing.max(READ_ROOM));
                    let read = timeout(self.patience, self.from.read_buf(&mut self.buffer)).await;
                    if read.map_err(|_| Failure::Silent(self.patience))?? == 0 {
                        return Err(Failure::Closed);
                    }
                }
            }
        }
    }
}
