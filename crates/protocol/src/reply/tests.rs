use super::*;
use crate::item::Header;
use crate::page::Listed;
use crate::parse::{Limits, Parsed, parse};
use crate::request::Request;

const NOW: Seconds = 1000;

/// The answer to a request line, given the outcome.
fn answer(line: &str, outcome: &Outcome<'_>) -> String {
    let input = format!("{line}\r\n");
    let Parsed::Done { request: Request::Item(command), .. } =
        parse(input.as_bytes(), &Limits::default())
    else {
        panic!("{line}")
    };
    let mut out = Vec::new();
    write_reply(&command.form, outcome, NOW, &mut out);
    String::from_utf8(out).unwrap()
}

fn hit(marks: Marks, exptime: Seconds) -> Hit<'static> {
    let before = Header { cas: 7, client_flags: 9, exptime: NOW + 30, last_access: 990, marks };
    Hit { before, exptime, created: false, won: false, value: Value::Slice(b"val") }
}

#[test]
fn meta_flags_answer_in_their_order() {
    let found = Outcome::Hit(hit(Marks::FETCHED, NOW + 30));
    assert_eq!(answer("mg k", &found), "HD\r\n");
    assert_eq!(
        answer("mg k s v q t Oop k l h f c", &found),
        "VA 3 s3 t30 Oop kk l10 h1 f9 c7\r\nval\r\n"
    );
    assert_eq!(answer("mg k v C7", &found), "HD\r\n");
    assert_eq!(answer("mg k v C8", &found), "VA 3\r\nval\r\n");
    assert_eq!(answer("me k", &found), "ME k exp=30 la=10 cas=7 fetch=yes cls=1 size=4\r\n");
}

#[test]
fn a_ttl_is_told_as_of_its_place() {
    let touched = Outcome::Hit(hit(Marks::default(), NOW + 90));
    assert_eq!(answer("mg k t T90", &touched), "HD t30\r\n");
    assert_eq!(answer("mg k T90 t", &touched), "HD t90\r\n");
}

#[test]
fn stale_and_won_are_told_last() {
    let stale = Hit { won: true, ..hit(Marks::STALE, 0) };
    assert_eq!(answer("mg k c", &Outcome::Hit(stale)), "HD c7 X W\r\n");
    let sent = Outcome::Hit(hit(Marks::STALE.with(Marks::WON), 0));
    assert_eq!(answer("mg k", &sent), "HD Z X\r\n");
}

#[test]
fn keys_come_back_as_the_item_has_them() {
    let binary = Outcome::Hit(hit(Marks::BINARY_KEY, 0));
    let plain = Outcome::Hit(hit(Marks::default(), 0));
    assert_eq!(answer("mg Zm9v b k", &binary), "HD kZm9v b\r\n");
    assert_eq!(answer("mg Zm9v b k", &plain), "HD kfoo\r\n");
    assert_eq!(answer("mg foo k", &binary), "HD kZm9v b\r\n");
    assert_eq!(answer("mg Zm9v b k O1", &Outcome::Miss), "EN kZm9v b O1\r\n");
}

#[test]
fn quiet_hides_the_expected_only() {
    let stored = Outcome::Stored { cas: 8, len: 5 };
    let counted = Counted { number: 12, cas: 8, created: false, exptime_before: 0, exptime: 0 };
    for (line, outcome, expected) in [
        ("mg k q", &Outcome::Miss, ""),
        ("mg k", &Outcome::Miss, "EN\r\n"),
        ("ms k 0 q\r\n", &stored, ""),
        ("ms k 0 q\r\n", &Outcome::NotStored, "NS\r\n"),
        ("ms k 0 c s\r\n", &stored, "HD c8 s5\r\n"),
        ("ms k 0 c s\r\n", &Outcome::Exists, "EX c0 s0\r\n"),
        ("md k q", &Outcome::Deleted, ""),
        ("md k q", &Outcome::NotFound, "NF\r\n"),
        ("ma k q", &Outcome::Counted(counted), ""),
        ("ma k q", &Outcome::NotFound, "NF\r\n"),
        ("ma k v c t", &Outcome::Counted(counted), "VA 2 c8 t-1\r\n12\r\n"),
        ("ma k q", &Outcome::NotANumber, NOT_A_NUMBER),
        ("set k 0 0 0 noreply\r\n", &Outcome::NoMemory, ""),
        ("incr k 1 noreply", &Outcome::NotANumber, ""),
        ("incr k 1", &Outcome::NotANumber, NOT_A_NUMBER),
        ("incr k 1", &Outcome::Counted(counted), "12\r\n"),
        ("touch k 1", &Outcome::Miss, "NOT_FOUND\r\n"),
        ("ms k 0 q\r\n", &Outcome::Failed("out of luck"), "SERVER_ERROR out of luck\r\n"),
    ] {
        assert_eq!(answer(line, outcome), expected, "{line}");
    }
}

#[test]
fn a_range_is_listed_up_to_its_end() {
    let key = Key { text: &[], base64: false };
    let answer = |shape, outcome: &Outcome<'_>| {
        let (form, mut out) = (Form { shape, quiet: false, key, flags: &[] }, Vec::new());
        write_reply(&form, outcome, NOW, &mut out);
        String::from_utf8(out).unwrap()
    };
    let item = |key: &'static str, client_flags, value: &'static str| Listed {
        key: key.into(),
        client_flags,
        value: value.into(),
    };
    let items = vec![item("a", 0, ""), item("b", 7, "two")];
    let page = Page { items, after: Some("b".into()) };
    let part = "VALUE a 0 0\r\n\r\nVALUE b 7 3\r\ntwo\r\n";
    assert_eq!(answer(Shape::Range, &Outcome::Listed(page.clone())), part);
    let page = Page { after: None, ..page };
    assert_eq!(answer(Shape::Range, &Outcome::Listed(page)), format!("{part}END\r\n"));
    assert_eq!(answer(Shape::Range, &Outcome::Listed(Page::default())), "END\r\n");
    let failed = Outcome::Failed("out of luck");
    assert_eq!(answer(Shape::Range, &failed), "SERVER_ERROR out of luck\r\n");
    assert_eq!(answer(Shape::Checkpoint, &Outcome::Done), "OK\r\n");
    assert_eq!(answer(Shape::Checkpoint, &failed), "ERROR\r\n");
}

const NOT_A_NUMBER: &str = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
