//! Pages for a large value that is still coming.

use std::fmt;

use larder_protocol::Landing;

use crate::arena::Pages;
use crate::budget::Loan;

/// Pages for the front of a value that is still coming: it is written where it will stay.
pub struct Runway {
    pages: Pages,
    /// How many runs of pages are full, and how many bytes of the next.
    full: usize,
    written: usize,
    _loan: Loan,
}

impl Runway {
    /// Pages to which nothing was written, on this loan.
    pub(crate) fn new(pages: Pages, loan: Loan) -> Self {
        Self { pages, full: 0, written: 0, _loan: loan }
    }

    /// The pages, if all of them were written to.
    pub(crate) fn into_pages(mut self) -> Option<Pages> {
        self.room().is_empty().then_some(self.pages)
    }
}

impl Landing for Runway {
    fn len(&self) -> usize {
        self.pages.bytes()
    }

    fn room(&mut self) -> &mut [u8] {
        let run = self.pages.run_mut(self.full).unwrap_or_default();
        run.get_mut(self.written..).unwrap_or_default()
    }

    fn advance(&mut self, bytes: usize) {
        self.written += bytes;
        if self.pages.run(self.full).is_some_and(|run| run.len() <= self.written) {
            self.full += 1;
            self.written = 0;
        }
    }
}

impl fmt::Debug for Runway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runway").field("len", &self.len()).finish_non_exhaustive()
    }
}
