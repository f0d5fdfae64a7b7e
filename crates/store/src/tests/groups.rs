//! What stores of several groups promise.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use larder_consensus::{Log, Options as LogOptions};
use larder_protocol::{Delete, Fetch, Op, Outcome};
use tempfile::TempDir;

use super::basics::{NOW, get, open_several, put, set, small, text};
use super::cluster::{Cluster, eventually, set_at_last};
use super::replay::copy;
use super::{block_on, ready};
use crate::directory::Seat;
use crate::slots::{group_of, slot_of};
use crate::storage::{Lsm, Storage};
use crate::{Options, Session, Store, failure};

const GROUPS: u16 = 3;
const NODES: [u64; 3] = [1, 2, 3];

/// The first so many keys of a group.
pub(super) fn keys_of(group: u64, count: usize) -> Vec<String> {
    let all = (0..).map(|number| format!("key{number}"));
    all.filter(|key| group_of(slot_of(key.as_bytes()), GROUPS) == group).take(count).collect()
}

fn sequences(store: &Store) -> Vec<u64> {
    store.stats().groups.iter().map(|group| group.sequence).collect()
}

#[test]
fn keys_are_divided_among_groups_which_count_by_themselves() {
    let place = TempDir::new().unwrap();
    let store = open_several(&place);
    let mut session = store.session();
    for (group, count) in [(1, 5), (2, 7), (3, 9)] {
        for (key, number) in keys_of(group, count).iter().zip(1..) {
            assert_eq!(set(&mut session, key, key, NOW), number, "a place in its group's order");
        }
    }
    assert_eq!((sequences(&store), store.stats().sequence), (vec![5, 7, 9], 21));
    assert!(store.stats().groups.iter().all(|group| group.leads && group.applied.is_some()));
    store.close().unwrap();
    let watermark = fs::read_to_string(place.path().join("store/WATERMARK")).unwrap();
    assert_eq!(watermark, "1 5\n2 7\n3 9\n");
    // However it is opened.
    let store = Store::open(place.path().join("store"), small()).unwrap();
    assert_eq!(sequences(&store), [5, 7, 9]);
    let mut session = store.session();
    for key in (1..=3).flat_map(|group| keys_of(group, 5)) {
        assert_eq!(get(&mut session, &key, NOW).as_ref(), Some(&key));
    }
}

#[test]
fn what_one_group_has_lost_is_named() {
    let place = TempDir::new().unwrap();
    let store = open_several(&place);
    set(&mut store.session(), &keys_of(2, 1)[0], "v", NOW);
    store.close().unwrap();
    fs::write(place.path().join("store/WATERMARK"), "1 0\n2 2\n3 0\n").unwrap();
    let why = Store::open(place.path().join("store"), small()).unwrap_err().to_string();
    assert!(why.contains("group 2 ends at write 1, but write 2 was durable"), "{why}");
}

/// The log has what both were answered, and the engine none, one or both of them.
#[test]
fn a_crash_between_the_commits_of_two_groups_loses_nothing_of_either() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("store");
    let store = open_several(&place);
    let mut session = store.session();
    let keys: Vec<_> = (1..=3).flat_map(|group| keys_of(group, 4)).collect();
    for (number, key) in keys.iter().enumerate() {
        set(&mut session, key, key, NOW);
        let killed = place.path().join("killed");
        copy(&path, &killed);
        let journal = killed.join("data/0.jnl");
        let whole = fs::read(&journal).unwrap();
        for lost in 0..3 {
            // The last batches of the engine, each of which is of another group or the same.
            let ends: Vec<_> =
                whole.windows(4).enumerate().filter(|(_, at)| at == b"FJL\x03").collect();
            let Some(end) = ends.len().checked_sub(1 + lost).map(|at| ends[at].0 + 4) else {
                break;
            };
            let left = place.path().join("left");
            copy(&killed, &left);
            fs::write(left.join("data/0.jnl"), &whole[..end]).unwrap();
            fs::write(left.join("WATERMARK"), "1 0\n2 0\n3 0\n").unwrap();
            let store = Store::open(&left, small()).unwrap();
            let mut session = store.session();
            for key in &keys[..=number] {
                assert_eq!(get(&mut session, key, NOW).as_ref(), Some(key), "{number} {lost}");
            }
            drop(store);
            fs::remove_dir_all(&left).unwrap();
        }
        fs::remove_dir_all(&killed).unwrap();
    }
}

