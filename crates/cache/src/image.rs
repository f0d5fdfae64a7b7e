//! What the file of a cache says of the cache, in its first pages.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `larder` and two zeros |
//! | 4 | version of the format |
//! | 4 | bytes of a segment |
//! | 4 | how many shards |
//! | 4 | 0 |
//! | 32 | the four seeds that keys are hashed under |
//! | 8 | the hashes of some keys, to see that they are still hashed as they were |
//! | 8 | the file's secret |
//! | 8 | a checksum of all of the above |
//! | 8 | 1 if the cache was closed, 0 while it is open |
//! | 8 | the last `flush_all` that was asked for |
//! | 36 | the boot in which it was opened, as the system names it |
//!
//! and from byte 4096 on, for each shard in 32 bytes: the last flush that it has carried out, the
//! number of the first segment that was begun after that, a cas unique that none given out is above,
//! and 8 zeros. Numbers are little-endian; those that change have 48 bits, and 16 of a check.
//!
//! A process that is killed leaves all it has written to the kernel, in order. A machine that stops
//! does not: a file of an earlier boot is believed only if it was closed.
#![expect(clippy::cast_possible_truncation, reason = "numbers of four bytes are read as eight")]

use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ahash::RandomState;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::arena::{Arena, Header, PAGE_BYTES, Recovery};
use crate::field::{get, get_checked, put, put_checked};
use crate::options::MAX_SHARDS;

/// How the items of a file are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) segment_bytes: usize,
    pub(crate) shards: usize,
}

/// The first pages of a file, which are written as the cache goes on.
pub(crate) struct Image {
    header: Mutex<Header>,
    secret: u64,
    seeds: [u64; 4],
    geometry: Geometry,
}

/// What a shard must know of the time before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Past {
    /// The last flush that it has carried out.
    pub(crate) flushed: u64,
    /// The first segment begun after that.
    pub(crate) first_segment: u64,
    /// No cas unique given out is above this.
    pub(crate) cas: u64,
}

/// A file, and what is known of it.
pub(crate) struct Opened {
    pub(crate) image: Image,
    pub(crate) recovery: Recovery,
    /// Why the items in it are not to be had, if they are not.
    pub(crate) unusable: Option<&'static str>,
}

impl Image {
    /// Opens the file of a cache, or makes one of the geometry that is `wanted`: a file that is
    /// there has its own.
    ///
    /// # Errors
    ///
    /// The file has something in it that is not a cache's, or is in use, or the system refuses.
    pub(crate) fn open(path: &Path, wanted: Geometry) -> io::Result<Opened> {
        let mut front = Vec::new();
        let mut written = 0;
        match std::fs::metadata(path) {
            Ok(found) if found.is_file() => {
                std::fs::File::open(path)?.take(PAGE_BYTES as u64).read_to_end(&mut front)?;
                written = found.blocks() * 512;
            }
            // What it is instead is told when it is opened.
            _ => {}
        }
        // One that was begun and no more has a header of zeros, and nothing else.
        let begun = front.iter().all(|byte| *byte == 0) && written <= MOST_BEGUN;
        if !begun && front.get(..MAGIC.len()) != Some(&MAGIC) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} is not the memory file of a cache, and is left as it is",
                    path.display()
                ),
            ));
        }
        let found = Found::read(&front);
        let geometry = found.as_ref().map_or(wanted, |found| found.geometry);
        let (recovery, header) = Arena::file(path, geometry.segment_bytes, HEADER_BYTES)?;
        // Nobody else writes to it from here on, but somebody may have until now.
        let found = Found::read(&header);
        if found.as_ref().is_some_and(|found| found.geometry != geometry) {
            let text = format!("{} was written to by another process just now", path.display());
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
        }
        let unusable = match &found {
            None if front.iter().all(|byte| *byte == 0) => None,
            None => Some("its first page is damaged, or of another version"),
            Some(found) => found.unusable(&header),
        };
        let image = match found {
            Some(Found { seeds, secret, geometry, .. }) if unusable.is_none() => {
                Self { header: Mutex::new(header), secret, seeds, geometry }
            }
            _ => Self::begin(header, geometry),
        };
        let mut header = image.header.lock();
        put_checked(&mut header, CLOSED, 0, BITS, image.secret);
        put(&mut header, BOOT, &boot());
        // Else a machine that stops might leave the word that it was closed.
        header.sync()?;
        drop(header);
        Ok(Opened { image, recovery, unusable })
    }

    /// Nothing that was in the file is known any more.
    fn begin(mut header: Header, geometry: Geometry) -> Self {
        let chance = RandomState::new();
        let seeds = [0, 1, 2, 3].map(|number| chance.hash_one(number));
        // Segments that nobody ever wrote to must not seem to be labelled.
        let secret = chance.hash_one(4).max(1);
        header.fill(0);
        let mut front = Vec::with_capacity(CHECK);
        front.extend_from_slice(&MAGIC);
        front.extend_from_slice(&VERSION.to_le_bytes());
        for number in [geometry.segment_bytes, geometry.shards, 0] {
            front.extend_from_slice(&u32::try_from(number).unwrap_or(0).to_le_bytes());
        }
        for seed in seeds {
            front.extend_from_slice(&seed.to_le_bytes());
        }
        front.extend_from_slice(&known(seeds).to_le_bytes());
        front.extend_from_slice(&secret.to_le_bytes());
        front.extend_from_slice(&xxh3_64(&front).to_le_bytes());
        for at in changing(geometry.shards) {
            put_checked(&mut header, at, 0, BITS, secret);
        }
        put(&mut header, 0, &front);
        Self { header: Mutex::new(header), secret, seeds, geometry }
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// What seals and labels are written with.
    pub(crate) fn secret(&self) -> u64 {
        self.secret
    }

    /// How keys are hashed.
    pub(crate) fn hashing(&self) -> RandomState {
        hashing(self.seeds)
    }

    /// The last flush that was asked for.
    pub(crate) fn flush(&self) -> u64 {
        get_checked(&self.header.lock(), FLUSH, BITS, self.secret).unwrap_or_default()
    }

    pub(crate) fn note_flush(&self, flush: u64) {
        put_checked(&mut self.header.lock(), FLUSH, flush, BITS, self.secret);
    }

    pub(crate) fn past(&self, shard: usize) -> Past {
        let header = self.header.lock();
        let at = PAGE_BYTES + shard * PAST_BYTES;
        let [flushed, first_segment, cas] = [0, 8, 16]
            .map(|field| get_checked(&header, at + field, BITS, self.secret).unwrap_or_default());
        Past { flushed, first_segment, cas }
    }

    /// A shard has dropped all segments before a number.
    pub(crate) fn note_flushed(&self, shard: usize, flushed: u64, first_segment: u64) {
        let at = PAGE_BYTES + shard * PAST_BYTES;
        let mut header = self.header.lock();
        // Of a flush that is thought not to be done, the segments are gone all the same.
        put_checked(&mut header, at + 8, first_segment, BITS, self.secret);
        put_checked(&mut header, at, flushed, BITS, self.secret);
    }

    /// A shard will give out no cas unique above this.
    pub(crate) fn note_cas(&self, shard: usize, cas: u64) {
        let at = PAGE_BYTES + shard * PAST_BYTES;
        // So many are not given out in a lifetime.
        let cas = cas.min((1 << BITS) - 1);
        put_checked(&mut self.header.lock(), at + 16, cas, BITS, self.secret);
    }

    /// Notes that nothing more is written, and has the system write all of the file to where it is
    /// kept.
    pub(crate) fn close(&self) -> io::Result<()> {
        let mut header = self.header.lock();
        header.sync()?;
        put_checked(&mut header, CLOSED, 1, BITS, self.secret);
        header.sync()
    }
}

