//! What stores promise about items in the order of their keys.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::time::Duration;

use larder_protocol::{
    Delete, Exptime, Fetch, Interval, Listed, Op, Outcome, Page, Seconds, Store as Put,
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::basics::{NOW, get, open, open_several, put, set, small, text};
use super::cluster::{Cluster, eventually, set_at_last};
use super::faulty::{faulty, faulty_watched, faulty_with};
use super::{block_on, ready};
use crate::{Options, Pending, Session, Store, failure};

const NODES: [u64; 3] = [1, 2, 3];

fn all(most: usize) -> Interval<'static> {
    Interval { start: b"", end: &[0xff; 250], left_open: false, right_open: false, most }
}

/// The pages of a range, or why there is one less.
fn pages(mut listing: Pending) -> Result<Vec<Vec<Listed>>, &'static str> {
    let mut pages = Vec::new();
    loop {
        match block_on(&mut listing) {
            Outcome::Listed(Page { items, after }) => {
                assert!(after.is_none() || !items.is_empty(), "a page that is not the last");
                pages.push(items);
                if after.is_none() {
                    return Ok(pages);
                }
            }
            Outcome::Failed(why) => return Err(why),
            other => panic!("{other:?}"),
        }
    }
}

fn keys(listing: Pending) -> Vec<String> {
    let items = pages(listing).unwrap().into_iter().flatten();
    items.map(|item| String::from_utf8(item.key.to_vec()).unwrap()).collect()
}

fn list(session: &mut Session, interval: &Interval<'_>) -> Vec<String> {
    keys(session.range(interval, NOW))
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("k{number:04}")).collect()
}

#[test]
fn items_of_all_groups_come_in_the_order_of_their_keys_and_a_client_pages() {
    let place = TempDir::new().unwrap();
    let store = open_several(&place);
    let mut session = store.session();
    let expected = numbered(250);
    for key in expected.iter().rev() {
        set(&mut session, key, key, NOW);
    }
    assert_eq!(list(&mut session, &all(usize::MAX)), expected);
    let (mut paged, mut last) = (Vec::new(), Vec::new());
    loop {
        let left_open = !last.is_empty();
        let page = list(&mut session, &Interval { start: &last, left_open, ..all(100) });
        assert_eq!(page.len(), (250 - paged.len()).min(100));
        let Some(key) = page.last() else { break };
        last = key.clone().into_bytes();
        paged.extend(page);
    }
    assert_eq!(paged, expected);
    let middle = |left_open, right_open| {
        let interval = Interval { start: b"k0007", end: b"k0010", left_open, right_open, most: 9 };
        list(&mut store.session(), &interval)
    };
    assert_eq!(middle(false, false), expected[7..=10]);
    assert_eq!(middle(true, true), expected[8..10]);
    let none = Interval { start: b"k0010", end: b"k0007", ..all(9) };
    assert_eq!(list(&mut session, &none), [""; 0]);
    let itself = Interval { start: b"k0007", end: b"k0007", ..all(9) };
    assert_eq!(list(&mut session, &itself), ["k0007"]);
    assert_eq!(list(&mut session, &Interval { left_open: true, ..itself }), [""; 0]);
}

#[test]
fn an_item_is_told_as_it_was_stored() {
    let place = TempDir::new().unwrap();
    let store = open(&place);
    let mut session = store.session();
    let op = Put { client_flags: 77, ..put(b"value") };
    block_on(session.execute(b"key", &Op::Store(op), NOW));
    // It fits into no line of text.
    let binary = Put { binary_key: true, ..put(b"b") };
    block_on(session.execute(b"a key\n", &Op::Store(binary), NOW));
    let item = Listed { key: "key".into(), client_flags: 77, value: "value".into() };
    assert_eq!(pages(session.range(&all(2), NOW)), Ok(vec![vec![item]]));
    let long = [b'k'; 251];
    let too_long = pages(session.range(&Interval { end: &long, ..all(1) }, NOW));
    assert_eq!(too_long, Err(failure::NO_KEY));
}

