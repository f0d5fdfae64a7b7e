//! The TOML file: one table for each command, keys named like the long options.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::failure::Failure;
use crate::flags::nearest;

/// One key of the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As written.
    pub(crate) key: String,
    /// Its values, as they would stand on a command line.
    pub(crate) values: Vec<String>,
    /// Whether the values stand in an array.
    pub(crate) list: bool,
    /// Its line, counted from 1.
    pub(crate) line: usize,
}

/// The table of `command` in the file at `path`. Tables of other `commands` are not looked into.
pub(crate) fn read(path: &Path, command: &str, commands: &[&str]) -> Result<Vec<Entry>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("--config {}: cannot be read: {error}", path.display()))
    })?;
    let file = File { path: path.to_owned(), text: &text };
    let tables = DeTable::parse(&text).map_err(|error| {
        let message = error.message().lines().next().unwrap_or("not TOML");
        file.complain(error.span().unwrap_or(0..0), message)
    })?;
    let mut entries = Vec::new();
    for (name, value) in tables.get_ref() {
        if !commands.contains(&name.get_ref().as_ref()) {
            return Err(file.complain(name.span(), &stray(name.get_ref(), commands)));
        }
        let Some(table) = value.get_ref().as_table() else {
            return Err(
                file.complain(name.span(), &format!("{0} must be a table: [{0}]", name.get_ref()))
            );
        };
        if name.get_ref() == command {
            for (key, value) in table {
                entries.push(file.entry(key.get_ref(), key.span(), value.get_ref())?);
            }
        }
    }
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

struct File<'t> {
    path: PathBuf,
    text: &'t str,
}

impl File<'_> {
    fn entry(&self, key: &str, span: Range<usize>, value: &DeValue<'_>) -> Result<Entry, Failure> {
        let values = match value {
            DeValue::Array(items) => {
                items.iter().map(|item| scalar(item.get_ref())).collect::<Option<Vec<_>>>()
            }
            one => scalar(one).map(|text| vec![text]),
        };
        let Some(values) = values else {
            let kind = value.type_str();
            return Err(self.complain(
                span,
                &format!("{key} is {kind}: want a text, a number, true, false or a list of these"),
            ));
        };
        Ok(Entry { key: key.to_owned(), values, list: value.is_array(), line: self.line(&span) })
    }

    fn complain(&self, span: Range<usize>, message: &str) -> Failure {
        Failure::usage(format!("{}:{}: {message}", self.path.display(), self.line(&span)))
    }

    fn line(&self, span: &Range<usize>) -> usize {
        self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
    }
}

fn stray(name: &str, commands: &[&str]) -> String {
    match nearest(name, commands.iter().copied()) {
        Some(near) => format!("unknown table [{name}]: the nearest is [{near}]"),
        None => format!("unknown {name}: options stand in a table, such as [cache]"),
    }
}

/// A value as it would stand on a command line.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Entry>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("larder.toml");
        std::fs::write(&path, text).unwrap();
        read(&path, "cache", &["cache", "store"])
            .map_err(|error| error.to_string().replace(&*dir.path().to_string_lossy(), ""))
    }

    #[test]
    fn values_become_what_a_command_line_would_say() {
        let entries =
            read_text("[cache]\nport = 1_1\nlisten = [\"a\", \"b\"]\n\ndaemon = true\n").unwrap();
        let plain: Vec<_> =
            entries.iter().map(|e| (e.key.as_str(), e.values.join(" "), e.line)).collect();
        assert_eq!(
            plain,
            [("port", "11".into(), 2), ("listen", "a b".into(), 3), ("daemon", "true".into(), 5)]
        );
    }

    #[test]
    fn tables_of_other_commands_are_left_alone() {
        assert_eq!(read_text("[store]\nport = 1\n"), Ok(vec![]));
    }

    #[test]
    fn errors_name_file_and_line() {
        for (text, wanted) in [
            (
                "[cahce]\nport = 1\n",
                "/larder.toml:1: unknown table [cahce]: the nearest is [cache]",
            ),
            (
                "\nport = 1\n",
                "/larder.toml:2: unknown port: options stand in a table, such as [cache]",
            ),
            ("[cache]\nport = {}\n", "/larder.toml:2: port is table"),
            ("[cache]\nport 1\n", "/larder.toml:2: "),
        ] {
            let line = read_text(text).unwrap_err();
            assert!(line.starts_with(wanted), "{line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }
}
