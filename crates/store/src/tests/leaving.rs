//! Nodes of a cluster whose own disk is of no use any more, to their clients and to the others.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use larder_protocol::{Op, Outcome};

use super::basics::{NOW, get, put, set};
use super::block_on;
use super::cluster::{Cluster, eventually, set_at_last};
use super::faulty::Held;
use crate::replica::Part;
use crate::{Condition, Options, failure};

const NODES: [u64; 3] = [1, 2, 3];

/// A cluster of one group that is led by a node of whose engine each read and commit can be told to fail,
/// with `k` in it.
fn led_by_a_faulty_one() -> (Cluster, u64, Held) {
    let mut cluster = Cluster::of_one_group(3);
    set_at_last(&mut cluster.session(1), "k", "v");
    let sick = NODES.into_iter().find(|node| *node != cluster.leader()).unwrap();
    cluster.kill(sick);
    let faults = cluster.open_faulty(sick);
    eventually("it leads", || {
        let leader = cluster.leader();
        if leader == sick {
            return Some(());
        }
        let groups = cluster.stores[&leader].groups();
        let group = groups.replica(1).unwrap().group();
        groups.runtime().block_on(group.hand_over(sick, Duration::from_secs(5))).ok()
    });
    // What it was told before is in memory.
    (cluster, sick, faults)
}

fn others(node: u64) -> impl Iterator<Item = u64> {
    NODES.into_iter().filter(move |other| *other != node)
}

#[test]
fn what_a_leader_cannot_read_another_does_that_leads_then() {
    for through_it in [true, false] {
        let (cluster, sick, faults) = led_by_a_faulty_one();
        faults.unreadable.store(true, Ordering::Relaxed);
        let node = if through_it { sick } else { others(sick).next().unwrap() };
        let mut session = cluster.session(node);
        assert_eq!(get(&mut session, "k", NOW).as_deref(), Some("v"));
        assert_ne!(cluster.leader(), sick);
        // A key that it would have had to read to decide.
        set(&mut session, "other", "w", NOW);
        assert_eq!(get(&mut cluster.session(sick), "other", NOW).as_deref(), Some("w"));
        let why = cluster.stores[&sick].failure().unwrap().to_string();
        assert!(why.contains("/broken"), "{why}");
    }
}

#[test]
fn a_node_whose_disk_has_failed_forwards_all_it_is_asked() {
    let (mut cluster, sick, faults) = led_by_a_faulty_one();
    *faults.fail.lock() = Some(0);
    let mut session = cluster.session(sick);
    // The first may be known to nobody, but nothing is acknowledged that only this one has.
    match block_on(session.execute(b"first", &Op::Store(put(b"x")), NOW)) {
        Outcome::Stored { .. } | Outcome::Failed(failure::UNKNOWN | failure::LOST) => {}
        other => panic!("{other:?}"),
    }
    let store = &cluster.stores[&sick];
    eventually("it takes part no longer", || {
        let stopped = store.groups().replica(1).unwrap().part() == Part::Gone;
        (stopped && store.stats().condition == Condition::Poisoned).then_some(())
    });
    // Who leads next may be about to lead no longer.
    set_at_last(&mut session, "k0", "0");
    for number in 0..20 {
        let (key, value) = (format!("k{number}"), number.to_string());
        set(&mut session, &key, &value, NOW);
        assert_eq!(get(&mut session, &key, NOW).as_ref(), Some(&value));
    }
    assert_eq!(get(&mut session, "k", NOW).as_deref(), Some("v"));
    assert!(matches!(block_on(session.flush_all(0, NOW)), Outcome::Deleted));
    assert_eq!(get(&mut session, "k", NOW), None);
    set(&mut session, "k", "v", NOW);
    // It was none of those that acknowledged it.
    cluster.kill(sick);
    for node in others(sick) {
        assert_eq!(get(&mut cluster.session(node), "k", NOW).as_deref(), Some("v"));
    }
    drop(faults);
}

/// Nobody else has its items: it goes on as far as it can.
#[test]
fn a_node_that_has_a_group_for_itself_leaves_it_to_nobody() {
    let options = Options { leader_within: Duration::from_secs(1), ..super::basics::small() };
    let mut cluster = Cluster::with(1, options);
    set_at_last(&mut cluster.session(1), "k", "v");
    cluster.kill(1);
    let faults = cluster.open_faulty(1);
    let mut session = cluster.session(1);
    assert_eq!(get(&mut session, "k", NOW).as_deref(), Some("v"));
    cluster.change_members(1, &BTreeSet::from([1]));
    faults.unreadable.store(true, Ordering::Relaxed);
    let read = block_on(session.execute(b"none", &Op::Fetch(larder_protocol::Fetch::GET), NOW));
    assert!(matches!(read, Outcome::Failed(failure::UNREAD)), "{read:?}");
    faults.unreadable.store(false, Ordering::Relaxed);
    let store = &cluster.stores[&1];
    let broken = crate::Error::io("sync", store.path())(std::io::Error::from_raw_os_error(5));
    store.shared().health.poison(broken);
    let write = block_on(session.execute(b"k", &Op::Store(put(b"w")), NOW));
    assert!(matches!(write, Outcome::Failed(failure::POISONED)), "{write:?}");
    assert_eq!(get(&mut session, "k", NOW).as_deref(), Some("v"), "reads go on");
}
