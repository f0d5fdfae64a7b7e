//! All keys of a memcached, and their values.
//!
//! `lru_crawler metadump all`, from memcached 1.4.31 on, has a line for each item: its key, of which
//! some bytes are `%` and two digits, and among other things the second from which it is gone, or -1.
//! The values are asked for afterwards, so that the crawler need not wait for them.

use larder_protocol::encode::{Wishes, get_many, is_printable, meta};
use larder_protocol::response::{Flag, Response, Status};
use larder_protocol::{Fetch, Op, Seconds, parse_u32};

use super::Importer;
use super::source::{Source, Value, value};
use crate::failure::Failure;

/// A key, and the second from which its item is gone; 0 for never.
pub(super) type Found = (Vec<u8>, Seconds);

/// All keys; `None` if this server cannot list them so.
pub(super) async fn keys(source: &mut Source) -> Result<Option<Vec<Found>>, Failure> {
    source.ask(b"lru_crawler metadump all\r\n").await?;
    let mut keys = Vec::new();
    loop {
        let line = source.line().await?;
        if line == b"END" {
            return Ok(Some(keys));
        }
        if line.starts_with(b"key=") {
            let key = read(&line);
            keys.push(key.ok_or_else(|| source.wrong(&senseless(&line)))?);
        } else if line.starts_with(b"BUSY") {
            return Err(source.wrong("its crawler is busy: try again when that has ended"));
        } else if keys.is_empty() {
            return Ok(None);
        } else {
            return Err(source.wrong(&senseless(&line)));
        }
    }
}

/// Has the values of these keys taken. Gives how many were gone.
pub(super) async fn values(
    from: &str,
    keys: &[Found],
    importer: &mut Importer,
) -> Result<u64, Failure> {
    let mut source = Source::connect(from).await?;
    let mut gone = 0;
    for keys in keys.chunks(AT_ONCE) {
        let (plain, others): (Vec<_>, Vec<_>) = keys.iter().partition(|(key, _)| is_printable(key));
        gone += plain_values(&mut source, &plain, importer).await?;
        for (key, exptime) in others {
            let mut text = Vec::new();
            let fetch = Op::Fetch(Fetch { bump: false, ..Fetch::GET });
            let wishes = Wishes::VALUE.with(Wishes::CLIENT_FLAGS);
            meta(&mut text, key, &fetch, wishes, None)
                .map_err(|refused| source.wrong(&refused.to_string()))?;
            source.ask(&text).await?;
            let taken = match source.answer(meta_value).await? {
                Some((flags, value)) => importer.take(key, &value, flags, *exptime).await?,
                None => false,
            };
            gone += u64::from(!taken);
        }
    }
    Ok(gone)
}

/// Those of keys that any command takes.
async fn plain_values(
    source: &mut Source,
    keys: &[&Found],
    importer: &mut Importer,
) -> Result<u64, Failure> {
    if keys.is_empty() {
        return Ok(0);
    }
    let mut text = Vec::new();
    get_many(&mut text, keys.iter().map(|(key, _)| key.as_slice()), false)
        .map_err(|refused| source.wrong(&refused.to_string()))?;
    source.ask(&text).await?;
    let mut taken = 0;
    // They come in the order in which they were asked for.
    let mut asked = keys.iter();
    while let Some(Value { key, client_flags, data }) = source.answer(value).await? {
        let (_, exptime) = asked
            .find(|(asked, _)| *asked == key)
            .ok_or_else(|| source.wrong("it gives a value that was not asked for"))?;
        taken += u64::from(importer.take(&key, &data, client_flags, *exptime).await?);
    }
    Ok((keys.len() as u64).saturating_sub(taken))
}

fn meta_value(response: Response<'_>) -> Result<Option<(u32, Vec<u8>)>, String> {
    match response {
        Response::Meta { status: Status::Value, mut flags, data: Some(data) } => {
            let flags = flags.find_map(|flag| match flag {
                Flag::ClientFlags(flags) => Some(flags),
                _ => None,
            });
            Ok(Some((flags.unwrap_or_default(), data.to_vec())))
        }
        Response::Meta { status: Status::Miss, .. } => Ok(None),
        other => Err(format!("it answers {other:?}")),
    }
}

fn read(line: &[u8]) -> Option<Found> {
    let mut fields = line.split(|byte| *byte == b' ');
    let key = decode(fields.next()?.strip_prefix(b"key=")?)?;
    let exptime = fields.next()?.strip_prefix(b"exp=")?;
    let exptime = if exptime == b"-1" { 0 } else { parse_u32(exptime)? };
    Some((key, exptime))
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut key = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'%' {
            key.push(*byte);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        rest = behind;
        key.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
    }
    Some(key)
}

fn senseless(line: &[u8]) -> String {
    format!("its list of keys has a line that makes no sense: {}", line.escape_ascii())
}

/// Keys that are asked for at once.
const AT_ONCE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_key_and_when_it_goes() {
        let line = b"key=a%20b%25 exp=-1 la=1 cas=2 fetch=no cls=1 size=64";
        assert_eq!(read(line), Some((b"a b%".to_vec(), 0)));
        assert_eq!(read(b"key=k exp=1700000000 la=1"), Some((b"k".to_vec(), 1_700_000_000)));
        for wrong in [&b"key=k"[..], b"key=k exp=x", b"key=%2 exp=-1", b"key=%zz exp=-1"] {
            assert_eq!(read(wrong), None, "{}", wrong.escape_ascii());
        }
    }
}
