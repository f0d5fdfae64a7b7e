//! What reads may see that are answered though nobody is asked for them.

mod histories;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use larder_peer::CallError;
use larder_protocol::{Fetch, Op, Outcome};

use super::basics::{NOW, get, put, set, small};
use super::block_on;
use super::cluster::{Cluster, PATIENCE, eventually, set_at_last};
use crate::forward::{INDEX, encode_group};
use crate::{Condition, Options, Pending, Session, failure};

/// Longer than any test.
const LONG: Duration = Duration::from_hours(1);
const SHORT: Duration = Duration::from_millis(400);

/// Nodes with one group, whose reads may be so old.
fn cluster(nodes: u64, bound: Duration) -> Cluster {
    Cluster::with(nodes, options(Some(bound)))
}

fn options(stale_reads: Option<Duration>) -> Options {
    Options { leader_within: Duration::from_millis(800), stale_reads, ..small() }
}

fn follower(cluster: &Cluster) -> u64 {
    let leader = cluster.leader();
    *cluster.stores.keys().find(|node| **node != leader).unwrap()
}

fn stale_reads(cluster: &Cluster, node: u64) -> u64 {
    cluster.stores[&node].stats().stale_reads
}

fn read(session: &mut Session, key: &str) -> Pending {
    session.execute(key.as_bytes(), &Op::Fetch(Fetch::GET), NOW)
}

/// Reads until a node answers by itself. What it says then.
fn until_stale(cluster: &Cluster, node: u64, key: &str) -> Option<String> {
    eventually("it answers by itself", || {
        let before = stale_reads(cluster, node);
        let value = get(&mut cluster.session(node), key, NOW);
        (stale_reads(cluster, node) > before).then_some(value)
    })
}

#[test]
fn any_node_answers_by_itself_what_it_knows_to_be_new_enough() {
    let cluster = cluster(3, LONG);
    set_at_last(&mut cluster.session(1), "k", "old");
    set_at_last(&mut cluster.session(1), "other", "v");
    let node = follower(&cluster);
    assert_eq!(until_stale(&cluster, node, "k").as_deref(), Some("old"));
    assert!(cluster.stores[&node].stats().groups[0].staleness.is_some());
    let leader = cluster.leader();
    assert_eq!(until_stale(&cluster, leader, "k").as_deref(), Some("old"));
    // What was read before is answered on the thread that asks.
    let mut session = cluster.session(node);
    assert!(read(&mut session, "k").take().is_some());
    cluster.cut(&[node]);
    let others: Vec<_> = cluster.stores.keys().filter(|other| **other != node).collect();
    set_at_last(&mut cluster.session(*others[0]), "k", "new");
    let before = stale_reads(&cluster, node);
    assert_eq!(get(&mut session, "k", NOW).as_deref(), Some("old"));
    assert_eq!(get(&mut session, "other", NOW).as_deref(), Some("v"));
    assert_eq!(get(&mut session, "never", NOW), None);
    assert_eq!(stale_reads(&cluster, node), before + 3);
    // What may write is no such read.
    let touch = Fetch { ttl: Some(larder_protocol::Exptime(9)), ..Fetch::GET };
    let told = block_on(session.execute(b"k", &Op::Fetch(touch), NOW));
    assert!(matches!(told, Outcome::Failed(_)), "{told:?}");
}

/// What one node forwards another answers as ever: who asks has not said that it may be old.
#[test]
fn a_node_that_may_not_answer_stale_gets_no_stale_answers_from_those_that_may() {
    let cluster = Cluster::with_each(3, |node| options((node != 3).then_some(LONG)));
    set_at_last(&mut cluster.session(1), "k", "v");
    for node in [1, 2] {
        until_stale(&cluster, node, "k");
    }
    let before = [1, 2].map(|node| stale_reads(&cluster, node));
    let mut session = cluster.session(3);
    for number in 0..50 {
        let value = number.to_string();
        set(&mut cluster.session(1), "k", &value, NOW);
        assert_eq!(get(&mut session, "k", NOW), Some(value));
    }
    assert_eq!([1, 2].map(|node| stale_reads(&cluster, node)), before);
    assert_eq!(cluster.stores[&3].stats().groups[0].staleness, None);
}

