//! Why a run of outages ends early.

use std::fmt::{self, Display};
use std::io;

/// Something that a cluster must never do, or that this machine does not let us do, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    pub(crate) fn new(what: impl Display) -> Self {
        Self(what.to_string())
    }

    /// What the system said to what was being done.
    pub(crate) fn io(action: impl Display) -> impl FnOnce(io::Error) -> Self {
        move |source| Self(format!("cannot {action}: {source}"))
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}
