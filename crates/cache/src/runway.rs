//! Pages for a large value that is still coming.

use std::fmt;

use larder_protocol::{Landing, Piecewise};

use crate::arena::Pages;
use crate::budget::Loan;
use crate::long::Long;

/// Pages for the front of a value that is still coming: it is written where it will stay. They are
/// had a part at a time, since others may have to make way for them.
pub struct Runway {
    /// What has come, but for the part that is coming.
    come: Long,
    /// Where that goes.
    part: Pages,
    /// How many runs of its pages are full, and how many bytes of the next.
    full: usize,
    written: usize,
    /// How many bytes there will be.
    len: usize,
    /// How many bytes come for nothing, as there was no memory for more.
    lost: Option<usize>,
    _loan: Loan,
}

impl Runway {
    /// For `len` bytes, with pages for the first of them, on this loan.
    pub(crate) fn new(len: usize, part: Pages, loan: Loan) -> Self {
        Self { come: Long::default(), part, full: 0, written: 0, len, lost: None, _loan: loan }
    }

    /// How many bytes there are no pages for.
    pub(crate) fn lacking(&self) -> usize {
        self.len - self.come.len() - self.part.bytes()
    }

    /// The part that has come is added to what came before, by `add`, and the next goes to these
    /// pages; if there are none, that and all that follows is lost.
    pub(crate) fn lengthen(&mut self, pages: Option<Pages>, add: impl FnOnce(Long, Pages) -> Long) {
        (self.full, self.written) = (0, 0);
        if let Some(pages) = pages {
            let part = std::mem::replace(&mut self.part, pages);
            self.come = add(std::mem::take(&mut self.come), part);
        } else {
            self.lost = Some(self.lacking());
            // Others lack memory too.
            self.come = Long::default();
        }
    }

    /// The value but for its last part, and that; `None` if not all of it has come, or some is lost.
    pub(crate) fn into_parts(self) -> Option<(Long, Pages)> {
        let complete = self.lost.is_none() && self.lacking() == 0;
        (complete && self.part.run(self.full).is_none()).then_some((self.come, self.part))
    }
}

impl Landing for Runway {
    fn len(&self) -> usize {
        self.len
    }

    fn is_short(&self) -> bool {
        self.lost.is_none() && self.lacking() > 0 && self.part.run(self.full).is_none()
    }

    fn room(&mut self) -> &mut [u8] {
        let run = self.part.run_mut(self.full).unwrap_or_default();
        let room = run.get_mut(self.written..).unwrap_or_default();
        let most = self.lost.unwrap_or(room.len()).min(room.len());
        room.get_mut(..most).unwrap_or_default()
    }

    fn advance(&mut self, bytes: usize) {
        if let Some(lost) = &mut self.lost {
            // What is lost may be written over.
            *lost -= bytes;
            return;
        }
        self.written += bytes;
        if self.part.run(self.full).is_some_and(|run| run.len() <= self.written) {
            self.full += 1;
            self.written = 0;
        }
    }
}

impl fmt::Debug for Runway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runway").field("len", &self.len).finish_non_exhaustive()
    }
}
