//! What clients read at random that may be stale, judged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use larder_protocol::{Delete, Fetch, Mode, Op, Outcome, Store as Put};
use larder_tests::linearizability::{self, Answered, Asked, Command};
use larder_tests::staleness;

use super::super::basics::{NOW, put};
use super::super::block_on;
use super::super::cluster::{Cluster, eventually};
use super::super::histories::Chance;
use super::{SHORT, options, stale_reads};
use crate::{Options, Session, failure};

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

/// Two clients of each node, of which one only reads, ask at random, while one of those that may answer stale is cut off,
/// and a node is killed and opened again.
fn run(cluster: &mut Cluster, round: u64, chance: &mut Chance) -> BTreeMap<String, Vec<Command>> {
    let (stop, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (victim, apart) = (1 + chance.below(3), 1 + chance.below(2));
    let session = |client| (client, cluster.session(1 + client as u64 % 3));
    let sessions: Vec<_> = (0..6_usize).map(session).collect();
    let seeds: Vec<_> = sessions.iter().map(|_| chance.next()).collect();
    thread::scope(|scope| {
        let (stop, answers) = (&stop, &answers);
        let stops = Stops(stop);
        let clients = sessions.into_iter().zip(seeds).map(|((client, session), seed)| {
            scope.spawn(move || ask_at_random(client, session, round, Chance(seed), stop, answers))
        });
        let clients: Vec<_> = clients.collect();
        let go_on = || {
            let from = answers.load(Ordering::Relaxed);
            let more = || (answers.load(Ordering::Relaxed) > from + 300).then_some(());
            eventually("clients are answered", more);
        };
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
        drop(stops);
        let mut histories = BTreeMap::<_, Vec<_>>::new();
        for client in clients {
            for (key, command) in client.join().unwrap() {
                histories.entry(key).or_default().push(command);
            }
        }
        histories
    })
}

/// Has clients end, also if a test fails.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks until `stop`, or its node is killed. Gives what was asked, but for what was surely not done.
fn ask_at_random(
    client: usize,
    mut session: Session,
    round: u64,
    mut chance: Chance,
    stop: &AtomicBool,
    answers: &AtomicUsize,
) -> Vec<(String, Command)> {
    let mut seen = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{round}-{}", chance.below(KEYS));
        let value = format!("{client}.{number}").into_bytes();
        // Who has written waits for what is known since, and sees little that is old.
        let writes = client >= 3;
        if !writes {
            thread::sleep(PACE);
        }
        let asked = match chance.below(12) {
            _ if !writes => Asked::Get,
            0 | 1 => Asked::Set(value),
            2 => Asked::Add(value),
            3 => Asked::Delete,
            _ => Asked::Get,
        };
        let op = match &asked {
            Asked::Set(value) => Op::Store(put(value)),
            Asked::Add(value) => Op::Store(Put { mode: Mode::Add, ..put(value) }),
            Asked::Delete => Op::Delete(Delete::default()),
            _ => Op::Fetch(Fetch::GET),
        };
        let sent = Instant::now();
        let outcome = block_on(session.execute(key.as_bytes(), &op, NOW));
        let at = Instant::now();
        let answer = match outcome {
            Outcome::Hit(hit) => {
                Some(Answered::Value(hit.value.to_bytes().into_owned(), hit.before.cas))
            }
            Outcome::Stored { .. } | Outcome::Deleted => Some(Answered::Done),
            Outcome::NotStored => Some(Answered::NotStored),
            Outcome::NotFound | Outcome::Miss => Some(Answered::NotFound),
            Outcome::Failed(failure::CLOSED) => break,
            Outcome::Failed(why) if why.starts_with("outcome unknown") => None,
            Outcome::Failed(_) => continue,
            other => panic!("{other:?}"),
        };
        answers.fetch_add(answer.is_some().into(), Ordering::Relaxed);
        seen.push((key, Command { client, asked, sent, answered: answer.map(|is| (is, at)) }));
    }
    seen
}
