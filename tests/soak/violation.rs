//! Why a soak ends early.

use std::fmt::{self, Display};
use std::io;

/// Something that a server must never do, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(String);

impl Violation {
    pub(super) fn new(what: impl Display) -> Self {
        Self(what.to_string())
    }
}

impl Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Violation {}

impl From<io::Error> for Violation {
    fn from(error: io::Error) -> Self {
        Self::new(format_args!("a connection failed: {error}"))
    }
}
