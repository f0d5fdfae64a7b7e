//! The operations, on one key.

use std::sync::Arc;
use std::time::Duration;

use larder_protocol::response::Status;
use larder_protocol::{Mode, Op, Store};
use tokio::time::Instant;

use crate::ask::{
    compared, count, counted, delete, deleted, exptime, fetch, found, invalidate, store, stored,
    stored_or_not, touch, touched, understand,
};
use crate::builder::Builder;
use crate::connection::{Found, Request};
use crate::error::{Error, Violation};
use crate::expiry::Expiry;
use crate::flights::Flights;
use crate::hedge::Hedges;
use crate::item::{Item, Value};
use crate::long_key;
use crate::roster::Roster;
use crate::route::{Failover, Route};

/// A client of one cache. Clones share its connections.
///
/// Keys are any bytes. Servers take 250 of them, 186 if there is white space or a control character
/// among them; a longer key is known to them by its front and its BLAKE3
/// (`user:…#blake3:<64 hexadecimal digits>`), which other kinds of clients do not find.
///
/// Its futures can be dropped at any time; the request may still be carried out. They panic
/// outside a tokio runtime.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) roster: Arc<Roster>,
    pub(crate) flights: Arc<Flights>,
    pub(crate) failover: Failover,
    pub(crate) hedges: Arc<Hedges>,
}

/// How a [`Client::cas`] went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cas {
    /// The value is stored.
    Stored,
    /// Nothing is stored: the item has changed since.
    Changed,
    /// Nothing is stored: the item is gone.
    Gone,
}

