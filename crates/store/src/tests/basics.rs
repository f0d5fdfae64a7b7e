use larder_protocol::{
    Arithmetic, Delete, Exptime, Fetch, Marks, Mode, Op, Outcome, Seconds, Store as Put,
};
use tempfile::TempDir;

use super::block_on;
use crate::{Error, Options, Session, Store};

pub(super) const NOW: Seconds = 1_700_000_000;

/// Small enough for many at once. Of one group, so that all writes are in one order.
pub(super) fn small() -> Options {
    Options {
        groups: 1,
        cache_bytes: 8 << 20,
        log_ready_bytes: 0,
        read_threads: 2,
        reserve_bytes: Some(0),
        ..Options::default()
    }
}

pub(super) fn open(place: &TempDir) -> Store {
    Store::open(place.path().join("store"), small()).unwrap()
}

/// One of several groups.
pub(super) fn open_several(place: &TempDir) -> Store {
    Store::open(place.path().join("store"), Options { groups: 3, ..small() }).unwrap()
}

pub(super) fn put(value: &[u8]) -> Put<'_> {
    Put { value, ..Put::SET }
}

pub(super) fn count(delta: u64) -> Op<'static> {
    Op::Arithmetic(Arithmetic {
        decrement: false,
        delta,
        vivify: Some(Exptime::NEVER),
        initial: delta,
        compare: None,
        new_cas: None,
        ttl: None,
        binary_key: false,
    })
}

pub(super) fn set(session: &mut Session, key: &str, value: &str, now: Seconds) -> u64 {
    match block_on(session.execute(key.as_bytes(), &Op::Store(put(value.as_bytes())), now)) {
        Outcome::Stored { cas, .. } => cas,
        other => panic!("{key}: {other:?}"),
    }
}

pub(super) fn text(outcome: Outcome<'_>) -> Option<String> {
    match outcome {
        Outcome::Hit(hit) => Some(String::from_utf8(hit.value.to_bytes().to_vec()).unwrap()),
        Outcome::Miss => None,
        other => panic!("{other:?}"),
    }
}

pub(super) fn get(session: &mut Session, key: &str, now: Seconds) -> Option<String> {
    text(block_on(session.execute(key.as_bytes(), &Op::Fetch(Fetch::GET), now)))
}

#[test]
fn what_is_answered_is_there_after_reopening() {
    let place = TempDir::new().unwrap();
    let store = open_several(&place);
    let mut session = store.session();
    set(&mut session, "a", "1", NOW);
    let op = Put { exptime: Exptime(10), client_flags: 5, ..put(b"2") };
    block_on(session.execute(b"b", &Op::Store(op), NOW));
    set(&mut session, "c", "3", NOW);
    let deleted = session.execute(b"c", &Op::Delete(Delete::default()), NOW);
    assert!(matches!(block_on(deleted), Outcome::Deleted));
    store.close().unwrap();
    assert!(matches!(
        block_on(session.execute(b"a", &Op::Fetch(Fetch::GET), NOW)),
        Outcome::Failed(_)
    ));

    let store = open_several(&place);
    let mut session = store.session();
    assert_eq!(get(&mut session, "a", NOW).unwrap(), "1");
    assert_eq!(get(&mut session, "c", NOW), None);
    let Outcome::Hit(hit) = block_on(session.execute(b"b", &Op::Fetch(Fetch::GET), NOW + 9)) else {
        panic!("lost");
    };
    assert_eq!((hit.before.client_flags, hit.exptime), (5, NOW + 10));
    assert_eq!(get(&mut session, "b", NOW + 10), None, "expired to the second");
}

