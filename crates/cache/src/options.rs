/// The limits of a cache.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes for items and their index, all told. Default: 64 MiB.
    pub memory_limit: u64,
    /// Make room by eviction; else a full cache refuses to store. Default: true.
    pub evict: bool,
    /// How many locks the items are divided among, rounded up to a power of two. Default: 64.
    pub shards: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { memory_limit: 64 << 20, evict: true, shards: 64 }
    }
}
