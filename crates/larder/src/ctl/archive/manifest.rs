//! What a backup has.
//!
//! Lines of text, each of words with a space between them. The name of the cluster is the rest of its
//! line, as Rust escapes it, and the last line is the XXH3, 64 bits, of all lines before it. A number of
//! 16 digits is hexadecimal.

use std::fmt::Write;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_64;

/// What a backup has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ctl) struct Manifest {
    /// The name of the cluster, escaped.
    pub(in crate::ctl) cluster: String,
    /// What the cluster drew when it was founded.
    pub(in crate::ctl) cluster_id: u64,
    /// What was drawn for the backup.
    pub(in crate::ctl) backup: u64,
    /// When it was begun, in seconds since 1970, by the clock of who took it.
    pub(in crate::ctl) taken: u64,
    /// Of each group.
    pub(in crate::ctl) groups: Vec<Entry>,
}

/// What the file of a group has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ctl) struct Entry {
    pub(in crate::ctl) group: u64,
    pub(in crate::ctl) items: u64,
    /// Of the file.
    pub(in crate::ctl) bytes: u64,
    /// XXH3, 64 bits, of the file.
    pub(in crate::ctl) checksum: u64,
}

impl Manifest {
    /// Of all groups.
    pub(in crate::ctl) fn items(&self) -> u64 {
        self.groups.iter().map(|entry| entry.items).sum()
    }

    /// Of all files of groups.
    pub(in crate::ctl) fn bytes(&self) -> u64 {
        self.groups.iter().map(|entry| entry.bytes).sum()
    }

    pub(in crate::ctl) fn encode(&self) -> String {
        let Self { cluster, cluster_id, backup, taken, groups } = self;
        let mut text = format!(
            "{FIRST}\ncluster {cluster_id:016x} {cluster}\nbackup {backup:016x}\ntaken {taken}\n"
        );
        for Entry { group, items, bytes, checksum } in groups {
            // A String takes all.
            let _ =
                writeln!(text, "group {group} items {items} bytes {bytes} xxh3 {checksum:016x}");
        }
        let checksum = xxh3_64(text.as_bytes());
        let _ = writeln!(text, "xxh3 {checksum:016x}");
        text
    }

    /// Reads what [`encode`](Self::encode) gives, or says what is wrong where.
    pub(in crate::ctl) fn decode(bytes: &[u8]) -> Result<Self, (usize, String)> {
        let wrong = |offset, why: &str| (offset, why.to_owned());
        let text = std::str::from_utf8(bytes)
            .map_err(|error| wrong(error.valid_up_to(), "it is no text"))?;
        let first = text.lines().next().unwrap_or_default();
        if first != FIRST {
            return Err(match first.strip_prefix(FAMILY) {
                Some(version) => (0, format!("version {version} is none that this Larder reads")),
                None => wrong(0, "it is no manifest of a backup"),
            });
        }
        let body = text.trim_end_matches('\n').rfind('\n').map_or(0, |at| at + 1);
        let (lines, last) = text.split_at_checked(body).unwrap_or_default();
        let sum = last.strip_suffix('\n').and_then(|last| last.strip_prefix("xxh3 "));
        let sum = sum.and_then(hexadecimal).ok_or_else(|| wrong(body, "it breaks off"))?;
        if sum != xxh3_64(lines.as_bytes()) {
            return Err(wrong(body, "its checksum is not that of its lines"));
        }
        let mut lines = lines.lines().skip(1);
        let mut next = |name: &str| {
            let line = lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.ok_or_else(|| (body, format!("it does not say of which {name} it is")))
        };
        let senseless = |name: &str| (body, format!("its {name} makes no sense"));
        let (cluster_id, cluster) =
            next("cluster")?.split_once(' ').ok_or_else(|| senseless("cluster"))?;
        let cluster_id = hexadecimal(cluster_id).ok_or_else(|| senseless("cluster"))?;
        let backup = hexadecimal(next("backup")?).ok_or_else(|| senseless("backup"))?;
        let taken = next("taken")?.parse().map_err(|_| senseless("taken"))?;
        let groups = lines.map(|line| entry(line).ok_or_else(|| senseless("groups")));
        let groups = groups.collect::<Result<_, _>>()?;
        Ok(Self { cluster: cluster.to_owned(), cluster_id, backup, taken, groups })
    }
}

fn entry(line: &str) -> Option<Entry> {
    let words: Vec<_> = line.split(' ').collect();
    let ["group", group, "items", items, "bytes", bytes, "xxh3", checksum] = words[..] else {
        return None;
    };
    Some(Entry {
        group: decimal(group)?,
        items: decimal(items)?,
        bytes: decimal(bytes)?,
        checksum: hexadecimal(checksum)?,
    })
}

fn decimal(text: &str) -> Option<u64> {
    u64::from_str(text).ok()
}

fn hexadecimal(text: &str) -> Option<u64> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_number = text.len() == 16 && text.bytes().all(is_digit);
    is_number.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

const FAMILY: &str = "larder backup ";
const FIRST: &str = "larder backup 1";