#[test]
fn a_pipelined_session_keeps_its_order_on_a_key() {
    let place = TempDir::new().unwrap();
    let store = open_several(&place);
    let mut session = store.session();
    for round in 0..200 {
        let key = format!("key{}", round % 3);
        let get = Op::Fetch(Fetch::GET);
        let (one, two) = (format!("one{round}"), format!("two{round}"));
        let mut run = |op: &Op<'_>| session.execute(key.as_bytes(), op, NOW);
        let answers = [
            run(&Op::Store(put(one.as_bytes()))),
            run(&get),
            run(&get),
            run(&Op::Store(put(two.as_bytes()))),
            run(&get),
            run(&Op::Delete(Delete::default())),
            run(&get),
        ];
        let answers: Vec<_> = answers.into_iter().map(block_on).collect();
        let [_, a, b, _, c, _, d] = answers.try_into().unwrap();
        assert_eq!(
            [text(a), text(b), text(c), text(d)],
            [Some(one.clone()), Some(one), Some(two), None]
        );
    }
    // Reads first, so that they are with the reading threads when the write comes.
    for round in 0..200_u64 {
        let get = Op::Fetch(Fetch::GET);
        let mut run = |op: &Op<'_>| session.execute(b"n", op, NOW);
        let answers = [run(&get), run(&get), run(&count(1)), run(&get), run(&get)];
        let answers: Vec<_> = answers.into_iter().map(block_on).collect();
        let [a, b, _, c, d] = answers.try_into().unwrap();
        let before = (round > 0).then(|| round.to_string());
        let after = Some((round + 1).to_string());
        assert_eq!(
            [text(a), text(b), text(c), text(d)],
            [before.clone(), before, after.clone(), after]
        );
    }
}

#[test]
fn many_sessions_count_every_step_once() {
    let place = TempDir::new().unwrap();
    let store = open_several(&place);
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let mut session = store.session();
            std::thread::spawn(move || {
                let mut seen = Vec::new();
                for _ in 0..50 {
                    let pending: Vec<_> =
                        (0..5).map(|_| session.execute(b"n", &count(1), NOW)).collect();
                    for pending in pending {
                        match block_on(pending) {
                            Outcome::Counted(counted) => seen.push((counted.number, counted.cas)),
                            other => panic!("{other:?}"),
                        }
                    }
                }
                assert!(seen.is_sorted());
                seen
            })
        })
        .collect();
    let mut seen: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    seen.sort_unstable();
    let numbers: Vec<_> = seen.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=2000).collect::<Vec<_>>());
    assert!(seen.windows(2).all(|pair| pair[0].1 < pair[1].1), "cas uniques differ and grow");
    let stats = store.stats();
    assert!(stats.commits < 2000, "commits are shared: {stats:?}");
    assert_eq!(stats.writes, 2000);
}

#[test]
fn a_cas_unique_never_comes_twice() {
    let place = TempDir::new().unwrap();
    let mut last = 0;
    for _ in 0..4 {
        let store = open_several(&place);
        let mut session = store.session();
        for _ in 0..3 {
            let cas = set(&mut session, "k", "v", NOW);
            assert!(cas > last);
            last = cas;
        }
        // Even if the last one's item is gone.
        block_on(session.execute(b"k", &Op::Delete(Delete::default()), NOW));
    }
}

#[test]
fn a_client_may_choose_the_cas_unique() {
    let place = TempDir::new().unwrap();
    let store = open_several(&place);
    let mut session = store.session();
    let chosen = Put { new_cas: Some(1 << 60), ..put(b"v") };
    let outcome = block_on(session.execute(b"k", &Op::Store(chosen), NOW));
    assert!(matches!(outcome, Outcome::Stored { cas, .. } if cas == 1 << 60));
    assert!(set(&mut session, "other", "v", NOW) < 100, "the order of writes goes on by itself");
    let wrong = Put { compare: Some(5), ..put(b"w") };
    assert!(matches!(block_on(session.execute(b"k", &Op::Store(wrong), NOW)), Outcome::Exists));
    let right = Put { compare: Some(1 << 60), ..put(b"w") };
    let outcome = block_on(session.execute(b"k", &Op::Store(right), NOW));
    assert!(matches!(outcome, Outcome::Stored { .. }));
    block_on(session.flush_all(0, NOW));
    assert_eq!(get(&mut session, "k", NOW), None, "a flush goes by the order of writes");
}

