//! The placement as group 0 has agreed on it, and who waits to hear what came of a change.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use larder_consensus::{Committed, Machine, View};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use super::file;
use super::proposal::{Proposal, What};
use crate::error::Error;
use crate::placement::{NodeId, Placement, Refusal};

/// The machine of group 0: a placement, in a file that is written anew with each change.
pub(crate) struct Register {
    path: PathBuf,
    kept: Option<Kept>,
    ledger: Arc<Ledger>,
}

/// What the rest of the node knows of it.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Of this opening of the node.
    proposer: u64,
    /// `None` before this node has heard of one.
    placement: watch::Sender<Option<Arc<Placement>>>,
    waiting: Mutex<Waiting>,
}

/// What came of a change: the node it was about, and the version of the placement then.
pub(crate) type Verdict = Result<(Option<NodeId>, u64), Refusal>;

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    tellers: HashMap<u64, oneshot::Sender<Verdict>>,
}

/// What the file holds, and a view.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    mark: Vec<u8>,
    placement: Option<Placement>,
}

/// A view is one part, as a placement is small.
struct Whole {
    mark: Bytes,
    part: Option<Bytes>,
}

impl Register {
    /// What the directory holds.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is damaged.
    pub(crate) fn open(directory: &Path, proposer: u64) -> Result<(Self, Arc<Ledger>), Error> {
        let path = directory.join(NAME);
        let kept: Option<Kept> = file::read(&path, VERSION)?;
        let placement = kept.as_ref().and_then(|kept| kept.placement.clone()).map(Arc::new);
        let (placement, _) = watch::channel(placement);
        let waiting = Mutex::default();
        let ledger = Arc::new(Ledger { proposer, placement, waiting });
        Ok((Self { path, kept, ledger: Arc::clone(&ledger) }, ledger))
    }

    /// The mark of the last change.
    pub(crate) fn last_mark(&self) -> Option<&[u8]> {
        self.kept.as_ref().map(|kept| &*kept.mark)
    }

    /// Keeps this, and then tells.
    fn keep(&mut self, kept: Kept) -> io::Result<()> {
        file::write(&self.path, VERSION, &kept).map_err(io::Error::other)?;
        let placement = kept.placement.as_ref();
        self.ledger.placement.send_if_modified(|told| {
            let changed = told.as_deref() != placement;
            if changed {
                *told = placement.cloned().map(Arc::new);
            }
            changed
        });
        self.kept = Some(kept);
        Ok(())
    }
}

impl Ledger {
    /// The placement, as far as this node knows it.
    pub(crate) fn placement(&self) -> Option<Arc<Placement>> {
        self.placement.borrow().clone()
    }

    /// Tells when it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Arc<Placement>>> {
        self.placement.subscribe()
    }

    /// A proposal, and what will tell what came of it, if this node lives to do it.
    pub(crate) fn propose(&self, what: What) -> (Proposal, oneshot::Receiver<Verdict>) {
        let (teller, told) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        waiting.last += 1;
        let number = waiting.last;
        // Who has given up wants no answer.
        waiting.tellers.retain(|_, teller| !teller.is_closed());
        waiting.tellers.insert(number, teller);
        (Proposal { proposer: self.proposer, number, what }, told)
    }

    fn tell(&self, proposal: &Proposal, verdict: Verdict) {
        if proposal.proposer == self.proposer
            && let Some(teller) = self.waiting.lock().tellers.remove(&proposal.number)
        {
            // It may have given up since.
            let _ = teller.send(verdict);
        }
    }
}

/// Does what was proposed.
fn decide(placement: &mut Option<Placement>, what: What) -> Verdict {
    match (what, placement) {
        (What::Found { groups, replicas, member }, placement @ None) => {
            let mut founded = Placement::new(groups, replicas);
            let node = founded.change(crate::placement::Change::Join(member))?;
            let version = founded.version();
            *placement = Some(founded);
            Ok((node, version))
        }
        (What::Found { .. }, Some(placement)) => Ok((None, placement.version())),
        (What::Change(change), Some(placement)) => {
            placement.change(change).map(|node| (node, placement.version()))
        }
        (What::Change(_), None) => Err(Refusal::NotFounded),
    }
}