impl Client {
    /// Describes a client's nodes and limits.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(roster: Roster) -> Self {
        let failover = roster.options.failover;
        let roster = Arc::new(roster);
        Self { roster, flights: Arc::default(), failover, hedges: Arc::default() }
    }

    /// The nodes there are now, each as `host:port`. Of a cluster that is to be discovered it waits
    /// until they are known, and fails if nobody tells.
    pub async fn nodes(&self) -> Result<Vec<String>, Error> {
        let nodes = self.roster.nodes(Instant::now() + self.roster.options.timeout).await?;
        Ok(nodes.pools().iter().map(|pool| pool.node().to_string()).collect())
    }

    /// The item at `key`, with its flags and its cas unique.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Item>, Error> {
        self.ask(fetch(key.as_ref(), None), found).await
    }

    /// As [`get`](Self::get), and the item's expiry starts anew.
    pub async fn get_and_touch(
        &self,
        key: impl AsRef<[u8]>,
        expiry: impl Into<Expiry>,
    ) -> Result<Option<Item>, Error> {
        let ttl = Some(exptime(expiry.into()));
        self.ask(fetch(key.as_ref(), ttl), found).await
    }

    /// Stores a value, whatever is there.
    pub async fn set<'v>(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Value<'v>>,
        expiry: impl Into<Expiry>,
    ) -> Result<(), Error> {
        let request = store(key.as_ref(), Mode::Set, value.into(), expiry.into(), None);
        self.ask(request, stored).await
    }

    /// Stores a value if there is none; tells whether it did.
    pub async fn add<'v>(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Value<'v>>,
        expiry: impl Into<Expiry>,
    ) -> Result<bool, Error> {
        let request = store(key.as_ref(), Mode::Add, value.into(), expiry.into(), None);
        self.ask(request, stored_or_not).await
    }

    /// Stores a value if there is one already; tells whether it did.
    pub async fn replace<'v>(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Value<'v>>,
        expiry: impl Into<Expiry>,
    ) -> Result<bool, Error> {
        let request = store(key.as_ref(), Mode::Replace, value.into(), expiry.into(), None);
        self.ask(request, stored_or_not).await
    }

    /// Adds bytes behind the value there is, keeping its flags and expiry; tells whether there
    /// was one.
    pub async fn append(
        &self,
        key: impl AsRef<[u8]>,
        bytes: impl AsRef<[u8]>,
    ) -> Result<bool, Error> {
        let value = Value::from(bytes.as_ref());
        let request = store(key.as_ref(), Mode::Append, value, Expiry::Never, None);
        self.ask(request, stored_or_not).await
    }

    /// Adds bytes before the value there is, keeping its flags and expiry; tells whether there
    /// was one.
    pub async fn prepend(
        &self,
        key: impl AsRef<[u8]>,
        bytes: impl AsRef<[u8]>,
    ) -> Result<bool, Error> {
        let value = Value::from(bytes.as_ref());
        let request = store(key.as_ref(), Mode::Prepend, value, Expiry::Never, None);
        self.ask(request, stored_or_not).await
    }

    /// Stores a value if the item is still the one whose cas unique this is ([`Item::cas`]).
    pub async fn cas<'v>(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Value<'v>>,
        expiry: impl Into<Expiry>,
        unique: u64,
    ) -> Result<Cas, Error> {
        let request = store(key.as_ref(), Mode::Set, value.into(), expiry.into(), Some(unique));
        self.ask(request, compared).await
    }

    /// Deletes the item at `key`; tells whether there was one.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.ask(delete(key.as_ref()), deleted).await
    }

    /// Marks the item at `key` stale; tells whether there was one. It is gone after `stale_for`, in
    /// whole seconds, rounded up.
    ///
    /// [`get_or_fill`](Self::get_or_fill) has one caller fill a stale item anew and gives it to the
    /// others meanwhile. A plain `get` is given it too, and if it is the first to ask, nobody is
    /// told to fill it: what is filled is best read by `get_or_fill` alone.
    pub async fn invalidate(
        &self,
        key: impl AsRef<[u8]>,
        stale_for: Duration,
    ) -> Result<bool, Error> {
        let ttl = exptime(Expiry::After(stale_for));
        self.ask(invalidate(key.as_ref(), ttl), deleted).await
    }

    /// Adds to the decimal number at `key`, wrapping at 2^64, and gives the new one; `None` if
    /// there is no item.
    pub async fn incr(&self, key: impl AsRef<[u8]>, delta: u64) -> Result<Option<u64>, Error> {
        self.ask(count(key.as_ref(), delta, false), counted).await
    }

    /// Subtracts from the decimal number at `key`, stopping at 0, and gives the new one; `None`
    /// if there is no item.
    pub async fn decr(&self, key: impl AsRef<[u8]>, delta: u64) -> Result<Option<u64>, Error> {
        self.ask(count(key.as_ref(), delta, true), counted).await
    }

    /// Starts the expiry of the item at `key` anew; tells whether there is one.
    pub async fn touch(
        &self,
        key: impl AsRef<[u8]>,
        expiry: impl Into<Expiry>,
    ) -> Result<bool, Error> {
        self.ask(touch(key.as_ref(), exptime(expiry.into())), touched).await
    }

    /// Sends one request and reads its answer.
    pub(crate) async fn ask<T>(
        &self,
        request: Request<'_>,
        read: impl FnOnce(Status, Found) -> Result<T, Violation>,
    ) -> Result<T, Error> {
        let key = long_key::short(request.key)?;
        self.ask_as_is(Request { key: &key, ..request }, read).await
    }

    /// The same, with a key as servers know it.
    pub(crate) async fn ask_as_is<T>(
        &self,
        request: Request<'_>,
        read: impl FnOnce(Status, Found) -> Result<T, Violation>,
    ) -> Result<T, Error> {
        self.check(&request)?;
        let asked = self.send(request, read).await;
        self.wrote(&request);
        asked
    }

    async fn send<T>(
        &self,
        request: Request<'_>,
        read: impl FnOnce(Status, Found) -> Result<T, Violation>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + self.roster.options.timeout;
        let nodes = self.roster.nodes(deadline).await?;
        let mut route = Route::new(&nodes, request.key, self.failover)?;
        loop {
            let pool = route.pool()?;
            let (pool, answers) = match pool.send(&[route.bounded(request)]) {
                Ok(ticket) => self.redeem(ticket, request, &route, deadline).await?,
                Err(error) => (pool, Err(error)),
            };
            if pool.learn(&answers) {
                self.roster.doubt();
            }
            match answers {
                Ok(mut answers) => return understand(answers.pop(), pool.node(), read),
                Err(error) if route.goes_on(&error, &request.op) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Has nobody who asks from now on be given what was asked for before.
    pub(crate) fn wrote(&self, request: &Request<'_>) {
        if !matches!(request.op, Op::Fetch(_)) {
            self.flights.forget(request.key);
        }
    }

    /// Refuses values that are too long.
    pub(crate) fn check(&self, request: &Request<'_>) -> Result<(), Error> {
        let max = self.roster.options.max_value;
        match request.op {
            Op::Store(Store { value, .. }) if value.len() > max => {
                Err(Error::ValueTooLong { len: value.len(), max })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
