//! `--print-config`: what a command would run on, and why.

use std::fmt::Write;

use super::{Note, Setting, Sources};

/// The settings as a TOML file that gives the same again, each with its source.
pub(crate) fn print(
    command: &str,
    settings: &[Setting],
    sources: &Sources,
    notes: &[Note],
) -> String {
    let lines: Vec<_> = settings
        .iter()
        .map(|(option, value)| (format!("{option} = {value}"), sources.of(option)))
        .collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0).min(40);
    let mut text = format!("[{command}]\n");
    for (line, source) in lines {
        writeln!(text, "{line:width$}  # {source}").ok();
    }
    for note in notes {
        writeln!(text, "# {}", note.text).ok();
    }
    text
}
