//! What stores promise that are the nodes of one cluster.

use std::collections::{BTreeSet, VecDeque};

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use larder_protocol::{Delete, Exptime, Fetch, Marks, Mode, Op, Outcome, Store as Put};

use super::basics::{NOW, count, get, put, set, small};
use super::block_on;
use super::cluster::{Cluster, eventually, set_at_last};
use crate::replica::Part;
use crate::slots::{group_of, slot_of};
use crate::{Condition, Options, Session, failure};

const NODES: [u64; 3] = [1, 2, 3];

#[test]
fn what_is_set_through_one_node_is_there_through_each_other_at_once() {
    let cluster = Cluster::of(3);
    let mut sessions = NODES.map(|node| cluster.session(node));
    for round in 0..60_usize {
        let (key, value) = (format!("k{}", round % 7), round.to_string());
        set(&mut sessions[round % 3], &key, &value, NOW);
        for session in &mut sessions {
            assert_eq!(get(session, &key, NOW).as_ref(), Some(&value));
        }
    }
}

/// An item expires by the clock of who leads, whichever node is asked, and so a flush comes about.
#[test]
fn nodes_whose_clocks_differ_agree_on_what_has_expired() {
    const SKEW: u32 = 600;
    static NOW_OF_LEADER: AtomicU32 = AtomicU32::new(NOW);
    let leaders = || NOW_OF_LEADER.load(Ordering::Relaxed);
    let clocks: [fn() -> u32; 3] = [
        || NOW_OF_LEADER.load(Ordering::Relaxed),
        || NOW_OF_LEADER.load(Ordering::Relaxed) + SKEW,
        || NOW_OF_LEADER.load(Ordering::Relaxed) - SKEW,
    ];
    let clock = move |node: u64| clocks[usize::try_from(node - 1).unwrap()];
    let within = Duration::from_secs(10);
    let options =
        move |node| Options { clock: Some(clock(node)), leader_within: within, ..small() };
    let cluster = Cluster::with_each(3, options);
    assert_eq!(cluster.leader(), 1, "who founded it leads");
    let mut sessions = NODES.map(|node| (node, cluster.session(node)));
    let all_see = |sessions: &mut [(u64, Session)], key: &str, is_there: bool| {
        for (node, session) in sessions {
            let seen = get(session, key, clock(*node)());
            assert_eq!(seen.is_some(), is_there, "{key} through node {node} at {}", leaders());
        }
    };
    for asked in 0..sessions.len() {
        let key = format!("k{asked}");
        let (node, session) = &mut sessions[asked];
        let soon = Op::Store(Put { exptime: Exptime(60), ..put(b"v") });
        let stored = block_on(session.execute(key.as_bytes(), &soon, clock(*node)()));
        assert!(matches!(stored, Outcome::Stored { .. }), "{stored:?}");
        NOW_OF_LEADER.fetch_add(59, Ordering::Relaxed);
        all_see(&mut sessions, &key, true);
        NOW_OF_LEADER.fetch_add(1, Ordering::Relaxed);
        all_see(&mut sessions, &key, false);
    }
    for asked in 0..sessions.len() {
        let (node, session) = &mut sessions[asked];
        let now = clock(*node)();
        set(session, "flushed", "v", now);
        assert!(matches!(block_on(session.flush_all(now + 60, now)), Outcome::Deleted));
        NOW_OF_LEADER.fetch_add(59, Ordering::Relaxed);
        all_see(&mut sessions, "flushed", true);
        NOW_OF_LEADER.fetch_add(1, Ordering::Relaxed);
        all_see(&mut sessions, "flushed", false);
    }
}

