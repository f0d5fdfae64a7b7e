//! Which pools there are, and which keys go to which.

use crate::pool::PoolSettings;
use crate::prefixes::Prefixes;

/// A table that was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub(crate) pools: Vec<PoolSettings>,
    /// To indices of pools.
    pub(crate) prefixes: Prefixes,
    pub(crate) routes: usize,
}

impl Table {
    /// All keys go to one pool.
    ///
    /// # Errors
    ///
    /// There can be no such pool, and why.
    pub fn single(pool: PoolSettings) -> Result<Self, String> {
        pool.check().map_err(|why| why.to_string())?;
        Ok(Self { pools: vec![pool], prefixes: Prefixes::new([(&b""[..], 0)]), routes: 1 })
    }

    /// How many pools, and how many routes to them.
    pub fn count(&self) -> (usize, usize) {
        (self.pools.len(), self.routes)
    }
}
