//! What a cache counts.

/// What a cache has counted. Counters begin again at [`Cache::reset_stats`](crate::Cache), gauges
/// do not.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Gauge: items held. Expired ones count until they are noticed.
    pub items: u64,
    /// Gauge: bytes used, of the limit.
    pub bytes: u64,
    /// Gauge: bytes of keys and values.
    pub payload_bytes: u64,
    /// Gauge: the limit, in bytes.
    pub memory_limit: u64,
    /// Gauge: bytes of the index, which are part of `bytes`.
    pub index_bytes: u64,
    /// Values stored.
    pub stored: u64,
    /// Fetches that found an item expired.
    pub get_expired: u64,
    /// Items removed to make room.
    pub evictions: u64,
    /// Of these, items that would have expired some day.
    pub evicted_with_ttl: u64,
    /// Of the evicted, items that were never fetched.
    pub evicted_unfetched: u64,
    /// Seconds since the item evicted last had been used; of the shards, the longest.
    pub evicted_idle_secs: u32,
    /// Expired items whose room was used again.
    pub reclaimed: u64,
    /// Of these, items that were never fetched.
    pub expired_unfetched: u64,
    /// Items removed since a walk found that they are not to be kept.
    pub dropped: u64,
    /// Values refused for want of room.
    pub out_of_memory: u64,
}

impl Stats {
    /// Adds another shard's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.items += other.items;
        self.bytes += other.bytes;
        self.payload_bytes += other.payload_bytes;
        self.index_bytes += other.index_bytes;
        self.stored += other.stored;
        self.get_expired += other.get_expired;
        self.evictions += other.evictions;
        self.evicted_with_ttl += other.evicted_with_ttl;
        self.evicted_unfetched += other.evicted_unfetched;
        self.evicted_idle_secs = self.evicted_idle_secs.max(other.evicted_idle_secs);
        self.reclaimed += other.reclaimed;
        self.expired_unfetched += other.expired_unfetched;
        self.dropped += other.dropped;
        self.out_of_memory += other.out_of_memory;
    }
}
