//! What the names of members stand for.

use std::net::IpAddr;
use std::sync::Arc;

use ahash::HashMap;
use parking_lot::Mutex;
use tokio::net::lookup_host;

use crate::view::View;

/// Addresses of members' client addresses that are names, as this node's resolver has them.
#[derive(Debug, Default)]
pub(crate) struct Resolved(Mutex<HashMap<Arc<str>, IpAddr>>);

impl Resolved {
    pub(crate) fn get(&self, client_address: &str) -> Option<IpAddr> {
        self.0.lock().get(client_address).copied()
    }

    /// Asks the resolver about all members. What it does not know any more stays as it was.
    pub(crate) async fn refresh(&self, view: &View) {
        for member in &view.members {
            let address = &member.client_address;
            let found = lookup_host(&**address).await.ok().and_then(|mut found| found.next());
            if let Some(found) = found {
                self.0.lock().insert(Arc::clone(address), found.ip());
            }
        }
        let is_there = |address: &Arc<str>| {
            view.members.iter().any(|member| member.client_address == *address)
        };
        self.0.lock().retain(|address, _| is_there(address));
    }
}
