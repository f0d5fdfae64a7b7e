//! What the memory of a cache is used for.

/// What the memory of a cache is used for, in bytes. All that is used, and what is free, is the
/// limit, and what is used beyond it.
///
/// The parts are looked at one after the other. What commands do meanwhile may be in two of them or
/// in none; at rest they are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The limit.
    pub limit: u64,
    /// Records of items: heads, keys and values, but for what of long values is in pages.
    pub records: u64,
    /// Pages of the values of items. Those of an expired item count until it is noticed.
    pub pages: u64,
    /// Pages that belong to no item: of values that are gone and still being sent, or that are just
    /// being written.
    pub passing: u64,
    /// Records of items that were deleted, replaced or have expired, until their room is used
    /// again. Which have expired is known to within a few moments for each segment.
    pub dead: u64,
    /// What no record was written to yet of segments in use, and no value of those with pages.
    pub slack: u64,
    /// The index.
    pub index: u64,
    /// What is remembered of evicted items.
    pub ghosts: u64,
    /// What is kept of long values beside their pages.
    pub bookkeeping: u64,
    /// Set aside for others, such as buffers of connections: what they have or had in the last second
    /// or two, as far as it is taken off the items' memory, half of the limit at the most.
    pub lent: u64,
    /// Allowed and not taken.
    pub free: u64,
    /// Used beyond the limit, until there is room again: it was lowered, or more was lent.
    pub over: u64,
}

impl Memory {
    /// All parts that are used, together.
    pub fn used(&self) -> u64 {
        let of_segments = self.records + self.pages + self.passing + self.dead + self.slack;
        of_segments + self.index + self.ghosts + self.bookkeeping + self.lent
    }
}
