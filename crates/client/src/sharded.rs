//! A counter in several parts.

use crate::ask::{count_up, counted, delete, deleted, fetch, found};
use crate::client::Client;
use crate::error::{Error, Violation};
use crate::expiry::Expiry;

/// A counter in several parts, which lie at nodes of their own: that so many count it is a load for all
/// of them, not for one. Each increment is of one part, by chance; reading it reads them all.
///
/// The parts of `key` are the items `key#part:0`, `key#part:1`, and so on. All who use it must say the same
/// number of parts; it can be made greater later.
///
/// ```no_run
/// # use larder_client::{Client, Expiry, ShardedCounter};
/// # async fn run(store: Client) -> Result<(), larder_client::Error> {
/// let likes = ShardedCounter::new(store, "likes:post:7", 16, Expiry::Never);
/// likes.add(1).await?;
/// println!("{:?}", likes.get().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ShardedCounter {
    client: Client,
    parts: Vec<Vec<u8>>,
    expiry: Expiry,
}

impl ShardedCounter {
    /// The counter at `key`, of so many parts, at least 1. A part that is not there yet begins at 0
    /// and has this expiry, which counting up does not change.
    pub fn new(
        client: Client,
        key: impl AsRef<[u8]>,
        parts: u32,
        expiry: impl Into<Expiry>,
    ) -> Self {
        let part = |number: u32| [key.as_ref(), format!("#part:{number}").as_bytes()].concat();
        Self { client, parts: (0..parts.max(1)).map(part).collect(), expiry: expiry.into() }
    }

    /// Counts up, wrapping at 2^64. If the outcome is unknown it may have counted, and is not to be
    /// asked again by who must not count twice.
    pub async fn add(&self, delta: u64) -> Result<(), Error> {
        let part = self.parts.get(rand::random_range(0..self.parts.len()));
        let part = part.ok_or(Error::NoNode)?;
        self.client.ask(count_up(part, delta, self.expiry), counted).await?;
        Ok(())
    }

    /// The sum of its parts, wrapping at 2^64; `None` if there is none. It is not of one moment: what
    /// is counted meanwhile may be in it or not. Fails if a part cannot be read.
    pub async fn get(&self) -> Result<Option<u64>, Error> {
        let requests = self.parts.iter().map(|part| fetch(part, None)).collect();
        let number = |status, answer| match found(status, answer)? {
            Some(item) => {
                let number = larder_protocol::parse_u64(&item.value);
                number.map(Some).ok_or(Violation::WrongAnswer)
            }
            None => Ok(None),
        };
        let parts = self.client.ask_many(requests, number).await;
        let mut sum = None;
        for part in parts {
            if let Some(number) = part? {
                sum = Some(sum.unwrap_or(0_u64).wrapping_add(number));
            }
        }
        Ok(sum)
    }

    /// Deletes all parts; tells whether there were any. What is counted meanwhile may stay.
    pub async fn delete(&self) -> Result<bool, Error> {
        let requests = self.parts.iter().map(|part| delete(part)).collect();
        let mut any = false;
        for part in self.client.ask_many(requests, deleted).await {
            any |= part?;
        }
        Ok(any)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::join;

    use super::*;
    use crate::fake::FakeNode;

    #[tokio::test]
    async fn a_counter_is_the_sum_of_its_parts() {
        let node = FakeNode::start().await;
        let client = node.builder().build().unwrap();
        let counter = ShardedCounter::new(client.clone(), "k", 3, Expiry::Never);
        let ((), ()) = join!(
            async {
                let mut peer = node.accept().await;
                let gets =
                    "mg k#part:0 v f c O0\r\nmg k#part:1 v f c O1\r\nmg k#part:2 v f c O2\r\n";
                peer.expect(gets).await;
                peer.send("VA 2 f0 c1 O0\r\n40\r\nEN O1\r\nVA 1 f0 c2 O2\r\n2\r\n").await;
                peer.expect(&gets.replace("O0", "O3").replace("O1", "O4").replace("O2", "O5"))
                    .await;
                peer.send("EN O3\r\nEN O4\r\nEN O5\r\n").await;
                peer.expect("md k#part:0 O6\r\nmd k#part:1 O7\r\nmd k#part:2 O8\r\n").await;
                peer.send("NF O6\r\nHD O7\r\nNF O8\r\n").await;
                peer.expect("ma only#part:0 D5 N60 J5 v O9\r\n").await;
                peer.send("VA 1 O9\r\n5\r\n").await;
                peer.expect("mg only#part:0 v f c O10\r\n").await;
                peer.send("VA 1 f0 c1 O10\r\n?\r\n").await;
            },
            async {
                assert_eq!(counter.get().await.unwrap(), Some(42));
                assert_eq!(counter.get().await.unwrap(), None);
                assert!(counter.delete().await.unwrap());
                let only = ShardedCounter::new(client, "only", 0, Duration::from_mins(1));
                only.add(5).await.unwrap();
                assert!(matches!(only.get().await, Err(Error::Violation { .. })));
            }
        );
    }
}
