//! What two nodes tell each other first.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::credentials::{Credentials, PeerId};
use crate::failure::Failure;
use crate::settings::Settings;

/// The version of the protocol.
pub(crate) const VERSION: u8 = 1;

const MAGIC: &[u8] = b"larder\0";

/// The longest that follows the length: two names of 255 bytes.
const MAX_LEN: usize = 56 + 2 * 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The longest body that the node takes, in bytes.
    pub(crate) max_body: u32,
    pub(crate) patience_ms: u32,
    pub(crate) node: PeerId,
    pub(crate) nonce: [u8; 32],
    pub(crate) cluster_id: u64,
    pub(crate) cluster: Arc<str>,
}

impl Hello {
    pub(crate) fn new(me: &Credentials, settings: &Settings, nonce: [u8; 32]) -> Self {
        Self {
            max_body: u32::try_from(settings.max_body).unwrap_or(u32::MAX),
            patience_ms: u32::try_from(settings.patience.as_millis()).unwrap_or(u32::MAX),
            node: me.node.clone(),
            nonce,
            cluster_id: me.cluster_id,
            cluster: Arc::clone(&me.cluster),
        }
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms.into())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(MAX_LEN);
        rest.put_u32_le(self.max_body);
        rest.put_u32_le(self.patience_ms);
        rest.put_u64_le(self.node.id);
        rest.put_slice(&self.nonce);
        rest.put_u64_le(self.cluster_id);
        for name in [&self.cluster, &self.node.name] {
            // `Credentials` has seen to it that they are no longer.
            rest.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
            rest.put_slice(name.as_bytes());
        }
        let mut hello = Vec::with_capacity(10 + rest.len());
        hello.put_slice(MAGIC);
        hello.put_u8(VERSION);
        hello.put_u16_le(u16::try_from(rest.len()).unwrap_or(u16::MAX));
        hello.append(&mut rest);
        hello
    }

    /// Reads a hello, and returns its bytes as well.
    pub(crate) async fn read(
        from: &mut (impl AsyncRead + Unpin),
    ) -> Result<(Self, Vec<u8>), Failure> {
        let mut bytes = vec![0; 8];
        from.read_exact(&mut bytes).await?;
        match bytes.split_last() {
            Some((&VERSION, MAGIC)) => {}
            Some((&version, MAGIC)) => return Err(Failure::WrongVersion(version)),
            _ => return Err(Failure::NotAPeer),
        }
        let len = from.read_u16_le().await?;
        if usize::from(len) > MAX_LEN {
            return Err(Failure::NotAPeer);
        }
        let mut rest = vec![0; len.into()];
        from.read_exact(&mut rest).await?;
        let hello = Self::decode(&rest).ok_or(Failure::NotAPeer)?;
        bytes.put_u16_le(len);
        bytes.append(&mut rest);
        Ok((hello, bytes))
    }

    fn decode(mut rest: &[u8]) -> Option<Self> {
        let max_body = rest.try_get_u32_le().ok()?;
        let patience_ms = rest.try_get_u32_le().ok()?;
        let id = rest.try_get_u64_le().ok()?;
        let mut nonce = [0; 32];
        rest.try_copy_to_slice(&mut nonce).ok()?;
        let cluster_id = rest.try_get_u64_le().ok()?;
        let cluster = decode_name(&mut rest)?;
        let name = decode_name(&mut rest)?;
        let node = PeerId { id, name };
        let whole = rest.is_empty();
        whole.then_some(Self { max_body, patience_ms, node, nonce, cluster_id, cluster })
    }
}

fn decode_name(rest: &mut &[u8]) -> Option<Arc<str>> {
    let len = rest.try_get_u8().ok()?;
    let name = rest.split_off(..len.into())?;
    Some(std::str::from_utf8(name).ok()?.into())
}