/// What the first page says that does not change.
struct Found {
    geometry: Geometry,
    seeds: [u64; 4],
    known: u64,
    secret: u64,
}

impl Found {
    fn read(front: &[u8]) -> Option<Self> {
        let stated = front.get(..CHECK)?;
        let version = number(front, MAGIC.len()) as u32;
        let segment_bytes = (number(front, 8) >> 32) as usize;
        let shards = number(front, 16) as u32 as usize;
        let sound = front.get(..MAGIC.len()) == Some(&MAGIC)
            && version == VERSION
            && number(front, CHECK) == xxh3_64(stated)
            && Arena::has_segments_of(segment_bytes)
            && shards.is_power_of_two()
            && shards <= MAX_SHARDS;
        let seeds = [24, 32, 40, 48].map(|at| number(front, at));
        sound.then(|| Self {
            geometry: Geometry { segment_bytes, shards },
            seeds,
            known: number(front, 56),
            secret: number(front, 64),
        })
    }

    /// Why its items are not to be had.
    fn unusable(&self, header: &[u8]) -> Option<&'static str> {
        let get = |at| get_checked(header, at, BITS, self.secret);
        let closed = get(CLOSED) == Some(1);
        if changing(self.geometry.shards).any(|at| get(at).is_none()) {
            Some("its header is damaged")
        } else if known(self.seeds) != self.known {
            Some("keys were hashed in another way when it was written")
        } else if !closed && header.get(BOOT..BOOT + BOOT_BYTES) != Some(&boot()) {
            Some("the machine stopped before the cache was closed")
        } else {
            None
        }
    }
}

fn hashing([a, b, c, d]: [u64; 4]) -> RandomState {
    RandomState::with_seeds(a, b, c, d)
}

/// What becomes of keys that are short, long and longer.
fn known(seeds: [u64; 4]) -> u64 {
    let hashing = hashing(seeds);
    [6, 40, 200].iter().fold(0, |sum, len| sum ^ hashing.hash_one(&vec![b'k'; *len][..]))
}

/// What the system calls this boot; zeros where it has no name for it.
fn boot() -> [u8; BOOT_BYTES] {
    let name = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    name.first_chunk().copied().unwrap_or([0; BOOT_BYTES])
}

/// Where the numbers are that change.
fn changing(shards: usize) -> impl Iterator<Item = usize> {
    let past = (0..shards).map(|shard| PAGE_BYTES + shard * PAST_BYTES);
    [CLOSED, FLUSH].into_iter().chain(past.flat_map(|at| [at, at + 8, at + 16]))
}

fn number(header: &[u8], at: usize) -> u64 {
    get(header, at).map_or(0, u64::from_le_bytes)
}

const MAGIC: [u8; 8] = *b"larder\0\0";
const VERSION: u32 = 2;
const CHECK: usize = 72;
const CLOSED: usize = 80;
const FLUSH: usize = 88;
const BOOT: usize = 96;
const BOOT_BYTES: usize = 36;
const PAST_BYTES: usize = 32;

/// Of a number that changes.
const BITS: u32 = 48;

/// The first page, and two for as many shards as there can be.
const HEADER_BYTES: usize = 3 * PAGE_BYTES;

/// What the system may have set aside for a file of which only the header is there.
const MOST_BEGUN: u64 = 64 << 10;

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}
