//! What a cache is told.

/// The limits of a cache.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes for items and all that keeps them. Default: 64 MiB.
    pub memory_limit: u64,
    /// Make room by eviction; else a full cache refuses to store. Default: true.
    pub evict: bool,
    /// How many locks the items are divided among, rounded up to a power of two. Default: one for
    /// each 32 MiB of the limit, at least four and at most 256, and fewer for less than 32 MiB.
    pub shards: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self { memory_limit: 64 << 20, evict: true, shards: None }
    }
}

impl Options {
    /// How many shards there are to be: few enough that a segment is a small part of one, since
    /// each shard has some that are not full.
    pub(crate) fn shards(&self) -> usize {
        let least = (self.memory_limit / MIN_BYTES_PER_SHARD).clamp(1, 4);
        let few = (self.memory_limit / BYTES_PER_SHARD).clamp(least, MAX_SHARDS as u64);
        let few = usize::try_from(few).unwrap_or(1);
        self.shards.unwrap_or(few).clamp(1, MAX_SHARDS).next_power_of_two()
    }

    /// Bytes of a segment: a two hundred and fifty-sixth of a shard, within bounds.
    pub(crate) fn segment_bytes(&self) -> usize {
        let part = self.memory_limit / self.shards() as u64 / SEGMENTS_PER_SHARD;
        let part = usize::try_from(part).unwrap_or(MAX_SEGMENT);
        // Rounded down to a power of two.
        1 << part.clamp(MIN_SEGMENT, MAX_SEGMENT).ilog2()
    }
}

const BYTES_PER_SHARD: u64 = 32 << 20;

/// Of a shard with fewer segments than this makes, too large a part would not be full.
const MIN_BYTES_PER_SHARD: u64 = 8 << 20;

/// No more than this many locks.
pub(crate) const MAX_SHARDS: usize = 256;
const SEGMENTS_PER_SHARD: u64 = 256;

/// The longest record must fit.
const MIN_SEGMENT: usize = 16 << 10;
const MAX_SEGMENT: usize = 1 << 20;
