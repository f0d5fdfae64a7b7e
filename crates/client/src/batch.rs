//! Operations on many keys: each node is asked once, all at the same time.

use larder_protocol::Mode;
use larder_protocol::response::Status;
use tokio::time::Instant;

use crate::ask::{delete, deleted, fetch, found, store, stored, understand};
use crate::client::Client;
use crate::connection::{Answer, Request};
use crate::error::{Error, Violation};
use crate::expiry::Expiry;
use crate::item::{Item, Value};
use crate::pool::Pool;

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

    async fn ask_many<T>(
        &self,
        requests: Vec<Request<'_>>,
        read: impl Fn(Status, Item) -> Result<T, Violation>,
    ) -> Vec<Result<T, Error>> {
        let options = self.nodes.options;
        let deadline = Instant::now() + options.timeout;
        let mut results: Vec<Result<T, Error>> = Vec::new();
        let mut shares: Vec<Share<'_>> = self.nodes.pools().iter().map(Share::new).collect();
        for (index, request) in requests.into_iter().enumerate() {
            let node = self.check(&request).and_then(|()| self.nodes.index_of(request.key));
            // Stands until the share of the node is settled.
            results.push(Err(node.as_ref().err().cloned().unwrap_or(Error::NoNode)));
            if let Some(share) = node.ok().and_then(|node| shares.get_mut(node)) {
                share.requests.push(request);
                share.indices.push(index);
            }
        }
        // All are sent before any is waited for.
        let sent: Vec<_> = shares
            .iter()
            .filter(|share| !share.requests.is_empty())
            .map(|share| (share, share.pool.send(&share.requests)))
            .collect();
        for (share, ticket) in sent {
            let answers = match ticket {
                Ok(ticket) => ticket.redeem(deadline, options.timeout).await,
                Err(error) => Err(error),
            };
            share.settle(answers, &mut results, &read);
        }
        results
    }
}

/// The part of a batch that goes to one node.
struct Share<'c> {
    pool: &'c Pool,
    requests: Vec<Request<'c>>,
    /// Where in the batch each request stands.
    indices: Vec<usize>,
}

impl<'c> Share<'c> {
    fn new(pool: &'c Pool) -> Self {
        Self { pool, requests: Vec::new(), indices: Vec::new() }
    }

    /// Puts what became of this share into the batch's results.
    fn settle<T>(
        &self,
        answers: Result<Vec<Answer>, Error>,
        results: &mut [Result<T, Error>],
        read: impl Fn(Status, Item) -> Result<T, Violation>,
    ) {
        let (mut answers, error) = match answers {
            Ok(answers) => (answers.into_iter(), None),
            Err(error) => (Vec::new().into_iter(), Some(error)),
        };
        for index in &self.indices {
            if let Some(result) = results.get_mut(*index) {
                *result = match &error {
                    Some(error) => Err(error.clone()),
                    None => understand(answers.next(), self.pool.node(), &read),
                };
            }
        }
    }
}
