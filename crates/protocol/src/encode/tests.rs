use super::*;
use crate::exptime::Exptime;
use crate::op::{Arithmetic, Delete, Fetch, Mode, Op, Store};
use proptest::prelude::*;

const SET: Store<'static> = Store { value: b"hi", ..Store::SET };

fn meta_text(key: &[u8], op: Op<'_>, wishes: Wishes, opaque: Option<u64>) -> String {
    let mut out = Vec::new();
    meta(&mut out, key, &op, wishes, opaque).unwrap();
    String::from_utf8(out).unwrap()
}

fn classic_text(op: Op<'_>, wishes: Wishes) -> String {
    let mut out = Vec::new();
    classic(&mut out, b"k", &op, wishes).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn fetches_as_meta() {
    let all = Wishes::OF_FETCH;
    assert_eq!(meta_text(b"k", Op::Fetch(Fetch::GET), Wishes::NONE, None), "mg k\r\n");
    assert_eq!(
        meta_text(b"k", Op::Fetch(Fetch::GET), all, Some(7)),
        "mg k t v f c t s k h l q O7\r\n"
    );
    let full = Fetch {
        ttl: Some(Exptime(30)),
        vivify: Some(Exptime(5)),
        recache: Some(Exptime(9)),
        ttl_before_recache: false,
        new_cas: Some(3),
        binary_key: true,
        bump: false,
        may_win: true,
    };
    assert_eq!(
        meta_text(b"foo", Op::Fetch(full), Wishes::VALUE, None),
        "mg Zm9v b R9 T30 N5 E3 u v\r\n"
    );
    let ttl_first = Fetch { ttl_before_recache: true, ..full };
    assert!(meta_text(b"k", Op::Fetch(ttl_first), Wishes::NONE, None).contains(" T30 R9 "));
    let touch = Op::Fetch(Fetch { ttl: Some(Exptime(30)), ..Fetch::GET });
    assert_eq!(meta_text(b"k", touch, Wishes::TTL, None), "mg k T30 t\r\n");
    assert_eq!(meta_text(b"k", touch, Wishes::TTL_BEFORE, None), "mg k t T30\r\n");
}

#[test]
fn stores_as_meta() {
    assert_eq!(meta_text(b"k", Op::Store(SET), Wishes::VALUE, None), "ms k 2\r\nhi\r\n");
    let full = Store {
        mode: Mode::Append,
        client_flags: 5,
        exptime: Exptime(-1),
        compare: Some(0),
        invalidate: true,
        new_cas: Some(8),
        vivify: Some(Exptime(60)),
        ..SET
    };
    assert_eq!(
        meta_text(b"k", Op::Store(full), Wishes::CAS.with(Wishes::SIZE), Some(1)),
        "ms k 2 MA F5 T-1 C0 I E8 N60 c s O1\r\nhi\r\n"
    );
}

#[test]
fn deletes_and_counts_as_meta() {
    let delete = Delete {
        compare: Some(4),
        invalidate: true,
        clear: true,
        ttl: Some(Exptime(9)),
        client_flags: 2,
        new_cas: Some(6),
    };
    assert_eq!(
        meta_text(b"k", Op::Delete(delete), Wishes::QUIET, None),
        "md k C4 I x T9 F2 E6 q\r\n"
    );
    assert_eq!(
        meta_text(b"k", Op::Arithmetic(Arithmetic::INCR), Wishes::VALUE, Some(2)),
        "ma k v O2\r\n"
    );
    let full = Arithmetic {
        decrement: true,
        delta: 10,
        vivify: Some(Exptime::NEVER),
        initial: 3,
        compare: Some(1),
        new_cas: Some(2),
        ttl: Some(Exptime(9)),
        ..Arithmetic::INCR
    };
    assert_eq!(
        meta_text(b"k", Op::Arithmetic(full), Wishes::NONE, None),
        "ma k MD D10 T9 N0 J3 C1 E2\r\n"
    );
}

#[test]
fn unprintable_keys_go_as_base64() {
    assert_eq!(meta_text(b"a b", Op::Fetch(Fetch::GET), Wishes::NONE, None), "mg YSBi b\r\n");
    let utf8 = "ключ";
    assert_eq!(
        meta_text(utf8.as_bytes(), Op::Fetch(Fetch::GET), Wishes::NONE, None),
        format!("mg {utf8}\r\n")
    );
    let mut out = Vec::new();
    debug(&mut out, b"\n").unwrap();
    assert_eq!(out, b"me Cg== b\r\n");
}

#[test]
fn keys_that_no_server_takes_are_refused() {
    let op = Op::Fetch(Fetch::GET);
    let refused = |key: &[u8]| {
        let mut out = Vec::new();
        let refused = meta(&mut out, key, &op, Wishes::NONE, None).err();
        assert_eq!(check_key(key).err(), refused);
        assert!(refused.is_none() || out.is_empty());
        refused
    };
    assert_eq!(refused(b""), Some(Refused::EmptyKey));
    assert_eq!(refused(&[b'k'; 250]), None);
    assert_eq!(refused(&[b'k'; 251]), Some(Refused::KeyTooLong(250)));
    assert_eq!(refused(&[0; 186]), None);
    assert_eq!(refused(&[0; 187]), Some(Refused::KeyTooLong(186)));
    let binary = Op::Fetch(Fetch { binary_key: true, ..Fetch::GET });
    let long = "k".repeat(200);
    assert_eq!(meta_text(long.as_bytes(), binary, Wishes::NONE, None), format!("mg {long}\r\n"));
}

#[test]
fn classic_commands() {
    let touch = Op::Fetch(Fetch { ttl: Some(Exptime(30)), ..Fetch::GET });
    let mode = |mode| Op::Store(Store { mode, client_flags: 1, exptime: Exptime(2), ..SET });
    let rows = [
        (Op::Fetch(Fetch::GET), Wishes::VALUE, "get k\r\n"),
        (Op::Fetch(Fetch::GET), Wishes::CAS, "gets k\r\n"),
        (touch, Wishes::NONE, "touch k 30\r\n"),
        (touch, Wishes::QUIET, "touch k 30 noreply\r\n"),
        (touch, Wishes::VALUE, "gat 30 k\r\n"),
        (touch, Wishes::VALUE.with(Wishes::CAS), "gats 30 k\r\n"),
        (mode(Mode::Set), Wishes::NONE, "set k 1 2 2\r\nhi\r\n"),
        (mode(Mode::Add), Wishes::QUIET, "add k 1 2 2 noreply\r\nhi\r\n"),
        (mode(Mode::Replace), Wishes::NONE, "replace k 1 2 2\r\nhi\r\n"),
        (mode(Mode::Append), Wishes::NONE, "append k 1 2 2\r\nhi\r\n"),
        (mode(Mode::Prepend), Wishes::NONE, "prepend k 1 2 2\r\nhi\r\n"),
        (
            Op::Store(Store { compare: Some(9), ..SET }),
            Wishes::QUIET,
            "cas k 0 0 2 9 noreply\r\nhi\r\n",
        ),
        (Op::Delete(Delete::default()), Wishes::NONE, "delete k\r\n"),
        (Op::Arithmetic(Arithmetic::INCR), Wishes::NONE, "incr k 1\r\n"),
        (
            Op::Arithmetic(Arithmetic { decrement: true, delta: 5, ..Arithmetic::INCR }),
            Wishes::QUIET,
            "decr k 5 noreply\r\n",
        ),
    ];
    for (op, wishes, expected) in rows {
        assert_eq!(classic_text(op, wishes), expected);
    }
}

#[test]
fn what_classic_commands_can_not_say_is_refused() {
    let mut out = Vec::new();
    for op in [
        Op::Fetch(Fetch { vivify: Some(Exptime(1)), ..Fetch::GET }),
        Op::Fetch(Fetch { bump: false, ..Fetch::GET }),
        Op::Store(Store { mode: Mode::Add, compare: Some(1), ..SET }),
        Op::Store(Store { new_cas: Some(1), ..SET }),
        Op::Delete(Delete { invalidate: true, ..Delete::default() }),
        Op::Arithmetic(Arithmetic { vivify: Some(Exptime(1)), ..Arithmetic::INCR }),
    ] {
        assert_eq!(classic(&mut out, b"k", &op, Wishes::NONE), Err(Refused::NotClassic));
    }
    let get = Op::Fetch(Fetch::GET);
    assert_eq!(classic(&mut out, b"a b", &get, Wishes::NONE), Err(Refused::UnprintableKey));
    assert!(out.is_empty());
}

#[test]
fn get_of_several_keys() {
    let mut out = Vec::new();
    get_many(&mut out, [&b"a"[..], b"b"], false).unwrap();
    get_many(&mut out, [&b"a"[..]], true).unwrap();
    assert_eq!(get_many(&mut out, [&b"a"[..], b"\n"], false), Err(Refused::UnprintableKey));
    assert_eq!(get_many(&mut out, [], false), Err(Refused::EmptyKey));
    noop(&mut out);
    assert_eq!(out, b"get a b\r\ngets a\r\nmn\r\n");
}

fn exptime() -> impl Strategy<Value = Exptime> {
    // Servers read them as 32 bits.
    (-1..=i64::from(i32::MAX)).prop_map(Exptime)
}

fn op(value: &'static [u8]) -> impl Strategy<Value = Op<'static>> {
    let mode = prop_oneof![
        Just(Mode::Set),
        Just(Mode::Add),
        Just(Mode::Replace),
        Just(Mode::Append),
        Just(Mode::Prepend),
    ];
    let maybe = || proptest::option::of(exptime());
    prop_oneof![
        (exptime(), exptime(), maybe(), any::<Option<u64>>(), any::<(bool, bool)>()).prop_map(
            |(ttl, recache, vivify, new_cas, (ttl_before_recache, bump))| {
                let (ttl, recache) = (Some(ttl), Some(recache));
                let binary_key = false;
                let fetch = Fetch {
                    ttl,
                    vivify,
                    recache,
                    ttl_before_recache,
                    new_cas,
                    binary_key,
                    bump,
                    may_win: true,
                };
                Op::Fetch(fetch)
            }
        ),
        (mode, any::<u32>(), exptime(), any::<(Option<u64>, Option<u64>, bool)>(), maybe())
            .prop_map(
                move |(mode, client_flags, exptime, (compare, new_cas, invalidate), vivify)| {
                    let store = Store { mode, value, client_flags, exptime, vivify, ..SET };
                    Op::Store(Store { compare, invalidate, new_cas, ..store })
                }
            ),
        (any::<(Option<u64>, Option<u64>, bool, bool, u32)>(), maybe()).prop_map(
            |((compare, new_cas, invalidate, clear, client_flags), ttl)| {
                Op::Delete(Delete { compare, invalidate, clear, ttl, client_flags, new_cas })
            }
        ),
        (any::<(bool, u64, u64, Option<u64>, Option<u64>)>(), maybe(), maybe()).prop_map(
            |((decrement, delta, initial, compare, new_cas), vivify, ttl)| {
                let count = Arithmetic { decrement, delta, vivify, initial, ..Arithmetic::INCR };
                Op::Arithmetic(Arithmetic { compare, new_cas, ttl, ..count })
            }
        ),
    ]
}

proptest! {
    #[test]
    fn the_server_parser_reads_what_was_meant(op in op(b"a\r\nvalue"), key in "[!-~]{1,250}") {
        let mut out = Vec::new();
        meta(&mut out, key.as_bytes(), &op, Wishes::QUIET, Some(7)).unwrap();
        let parsed = crate::parse(&out, &crate::Limits::default());
        let crate::Parsed::Done { request: crate::Request::Item(command), consumed } = parsed
        else { panic!("{}", out.escape_ascii()) };
        prop_assert_eq!(consumed, out.len());
        let mut read = command.op;
        if let Op::Store(store) = &mut read {
            // The server's own, not the client's to say.
            store.max_len = usize::MAX;
        }
        prop_assert_eq!(read, op);
        prop_assert_eq!(command.key.text, key.as_bytes());
        prop_assert!(command.form.quiet);
    }

    #[test]
    fn no_key_makes_two_requests(key in proptest::collection::vec(any::<u8>(), 0..260)) {
        let mut out = Vec::new();
        if meta(&mut out, &key, &Op::Fetch(Fetch::GET), Wishes::VALUE, Some(1)).is_ok() {
            prop_assert_eq!(out.split(|b| *b == b'\n').count(), 2);
            let tokens = if is_printable(&key) { 4 } else { 5 };
            prop_assert_eq!(out.split(|b| *b == b' ').count(), tokens);
            prop_assert!(out.ends_with(b" v O1\r\n"));
        } else {
            prop_assert!(out.is_empty());
        }
    }
}
