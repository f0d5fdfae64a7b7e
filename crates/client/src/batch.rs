//! Operations on many keys: each node is asked once, all at the same time.

use std::sync::Arc;

use larder_protocol::Mode;
use larder_protocol::response::Status;
use tokio::time::Instant;

use crate::ask::{delete, deleted, fetch, found, store, stored, understand};
use crate::client::Client;
use crate::connection::{Found, Request, Ticket};
use crate::error::{Error, Violation};
use crate::expiry::Expiry;
use crate::item::{Item, Value};
use crate::long_key;
use crate::pool::Pool;
use crate::route::Route;

impl Client {
    /// The items at `keys`, in their order.
    ///
    /// A node that fails fails its own keys; the rest of the result stands.
    pub async fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<Result<Option<Item>, Error>> {
        let requests = keys.iter().map(|key| fetch(key.as_ref(), None)).collect();
        self.ask_many(requests, found).await
    }

    /// Stores a value at each key, whatever is there. Results are in the order of the entries.
    pub async fn set_many<'v, K: AsRef<[u8]>, V: Into<Value<'v>> + Copy>(
        &self,
        entries: &[(K, V)],
        expiry: impl Into<Expiry>,
    ) -> Vec<Result<(), Error>> {
        let expiry = expiry.into();
        let requests = entries
            .iter()
            .map(|(key, value)| store(key.as_ref(), Mode::Set, (*value).into(), expiry, None))
            .collect();
        self.ask_many(requests, stored).await
    }

    /// Deletes the items at `keys`; tells for each, in their order, whether there was one.
    pub async fn delete_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<Result<bool, Error>> {
        let requests = keys.iter().map(|key| delete(key.as_ref())).collect();
        self.ask_many(requests, deleted).await
    }

    /// Sends requests and reads their answers, in their order.
    pub(crate) async fn ask_many<T>(
        &self,
        requests: Vec<Request<'_>>,
        read: impl Fn(Status, Found) -> Result<T, Violation>,
    ) -> Vec<Result<T, Error>> {
        let options = &self.roster.options;
        let deadline = Instant::now() + options.timeout;
        let nodes = match self.roster.nodes(deadline).await {
            Ok(nodes) => nodes,
            Err(error) => return requests.iter().map(|_| Err(error.clone())).collect(),
        };
        let keys: Vec<_> = requests.iter().map(|request| long_key::short(request.key)).collect();
        // Each result stands until there is a better one.
        let mut results: Vec<Result<T, Error>> = Vec::new();
        let mut shares: Vec<Share<'_>> = nodes.pools().iter().map(Share::new).collect();
        for (index, (request, key)) in requests.into_iter().zip(&keys).enumerate() {
            let part = key.as_ref().map_err(Error::clone).and_then(|key| {
                let request = Request { key, ..request };
                self.check(&request)?;
                let route = Route::new(&nodes, key, self.failover)?;
                Ok(Part { index, request, route })
            });
            results.push(Err(part.as_ref().err().cloned().unwrap_or(Error::NoNode)));
            if let Ok(part) = part {
                part.join(&mut shares);
            }
        }
        while shares.iter().any(|share| !share.parts.is_empty()) {
            // All are sent before any is waited for.
            let sent: Vec<_> = shares
                .iter_mut()
                .filter(|share| !share.parts.is_empty())
                .map(|share| (share.pool, share.send(), std::mem::take(&mut share.parts)))
                .collect();
            for (pool, ticket, parts) in sent {
                let answers = match ticket {
                    Ok(ticket) => ticket.redeem(deadline, options.timeout).await,
                    Err(error) => Err(error),
                };
                if pool.learn(&answers) {
                    self.roster.doubt();
                }
                let (mut answers, error) = match answers {
                    Ok(answers) => (answers.into_iter(), None),
                    Err(error) => (Vec::new().into_iter(), Some(error)),
                };
                for mut part in parts {
                    let result = match &error {
                        Some(error) if part.route.goes_on(error, &part.request.op) => {
                            part.join(&mut shares);
                            continue;
                        }
                        Some(error) => Err(error.clone()),
                        None => understand(answers.next(), pool.node(), &read),
                    };
                    self.wrote(&part.request);
                    if let Some(place) = results.get_mut(part.index) {
                        *place = result;
                    }
                }
            }
        }
        results
    }
}

/// One request of a batch.
struct Part<'c> {
    /// Where in the batch it stands.
    index: usize,
    request: Request<'c>,
    route: Route<'c>,
}

impl<'c> Part<'c> {
    fn join(self, shares: &mut [Share<'c>]) {
        if let Some(share) = shares.get_mut(self.route.index()) {
            share.parts.push(self);
        }
    }
}

/// The part of a batch that goes to one node.
struct Share<'c> {
    pool: &'c Arc<Pool>,
    parts: Vec<Part<'c>>,
}

impl<'c> Share<'c> {
    fn new(pool: &'c Arc<Pool>) -> Self {
        Self { pool, parts: Vec::new() }
    }

    fn send(&self) -> Result<Ticket, Error> {
        let bounded = |part: &Part<'c>| part.route.bounded(part.request);
        self.pool.send(&self.parts.iter().map(bounded).collect::<Vec<_>>())
    }
}
