//! Why a command did not do what it was asked.

use std::process::ExitCode;

/// Why a command ended early, in one line for the operator, with the exit code memcached gives
/// for the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    code: u8,
    line: String,
}

impl Failure {
    /// The command, its environment or its file asks for what cannot be. `line` says what, where
    /// and what to write instead.
    pub(crate) fn usage(line: impl Into<String>) -> Self {
        Self { code: 64, line: line.into() }
    }

    /// The machine or the operating system refused.
    pub(crate) fn system(line: impl Into<String>) -> Self {
        Self { code: 71, line: line.into() }
    }

    /// The same failure with `prefix` before its line.
    pub(crate) fn within(self, prefix: &str) -> Self {
        Self { line: format!("{prefix}: {}", self.line), ..self }
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.line)
    }
}
