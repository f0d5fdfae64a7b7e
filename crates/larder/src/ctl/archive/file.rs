//! The file of a group, see the table in the module above.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use larder_store::Item;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{Entry, failed};
use crate::ctl::steady::Steady;
use crate::failure::Failure;

/// A file that is being written.
pub(in crate::ctl) struct Writer {
    file: Steady,
    path: PathBuf,
    /// So far.
    entry: Entry,
    hash: Xxh3,
    /// Of the head.
    seed: u64,
    blocks: u64,
}

/// A file that is being read.
pub(in crate::ctl) struct Reader {
    file: BufReader<File>,
    path: PathBuf,
    /// As the manifest has it.
    entry: Entry,
    /// What was read.
    bytes: u64,
    items: u64,
    hash: Xxh3,
    /// Of the head.
    seed: u64,
    blocks: u64,
    ended: bool,
}

impl Writer {
    pub(in crate::ctl) fn create(
        path: &Path,
        cluster_id: u64,
        backup: u64,
        group: u64,
    ) -> Result<Self, Failure> {
        let file = Steady::new(File::create_new(path).map_err(failed("create", path))?);
        let head = head(cluster_id, backup, group);
        let seed = xxh3_64(&head);
        let entry = Entry { group, items: 0, bytes: 0, checksum: 0 };
        let (path, hash) = (path.to_owned(), Xxh3::new());
        let mut writer = Self { file, path, entry, hash, seed, blocks: 0 };
        writer.write(&head)?;
        writer.write(&seed.to_le_bytes())?;
        Ok(writer)
    }

    /// Appends a block, of no items if `items` is empty. Gives how many they are.
    pub(in crate::ctl) fn block(&mut self, items: &[u8]) -> Result<u32, Failure> {
        let count = count_items(items).ok_or_else(|| self.senseless())?;
        let len = u32::try_from(items.len()).map_err(|_| self.senseless())?;
        let checksum = checksum(self.seed, self.blocks, len, count, items);
        let mut head = Vec::with_capacity(BLOCK_HEAD_LEN);
        head.extend_from_slice(&len.to_le_bytes());
        head.extend_from_slice(&count.to_le_bytes());
        head.extend_from_slice(&checksum.to_le_bytes());
        self.write(&head)?;
        self.write(items)?;
        self.blocks += 1;
        self.entry.items += u64::from(count);
        Ok(count)
    }

    /// Ends it, and makes it durable.
    pub(in crate::ctl) fn finish(mut self) -> Result<Entry, Failure> {
        self.block(&[])?;
        self.file.finish().map_err(failed("sync", &self.path))?;
        Ok(Entry { checksum: self.hash.digest(), ..self.entry })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.hash.update(bytes);
        self.entry.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(failed("write", &self.path))
    }

    fn senseless(&self) -> Failure {
        let group = self.entry.group;
        Failure::system(format!(
            "a node gave what is no item for group {group}: is it another version?"
        ))
    }
}

impl Reader {
    pub(super) fn open(
        path: &Path,
        cluster_id: u64,
        backup: u64,
        entry: Entry,
    ) -> Result<Self, Failure> {
        let file = BufReader::new(File::open(path).map_err(failed("open", path))?);
        let expected = head(cluster_id, backup, entry.group);
        let (path, hash, seed) = (path.to_owned(), Xxh3::new(), xxh3_64(&expected));
        let (bytes, items, blocks, ended) = (0, 0, 0, false);
        let mut reader = Self { file, path, entry, bytes, items, hash, seed, blocks, ended };
        let mut found = [0; HEAD_LEN];
        reader.read(&mut found, 0)?;
        let (magic, rest) = found.split_at(MAGIC.len());
        let version = rest.first().copied().unwrap_or_default();
        let mut sum = [0; 8];
        reader.read(&mut sum, 0)?;
        if magic == MAGIC && version != VERSION && xxh3_64(&found).to_le_bytes() == sum {
            return Err(reader.damaged(0, &format!("it is of version {version}, not {VERSION}")));
        }
        if found != expected || sum != seed.to_le_bytes() {
            return Err(reader.damaged(0, "it is not the head of this group's file of this backup"));
        }
        Ok(reader)
    }

    /// The items of the next block, and how many they are; `None` behind the last.
    pub(in crate::ctl) fn block(&mut self) -> Result<Option<(Vec<u8>, u32)>, Failure> {
        if self.ended {
            return Ok(None);
        }
        let at = self.bytes;
        let [mut len, mut count] = [[0; 4]; 2];
        let mut sum = [0; 8];
        self.read(&mut len, at)?;
        self.read(&mut count, at)?;
        self.read(&mut sum, at)?;
        let (len, found) = (u32::from_le_bytes(len), u32::from_le_bytes(count));
        // Before memory is taken for it.
        if u64::from(len) > self.entry.bytes.saturating_sub(self.bytes) {
            return Err(self.damaged(at, "a block there is longer than the file"));
        }
        let mut items = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        self.read(&mut items, at)?;
        if checksum(self.seed, self.blocks, len, found, &items) != u64::from_le_bytes(sum) {
            return Err(
                self.damaged(at, "the checksum of the block there is not that of its bytes")
            );
        }
        if count_items(&items) != Some(found) {
            return Err(self.damaged(at, "the block there does not have the items that it says"));
        }
        self.blocks += 1;
        self.items += u64::from(found);
        if !items.is_empty() {
            return Ok(Some((items, found)));
        }
        self.ended = true;
        let end = self.bytes;
        if self.file.read(&mut [0]).map_err(failed("read", &self.path))? != 0 {
            return Err(self.damaged(end, "there is more behind its end"));
        }
        let Entry { items, bytes, checksum, .. } = self.entry;
        if (items, bytes, checksum) != (self.items, self.bytes, self.hash.digest()) {
            return Err(self.damaged(end, "it is whole, but not the file that MANIFEST tells of"));
        }
        Ok(None)
    }

    fn read(&mut self, into: &mut [u8], block: u64) -> Result<(), Failure> {
        match self.file.read_exact(into) {
            Ok(()) => {
                self.hash.update(into);
                self.bytes += into.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(self.damaged(block, "it breaks off in the block there"))
            }
            Err(error) => Err(failed("read", &self.path)(error)),
        }
    }

    fn damaged(&self, offset: u64, why: &str) -> Failure {
        let path = self.path.display();
        Failure::system(format!("{path} is damaged at offset {offset}: {why}"))
    }
}

fn head(cluster_id: u64, backup: u64, group: u64) -> [u8; HEAD_LEN] {
    let mut head = [0; HEAD_LEN];
    let numbers = [cluster_id, backup, group].map(u64::to_le_bytes);
    let bytes = MAGIC.iter().chain(&[VERSION]).chain(numbers.as_flattened());
    head.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    head
}

fn checksum(seed: u64, number: u64, len: u32, count: u32, items: &[u8]) -> u64 {
    let mut hash = Xxh3::with_seed(seed);
    hash.update(&number.to_le_bytes());
    hash.update(&len.to_le_bytes());
    hash.update(&count.to_le_bytes());
    hash.update(items);
    hash.digest()
}

fn count_items(items: &[u8]) -> Option<u32> {
    Item::all(items).try_fold(0_u32, |count, item| item.ok().and(count.checked_add(1)))
}

const MAGIC: &[u8; 7] = b"LARDERB";
const VERSION: u8 = 1;
const HEAD_LEN: usize = 32;
const BLOCK_HEAD_LEN: usize = 16;