/// A reading thread looks at some records, and then others have their turn.
#[test]
fn the_dead_are_passed_over_a_look_at_a_time() {
    let place = TempDir::new().unwrap();
    let options = Options { sweep_per_sec: 0, ..small() };
    let store = Store::open(place.path().join("store"), options).unwrap();
    let mut session = store.session();
    let dead = Op::Store(Put { exptime: Exptime(10), ..put(b"v") });
    let writes: Vec<_> =
        numbered(1500).iter().map(|key| session.execute(key.as_bytes(), &dead, NOW)).collect();
    assert!(writes.into_iter().all(|write| matches!(block_on(write), Outcome::Stored { .. })));
    set(&mut session, "last", "v", NOW);
    let before = store.stats().reads;
    assert_eq!(keys(session.range(&all(1), NOW + 10)), ["last"]);
    let looks = store.stats().reads - before;
    assert!((3..20).contains(&looks), "{looks} looks");
    let flush = session.flush_all(0, NOW);
    let after = session.range(&all(1), NOW);
    assert!(matches!(block_on(flush), Outcome::Deleted));
    assert_eq!(keys(after), [""; 0]);
}

#[test]
fn large_values_come_in_pages_of_bounded_size() {
    let value = vec![b'v'; 100_000];
    let place = TempDir::new().unwrap();
    let (alone, cluster) = (open_several(&place), Cluster::of(3));
    let sessions = [alone.session(), cluster.session(2)];
    for mut session in sessions {
        let expected = numbered(60);
        for key in &expected {
            let stored = block_on(session.execute(key.as_bytes(), &Op::Store(put(&value)), NOW));
            assert!(matches!(stored, Outcome::Stored { .. }), "{stored:?}");
        }
        let pages = pages(session.range(&all(usize::MAX), NOW)).unwrap();
        let sizes = pages.iter().map(|page| page.iter().map(|item| item.value.len()).sum());
        assert!(sizes.max().is_some_and(|size: usize| size <= (1 << 20) + 3 * 100_000));
        let items: Vec<_> = pages.into_iter().flatten().collect();
        assert!(items.iter().all(|item| item.value == value));
        assert!(items.iter().map(|item| &item.key[..]).eq(expected.iter().map(String::as_bytes)));
    }
}

/// It sees all that was asked before, answered or not, and nothing that was asked since.
#[test]
fn a_range_is_in_order_with_all_that_its_session_asks() {
    let (place, cluster) = (TempDir::new().unwrap(), Cluster::of(3));
    let alone = open_several(&place);
    for mut session in [alone.session(), cluster.session(1), cluster.session(3)] {
        set_at_last(&mut session, "k0000", "v");
        let write = Op::Store(put(b"v"));
        let mut answers = Vec::new();
        for round in 0..20 {
            let before = numbered(round + 1);
            let key = &before[round];
            let write = session.execute(key.as_bytes(), &write, NOW);
            let listing = session.range(&all(usize::MAX), NOW);
            let delete = session.execute(b"k0000", &Op::Delete(Delete::default()), NOW);
            let fetch = session.execute(b"k0000", &Op::Fetch(Fetch::GET), NOW);
            let again = session.execute(b"k0000", &Op::Store(put(b"v")), NOW);
            answers.push((before, [write, again], listing, delete, fetch));
        }
        for (expected, writes, listing, delete, fetch) in answers {
            assert_eq!(keys(listing), expected);
            assert!(matches!(block_on(delete), Outcome::Deleted));
            assert_eq!(text(block_on(fetch)), None);
            assert!(writes.into_iter().all(|set| matches!(block_on(set), Outcome::Stored { .. })));
        }
        block_on(session.flush_all(0, NOW));
    }
}

#[test]
fn what_waits_behind_a_range_goes_on_when_nobody_wants_it() {
    let place = TempDir::new().unwrap();
    let store = open_several(&place);
    let mut session = store.session();
    set(&mut session, "k", "old", NOW);
    let [wanted, not_begun, begun] = [(); 3].map(|()| session.range(&all(9), NOW));
    let mut write = session.execute(b"k", &Op::Store(put(b"new")), NOW);
    drop(not_begun);
    assert!(!ready(&mut write));
    assert_eq!(keys(wanted), ["k"]);
    assert!(!ready(&mut write));
    drop(begun);
    assert!(matches!(block_on(write), Outcome::Stored { .. }));
    assert_eq!(get(&mut session, "k", NOW).as_deref(), Some("new"));
    // Nor is it kept from a store that ends.
    let listing = session.range(&all(9), NOW);
    let write = session.execute(b"k", &Op::Store(put(b"late")), NOW);
    store.close().unwrap();
    assert_eq!(pages(listing), Err(failure::CLOSED));
    assert!(matches!(block_on(write), Outcome::Failed(failure::CLOSED)));
}