/// Every kind of answer comes through a node that does not lead as through one that does.
#[test]
fn answers_are_the_same_through_any_node() {
    let cluster = Cluster::of_one_group(3);
    let leader = cluster.leader();
    let follower = NODES.into_iter().find(|node| *node != leader).unwrap();
    let store = |mode, value: &'static [u8]| Op::Store(Put { mode, ..put(value) });
    let compare = Delete { compare: Some(u64::MAX), ..Delete::default() };
    let invalidate = Delete { invalidate: true, ..Delete::default() };
    let win = Fetch { may_win: true, ..Fetch::GET };
    let ops = [
        Op::Fetch(Fetch::GET),
        store(Mode::Append, b"a"),
        Op::Delete(compare),
        store(Mode::Add, b"word"),
        store(Mode::Add, b"word"),
        count(1),
        Op::Delete(compare),
        Op::Fetch(Fetch::GET),
        Op::Delete(invalidate),
        // It looks like a read, and writes.
        Op::Fetch(win),
        Op::Fetch(win),
        Op::Delete(Delete::default()),
        count(5),
        count(5),
        Op::Fetch(Fetch::GET),
    ];
    let told = |key: &[u8], session: &mut Session| -> Vec<String> {
        let answer = |op| match block_on(session.execute(key, op, NOW)) {
            Outcome::Hit(hit) => {
                let marks = [Marks::STALE, Marks::WON].map(|mark| hit.before.marks.has(mark));
                format!("{:?} {marks:?} {}", hit.value.to_bytes(), hit.won)
            }
            Outcome::Stored { len, .. } => format!("stored {len}"),
            Outcome::Counted(counted) => format!("{} {}", counted.number, counted.created),
            other => format!("{other:?}"),
        };
        ops.iter().map(answer).collect()
    };
    let here = told(b"here", &mut cluster.session(leader));
    assert_eq!(told(b"there", &mut cluster.session(follower)), here);
    let mut session = cluster.session(follower);
    assert!(matches!(block_on(session.flush_all(0, NOW)), Outcome::Deleted));
    assert_eq!(get(&mut cluster.session(leader), "here", NOW), None);
}

#[test]
fn a_session_keeps_its_order_on_a_key_through_any_node() {
    let cluster = Cluster::of(3);
    for node in NODES {
        let mut session = cluster.session(node);
        let mut pending = Vec::new();
        for number in 0..300_u32 {
            let (key, value) = (format!("{}", number % 3), number.to_string());
            let op = Op::Store(put(value.as_bytes()));
            session.execute(key.as_bytes(), &op, NOW);
            pending.push((value, session.execute(key.as_bytes(), &Op::Fetch(Fetch::GET), NOW)));
        }
        for (value, read) in pending {
            assert_eq!(super::basics::text(block_on(read)), Some(value));
        }
    }
}

#[test]
fn writes_go_on_when_the_leader_is_killed_and_none_that_was_acknowledged_is_lost() {
    let mut cluster = Cluster::of(3);
    for round in 0..3 {
        let leader = cluster.leader();
        let others = NODES.into_iter().filter(|node| *node != leader);
        let others: Vec<_> = others.collect();
        for node in NODES {
            for number in 0..30 {
                set(&mut cluster.session(node), &format!("{round}-{node}-{number}"), "v", NOW);
            }
        }
        cluster.kill(leader);
        for node in &others {
            set_at_last(&mut cluster.session(*node), &format!("{round}-after-{node}"), "v");
        }
        for node in &others {
            let mut session = cluster.session(*node);
            for before in 0..=round {
                let after = others.iter().map(|of| format!("{round}-after-{of}"));
                for key in after {
                    assert_eq!(get(&mut session, &key, NOW).as_deref(), Some("v"), "{key}");
                }
                for of in NODES {
                    for number in 0..30 {
                        let key = format!("{before}-{of}-{number}");
                        assert_eq!(get(&mut session, &key, NOW).as_deref(), Some("v"), "{key}");
                    }
                }
            }
        }
        cluster.open(leader);
    }
}

