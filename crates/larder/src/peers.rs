//! Where a node of a cluster meets the others.

use std::net::TcpListener;

use larder_store::Secret;

use crate::config::Place;
use crate::failure::Failure;

/// Listens to the other nodes. Who of them is one is known by the secret.
pub(crate) fn listen(place: &Place) -> Result<(TcpListener, Secret), Failure> {
    let secret = Secret::load(&place.secret_file)
        .map_err(|error| Failure::usage(format!("--cluster-secret-file: {error}")))?;
    let listen = &place.listen;
    let refused =
        |error: std::io::Error| Failure::system(format!("--peer-listen {listen}: {error}"));
    let addresses = listen.addresses(0).map_err(refused)?;
    let listener = TcpListener::bind(&addresses[..]).map_err(refused)?;
    Ok((listener, secret))
}
