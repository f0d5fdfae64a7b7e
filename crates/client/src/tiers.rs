//! A cache before a store, and copies in the process before both.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ask::{source, sourced};
use crate::client::Client;
use crate::encoding::{decode, encode};
use crate::error::Error;
use crate::expiry::Expiry;
use crate::fill::Fill;
use crate::flights::Outcome;
use crate::item::Value;
use crate::local::Local;
use crate::route::Failover;

/// A durable store, a cache before it, and copies in this process before both. Clones share all.
///
/// **Reads** ask the copies in the process, then the cache, then the store; what is found is kept by
/// those that were asked before. Of all who miss a key in the cache one asks the store
/// ([`Client::get_or_fill`]). That the store has nothing is not kept.
///
/// **Writes** go to the store, and are done when it has them. Then the cache and this process forget
/// the key; the next who reads it brings the new value. (A write that set the value in the cache
/// too could come there after a later one.)
///
/// **How old a value may be.** Once a write or a delete is done, no read that begins then through the
/// same `Tiers` or a clone gives an older value. Another process may give one that it has a copy of,
/// or that a read of the key which is on its way there brings, for the time that copies are kept. If
/// the cache cannot be reached when it is to forget, the write stands all the same, and the cache may
/// give the older value for the time that it keeps values; so may a cache node that was away
/// meanwhile and comes back with its items. A value may outlive its own expiry by the time that
/// copies are kept, and a second.
///
/// ```no_run
/// # use std::time::Duration;
/// # use larder_client::{Client, Expiry, Tiers};
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = Client::builder().discover("10.0.0.1").build()?;
/// let store = Client::builder().node("10.1.0.1").node("10.1.0.2").durable().build()?;
/// let tiers = Tiers::new(cache, store, Duration::from_mins(10))
///     .with_copies(64 << 20, Duration::from_secs(1));
/// tiers.set("user:1", "Ada", Expiry::Never).await?;
/// assert_eq!(tiers.get("user:1").await?, Some("Ada".into()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Tiers {
    cache: Client,
    store: Client,
    /// How long the cache keeps what came from the store.
    kept_for: Duration,
    local: Option<Arc<Local>>,
}

impl Tiers {
    /// A cache that keeps what came from the store for `kept_for` at most.
    ///
    /// The store's client counts as [`durable`](crate::Builder::durable).
    pub fn new(cache: Client, store: Client, kept_for: Duration) -> Self {
        let store = Client { failover: Failover::Lasting, ..store };
        Self { cache, store, kept_for, local: None }
    }

    /// And copies in this process, of so many bytes in all with what they take besides, each for so
    /// long at most. A second is much: a key that is read a thousand times in it is asked for once.
    #[must_use]
    pub fn with_copies(mut self, bytes: u64, kept_for: Duration) -> Self {
        self.local = Some(Arc::new(Local::new(bytes, kept_for)));
        self
    }

    /// The value at `key`. Fails if the store has to be asked and cannot be.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        Ok(self.read(key.as_ref()).await?.map(|filled| filled.bytes))
    }

    /// The value at `key`, as [`Client::get_as`] reads it.
    pub async fn get_as<T: DeserializeOwned>(
        &self,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<T>, Error> {
        let Some(filled) = self.read(key.as_ref()).await? else { return Ok(None) };
        decode(&filled.bytes, filled.flags, &self.store.roster.options).map(Some)
    }

    /// Stores a value, whatever is there. An error is the store's.
    pub async fn set<'v>(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Value<'v>>,
        expiry: impl Into<Expiry>,
    ) -> Result<(), Error> {
        let written = self.store.set(key.as_ref(), value, expiry).await;
        self.forget(key.as_ref()).await;
        written
    }

    /// Stores a value as [`Client::set_as`] does. An error is the store's, or the value's own.
    pub async fn set_as<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        expiry: impl Into<Expiry>,
    ) -> Result<(), Error> {
        let encoded = encode(value, &self.store.roster.options)?;
        self.set(key, Value::with_flags(&encoded.bytes, encoded.flags), expiry).await
    }

    /// Deletes the item at `key`; tells whether the store had one. An error is the store's.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        let deleted = self.store.delete(key.as_ref()).await;
        self.forget(key.as_ref()).await;
        deleted
    }

    async fn read(&self, key: &[u8]) -> Outcome {
        let local = self.local.as_deref();
        if let Some(copy) = local.and_then(|local| local.get(key)) {
            return Ok(Some(copy));
        }
        let asked = local.map(|local| (local, local.moment(key)));
        let (store, owned) = (self.store.clone(), Box::<[u8]>::from(key));
        let fill: Fill = Box::pin(async move { store.ask(source(&owned), sourced).await });
        let found = self.cache.share_fill(key, self.kept_for.into(), fill).await?;
        if let (Some((local, moment)), Some(filled)) = (asked, &found) {
            local.keep(key, filled, moment);
        }
        Ok(found)
    }

    /// Has nobody be given what was there, after the store has been written, or may have been.
    async fn forget(&self, key: &[u8]) {
        // What the cache cannot be told now it forgets when the time of the value is over.
        let _ = self.cache.delete(key).await;
        if let Some(local) = &self.local {
            local.forget(key);
        }
    }
}
