//! Where an option's value came from.

use std::collections::HashMap;
use std::path::PathBuf;

/// Where a value came from. The greater wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Nothing was said.
    Default,
    /// This line of this file, counted from 1.
    File(PathBuf, usize),
    /// This variable.
    Environment(String),
    /// The command line.
    CommandLine,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// The source of each option, by its long name.
#[derive(Debug, Default)]
pub(crate) struct Sources(HashMap<String, Source>);

impl Sources {
    pub(crate) fn set(&mut self, option: &str, source: Source) {
        self.0.insert(option.to_owned(), source);
    }

    pub(crate) fn of(&self, option: &str) -> &Source {
        self.0.get(option).unwrap_or(&Source::Default)
    }

    pub(crate) fn given(&self, option: &str) -> bool {
        *self.of(option) != Source::Default
    }
}