#[test]
fn a_flush_is_one_of_all_groups_in_the_order_of_its_session() {
    let cluster = Cluster::of(3);
    for node in NODES {
        let mut session = cluster.session(node);
        let keys: Vec<_> = (1..=3).flat_map(|group| keys_of(group, 4)).collect();
        for key in &keys {
            set_at_last(&mut session, key, "old");
        }
        let fetch = Op::Fetch(Fetch::GET);
        let before: Vec<_> =
            keys.iter().map(|key| session.execute(key.as_bytes(), &fetch, NOW)).collect();
        let flush = session.flush_all(0, NOW);
        let after: Vec<_> =
            keys.iter().map(|key| session.execute(key.as_bytes(), &fetch, NOW)).collect();
        let write = Op::Store(put(b"new"));
        let new: Vec<_> =
            keys.iter().map(|key| session.execute(key.as_bytes(), &write, NOW)).collect();
        assert!(before.into_iter().all(|read| matches!(block_on(read), Outcome::Hit(_))));
        assert!(matches!(block_on(flush), Outcome::Deleted));
        assert!(after.into_iter().all(|read| matches!(block_on(read), Outcome::Miss)));
        assert!(new.into_iter().all(|write| matches!(block_on(write), Outcome::Stored { .. })));
        let there = |key: &String| get(&mut session, key, NOW).as_deref() == Some("new");
        assert!(keys.iter().all(there));
    }
}

/// Two groups that different nodes lead, with these nodes.
fn led_apart(cluster: &Cluster) -> Option<[(u64, u64); 2]> {
    let leaders = [1, 2, 3].map(|group| (group, cluster.leader_of(group)));
    let [first, rest @ ..] = leaders;
    rest.into_iter().find(|(_, leader)| *leader != first.1).map(|other| [first, other])
}

#[test]
fn a_group_goes_on_while_another_has_no_leader() {
    let (mut cluster, [(group, victim), (other, leader)]) =
        eventually("groups are led by different nodes", || {
            let leader_within = Duration::from_mins(1);
            let cluster = Cluster::with(3, Options { groups: GROUPS, leader_within, ..small() });
            let apart = led_apart(&cluster)?;
            Some((cluster, apart))
        });
    let ([orphan, orphan_too], other) =
        (keys_of(group, 2).try_into().unwrap(), &keys_of(other, 1)[0]);
    for key in [&orphan, &orphan_too, other] {
        set_at_last(&mut cluster.session(leader), key, "0");
    }
    let third = NODES.into_iter().find(|node| ![victim, leader].contains(node)).unwrap();
    // Without the victim it has no majority.
    cluster.change_members(group, &[victim, leader].into());
    assert_eq!(cluster.leader_of(group), victim);
    cluster.kill(victim);
    // Through the node that leads the other, and through one that forwards both.
    let sessions = [leader, third].map(|node| {
        let mut session = cluster.session(node);
        let mut write = session.execute(orphan.as_bytes(), &Op::Store(put(b"1")), NOW);
        let mut read = session.execute(orphan_too.as_bytes(), &Op::Fetch(Fetch::GET), NOW);
        for number in 0..300 {
            set(&mut session, other, &number.to_string(), NOW);
            assert_eq!(get(&mut session, other, NOW), Some(number.to_string()));
        }
        assert!(!ready(&mut write) && !ready(&mut read), "they are kept waiting for so long");
        (write, read)
    });
    cluster.open(victim);
    for (write, read) in sessions {
        assert!(matches!(block_on(write), Outcome::Stored { .. }));
        assert_eq!(text(block_on(read)).as_deref(), Some("0"));
    }
}

/// What is on disk of each group: whether the engine has items or a state of it, and the log anything.
fn left(path: &Path) -> Vec<[bool; 3]> {
    let lsm = Lsm::open(&path.join("data"), &small()).unwrap();
    let log = Log::open(&path.join("log"), LogOptions::default()).unwrap();
    let logged = log.groups().unwrap();
    let of_group = |group| {
        let items = !lsm.scan(group, &[], 1).unwrap().is_empty();
        [items, !lsm.kept(group).unwrap().mark.is_empty(), logged.contains(&group)]
    };
    (1..=3).map(of_group).collect()
}

