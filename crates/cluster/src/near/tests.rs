use larder_protocol::{Delete, Exptime, Store};

use super::*;

const NOW: Seconds = 1_700_000_000;
const TTL: Duration = Duration::from_secs(1);
const GET: Op<'static> = Op::Fetch(Fetch::GET);
const SET: Op<'static> = Op::Store(Store::SET);

/// One to which this key is hot.
fn near(key: &[u8]) -> Arc<Near> {
    let near = Arc::new(Near::new(TTL, 100.0));
    near.note(key, 100.0, NOW);
    near
}

fn hit(value: &'static [u8], exptime: Seconds, marks: Marks) -> Hit<'static> {
    let before = Header { cas: 7, client_flags: 3, exptime, last_access: NOW - 50, marks };
    Hit { before, exptime, created: false, won: false, value: Value::Slice(value) }
}

fn value(value: &'static [u8]) -> Outcome<'static> {
    Outcome::Hit(hit(value, 0, Marks::default()))
}

/// What is found so many milliseconds after `began`.
fn find(near: &Arc<Near>, began: Instant, millis: u64, op: Op<'_>) -> Found {
    near.find(b"k", &op, NOW + 1, || began + Duration::from_millis(millis))
}

fn asking(found: Found) -> Asking {
    let Found::Ask(asking) = found else { panic!("{found:?}") };
    asking
}

fn answer(found: Found) -> Hit<'static> {
    let Found::Answer(Outcome::Hit(hit)) = found else { panic!("{found:?}") };
    hit
}

fn is_nothing(found: &Found) -> bool {
    matches!(found, Found::Nothing)
}

#[test]
fn an_answer_is_served_until_so_long_after_it_was_asked_for() {
    let (near, began) = (near(b"k"), Instant::now());
    let asked = asking(find(&near, began, 0, GET));
    // One asks for all.
    assert!(is_nothing(&find(&near, began, 100, GET)));
    asked.keep(&value(b"one"));
    drop(asked);
    let found = answer(find(&near, began, 700, GET));
    assert_eq!((&*found.value.to_bytes(), found.before.cas), (&b"one"[..], 7));
    assert_eq!((found.before.client_flags, found.before.last_access), (3, NOW + 1));
    assert!(found.before.marks.has(Marks::FETCHED));
    // One asks before it is too old, and the others are served meanwhile.
    let again = asking(find(&near, began, 750, GET));
    answer(find(&near, began, 999, GET));
    assert!(is_nothing(&find(&near, began, 1000, GET)), "however long the answer took");
    // Who asked is gone: the next asks.
    drop(again);
    let again = asking(find(&near, began, 1500, GET));
    again.keep(&value(b"two"));
    drop(again);
    assert_eq!(*answer(find(&near, began, 2000, GET)).value.to_bytes(), *b"two");
    assert!(matches!(find(&near, began, 2250, GET), Found::Ask(_)));
    assert_eq!(near.count(), (1, 4));
}

#[test]
fn what_was_asked_for_before_a_change_or_during_one_is_not_kept() {
    let (near, began) = (near(b"k"), Instant::now());
    let keep = |asked: Asking| asked.keep(&value(b"old"));
    let touch = Op::Fetch(Fetch { ttl: Some(Exptime(9)), ..Fetch::GET });
    let clear = Op::Delete(Delete { clear: true, ..Delete::default() });
    for op in [SET, touch, clear] {
        keep(asking(find(&near, began, 0, GET)));
        answer(find(&near, began, 0, GET));
        let before = asking(find(&near, began, 800, GET));
        let changing = near.change(b"k", &op).unwrap();
        assert!(is_nothing(&find(&near, began, 0, GET)));
        keep(before);
        // While others wait too for what they have changed.
        let other = near.change(b"k", &op).unwrap();
        drop(changing);
        assert!(is_nothing(&find(&near, began, 0, GET)));
        drop(other);
        assert_eq!(near.count(), (0, 0), "{op:?}");
    }
    // It is the same with all that are flushed.
    keep(asking(find(&near, began, 0, GET)));
    let before = asking(find(&near, began, 800, GET));
    near.clear();
    assert!(is_nothing(&find(&near, began, 0, GET)));
    keep(before);
    assert_eq!(near.count(), (0, 0));
}

#[test]
fn what_is_answered_is_what_its_owner_would_or_it_is_asked() {
    let (near, began) = (near(b"k"), Instant::now());
    let soon = Hit {
        before: Header { exptime: NOW + 60, ..hit(b"", 0, Marks::default()).before },
        ..hit(b"v", NOW + 60, Marks::default())
    };
    asking(find(&near, began, 0, GET)).keep(&Outcome::Hit(soon));
    let fetch = |fetch| find(&near, began, 1, Op::Fetch(fetch));
    let lease = Fetch { vivify: Some(Exptime(30)), may_win: true, ..Fetch::GET };
    answer(fetch(lease));
    let recache = |within| Fetch { recache: Some(Exptime(within)), ..lease };
    answer(fetch(recache(30)));
    // It is for the owner to say who wins.
    assert!(matches!(fetch(recache(90)), Found::Ask(_)));
    assert!(is_nothing(&fetch(Fetch { bump: false, ..Fetch::GET })));
    assert!(is_nothing(&fetch(Fetch { ttl: Some(Exptime(9)), ..Fetch::GET })));
    assert!(is_nothing(&find(&near, began, 1, SET)));
    // It is gone in its time.
    let late = |now| near.find(b"k", &GET, now, || began);
    answer(late(NOW + 59));
    assert!(matches!(late(NOW + 60), Found::Ask(_)));
}

#[test]
fn what_is_missing_stale_won_or_large_is_not_kept() {
    static LARGE: [u8; MOST_BYTES + 1] = [0; MOST_BYTES + 1];
    let (near, began) = (near(b"k"), Instant::now());
    let plain = hit(b"v", 0, Marks::default());
    for outcome in [
        Outcome::Miss,
        Outcome::Failed("why"),
        Outcome::Hit(hit(b"v", 0, Marks::STALE)),
        Outcome::Hit(hit(b"v", 0, Marks::WON)),
        Outcome::Hit(Hit { won: true, ..plain.clone() }),
        Outcome::Hit(Hit { created: true, ..plain }),
        value(&LARGE),
    ] {
        asking(find(&near, began, 0, GET)).keep(&outcome);
        assert_eq!(near.count(), (0, 0), "{:?}", std::mem::discriminant(&outcome));
    }
    asking(find(&near, began, 0, GET)).keep(&value(&LARGE[..MOST_BYTES]));
    assert_eq!(near.count(), (1, 1 + MOST_BYTES));
}

#[test]
fn the_hottest_keys_are_kept_while_they_are_hot() {
    let near = Arc::new(Near::new(TTL, 100.0));
    let key = |number: usize| format!("key{number}").into_bytes();
    let is_hot = |number| matches!(near.find(&key(number), &GET, NOW, Instant::now), Found::Ask(_));
    near.note(&key(0), 99.9, NOW);
    assert!(!is_hot(0));
    for number in 0..MOST_KEYS {
        near.note(&key(number), if number == 7 { 100.0 } else { 200.0 }, NOW);
    }
    near.note(&key(1000), 100.0, NOW);
    assert!(is_hot(7) && !is_hot(1000));
    near.note(&key(1000), 150.0, NOW);
    assert!(!is_hot(7) && is_hot(1000) && is_hot(0));
    // Whatever is asked for, those that are not any more leave.
    near.note(&key(0), 200.0, NOW + FADE_SECS);
    near.note(b"any", 0.0, NOW + FADE_SECS + 1);
    assert!(is_hot(0) && !is_hot(1000));
    assert_eq!(near.hot.lock().len(), 1);
}

#[test]
fn without_a_time_nothing_is_kept() {
    let near = Arc::new(Near::new(Duration::ZERO, 1.0));
    near.note(b"k", 1000.0, NOW);
    assert!(is_nothing(&near.find(b"k", &GET, NOW, Instant::now)));
    assert!(near.change(b"k", &SET).is_none());
    near.clear();
    assert_eq!(near.count(), (0, 0));
}

#[test]
fn of_many_workers_each_has_less_than_one_request_a_second_and_still_chance_makes_nothing_hot() {
    let near = Arc::new(Near::new(TTL, 1.0 / 4.0));
    near.note(b"k", 0.0, NOW);
    assert!(is_nothing(&near.find(b"k", &GET, NOW, Instant::now)));
    near.note(b"k", 0.25, NOW);
    assert!(matches!(near.find(b"k", &GET, NOW, Instant::now), Found::Ask(_)));
}
