//! All that a partition has, as another replica takes it over.
//!
//! The first part is what is kept beside the items, see the crate's documentation. Each other is items,
//! one after the other: the lengths of key and record, four bytes little-endian each, then the two.

use std::io;
use std::path::Path;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use larder_consensus::View;

use crate::error::Error;
use crate::state::Kept;
use crate::storage::Items;

/// All that a partition had at a moment.
pub(crate) struct Whole {
    mark: Bytes,
    /// The first part, until it is given.
    kept: Option<Bytes>,
    items: Items,
}

impl Whole {
    pub(crate) fn new(kept: &Kept, items: Items) -> Self {
        Self { mark: kept.mark.clone(), kept: Some(kept.encode().into()), items }
    }
}

impl View for Whole {
    fn mark(&self) -> Bytes {
        self.mark.clone()
    }

    fn next_part(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(kept) = self.kept.take() {
            return Ok(Some(kept));
        }
        let mut part = BytesMut::new();
        while part.len() < PART_LEN
            && let Some(item) = self.items.next()
        {
            let (key, record) = item.map_err(io::Error::other)?;
            for bytes in [&key, &record] {
                part.put_u32_le(u32::try_from(bytes.len()).map_err(io::Error::other)?);
            }
            part.put(key);
            part.put(record);
        }
        Ok(Some(part.freeze()).filter(|part| !part.is_empty()))
    }
}

/// Puts the items of a view, part by part. Gives what is to be kept beside them.
pub(crate) fn read(
    view: &mut dyn View,
    path: &Path,
    mut put: impl FnMut(&[(&[u8], Option<Bytes>)]) -> Result<(), Error>,
) -> Result<Kept, Error> {
    let mut next = || view.next_part().map_err(Error::io("read a view for", path));
    let senseless = || Error::corrupt(path, "a view of another replica makes no sense");
    let kept = next()?.and_then(|part| Kept::decode(&part).ok()).ok_or_else(senseless)?;
    while let Some(mut part) = next()? {
        let mut items = Vec::new();
        while !part.is_empty() {
            items.push(item(&mut part).ok_or_else(senseless)?);
        }
        let puts: Vec<_> =
            items.iter().map(|(key, record)| (&key[..], Some(record.clone()))).collect();
        put(&puts)?;
    }
    Ok(kept)
}

fn item(part: &mut Bytes) -> Option<(Bytes, Bytes)> {
    let [key, record] = [part.try_get_u32_le().ok()?, part.try_get_u32_le().ok()?];
    let [key, record] = [usize::try_from(key).ok()?, usize::try_from(record).ok()?];
    if part.len() < key.checked_add(record)? {
        return None;
    }
    Some((part.split_to(key), part.split_to(record)))
}

/// Bytes after which a part is complete.
const PART_LEN: usize = 512 << 10;
