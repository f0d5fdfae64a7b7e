//! A node's place among others, or that it has none.

use std::sync::Arc;

use larder_consensus::Peers;
use larder_peer::{Credentials, PeerId, Settings};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::cluster::{Archive, Charter, Node};
use crate::directory::Locked;
use crate::error::Error;
use crate::replica::Others;

/// A node's place among others.
pub(crate) struct Place {
    pub(crate) others: Others,
    pub(crate) credentials: Credentials,
    pub(crate) listener: TcpListener,
    /// What it is to the cluster that decides which groups it has.
    pub(crate) node: Option<(Node, Charter)>,
}

impl Place {
    /// Of a node that the cluster knows by this charter.
    pub(crate) fn of_charter(
        node: Node,
        charter: Charter,
        listener: std::net::TcpListener,
        runtime: &Runtime,
    ) -> Result<Self, Error> {
        let wrong = |detail: String| Error::Member { detail };
        let admission = charter.admission.ok_or_else(|| wrong("it was not let in".to_owned()))?;
        let me = PeerId { id: admission.node, name: node.name.as_str().into() };
        let credentials = Credentials::new(&node.cluster, me, node.secret.clone())
            .map_err(|error| wrong(error.to_string()))?
            .of_cluster(admission.cluster_id);
        let address = node.peer_address.clone();
        let place = Self::of_node(credentials, admission.node, address, listener, runtime)?;
        Ok(Self { node: Some((node, charter)), ..place })
    }

    /// Of a node that somebody else tells which groups it has.
    pub(crate) fn of_node(
        credentials: Credentials,
        node: u64,
        address: String,
        listener: std::net::TcpListener,
        runtime: &Runtime,
    ) -> Result<Self, Error> {
        let _runtime = runtime.enter();
        let listener =
            listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)).map_err(
                |error| Error::Member { detail: format!("it cannot listen to others: {error}") },
            )?;
        let peers = Arc::new(Peers::new(credentials.clone(), settings()));
        let others = Others { node, peers, address };
        Ok(Self { others, credentials, listener, node: None })
    }

    /// Into how many groups the cluster divides keys, if it is known.
    pub(crate) fn groups(&self) -> Option<u16> {
        let (_, charter) = self.node.as_ref()?;
        Some(charter.admission?.groups)
    }
}

/// The place of a node that has none among others.
pub(crate) fn alone(locked: &Locked, _: &Runtime) -> Result<Option<Place>, Error> {
    match Archive::new(locked.path()).read()? {
        None => Ok(None),
        Some(Charter { cluster, name, .. }) => Err(Error::Member {
            detail: format!("it is node {name:?} of the cluster {cluster:?}, and not alone"),
        }),
    }
}

/// Answers may have a value of any length besides what was asked.
pub(crate) fn settings() -> Settings {
    Settings { max_body: 256 << 20, ..Settings::default() }
}