impl Machine for Register {
    fn mark(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.last_mark().map(Bytes::copy_from_slice))
    }

    fn apply(&mut self, committed: Vec<Committed>) -> io::Result<()> {
        let Some(last) = committed.last() else { return Ok(()) };
        let mark = last.mark.to_vec();
        let mut placement = self.kept.as_ref().and_then(|kept| kept.placement.clone());
        let mut verdicts = Vec::new();
        for Committed { entry, .. } in committed.iter().filter(|done| !done.entry.is_empty()) {
            let proposal = Proposal::decode(entry)?;
            let verdict = decide(&mut placement, proposal.what.clone());
            verdicts.push((proposal, verdict));
        }
        self.keep(Kept { mark, placement })?;
        for (proposal, verdict) in verdicts {
            self.ledger.tell(&proposal, verdict);
        }
        Ok(())
    }

    fn persist(&mut self) -> io::Result<()> {
        // All that is applied is.
        Ok(())
    }

    fn view(&mut self) -> io::Result<Box<dyn View>> {
        let kept = self.kept.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let part = postcard::to_stdvec(kept).map_err(io::Error::other)?;
        let mark = Bytes::copy_from_slice(&kept.mark);
        Ok(Box::new(Whole { mark, part: Some(part.into()) }))
    }

    fn install(&mut self, view: &mut dyn View) -> io::Result<()> {
        let part = view.next_part()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.keep(postcard::from_bytes(&part).map_err(io::Error::other)?)
    }
}

impl View for Whole {
    fn mark(&self) -> Bytes {
        self.mark.clone()
    }

    fn next_part(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.part.take())
    }
}

const NAME: &str = "PLACEMENT";
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::{Change, Member};

    fn member(name: &str) -> Member {
        Member {
            name: name.to_owned(),
            identity: 7,
            peer_address: "127.0.0.1:1".to_owned(),
            client_address: "127.0.0.1:2".to_owned(),
            zone: String::new(),
            drains: false,
        }
    }

    fn committed(proposal: &Proposal, mark: &'static [u8]) -> Committed {
        Committed { entry: proposal.encode().unwrap(), mark: Bytes::from_static(mark) }
    }

    #[test]
    fn what_was_agreed_on_is_there_again_and_its_proposer_is_told() {
        let place = tempfile::tempdir().unwrap();
        let (mut register, ledger) = Register::open(place.path(), 1).unwrap();
        assert_eq!(register.mark().unwrap(), None);
        let found = What::Found { groups: 4, replicas: 3, member: member("db1") };
        let (early, refused) = ledger.propose(What::Change(Change::Rebalance));
        let (found, founded) = ledger.propose(found);
        let (join, joined) = ledger.propose(What::Change(Change::Join(member("db2"))));
        let foreign = Proposal { proposer: 2, ..join.clone() };
        let entries = vec![
            committed(&early, b"1"),
            committed(&found, b"2"),
            committed(&foreign, b"3"),
            committed(&found, b"4"),
            committed(&join, b"5"),
            Committed { entry: Bytes::new(), mark: Bytes::from_static(b"6") },
        ];
        register.apply(entries).unwrap();
        assert_eq!(refused.blocking_recv().unwrap(), Err(Refusal::NotFounded));
        assert_eq!(founded.blocking_recv().unwrap(), Ok((Some(1), 1)));
        assert_eq!(joined.blocking_recv().unwrap(), Ok((Some(2), 2)));
        let placement = ledger.placement().unwrap();
        assert_eq!(placement.members().len(), 2);

        let (mut again, ledger) = Register::open(place.path(), 1).unwrap();
        assert_eq!(again.mark().unwrap().as_deref(), Some(&b"6"[..]));
        assert_eq!(ledger.placement(), Some(Arc::clone(&placement)));

        let elsewhere = tempfile::tempdir().unwrap();
        let (mut other, ledger) = Register::open(elsewhere.path(), 3).unwrap();
        other.install(&mut *again.view().unwrap()).unwrap();
        assert_eq!(ledger.placement(), Some(placement));
        assert_eq!(other.mark().unwrap().as_deref(), Some(&b"6"[..]));
    }
}