#[test]
fn a_group_that_is_given_up_is_gone_and_the_others_are_not() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("store");
    let store = open_several(&place);
    let mut session = store.session();
    let keys = [1, 2, 3].map(|group| keys_of(group, 30));
    for key in keys.iter().flatten() {
        set(&mut session, key, "v", NOW);
    }
    store.groups().give_up(2).unwrap();
    let there = |session: &mut Session, at: usize| {
        keys[at].iter().all(|key| get(session, key, NOW).as_deref() == Some("v"))
    };
    assert!(there(&mut session, 0) && there(&mut session, 2));
    let write = session.execute(keys[1][0].as_bytes(), &Op::Store(put(b"v")), NOW);
    assert!(matches!(block_on(write), Outcome::Failed(failure::NO_LEADER)));
    set(&mut session, &keys[0][0], "v", NOW);
    store.close().unwrap();
    assert_eq!(left(&path), [[true; 3], [false; 3], [true; 3]]);
    let store = open_several(&place);
    let mut session = store.session();
    assert!(there(&mut session, 0) && there(&mut session, 2));
    assert_eq!(sequences(&store)[1], 0);
    assert!(store.groups().give_up(4).unwrap_err().to_string().contains("no group 4"));
}

/// As a crash leaves it: it was noted that the group is given up, and nothing more was done.
#[test]
fn what_is_left_of_a_group_that_was_given_up_takes_part_in_nothing_and_is_erased() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("store");
    let store = open_several(&place);
    for key in (1..=3).flat_map(|group| keys_of(group, 5)) {
        set(&mut store.session(), &key, "v", NOW);
    }
    store.close().unwrap();
    fs::write(path.join("SEATS"), "1 founded\n3 founded\n").unwrap();
    assert_eq!(left(&path), [[true; 3]; 3]);
    let store = open_several(&place);
    assert!(store.groups().replica(2).is_none());
    assert_eq!(get(&mut store.session(), &keys_of(3, 1)[0], NOW).as_deref(), Some("v"));
    store.close().unwrap();
    assert_eq!(left(&path), [[true; 3], [false; 3], [true; 3]]);
}

#[test]
fn a_node_that_has_no_replica_of_a_group_answers_for_it_all_the_same_and_may_have_one_again() {
    let mut cluster = Cluster::of(3);
    let keys = keys_of(2, 20);
    for key in &keys {
        set_at_last(&mut cluster.session(1), key, "v");
    }
    let leader = cluster.leader_of(2);
    let outsider = NODES.into_iter().find(|node| *node != leader).unwrap();
    let voters: BTreeSet<_> = NODES.into_iter().filter(|node| *node != outsider).collect();
    cluster.change_members(2, &voters);
    cluster.stores[&outsider].groups().give_up(2).unwrap();
    assert!(cluster.stores[&outsider].groups().replica(2).is_none());

    for reopened in [false, true] {
        if reopened {
            cluster.kill(outsider);
            cluster.open(outsider);
        }
        let mut session = cluster.session(outsider);
        for key in &keys {
            set(&mut session, key, "new", NOW);
            assert_eq!(get(&mut session, key, NOW).as_deref(), Some("new"));
        }
        let delete = session.execute(keys[0].as_bytes(), &Op::Delete(Delete::default()), NOW);
        assert!(matches!(block_on(delete), Outcome::Deleted));
        assert_eq!(get(&mut session, &keys[0], NOW), None);
        assert!(matches!(block_on(session.flush_all(0, NOW)), Outcome::Deleted));
        assert_eq!(get(&mut session, &keys[1], NOW), None);
        set(&mut session, &keys[0], "last", NOW);
    }
    // It learns who leads next, and from whom it can.
    let here: Vec<_> = voters.iter().map(|node| (*node, cluster.address(*node))).collect();
    cluster.stores[&outsider].groups().guide().unwrap().place([(2, here)].into_iter());
    let led = cluster.leader_of(2);
    let next = voters.iter().find(|node| **node != led).unwrap();
    cluster.change_members(2, &[*next].into());
    set_at_last(&mut cluster.session(outsider), &keys[1], "again");

    cluster.stores[&outsider].groups().host(2, Seat::Admitted).unwrap();
    assert_eq!(get(&mut cluster.session(outsider), &keys[1], NOW).as_deref(), Some("again"));
    cluster.change_members(2, &NODES.into());
    eventually("it has what the others have", || {
        let shared = cluster.stores[&outsider].shared();
        let there = |key: &String| shared.record(2, key.as_bytes()).unwrap().is_some();
        (there(&keys[0]) && there(&keys[1])).then_some(())
    });
    cluster.kill(outsider);
    cluster.open(outsider);
    assert_eq!(get(&mut cluster.session(outsider), &keys[0], NOW).as_deref(), Some("last"));
}
