//! A view while it comes: one at a time, of one delivery, with all its parts.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::spool::{Spool, Spooled};
use crate::types::Vote;

/// Which delivery of a view something belongs to: another leader's is another, and so is the next of the
/// same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delivery {
    /// Who leads sends it, in this reign.
    pub(crate) vote: Vote,
    /// Counted by who sends it.
    pub(crate) number: u64,
}

/// The view that is coming. Calls may be late, so each says which delivery it is of.
#[derive(Debug)]
pub(crate) struct Coming {
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    spool: Option<Unfinished>,
    /// Held by the view that is there, as long as the machine may become it.
    taken: Weak<AtomicBool>,
}

#[derive(Debug)]
struct Unfinished {
    delivery: Delivery,
    /// Parts that have come.
    parts: u64,
    spool: Spool,
}

impl Coming {
    /// None yet, in a directory that is the group's own.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, state: Mutex::default() }
    }

    /// The first of a delivery. What came before and was not finished is forgotten.
    pub(crate) fn begin(&self, delivery: Delivery, mark: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        state.refuse_two()?;
        if state.spool.as_ref().is_some_and(|coming| coming.delivery.vote > delivery.vote) {
            return Err(io::Error::other("another leads since, whose view is coming"));
        }
        let spool = Spool::begin(&self.directory, mark)?;
        state.spool = Some(Unfinished { delivery, parts: 0, spool });
        Ok(())
    }

    /// The part of this number, from 0 on.
    pub(crate) fn add(&self, delivery: Delivery, number: u64, part: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let coming = state.spool.as_mut();
        let next = |coming: &&mut Unfinished| (coming.delivery, coming.parts) == (delivery, number);
        let coming = coming.filter(next).ok_or_else(not_begun)?;
        coming.spool.add(part)?;
        coming.parts += 1;
        Ok(())
    }

    /// All parts have come, which are so many.
    pub(crate) fn finish(&self, delivery: Delivery, parts: u64) -> io::Result<Spooled> {
        let mut state = self.state.lock();
        state.refuse_two()?;
        let whole = |coming: &mut Unfinished| (coming.delivery, coming.parts) == (delivery, parts);
        let coming = state.spool.take_if(whole).ok_or_else(not_begun)?;
        let view = coming.spool.finish()?;
        state.taken = Arc::downgrade(&view.taken());
        Ok(view)
    }

    /// Removes the view that is there unless it is `taken`. Who holds that keeps another from its place.
    pub(crate) fn discard_unless(&self, taken: &Arc<AtomicBool>) -> io::Result<()> {
        if taken.load(Ordering::Acquire) { Ok(()) } else { Spooled::remove(&self.directory) }
    }
}

impl State {
    /// There is one place for a view that is there, which is free when the machine has become it.
    fn refuse_two(&self) -> io::Result<()> {
        if self.taken.strong_count() > 0 {
            return Err(io::Error::other("it is becoming a view"));
        }
        Ok(())
    }
}

fn not_begun() -> io::Error {
    io::Error::other("a part of a view that was not begun here, or not the next of it")
}

#[cfg(test)]
mod tests {
    use openraft::impls::leader_id_adv::LeaderId;
    use tempfile::TempDir;

    use super::*;
    use crate::machine::View;

    fn delivery(term: u64, number: u64) -> Delivery {
        let leader_id = LeaderId { term, node_id: 1 };
        Delivery { vote: Vote { leader_id, committed: true }, number }
    }

    #[test]
    fn a_view_is_of_one_delivery_and_whole() {
        let place = TempDir::new().unwrap();
        let coming = Coming::new(place.path().to_owned());
        let (late, first, other) = (delivery(1, 9), delivery(2, 1), delivery(2, 2));
        coming.add(first, 0, b"not begun").unwrap_err();
        coming.begin(first, b"mark").unwrap();
        coming.begin(late, b"of who led before").unwrap_err();
        coming.add(first, 0, b"one").unwrap();
        coming.add(late, 1, b"of another").unwrap_err();
        coming.add(first, 0, b"again").unwrap_err();
        coming.add(first, 2, b"after one that is lost").unwrap_err();
        coming.add(first, 1, b"two").unwrap();
        coming.finish(first, 3).unwrap_err();
        coming.finish(other, 2).unwrap_err();
        let mut view = coming.finish(first, 2).unwrap();
        // As long as it is there.
        coming.begin(other, b"mark").unwrap_err();
        let mut parts = Vec::new();
        while let Some(part) = view.next_part().unwrap() {
            parts.push(part);
        }
        assert_eq!((&*view.mark(), parts.concat()), (&b"mark"[..], b"onetwo".to_vec()));
        drop(view);
        coming.begin(other, b"mark").unwrap();
    }
}
