//! All items of a MemcacheDB, in the order of their keys.
//!
//! `rget START END LEFT_OPEN RIGHT_OPEN MAX` answers as `get` does, with the items between two keys. A
//! page begins behind the last key of the one before. MemcacheDB takes 100 items in a page at most, and
//! keeps no exptimes.

use larder_protocol::MAX_KEY_LEN;
use larder_protocol::response::Response;

use super::Importer;
use super::source::{Source, Value, value};
use crate::failure::Failure;

/// Has all items taken.
pub(super) async fn items(source: &mut Source, importer: &mut Importer) -> Result<(), Failure> {
    let mut last: Option<Vec<u8>> = None;
    loop {
        let start = last.as_deref().unwrap_or(FIRST);
        let mut text = b"rget ".to_vec();
        text.extend_from_slice(start);
        text.push(b' ');
        text.extend_from_slice(&[END; MAX_KEY_LEN]);
        // From the first key on, then behind the last that came.
        text.extend_from_slice(if last.is_none() { b" 0 0 100\r\n" } else { b" 1 0 100\r\n" });
        source.ask(&text).await?;
        let mut came = false;
        let is_first = last.is_none();
        let answered = |response: Response<'_>| {
            value(response).map_err(|why| if is_first { format!("{NEITHER}: {why}") } else { why })
        };
        while let Some(Value { key, client_flags, data }) = source.answer(answered).await? {
            if last.as_ref().is_some_and(|last| *last >= key) {
                return Err(source.wrong("its keys are in no order: it would never come to an end"));
            }
            importer.take(&key, &data, client_flags, 0).await?;
            (last, came) = (Some(key), true);
        }
        if !came {
            return Ok(());
        }
    }
}

/// What is said of a server that knows no such command either.
const NEITHER: &str = "it can list its keys neither by lru_crawler metadump, as memcached from 1.4.31 on, \
                       nor by rget, as MemcacheDB";
/// Before all keys that a command can name, and behind them.
const FIRST: &[u8] = b"\x01";
const END: u8 = 0xff;
