//! What clients read at random that may be stale, judged.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use larder_tests::linearizability::{self, Asked, Command};
use larder_tests::staleness;

use super::super::cluster::{Cluster, eventually};
use super::super::histories::{Chance, Turn, while_asked};
use super::{SHORT, options, stale_reads};
use crate::Options;

/// Keys of each round: in the next, nothing is unknown any more.
const KEYS: u64 = 8;
/// Of who only reads: most of what it is answered is at hand.
const PACE: Duration = Duration::from_millis(1);

/// Node 3 may answer nothing stale. What its clients see is one history with all that is written, and
/// what those of the others read was there no longer ago than the bound.
#[test]
fn what_clients_of_all_nodes_see_is_no_older_than_the_bound() {
    for seed in [0x57A1_E000, 0x5EED] {
        let mut chance = Chance(seed);
        let each = |node| Options { groups: 2, ..options((node != 3).then_some(SHORT)) };
        let mut cluster = Cluster::with_each(3, each);
        cluster.leader();
        for round in 0..3 {
            let mut reads = 0;
            for (key, history) in run(&mut cluster, round, &mut chance) {
                let told = staleness::judge(&history, SHORT);
                told.unwrap_or_else(|violation| panic!("seed {seed:#x}, {key}: {violation}"));
                let all = history.len();
                let is_exact = |of: &Command| of.client % 3 == 2 || of.asked != Asked::Get;
                let exact: Vec<_> = history.into_iter().filter(is_exact).collect();
                reads += all - exact.len();
                let told = linearizability::judge(exact);
                told.unwrap_or_else(|violation| panic!("seed {seed:#x}, {key}: {violation}"));
            }
            assert!(reads > 100, "{reads}");
        }
    }
}

/// Of the two clients of each node one only reads, while one node that may answer stale is cut off, and one
/// is killed and opened again.
fn run(cluster: &mut Cluster, round: u64, chance: &mut Chance) -> BTreeMap<String, Vec<Command>> {
    let (victim, apart) = (1 + chance.below(3), 1 + chance.below(2));
    while_asked(cluster, (round, KEYS), chance, choose, |cluster, answers| {
        let go_on = || answers.go_on(300);
        let stale = || cluster.stores.keys().map(|node| stale_reads(cluster, *node)).sum::<u64>();
        let from = stale();
        eventually("some answers are stale", || (stale() > from).then_some(()));
        go_on();
        cluster.cut(&[apart]);
        let cut = Instant::now();
        go_on();
        // What it knew by then is too old before it is told what is new.
        eventually("the bound has passed", || (cut.elapsed() > SHORT * 5).then_some(()));
        cluster.mend();
        go_on();
        cluster.kill(victim);
        go_on();
        cluster.open(victim);
        go_on();
    })
}

/// Who has written waits for what is known since, and sees little that is old.
fn choose(turn: Turn<'_>) -> Asked {
    let Turn { client, value, chance, .. } = turn;
    let writes = client >= 3;
    if !writes {
        thread::sleep(PACE);
    }
    match chance.below(12) {
        _ if !writes => Asked::Get,
        0 | 1 => Asked::Set(value),
        2 => Asked::Add(value),
        3 => Asked::Delete,
        _ => Asked::Get,
    }
}
