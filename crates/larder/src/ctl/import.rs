//! `larder ctl store import`: what another server has, into a cluster.
//!
//! - `source`: the server, and what it is asked
//! - `metadump`: all keys of a memcached
//! - `rget`: all items of a MemcacheDB, in the order of their keys

mod metadump;
mod rget;
mod source;

use larder_protocol::{Marks, Seconds};
use larder_store::{Admin, Item};

use self::source::Source;
use super::progress::Progress;
use super::sender::Sender;
use super::{clients, now, say, text};
use crate::failure::Failure;

/// Puts what a server has into a cluster, over what that has at the same keys. What changes there
/// meanwhile may come or not.
pub(super) async fn import(admin: &Admin, from: &str) -> Result<(), Failure> {
    let nodes = clients(admin).await?;
    let mut source = Source::connect(from).await?;
    let into = |total| {
        let progress = Progress::new("imported", total);
        Importer { sender: Sender::new(nodes, progress.clone()), progress }
    };
    let (importer, gone) = if let Some(keys) = metadump::keys(&mut source).await? {
        let mut importer = into(Some(keys.len() as u64));
        let gone = metadump::values(from, &keys, &mut importer).await?;
        (importer, gone)
    } else {
        let mut importer = into(None);
        rget::items(&mut source, &mut importer).await?;
        (importer, 0)
    };
    let Importer { sender, progress } = importer;
    sender.finish().await?;
    progress.end();
    let items = progress.items();
    say(&format!("done: {items} items imported, {gone} were gone when they were asked for\n"));
    Ok(())
}

/// What takes the items.
struct Importer {
    sender: Sender,
    progress: Progress,
}

impl Importer {
    /// Whether it is taken: it is not if it has expired.
    async fn take(
        &mut self,
        key: &[u8],
        value: &[u8],
        client_flags: u32,
        exptime: Seconds,
    ) -> Result<bool, Failure> {
        let (cas, last_write, marks) = (0, 0, Marks::default());
        let item = Item { key, value, client_flags, exptime, cas, last_write, marks };
        let lives = !item.expired(now());
        if lives {
            self.sender.send(text::command(&item)?).await?;
        }
        Ok(lives)
    }
}
