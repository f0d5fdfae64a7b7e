use super::*;

const NOW: Seconds = 1000;

fn stored(value: &'static [u8]) -> Item<'static> {
    let header =
        Header { cas: 7, client_flags: 9, exptime: 0, last_access: 900, marks: Marks::default() };
    Item { header, value: Value::Slice(value) }
}

fn with(mut item: Item<'static>, change: impl FnOnce(&mut Header)) -> Item<'static> {
    change(&mut item.header);
    item
}

/// Decides with 8 for the next cas unique.
fn on<'op>(current: impl Into<Option<Item<'static>>>, op: &Op<'op>) -> Verdict<'static, 'op> {
    decide(current.into(), op, NOW, || 8)
}

fn put_header(change: &Change<'_>) -> Header {
    match change {
        Change::Put(header, _) | Change::Header(header) | Change::Use(header) => *header,
        other => panic!("no header in {other:?}"),
    }
}

fn put_value(change: &Change<'_>, old: &[u8]) -> Vec<u8> {
    match change {
        Change::Put(_, value) => {
            let (first, second) = value.parts(old);
            [first, second].concat()
        }
        other => panic!("no value in {other:?}"),
    }
}

fn hit(outcome: Outcome<'static>) -> Hit<'static> {
    match outcome {
        Outcome::Hit(hit) => hit,
        other => panic!("no hit: {other:?}"),
    }
}

#[test]
fn a_get_marks_use_and_nothing_else() {
    let Verdict { outcome, change } = on(Some(stored(b"v")), &Op::Fetch(Fetch::GET));
    assert_eq!(&*hit(outcome).value.to_bytes(), b"v");
    assert!(matches!(change, Change::Use(_)));
    let after = put_header(&change);
    assert_eq!((after.cas, after.last_access), (7, NOW));
    assert!(after.marks.has(Marks::FETCHED));
    assert!(matches!(on(None, &Op::Fetch(Fetch::GET)).outcome, Outcome::Miss));
}

#[test]
fn a_touch_sets_the_exptime_and_leaves_the_cas_unique() {
    let touch = Op::Fetch(Fetch { ttl: Some(Exptime(5)), ..Fetch::GET });
    let Verdict { outcome, change } = on(Some(stored(b"v")), &touch);
    assert_eq!(hit(outcome).exptime, NOW + 5);
    assert!(matches!(change, Change::Header(Header { cas: 7, exptime: 1005, .. })));
}

#[test]
fn a_stale_item_is_won_once() {
    let stale = with(stored(b"v"), |header| header.marks = Marks::STALE);
    let classic = on(stale.clone(), &Op::Fetch(Fetch::GET));
    assert!(!hit(classic.outcome).won, "a get could not tell its client");
    assert!(!put_header(&classic.change).marks.has(Marks::WON));
    let mg = Op::Fetch(Fetch { may_win: true, ..Fetch::GET });
    let Verdict { outcome, change } = on(stale, &mg);
    assert!(hit(outcome).won);
    let after = put_header(&change);
    assert!(matches!(change, Change::Header(_)), "a win has to be kept");
    let again = with(stored(b"v"), |header| *header = after);
    assert!(!hit(on(again, &mg).outcome).won);
}

#[test]
fn recache_is_won_when_less_is_left() {
    let op =
        |recache| Op::Fetch(Fetch { recache: Some(Exptime(recache)), may_win: true, ..Fetch::GET });
    let expiring = || with(stored(b"v"), |header| header.exptime = NOW + 30);
    assert!(!hit(on(expiring(), &op(30)).outcome).won);
    assert!(hit(on(expiring(), &op(31)).outcome).won);
    assert!(!hit(on(Some(stored(b"v")), &op(31)).outcome).won, "for ever is long enough");
}

#[test]
fn recache_looks_at_the_exptime_that_stands_before_it() {
    let op = |ttl_before_recache| {
        let (ttl, recache) = (Some(Exptime(100)), Some(Exptime(31)));
        Op::Fetch(Fetch { ttl, recache, ttl_before_recache, may_win: true, ..Fetch::GET })
    };
    let expiring = || with(stored(b"v"), |header| header.exptime = NOW + 30);
    assert!(hit(on(expiring(), &op(false)).outcome).won);
    assert!(!hit(on(expiring(), &op(true)).outcome).won);
}

#[test]
fn vivify_creates_an_empty_item_that_is_won() {
    let vivify = Op::Fetch(Fetch { vivify: Some(Exptime(30)), ..Fetch::GET });
    let Verdict { outcome, change } = on(None, &vivify);
    let hit = hit(outcome);
    assert!(hit.won && hit.created && hit.value.is_empty());
    let header = put_header(&change);
    assert_eq!((header.cas, header.exptime), (8, NOW + 30));
    assert!(header.marks.has(Marks::WON));
}

#[test]
fn conditions_of_the_storage_commands() {
    let op = |mode, compare| Op::Store(Store { mode, compare, value: b"new", ..Store::SET });
    let told = |current: Option<Item<'static>>, mode, compare| match on(current, &op(mode, compare))
        .outcome
    {
        Outcome::Stored { cas: 8, len } => format!("stored {len}"),
        other => format!("{other:?}"),
    };
    let here = || Some(stored(b"old"));
    for (current, mode, compare, expected) in [
        (None, Mode::Set, None, "stored 3"),
        (here(), Mode::Set, None, "stored 3"),
        (None, Mode::Set, Some(7), "NotFound"),
        (here(), Mode::Set, Some(7), "stored 3"),
        (here(), Mode::Set, Some(6), "Exists"),
        (here(), Mode::Set, Some(0), "Exists"),
        (None, Mode::Add, None, "stored 3"),
        (here(), Mode::Add, None, "NotStored"),
        (here(), Mode::Add, Some(7), "NotStored"),
        (None, Mode::Replace, None, "NotStored"),
        (None, Mode::Replace, Some(7), "NotFound"),
        (here(), Mode::Replace, None, "stored 3"),
        (here(), Mode::Replace, Some(6), "Exists"),
        (None, Mode::Append, None, "NotStored"),
        (here(), Mode::Append, None, "stored 6"),
        (here(), Mode::Append, Some(6), "Exists"),
        (here(), Mode::Append, Some(0), "stored 6"),
        (here(), Mode::Prepend, Some(7), "stored 6"),
    ] {
        assert_eq!(told(current.clone(), mode, compare), expected, "{mode:?} {compare:?}");
    }
}

#[test]
fn append_and_prepend_keep_flags_and_exptime_and_are_fresh() {
    let op = |mode| Op::Store(Store { mode, value: b"+", client_flags: 1, ..Store::SET });
    let stale = || with(stored(b"old"), |h| (h.exptime, h.marks) = (NOW + 9, Marks::STALE));
    for (mode, expected) in [(Mode::Append, b"old+"), (Mode::Prepend, b"+old")] {
        let change = on(stale(), &op(mode)).change;
        let header = put_header(&change);
        assert_eq!(put_value(&change, b"old"), expected);
        assert_eq!((header.client_flags, header.exptime, header.cas), (9, NOW + 9, 8));
        assert!(!header.marks.has(Marks::STALE));
    }
}

#[test]
fn append_stops_at_the_longest_value() {
    let op = |max_len| Op::Store(Store { mode: Mode::Append, value: b"+", max_len, ..Store::SET });
    assert!(matches!(on(Some(stored(b"old")), &op(3)).outcome, Outcome::NotStored));
    assert!(matches!(on(Some(stored(b"old")), &op(4)).outcome, Outcome::Stored { .. }));
}

#[test]
fn append_creates_with_the_exptime_of_vivify() {
    let vivify = Some(Exptime(5));
    let op = Op::Store(Store { mode: Mode::Append, value: b"v", vivify, ..Store::SET });
    let change = on(None, &op).change;
    assert_eq!(put_header(&change).exptime, NOW + 5);
}

#[test]
fn an_older_writer_stores_stale_if_it_says_so() {
    let op = |compare| {
        Op::Store(Store { compare: Some(compare), invalidate: true, value: b"n", ..Store::SET })
    };
    let current = || with(stored(b"v"), |h| (h.exptime, h.marks) = (NOW + 9, Marks::WON));
    let header = put_header(&on(current(), &op(6)).change);
    assert_eq!(header.exptime, NOW + 9, "as long as the newer version would have lived");
    assert!(header.marks.has(Marks::STALE) && header.marks.has(Marks::WON));
    assert!(matches!(on(current(), &op(8)).outcome, Outcome::Exists));
    assert!(!put_header(&on(current(), &op(7)).change).marks.has(Marks::STALE));
}

#[test]
fn deletes() {
    let gone = on(Some(stored(b"v")), &Op::Delete(Delete::default()));
    assert!(matches!((gone.outcome, gone.change), (Outcome::Deleted, Change::Remove)));
    let compare = |cas| Op::Delete(Delete { compare: Some(cas), ..Delete::default() });
    assert!(matches!(on(Some(stored(b"v")), &compare(6)).outcome, Outcome::Exists));
    assert!(matches!(on(Some(stored(b"v")), &compare(7)).outcome, Outcome::Deleted));
    assert!(matches!(on(None, &compare(7)).outcome, Outcome::NotFound));
}

#[test]
fn invalidating_keeps_the_value_and_lets_the_next_client_win() {
    let op = Op::Delete(Delete { invalidate: true, ttl: Some(Exptime(30)), ..Delete::default() });
    let won = with(stored(b"v"), |header| header.marks = Marks::WON);
    let change = on(won, &op).change;
    let header = put_header(&change);
    assert!(matches!(change, Change::Header(_)));
    assert_eq!((header.cas, header.exptime), (8, NOW + 30));
    assert!(header.marks.has(Marks::STALE) && !header.marks.has(Marks::WON));
}

#[test]
fn clearing_leaves_an_empty_item_with_its_cas_unique() {
    let op = Op::Delete(Delete { clear: true, ..Delete::default() });
    let change = on(Some(stored(b"v")), &op).change;
    assert_eq!(put_value(&change, b"v"), b"");
    let header = put_header(&change);
    assert_eq!((header.cas, header.client_flags, header.exptime), (7, 0, 0));
}

#[test]
fn numbers_wrap_above_and_stop_below() {
    let count = |value: &'static [u8], op| {
        let Verdict { outcome, change } = on(Some(stored(value)), &Op::Arithmetic(op));
        match outcome {
            Outcome::Counted(counted) => (counted.number, put_value(&change, value)),
            other => panic!("{other:?}"),
        }
    };
    let max = b"18446744073709551615";
    assert_eq!(count(max, Arithmetic::INCR), (0, b"0                   ".to_vec()));
    let decr = Arithmetic { decrement: true, delta: 11, ..Arithmetic::INCR };
    assert_eq!(count(b"10", decr), (0, b"0 ".to_vec()));
    assert_eq!(count(b"99", Arithmetic::INCR), (100, b"100".to_vec()));
}

#[test]
fn a_number_that_grows_is_no_longer_stale() {
    let stale = |value| with(stored(value), |header| header.marks = Marks::STALE);
    let incr = Op::Arithmetic(Arithmetic::INCR);
    assert!(put_header(&on(stale(b"8"), &incr).change).marks.has(Marks::STALE));
    assert!(!put_header(&on(stale(b"9"), &incr).change).marks.has(Marks::STALE));
}

#[test]
fn what_cannot_be_counted() {
    let incr = Op::Arithmetic(Arithmetic::INCR);
    assert!(matches!(on(None, &incr).outcome, Outcome::NotFound));
    assert!(matches!(on(Some(stored(b"")), &incr).outcome, Outcome::NotANumber));
    assert!(matches!(on(Some(stored(b"x")), &incr).outcome, Outcome::NotANumber));
    let other = Op::Arithmetic(Arithmetic { compare: Some(6), ..Arithmetic::INCR });
    assert!(matches!(on(Some(stored(b"1")), &other).outcome, Outcome::Exists));
}

#[test]
fn counting_creates_with_the_initial_number() {
    let vivify = Some(Exptime(5));
    let op = Op::Arithmetic(Arithmetic {
        vivify,
        initial: 40,
        ttl: Some(Exptime(9)),
        ..Arithmetic::INCR
    });
    let Verdict { outcome, change } = on(None, &op);
    assert!(matches!(outcome, Outcome::Counted(Counted { number: 40, created: true, .. })));
    assert_eq!(put_header(&change).exptime, NOW + 5);
}

#[test]
fn an_explicit_cas_unique_is_taken() {
    let new_cas = Some(99);
    for op in [
        Op::Store(Store { new_cas, ..Store::SET }),
        Op::Delete(Delete { invalidate: true, new_cas, ..Delete::default() }),
        Op::Arithmetic(Arithmetic { new_cas, ..Arithmetic::INCR }),
    ] {
        assert_eq!(put_header(&on(Some(stored(b"1")), &op).change).cas, 99);
    }
}
