//! How a durable cluster is, as a person and a program read it.

use std::collections::BTreeSet;
use std::fmt::Write;

use larder_store::{ClusterStatus, GroupStatus, LogSize, Trouble};

/// For programs.
pub(super) fn json(status: &ClusterStatus) -> String {
    let text = serde_json::to_string_pretty(status);
    // Nothing in it has a form that JSON has not.
    format!("{}\n", text.unwrap_or_default())
}

/// For people: nodes, then groups, then what is to be done.
pub(super) fn text(status: &ClusterStatus) -> String {
    let ClusterStatus { cluster, version, replicas, nodes, groups, .. } = status;
    let mut text = format!(
        "cluster {cluster}: {} nodes, {} groups, {replicas} replicas of each, version {version}\n\n",
        nodes.len(),
        groups.len(),
    );
    let rows = nodes.iter().map(|node| {
        let poisoned = node.trouble.as_ref().map(|trouble| trouble.poisoned);
        let state = match (node.answers, poisoned, node.drains, node.leaves) {
            (false, ..) => "does not answer",
            (true, Some(true), ..) => "poisoned",
            (true, Some(false), ..) => "damaged",
            (true, None, true, _) => "drains",
            (true, None, false, true) => "stops",
            (true, None, false, false) => "serves",
        };
        [
            node.name.clone(),
            node.node.to_string(),
            node.client_address.clone(),
            node.peer_address.clone(),
            node.zone.clone(),
            format!("{}/{}", node.replicas, node.seats),
            node.leads.to_string(),
            state.to_owned(),
        ]
    });
    let heads = ["node", "number", "clients", "peers", "zone", "replicas/wanted", "leads", "state"];
    table(&mut text, heads, rows);
    text.push('\n');
    let rows = groups.iter().map(|group| {
        [
            group.group.to_string(),
            group.leader.map_or_else(|| "none".to_owned(), |leader| name(status, leader)),
            group.term.to_string(),
            names(status, &group.voters),
            names(status, &group.learners),
            group.last.to_string(),
            lag(status, group),
            group.doing.clone().unwrap_or_else(|| {
                if group.holds { "as it is to be" } else { "to be changed" }.to_owned()
            }),
        ]
    });
    let heads = ["group", "leader", "term", "voters", "learners", "entries", "lag", "state"];
    table(&mut text, heads, rows);
    for (node, trouble) in nodes.iter().filter_map(|node| Some((node, node.trouble.as_ref()?))) {
        text.push_str(&advice(&node.name, trouble));
    }
    for (node, log) in nodes.iter().filter_map(|node| Some((node, node.log?))) {
        if log.is_long() {
            text.push_str(&long_log(&node.name, log));
        }
    }
    text
}

/// That a log is too long, and why.
fn long_log(name: &str, log: LogSize) -> String {
    let [bytes, limit] = [log.bytes, log.limit].map(|bytes| bytes >> 20);
    format!(
        "\nthe log of {name} is too long: {bytes} MiB, of {limit} it is to have\n  it keeps what a node \
         lacks that is slow or away, or writes come faster than it forgets\n"
    )
}

/// What is wrong with a node, and what to do.
fn advice(name: &str, trouble: &Trouble) -> String {
    let Trouble { poisoned, why } = trouble;
    let so = if *poisoned {
        "poisoned: it acknowledges nothing, and forwards what it is asked"
    } else {
        "damaged: others lead the groups of which it cannot read something"
    };
    format!(
        "\n{name} is {so}\n  {why}\n  to give its place to a node with an empty directory, start one as \
         NEW, stop {name}, and write\n  larder ctl store replace {name} --by NEW\n"
    )
}

/// What is going on in the groups that are not where they are to be.
pub(super) fn progress(status: &ClusterStatus) -> String {
    let mut text = String::new();
    for group in status.groups.iter().filter(|group| !group.holds) {
        let doing = group.doing.as_deref().unwrap_or("waits for its turn");
        // A String takes all.
        let _ = writeln!(text, "  group {}: {doing}{}", group.group, behind(status, group));
    }
    text
}

fn behind(status: &ClusterStatus, group: &GroupStatus) -> String {
    let lag = lag(status, group);
    if lag.is_empty() { lag } else { format!("; behind: {lag}") }
}

