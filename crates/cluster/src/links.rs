//! Connections of the node as a whole to the others, for what no client waits for.

use std::sync::Arc;

use ahash::HashMap;
use larder_peer::{Credentials, Link, Settings};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::member::Member;
use crate::view::View;

/// One connection to each other node, made when it is first needed. Workers have others, for commands.
#[derive(Debug)]
pub(crate) struct Links {
    open: Mutex<HashMap<Arc<str>, To>>,
    me: Credentials,
    settings: Settings,
    runtime: Handle,
}

/// Whom it leads to, and how.
type To = (Arc<Member>, Arc<Link>);

impl Links {
    /// On the runtime of who calls this.
    pub(crate) fn new(me: Credentials, settings: Settings) -> Self {
        Self { open: Mutex::default(), me, settings, runtime: Handle::current() }
    }

    pub(crate) fn to(&self, member: &Arc<Member>) -> Arc<Link> {
        let mut open = self.open.lock();
        if let Some((known, link)) = open.get(&member.name)
            && (known.run, &known.peer_address) == (member.run, &member.peer_address)
        {
            return Arc::clone(link);
        }
        let _entered = self.runtime.enter();
        let (me, settings) = (self.me.clone(), self.settings.clone());
        let link = Arc::new(Link::open(&member.peer_address, Some(member.run), me, settings));
        open.insert(Arc::clone(&member.name), (Arc::clone(member), Arc::clone(&link)));
        link
    }

    /// Closes those to who is not there any more.
    pub(crate) fn keep(&self, view: &View) {
        self.open.lock().retain(|name, _| view.members.iter().any(|member| member.name == *name));
    }
}