#[test]
fn a_stale_item_is_won_once() {
    let place = TempDir::new().unwrap();
    let store = open_several(&place);
    let mut session = store.session();
    set(&mut session, "k", "v", NOW);
    let invalidate = Delete { invalidate: true, ..Delete::default() };
    block_on(session.execute(b"k", &Op::Delete(invalidate), NOW));
    let fetch = Op::Fetch(Fetch { may_win: true, ..Fetch::GET });
    let fetches: Vec<_> = (0..20).map(|_| session.execute(b"k", &fetch, NOW)).collect();
    let won: Vec<_> = fetches
        .into_iter()
        .map(|fetch| match block_on(fetch) {
            Outcome::Hit(hit) => {
                assert!(hit.before.marks.has(Marks::STALE));
                hit.won
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(won[0] && !won[1..].contains(&true), "{won:?}");
}

#[test]
fn a_flush_survives_a_restart_and_spares_what_comes_after() {
    let place = TempDir::new().unwrap();
    let store = open_several(&place);
    let mut session = store.session();
    set(&mut session, "old", "v", NOW);
    // In one pipeline: the flush is in order with all keys.
    let answers = [
        session.execute(b"old", &Op::Fetch(Fetch::GET), NOW),
        session.flush_all(0, NOW),
        session.execute(b"old", &Op::Fetch(Fetch::GET), NOW),
        session.execute(b"new", &Op::Store(put(b"v")), NOW),
        session.execute(b"new", &Op::Fetch(Fetch::GET), NOW),
    ];
    let answers: Vec<_> = answers.into_iter().map(block_on).collect();
    assert!(matches!(
        &answers[..],
        [Outcome::Hit(_), Outcome::Deleted, Outcome::Miss, Outcome::Stored { .. }, Outcome::Hit(_)]
    ));
    drop(store);
    let store = open_several(&place);
    let mut session = store.session();
    assert_eq!(get(&mut session, "old", NOW), None);
    assert_eq!(get(&mut session, "new", NOW).unwrap(), "v");
}

#[test]
fn a_delayed_flush_survives_a_restart() {
    let place = TempDir::new().unwrap();
    let store = open_several(&place);
    let mut session = store.session();
    set(&mut session, "a", "v", NOW);
    block_on(session.flush_all(NOW + 100, NOW));
    set(&mut session, "b", "v", NOW + 50);
    drop(store);
    let store = open_several(&place);
    let mut session = store.session();
    assert!(get(&mut session, "a", NOW + 99).is_some());
    assert_eq!(get(&mut session, "a", NOW + 100), None, "before any write turns it into a mark");
    assert_eq!(get(&mut session, "b", NOW + 100), None);
    set(&mut session, "c", "v", NOW + 100);
    assert!(get(&mut session, "c", NOW + 100).is_some());
    drop(store);
    let store = open_several(&place);
    let mut session = store.session();
    assert_eq!(get(&mut session, "a", NOW + 101), None);
    assert!(get(&mut session, "c", NOW + 101).is_some());
}

#[test]
fn the_dead_are_taken_back() {
    let place = TempDir::new().unwrap();
    let store = open_several(&place);
    let mut session = store.session();
    for number in 0..100 {
        let op = Put { exptime: Exptime(i64::from(number % 2) * 10), ..put(b"value") };
        block_on(session.execute(format!("k{number}").as_bytes(), &Op::Store(op), NOW));
    }
    // Telling the time is enough.
    get(&mut session, "k0", NOW + 70);
    let patience = std::time::Instant::now();
    while store.stats().items != Some(50) || store.stats().reclaimed != 50 {
        assert!(patience.elapsed().as_secs() < 20, "{:?}", store.stats());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(get(&mut session, "k0", NOW + 70).is_some());
    assert_eq!(get(&mut session, "k1", NOW + 9), None, "gone, even if time went back");
}

#[test]
fn large_values_and_any_bytes_pass_through() {
    let place = TempDir::new().unwrap();
    let store = open_several(&place);
    let mut session = store.session();
    let key: Vec<u8> = (0..250_u8).collect();
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    block_on(session.execute(&key, &Op::Store(put(&large)), NOW));
    let append = Put { mode: Mode::Append, ..put(b"tail") };
    block_on(session.execute(&key, &Op::Store(append), NOW));
    let Outcome::Hit(hit) = block_on(session.execute(&key, &Op::Fetch(Fetch::GET), NOW)) else {
        panic!("lost");
    };
    assert_eq!(hit.value.len(), large.len() + 4);
    assert!(hit.value.to_bytes().starts_with(&large) && hit.value.to_bytes().ends_with(b"tail"));
    for key in [&b""[..], &[b'k'; 251]] {
        let outcome = block_on(session.execute(key, &Op::Fetch(Fetch::GET), NOW));
        assert!(matches!(outcome, Outcome::Failed(_)));
    }
}

#[test]
fn a_directory_serves_one_store() {
    let place = TempDir::new().unwrap();
    let first = open_several(&place);
    let second = Store::open(place.path().join("store"), small());
    assert!(matches!(second, Err(Error::InUse { .. })));
    drop(first);
    let left = open_several(&place).session();
    open_several(&place).close().unwrap();
    drop(left);
}