#[test]
fn every_node_lists_all_while_leaders_are_killed() {
    let mut cluster = Cluster::of(3);
    let expected = numbered(90);
    for key in &expected {
        set(&mut cluster.session(2), key, key, NOW);
    }
    for victim in NODES {
        for node in NODES {
            assert_eq!(list(&mut cluster.session(node), &all(100)), expected, "through {node}");
        }
        cluster.kill(victim);
        for node in NODES.into_iter().filter(|node| *node != victim) {
            // What got no answer is asked again, until somebody leads.
            assert_eq!(list(&mut cluster.session(node), &all(100)), expected, "without {victim}");
        }
        cluster.open(victim);
        set_at_last(&mut cluster.session(victim), &expected[0], "new");
    }
}

#[test]
fn a_minority_lists_nothing_and_says_so_in_time() {
    let options = Options { groups: 3, leader_within: Duration::from_secs(1), ..small() };
    let mut cluster = Cluster::with(3, options);
    set_at_last(&mut cluster.session(1), "k", "v");
    cluster.kill(2);
    cluster.kill(3);
    let mut session = cluster.session(1);
    assert_eq!(pages(session.range(&all(9), NOW)), Err(failure::UNCONFIRMED));
}

#[test]
fn a_record_that_cannot_be_read_is_an_error_and_the_session_goes_on() {
    let place = TempDir::new().unwrap();
    let (store, faults) = faulty(&place);
    let mut session = store.session();
    set(&mut session, "k", "v", NOW);
    faults.unreadable.store(true, Ordering::Relaxed);
    let listing = session.range(&all(9), NOW);
    let write = session.execute(b"k", &Op::Store(put(b"w")), NOW);
    assert_eq!(pages(listing), Err(failure::UNREAD));
    assert!(matches!(block_on(write), Outcome::Stored { .. }));
    faults.unreadable.store(false, Ordering::Relaxed);
    let listing = pages(session.range(&all(9), NOW)).unwrap();
    assert_eq!(listing[0][0].value, "w");
}

#[test]
fn who_waits_for_a_disk_that_hangs_is_told() {
    let place = TempDir::new().unwrap();
    let (store, faults) = faulty_watched(&place, Duration::from_millis(200));
    let mut session = store.session();
    set(&mut session, "k", "v", NOW);
    faults.reads.shut();
    let listing = session.range(&all(9), NOW);
    let behind = session.execute(b"k", &Op::Store(put(b"w")), NOW);
    assert_eq!(pages(listing), Err(failure::UNANSWERED));
    assert!(matches!(block_on(behind), Outcome::Stored { .. }), "a write waits for no read");
    // Behind another's read, which hangs.
    let fetch = session.execute(b"k", &Op::Fetch(Fetch::GET), NOW);
    let listing = session.range(&all(9), NOW);
    let behind = session.execute(b"k", &Op::Store(put(b"x")), NOW);
    assert!(matches!(block_on(fetch), Outcome::Failed(failure::UNANSWERED)));
    assert_eq!(pages(listing), Err(failure::NOT_BEGUN));
    assert!(matches!(block_on(behind), Outcome::Failed(failure::NOT_BEGUN)));
    faults.reads.open();
    eventually("it is read again", || pages(store.session().range(&all(9), NOW)).ok());
    // Behind a write.
    faults.commits.shut();
    let write = session.execute(b"k", &Op::Store(put(b"y")), NOW);
    let listing = session.range(&all(9), NOW);
    assert!(matches!(block_on(write), Outcome::Failed(failure::HANGS)));
    assert_eq!(pages(listing), Err(failure::NOT_BEGUN));
    faults.commits.open();
    eventually("it goes on", || pages(session.range(&all(9), NOW)).ok());
}