#[test]
fn who_is_cut_off_answers_by_itself_for_no_longer_than_the_bound() {
    let cluster = cluster(3, SHORT);
    set_at_last(&mut cluster.session(1), "k", "v");
    let node = follower(&cluster);
    until_stale(&cluster, node, "k");
    cluster.cut(&[node]);
    let cut = Instant::now();
    let mut session = cluster.session(node);
    let told = loop {
        let asked = Instant::now();
        match block_on(read(&mut session, "k")) {
            Outcome::Hit(_) => assert!(asked <= cut + SHORT, "{:?}", asked - cut),
            Outcome::Failed(why) => break why,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told, failure::UNCONFIRMED);
    let stale = stale_reads(&cluster, node);
    assert!(matches!(block_on(read(&mut session, "k")), Outcome::Failed(_)));
    assert_eq!(stale_reads(&cluster, node), stale);
    cluster.mend();
    eventually("it reads again", || {
        matches!(block_on(read(&mut session, "k")), Outcome::Hit(_)).then_some(())
    });
    until_stale(&cluster, node, "k");
}

/// It believes to lead on, and the other believes so too.
#[test]
fn who_led_and_is_cut_off_with_another_answers_nothing_older_than_the_bound() {
    let cluster = cluster(5, SHORT);
    set_at_last(&mut cluster.session(1), "k", "old");
    let (led, with) = (cluster.leader(), follower(&cluster));
    for node in [led, with] {
        until_stale(&cluster, node, "k");
    }
    let acknowledged = OnceLock::new();
    thread::scope(|scope| {
        // Steady readers, so that both ask how far the group is as often as they may.
        let readers = [led, with].map(|node| {
            let (mut session, acknowledged) = (cluster.session(node), &acknowledged);
            scope.spawn(move || {
                let (mut answers, began) = (Vec::new(), Instant::now());
                loop {
                    let asked = Instant::now();
                    match block_on(read(&mut session, "k")) {
                        Outcome::Hit(hit) => answers.push((asked, hit.value.to_bytes().to_vec())),
                        Outcome::Failed(_) => {}
                        other => panic!("{other:?}"),
                    }
                    let is_over = |at: &Instant| at.elapsed() > SHORT * 3;
                    if acknowledged.get().is_some_and(is_over) || began.elapsed() > PATIENCE {
                        return answers;
                    }
                }
            })
        });
        cluster.cut(&[led, with]);
        let other = *cluster.stores.keys().find(|node| ![led, with].contains(node)).unwrap();
        set_at_last(&mut cluster.session(other), "k", "new");
        let acknowledged = *acknowledged.get_or_init(Instant::now);
        for reader in readers {
            let answers = reader.join().unwrap();
            assert!(!answers.is_empty());
            for (asked, value) in answers {
                let late = asked.saturating_duration_since(acknowledged);
                assert!(value == b"new" || late <= SHORT, "{late:?}: {}", value.escape_ascii());
            }
        }
    });
    cluster.mend();
    for node in [led, with] {
        eventually("it has what is new", || {
            let told = block_on(read(&mut cluster.session(node), "k"));
            matches!(told, Outcome::Hit(hit) if *hit.value.to_bytes() == *b"new").then_some(())
        });
    }
}

/// It hears of all that is acknowledged, and how far the group is.
#[test]
fn a_replica_whose_machine_hangs_answers_nothing_older_than_the_bound() {
    let mut cluster = cluster(3, SHORT);
    set_at_last(&mut cluster.session(1), "k", "0");
    let node = follower(&cluster);
    cluster.kill(node);
    let faults = cluster.open_faulty(node);
    until_stale(&cluster, node, "k");
    let (leader, before) = (cluster.leader(), stale_reads(&cluster, node));
    let mut session = cluster.session(node);
    faults.commits.shut();
    for number in 1..4 {
        set_at_last(&mut cluster.session(leader), "k", &number.to_string());
        let acknowledged = Instant::now();
        while acknowledged.elapsed() < SHORT * 2 {
            let asked = Instant::now();
            if let Outcome::Hit(hit) = block_on(read(&mut session, "k")) {
                let value = hit.value.to_bytes();
                let is_new = *value == *number.to_string().as_bytes();
                let late = asked - acknowledged;
                assert!(is_new || late <= SHORT, "{late:?}: {}", value.escape_ascii());
            }
        }
    }
    assert!(stale_reads(&cluster, node) > before);
}

#[test]
fn a_session_reads_what_it_has_written() {
    let cluster = cluster(3, LONG);
    set_at_last(&mut cluster.session(1), "k", "v");
    let node = follower(&cluster);
    until_stale(&cluster, node, "k");
    let mut session = cluster.session(node);
    for number in 0..300 {
        let value = number.to_string();
        if number % 2 == 0 {
            set(&mut session, "k", &value, NOW);
            assert_eq!(get(&mut session, "k", NOW), Some(value));
        } else {
            // Also when it does not wait.
            drop(session.execute(b"k", &Op::Store(put(value.as_bytes())), NOW));
            let (first, second) = (read(&mut session, "k"), read(&mut session, "k"));
            for read in [first, second] {
                assert_eq!(super::basics::text(block_on(read)).as_ref(), Some(&value));
            }
        }
    }
    assert!(matches!(block_on(session.flush_all(0, NOW)), Outcome::Deleted));
    assert_eq!(get(&mut session, "k", NOW), None);
}

#[test]
fn who_has_given_up_its_replica_answers_nothing_from_it() {
    let cluster = cluster(3, LONG);
    set_at_last(&mut cluster.session(1), "k", "v");
    let node = follower(&cluster);
    until_stale(&cluster, node, "k");
    let left: BTreeSet<_> = cluster.stores.keys().copied().filter(|other| *other != node).collect();
    cluster.change_members(1, &left);
    cluster.stores[&node].groups().give_up(1).unwrap();
    let before = stale_reads(&cluster, node);
    set(&mut cluster.session(*left.first().unwrap()), "k", "new", NOW);
    for _ in 0..5 {
        assert_eq!(get(&mut cluster.session(node), "k", NOW).as_deref(), Some("new"));
    }
    assert_eq!(stale_reads(&cluster, node), before);
}

#[test]
fn a_replica_whose_machine_has_failed_answers_nothing() {
    let mut cluster = cluster(3, LONG);
    set_at_last(&mut cluster.session(1), "k", "v");
    let node = follower(&cluster);
    cluster.kill(node);
    let faults = cluster.open_faulty(node);
    until_stale(&cluster, node, "k");
    *faults.fail.lock() = Some(0);
    set_at_last(&mut cluster.session(cluster.leader()), "k", "new");
    eventually("it fails", || {
        (cluster.stores[&node].stats().condition == Condition::Poisoned).then_some(())
    });
    let before = stale_reads(&cluster, node);
    for _ in 0..5 {
        // Who leads is asked.
        assert_eq!(get(&mut cluster.session(node), "k", NOW).as_deref(), Some("new"));
    }
    assert_eq!(stale_reads(&cluster, node), before);
}

/// Who leads can read it.
#[test]
fn what_cannot_be_read_here_is_read_where_one_leads() {
    let mut cluster = cluster(3, LONG);
    set_at_last(&mut cluster.session(1), "k", "v");
    let node = follower(&cluster);
    cluster.kill(node);
    let faults = cluster.open_faulty(node);
    until_stale(&cluster, node, "other");
    faults.unreadable.store(true, Ordering::Relaxed);
    assert_eq!(get(&mut cluster.session(node), "k", NOW).as_deref(), Some("v"));
}

/// As a version does that knows none: then reads go where one leads.
#[test]
fn a_question_that_a_node_cannot_answer_is_refused() {
    let cluster = cluster(3, LONG);
    set_at_last(&mut cluster.session(1), "k", "v");
    let (leader, node) = (cluster.leader(), follower(&cluster));
    let groups = cluster.stores[&node].groups();
    let ask = |of: u64, kind, body: Bytes| {
        let _runtime = groups.runtime().enter();
        let answer = groups.peers().unwrap().ask(of, &cluster.address(of), kind, body, LONG);
        groups.runtime().block_on(answer)
    };
    assert!(ask(leader, INDEX, encode_group(1)).is_ok());
    let other = *cluster.stores.keys().find(|of| ![leader, node].contains(of)).unwrap();
    for refused in [
        // Of a kind that nobody knows, of no group, of a newer version, by who does not lead.
        ask(leader, INDEX + 1, encode_group(1)),
        ask(leader, INDEX, encode_group(7)),
        ask(leader, INDEX, Bytes::from_static(&[9, 1, 0, 0, 0, 0, 0, 0, 0])),
        ask(other, INDEX, encode_group(1)),
    ] {
        assert!(matches!(refused, Err(CallError::Refused(_))), "{refused:?}");
    }
}