#[test]
fn a_minority_refuses_in_time_and_goes_on_when_it_is_none() {
    let options = Options { groups: 3, leader_within: Duration::from_secs(1), ..small() };
    let mut cluster = Cluster::with(3, options);
    set_at_last(&mut cluster.session(1), "k", "v");
    cluster.kill(2);
    cluster.kill(3);
    let mut session = cluster.session(1);
    for _ in 0..3 {
        let since = Instant::now();
        let write = session.execute(b"k", &Op::Store(put(b"new")), NOW);
        assert!(matches!(block_on(write), Outcome::Failed(failure::NO_LEADER | failure::LOST)));
        let read = session.execute(b"other", &Op::Fetch(Fetch::GET), NOW);
        assert!(matches!(block_on(read), Outcome::Failed(failure::UNCONFIRMED)));
        assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
    }
    cluster.open(2);
    set_at_last(&mut session, "k", "newer");
    assert_eq!(get(&mut cluster.session(2), "k", NOW).as_deref(), Some("newer"));
}

/// What was not taken by who led is taken by who leads next, and nothing of the session before it.
#[test]
fn a_session_keeps_its_order_on_a_key_while_another_takes_over() {
    let mut cluster = Cluster::of_one_group(3);
    for round in 0..4 {
        let leader = cluster.leader();
        let node = NODES.into_iter().find(|node| *node != leader).unwrap();
        let (mut session, key) = (cluster.session(node), format!("{round}"));
        set_at_last(&mut session, &key, "");
        let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        let told = thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let (mut waiting, mut told) = (VecDeque::new(), Vec::new());
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let text = format!("{number} ");
                    let op = Put { mode: Mode::Append, ..put(text.as_bytes()) };
                    waiting.push_back(session.execute(key.as_bytes(), &Op::Store(op), NOW));
                    if waiting.len() > 30 {
                        told.extend(waiting.pop_front().map(block_on));
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
                told.extend(waiting.into_iter().map(block_on));
                told
            });
            eventually("it is under way", || {
                (answered.load(Ordering::Relaxed) > 100).then_some(())
            });
            cluster.kill(leader);
            set_at_last(&mut cluster.session(node), "other", "v");
            stop.store(true, Ordering::Relaxed);
            asking.join().unwrap()
        });
        let value = get(&mut cluster.session(node), &key, NOW).unwrap();
        let done: Vec<usize> = value.split(' ').filter_map(|number| number.parse().ok()).collect();
        assert!(done.is_sorted_by(|one, next| one < next), "{value}");
        for (number, outcome) in told.iter().enumerate() {
            let is_done = done.binary_search(&number).is_ok();
            match outcome {
                Outcome::Stored { .. } => assert!(is_done, "{number} is lost: {value}"),
                Outcome::Failed(failure::LOST) => {}
                other => assert!(!is_done, "{number}: {other:?}"),
            }
        }
        cluster.open(leader);
    }
}

/// Clients of all nodes count one key up, while the nodes are killed in turn.
#[test]
fn no_step_of_a_counter_is_done_twice_or_lost() {
    let mut cluster = Cluster::of(3);
    set_at_last(&mut cluster.session(1), "n", "0");
    let (stop, unknown) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut told = Vec::new();
    let mut seed = 0x5EED_u64;
    for _ in 0..6 {
        stop.store(false, Ordering::Relaxed);
        let sessions: Vec<_> = NODES
            .iter()
            .flat_map(|node| [cluster.session(*node), cluster.session(*node)])
            .collect();
        let victim = {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // The leader mostly.
            if seed >> 62 == 0 {
                NODES[usize::from(seed >> 61 & 1 == 0)]
            } else {
                cluster.leader_of(group_of(slot_of(b"n"), 3))
            }
        };
        let counted = AtomicU64::new(0);
        told.extend(thread::scope(|scope| {
            let (stop, unknown, counted) = (&stop, &unknown, &counted);
            let clients: Vec<_> = sessions
                .into_iter()
                .map(|session| scope.spawn(move || count_up(session, stop, unknown, counted)))
                .collect();
            let before = counted.load(Ordering::Relaxed);
            let go_on = |from: u64| {
                eventually("counting goes on", || {
                    (counted.load(Ordering::Relaxed) > from + 200).then_some(())
                });
            };
            go_on(before);
            cluster.kill(victim);
            go_on(counted.load(Ordering::Relaxed));
            cluster.open(victim);
            go_on(counted.load(Ordering::Relaxed));
            stop.store(true, Ordering::Relaxed);
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
        }));
    }
    let acknowledged = told.len() as u64;
    let numbers: BTreeSet<_> = told.into_iter().collect();
    assert_eq!(numbers.len() as u64, acknowledged, "a number came twice");
    let last: u64 = get(&mut cluster.session(2), "n", NOW).unwrap().trim_end().parse().unwrap();
    let unknown = unknown.load(Ordering::Relaxed);
    assert!(
        (acknowledged..=acknowledged + unknown).contains(&last),
        "{acknowledged} {unknown} {last}"
    );
}