#[test]
fn a_checkpoint_makes_durable_what_was_acknowledged() {
    let (place, cluster) = (TempDir::new().unwrap(), Cluster::of(3));
    let alone = open_several(&place);
    for store in [&alone, &cluster.stores[&2]] {
        let mut session = store.session();
        for key in numbered(30) {
            set_at_last(&mut session, &key, "v");
        }
        assert!(matches!(block_on(session.checkpoint()), Outcome::Done));
    }
    for partition in alone.shared().ways.partitions() {
        let durable = partition.durable.load(Ordering::Acquire);
        assert!(durable > 0 && durable == partition.published.state().sequence);
    }
    let mut session = alone.session();
    let late = session.checkpoint();
    alone.close().unwrap();
    assert!(matches!(block_on(late), Outcome::Done | Outcome::Failed(failure::CLOSED)));
    assert!(matches!(block_on(session.checkpoint()), Outcome::Failed(failure::CLOSED)));

    let (poisoned, faults) = faulty_with(&place, |options| options.groups = 2);
    *faults.fail.lock() = Some(0);
    let mut session = poisoned.session();
    let write = block_on(session.execute(b"k", &Op::Store(put(b"v")), NOW));
    assert!(matches!(write, Outcome::Failed(_)));
    assert!(matches!(block_on(session.checkpoint()), Outcome::Failed(_)));
}

#[derive(Clone, Debug)]
enum Step {
    Set(u8, Seconds),
    Delete(u8),
    Flush,
    Range {
        start: u8,
        end: u8,
        left_open: bool,
        right_open: bool,
        most: usize,
    },
    /// All answers so far are awaited, then time passes.
    Wait(Seconds),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..40_u8, 0..4_u32).prop_map(|(key, ttl)| Step::Set(key, ttl)),
        2 => (0..40_u8).prop_map(Step::Delete),
        1 => Just(Step::Flush),
        4 => (0..42_u8, 0..42_u8, any::<[bool; 2]>(), prop_oneof![1..9_usize, Just(usize::MAX)])
            .prop_map(|(start, end, [left_open, right_open], most)| {
                Step::Range { start, end, left_open, right_open, most }
            }),
        2 => (0..3_u32).prop_map(Step::Wait),
    ]
}

/// Keys of several lengths, some of which are the beginnings of others.
fn key(number: u8) -> Vec<u8> {
    vec![b'a' + number % 3; usize::from(number / 3) + 1]
}

fn run(steps: &[Step], store: &Store) -> Result<(), TestCaseError> {
    let mut session = store.session();
    let (mut model, mut now) = (BTreeMap::<Vec<u8>, Seconds>::new(), NOW);
    let (mut ranges, mut others) = (Vec::new(), Vec::new());
    for step in steps.iter().chain([&Step::Wait(0)]) {
        model.retain(|_, gone| *gone == 0 || *gone > now);
        match step {
            Step::Set(number, ttl) => {
                let op = Put { exptime: Exptime((*ttl).into()), ..put(b"v") };
                others.push(session.execute(&key(*number), &Op::Store(op), now));
                model.insert(key(*number), if *ttl == 0 { 0 } else { now + ttl });
            }
            Step::Delete(number) => {
                let op = Op::Delete(Delete::default());
                others.push(session.execute(&key(*number), &op, now));
                model.remove(&key(*number));
            }
            Step::Flush => {
                others.push(session.flush_all(0, now));
                model.clear();
            }
            Step::Range { start, end, left_open, right_open, most } => {
                let (start, end) = (key(*start), key(*end));
                let (left_open, right_open, most) = (*left_open, *right_open, *most);
                let interval = Interval { start: &start, end: &end, left_open, right_open, most };
                let bound =
                    |open, key| if open { Bound::Excluded(key) } else { Bound::Included(key) };
                let is_empty = start > end || (start == end && (left_open || right_open));
                let bounds = (bound(left_open, start.clone()), bound(right_open, end.clone()));
                let expected: Vec<_> = if is_empty {
                    Vec::new()
                } else {
                    model.range(bounds).map(|(key, _)| key.clone()).take(most).collect()
                };
                ranges.push((session.range(&interval, now), expected));
            }
            Step::Wait(time) => {
                for (listing, expected) in ranges.drain(..) {
                    let items = pages(listing).unwrap().into_iter().flatten();
                    let keys: Vec<_> = items.map(|item| item.key.to_vec()).collect();
                    prop_assert_eq!(keys, expected);
                }
                for other in others.drain(..) {
                    prop_assert!(!matches!(block_on(other), Outcome::Failed(_)));
                }
                now += time;
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_store_lists_what_a_map_does(steps in prop::collection::vec(step(), 1..60)) {
        for open in [open, open_several] {
            let place = TempDir::new().unwrap();
            run(&steps, &open(&place))?;
        }
    }
}
