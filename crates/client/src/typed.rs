//! The operations on values of any type that serde knows.

use std::error;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::encoding::{decode, encode};
use crate::error::Error;
use crate::expiry::Expiry;
use crate::fill::failed;
use crate::item::Value;

impl Client {
    /// The value at `key` that was stored as one of this type, or one that reads the same.
    ///
    /// [`Error::Unreadable`] if it is another: fields may be added with `#[serde(default)]` and left
    /// out; for any other change, give the key another name.
    pub async fn get_as<T: DeserializeOwned>(
        &self,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<T>, Error> {
        let Some(item) = self.get(key).await? else { return Ok(None) };
        decode(&item.value, item.flags, &self.roster.options).map(Some)
    }

    /// Stores a value, whatever is there, as `MessagePack`, compressed by LZ4 if it is long and that
    /// makes it shorter ([`Builder::compress_from`](crate::Builder::compress_from)).
    pub async fn set_as<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        expiry: impl Into<Expiry>,
    ) -> Result<(), Error> {
        let encoded = encode(value, &self.roster.options)?;
        self.set(key, Value::with_flags(&encoded.bytes, encoded.flags), expiry).await
    }

    /// As [`get_or_fill`](Self::get_or_fill), of a value of any type.
    pub async fn get_or_fill_as<T, F, E>(
        &self,
        key: impl AsRef<[u8]>,
        expiry: impl Into<Expiry>,
        fill: impl FnOnce() -> F + Send + 'static,
    ) -> Result<T, Error>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, E>> + Send + 'static,
        E: Into<Box<dyn error::Error + Send + Sync>>,
    {
        let options = self.roster.options;
        let fill = async move {
            let made = fill().await.map_err(failed)?;
            encode(&made, &options).map(Some)
        };
        let filled = self.share_fill(key.as_ref(), expiry.into(), Box::pin(fill)).await?;
        let filled = filled.unwrap_or_default();
        decode(&filled.bytes, filled.flags, &options)
    }
}
