//! The other nodes of a cluster, by the network.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use larder_peer::{CallError, Credentials, Handler, Link, PeerId, Refusal, Settings};
use parking_lot::{Mutex, RwLock};

use crate::group::Group;
use crate::network::{Answer, Kind, Transport};

/// Links to the other nodes, made as they are asked for.
#[derive(Debug)]
pub struct Peers {
    credentials: Credentials,
    settings: Settings,
    /// By node: a node that has moved gets another.
    links: Mutex<HashMap<u64, (String, Link)>>,
    /// Where nodes are, whatever who calls them believes.
    places: RwLock<HashMap<u64, String>>,
}

/// The groups of this node, as other nodes reach them.
#[derive(Debug, Default)]
pub struct Reception {
    groups: RwLock<HashMap<u64, Arc<Group>>>,
}

impl Peers {
    /// None yet. To each of them this node shows `credentials`.
    pub fn new(credentials: Credentials, settings: Settings) -> Self {
        Self { credentials, settings, links: Mutex::default(), places: RwLock::default() }
    }

    /// From now on these nodes are reached there, and nowhere else: a group's history tells where its
    /// members were when they were admitted.
    pub fn locate(&self, places: impl IntoIterator<Item = (u64, String)>) {
        self.places.write().extend(places);
    }

    /// Sends a call of any kind, which belongs to no group where it is above [`Kind::LAST`]. It is on
    /// its way when this returns, behind those made before. `address` is where the node is if nothing
    /// else was [told](Self::locate).
    ///
    /// # Panics
    ///
    /// It is called outside of a tokio runtime.
    pub fn ask(
        &self,
        node: u64,
        address: &str,
        kind: u8,
        body: Bytes,
        limit: Duration,
    ) -> impl Future<Output = Result<Bytes, CallError>> + Send + use<> {
        let deadline = tokio::time::Instant::now() + limit;
        let places = self.places.read();
        let address = places.get(&node).map_or(address, String::as_str);
        let mut links = self.links.lock();
        let open = || {
            let credentials = self.credentials.clone();
            let link = Link::open(address, Some(node), credentials, self.settings.clone());
            (address.to_owned(), link)
        };
        let (at, link) = links.entry(node).or_insert_with(open);
        if at != address {
            (*at, *link) = open();
        }
        link.call(kind, body, deadline)
    }

    /// Whether a link to a node is open. There is none before it is asked something.
    pub fn is_connected(&self, node: u64) -> bool {
        self.links.lock().get(&node).is_some_and(|(_, link)| link.stats().connected)
    }
}

impl Transport for Peers {
    fn call(&self, node: u64, address: &str, kind: Kind, body: Bytes, limit: Duration) -> Answer {
        let answer = self.ask(node, address, kind as u8, body, limit);
        Box::pin(async move { answer.await.map_err(into_io) })
    }
}

impl Reception {
    /// From now on others reach this group here.
    pub fn add(&self, number: u64, group: Arc<Group>) {
        self.groups.write().insert(number, group);
    }

    /// From now on they do not.
    pub fn remove(&self, number: u64) {
        self.groups.write().remove(&number);
    }

    fn receive(&self, peer: &PeerId, kind: u8, body: &Bytes) -> Option<Answer> {
        let kind = Kind::of(kind)?;
        let (number, _) = body.split_first_chunk()?;
        let group = self.groups.read().get(&u64::from_le_bytes(*number)).cloned()?;
        Some(group.receive(peer.id, kind, body.slice(number.len()..)))
    }
}

impl Handler for Reception {
    fn handle(
        self: Arc<Self>,
        peer: PeerId,
        kind: u8,
        body: Bytes,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + 'static {
        let answer = self.receive(&peer, kind, &body);
        async move {
            let Some(answer) = answer else { return Err(Refusal("no such group here".to_owned())) };
            answer.await.map_err(|error| Refusal(error.to_string()))
        }
    }
}

fn into_io(error: CallError) -> io::Error {
    let kind = match error {
        CallError::NotSent(_) | CallError::TooMany { .. } => io::ErrorKind::HostUnreachable,
        CallError::Unknown(_) => io::ErrorKind::TimedOut,
        CallError::Refused(_) | CallError::TooLarge { .. } => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