/// Who lacks how many entries.
fn lag(status: &ClusterStatus, group: &GroupStatus) -> String {
    let lag = group.lag.iter().filter(|(_, entries)| **entries > 0);
    let lag = lag.map(|(node, entries)| format!("{} {entries}", name(status, *node)));
    lag.collect::<Vec<_>>().join(", ")
}

fn names(status: &ClusterStatus, nodes: &BTreeSet<u64>) -> String {
    nodes.iter().map(|node| name(status, *node)).collect::<Vec<_>>().join(", ")
}

fn name(status: &ClusterStatus, number: u64) -> String {
    let node = status.nodes.iter().find(|node| node.node == number);
    node.map_or_else(|| format!("#{number}"), |node| node.name.clone())
}

/// Columns as wide as what is in them; the last as it is.
fn table<const N: usize>(
    text: &mut String,
    heads: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let rows: Vec<_> = std::iter::once(heads.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..N).map(width).collect();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use larder_store::NodeStatus;

    use super::*;

    fn status() -> ClusterStatus {
        let node = |node: u64, name: &str| NodeStatus {
            node,
            name: name.to_owned(),
            zone: "a".to_owned(),
            peer_address: format!("10.0.0.{node}:31201"),
            client_address: format!("10.0.0.{node}:21201"),
            drains: false,
            leaves: false,
            answers: node == 1,
            trouble: None,
            log: (node == 1).then_some(LogSize { bytes: 300 << 20, limit: 1 << 30 }),
            seats: 1,
            replicas: 1,
            leads: usize::from(node == 1),
        };
        ClusterStatus {
            cluster: "prod".to_owned(),
            id: 7,
            version: 3,
            replicas: 3,
            holds: false,
            nodes: vec![node(1, "db1"), node(2, "db2")],
            groups: vec![GroupStatus {
                group: 0,
                seats: [1, 2].into(),
                voters: [1].into(),
                learners: [2].into(),
                leader: Some(1),
                term: 2,
                last: 40,
                lag: BTreeMap::from([(2, 15)]),
                holds: false,
                doing: Some("db2 catches up".to_owned()),
            }],
        }
    }

    #[test]
    fn a_person_reads_who_leads_who_lags_and_why() {
        let expected = "\
cluster prod: 2 nodes, 1 groups, 3 replicas of each, version 3

node  number  clients         peers           zone  replicas/wanted  leads  state
db1   1       10.0.0.1:21201  10.0.0.1:31201  a     1/1              1      serves
db2   2       10.0.0.2:21201  10.0.0.2:31201  a     1/1              0      does not answer

group  leader  term  voters  learners  entries  lag     state
0      db1     2     db1     db2       40       db2 15  db2 catches up
";
        assert_eq!(text(&status()), expected);
        assert_eq!(progress(&status()), "  group 0: db2 catches up; behind: db2 15\n");
    }

    #[test]
    fn a_person_reads_what_is_wrong_with_a_disk_and_what_to_write() {
        let mut status = status();
        for (poisoned, state) in [(true, "poisoned"), (false, "damaged")] {
            let why =
                "/srv/data/keyspaces/1/tables/7 is damaged: the block at offset 4096".to_owned();
            status.nodes[0].trouble = Some(Trouble { poisoned, why: why.clone() });
            let text = text(&status);
            assert!(text.contains(&format!("1      {state}\n")), "{text}");
            assert!(text.contains(&format!("db1 is {state}: ")) && text.contains(&why), "{text}");
            assert!(text.ends_with("  larder ctl store replace db1 --by NEW\n"), "{text}");
            status.nodes[0].answers = false;
            assert!(super::text(&status).contains("does not answer"));
            status.nodes[0].answers = true;
        }
    }

    #[test]
    fn a_person_reads_that_a_log_is_too_long_and_why() {
        let mut status = status();
        assert!(!text(&status).contains("too long"));
        status.nodes[0].log = Some(LogSize { bytes: 1100 << 20, limit: 1 << 30 });
        let text = text(&status);
        let line = "the log of db1 is too long: 1100 MiB, of 1024 it is to have\n";
        assert!(text.contains(line) && text.contains("db2   2"), "{text}");
    }

    #[test]
    fn a_program_reads_the_same() {
        let read: ClusterStatus = serde_json::from_str(&json(&status())).unwrap();
        assert_eq!(read, status());
    }
}