/// Counts until `stop`, or its node is gone. Gives the numbers it was told.
fn count_up(
    mut session: Session,
    stop: &AtomicBool,
    unknown: &AtomicU64,
    counted: &AtomicU64,
) -> Vec<u64> {
    let mut told = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match block_on(session.execute(b"n", &count(1), NOW)) {
            Outcome::Counted(counts) => {
                counted.fetch_add(1, Ordering::Relaxed);
                told.push(counts.number);
            }
            Outcome::Failed(failure::CLOSED) => break,
            Outcome::Failed(why) if why.starts_with("outcome unknown") => {
                unknown.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Failed(_) => {}
            other => panic!("{other:?}"),
        }
    }
    told
}

#[test]
fn a_node_that_was_away_catches_up_by_the_log_or_by_a_view() {
    let mut cluster = Cluster::of_one_group(3);
    let fill = |session: &mut Session, round: usize| {
        for number in 0..100 {
            set(session, &format!("{number}"), &format!("{round}"), NOW);
        }
    };
    fill(&mut cluster.session(1), 0);
    for forget in [false, true] {
        let mut leader = cluster.leader();
        let away = NODES.into_iter().find(|node| *node != leader).unwrap();
        cluster.stores.remove(&away);
        let round = usize::from(forget) + 1;
        let here = NODES.into_iter().filter(|node| *node != away).collect::<Vec<_>>();
        fill(&mut cluster.session(here[0]), round);
        if forget {
            for node in &here {
                let groups = cluster.stores[node].groups();
                groups.replica(1).unwrap().group_forgets_all();
            }
            // Who leads keeps what is on its way to who is away. The other has forgotten, and leads next.
            leader = cluster.leader();
            cluster.kill(leader);
        }
        cluster.open(away);
        let there = || {
            let shared = cluster.stores[&away].shared();
            let value = |number: usize| shared.record(1, number.to_string().as_bytes()).unwrap();
            let is_new = |number| {
                value(number).is_some_and(|record| record.value == round.to_string().as_bytes())
            };
            (0..100).all(is_new).then_some(())
        };
        eventually("it has what the others have", there);
        if !cluster.stores.contains_key(&leader) {
            cluster.open(leader);
        }
    }
}

/// As a crash leaves it: of the items that it had some are gone, and of those that it is to have none is
/// there yet.
#[test]
fn a_node_that_was_stopped_while_it_became_a_view_becomes_it_when_it_is_opened_again() {
    let mut cluster = Cluster::of_one_group(3);
    for number in 0..100 {
        set(&mut cluster.session(1), &format!("{number}"), "old", NOW);
    }
    let leader = cluster.leader();
    let away = NODES.into_iter().find(|node| *node != leader).unwrap();
    cluster.stores.remove(&away);
    for number in 0..100 {
        set_at_last(&mut cluster.session(leader), &format!("{number}"), "new");
    }
    for node in NODES.into_iter().filter(|node| *node != away) {
        cluster.stores[&node].groups().replica(1).unwrap().group_forgets_all();
    }
    cluster.kill(leader);
    let faults = cluster.open_faulty_with(away, |faults| *faults.fail.lock() = Some(1));
    let failed = || {
        let stats = cluster.stores[&away].stats();
        (stats.condition == Condition::Poisoned).then_some(())
    };
    eventually("it fails in the middle of it", failed);
    let left = cluster.stores[&away].shared().storage.kept(1).unwrap();
    assert!(left.mark.is_empty(), "it is no machine's any more");
    drop(faults);
    cluster.kill(away);
    cluster.open(away);
    cluster.open(leader);
    for number in 0..100 {
        let value = get(&mut cluster.session(away), &format!("{number}"), NOW);
        assert_eq!(value.as_deref(), Some("new"));
    }
}

/// The others read it, so that they decide otherwise than this one would.
#[test]
fn a_replica_that_cannot_read_what_it_is_to_change_stops_and_the_others_go_on() {
    let mut cluster = Cluster::of_one_group(3);
    // One that had to be set twice is in memory, and needs no reading.
    let numbers: Vec<_> = (0..10).map(|number| format!("n{number}")).collect();
    for number in &numbers {
        set_at_last(&mut cluster.session(1), number, "1");
    }
    let sick = NODES.into_iter().find(|node| *node != cluster.leader()).unwrap();
    cluster.kill(sick);
    let faults = cluster.open_faulty(sick);
    faults.unreadable.store(true, Ordering::Relaxed);
    let well = cluster.leader();
    for number in &numbers {
        let step = block_on(cluster.session(well).execute(number.as_bytes(), &count(1), NOW));
        assert!(matches!(step, Outcome::Counted(counted) if counted.number == 2), "{step:?}");
    }
    eventually("it stops", || {
        let store = &cluster.stores[&sick];
        let poisoned = store.stats().condition == Condition::Poisoned;
        let replica = store.groups().replica(1).unwrap();
        (poisoned && replica.part() == Part::Gone).then_some(())
    });
    // It has the network still.
    let mut session = cluster.session(sick);
    set_at_last(&mut session, "k", "through it");
    assert_eq!(get(&mut session, "k", NOW).as_deref(), Some("through it"));
    set(&mut cluster.session(well), "k", "v", NOW);

    cluster.kill(sick);
    drop(faults);
    cluster.open(sick);
    eventually("it has it all", || {
        let shared = cluster.stores[&sick].shared();
        let record = |number: &String| shared.record(1, number.as_bytes()).unwrap();
        let is_two = |number| record(number).is_some_and(|record| &record.value[..] == b"2");
        numbers.iter().all(is_two).then_some(())
    });
}

#[test]
fn a_follower_whose_engine_hangs_or_fails_stops_nobody_else() {
    let mut cluster = Cluster::of_one_group(3);
    set_at_last(&mut cluster.session(1), "k", "v");
    for fails in [false, true] {
        let sick = NODES.into_iter().find(|node| *node != cluster.leader()).unwrap();
        cluster.kill(sick);
        let faults = cluster.open_faulty(sick);
        if fails {
            *faults.fail.lock() = Some(0);
        } else {
            faults.commits.shut();
        }
        let mut sessions = NODES.into_iter().filter(|node| *node != sick);
        for number in 0..200 {
            let node = sessions.next().unwrap_or(cluster.leader());
            set(&mut cluster.session(node), &format!("{number}"), "v", NOW);
        }
        if !fails {
            // It forwards what it is asked, and reads it from who leads.
            let mut session = cluster.session(sick);
            set(&mut session, "through", "it", NOW);
            assert_eq!(get(&mut session, "through", NOW).as_deref(), Some("it"));
        }
        drop(faults);
        cluster.kill(sick);
        cluster.open(sick);
    }
}

#[test]
fn a_store_is_opened_as_what_it_is() {
    let mut cluster = Cluster::of_one_group(3);
    set_at_last(&mut cluster.session(2), "k", "v");
    cluster.kill(1);
    let why = cluster.open_alone(1).unwrap_err().to_string();
    assert!(why.contains("belongs to a cluster"), "{why}");
    // Nothing was done to it.
    cluster.open(1);
    assert_eq!(get(&mut cluster.session(1), "k", NOW).as_deref(), Some("v"));
    let follows = |node| matches!(cluster.stores[node].groups().part(1), Part::Follows(_));
    eventually("two follow", || {
        (NODES.iter().filter(|node| follows(node)).count() == 2).then_some(())
    });
}
