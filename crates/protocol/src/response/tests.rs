use super::*;
use proptest::prelude::*;

fn done(input: &[u8]) -> Response<'_> {
    match parse(input) {
        Parsed::Done { response, consumed } => {
            assert_eq!(consumed, input.len());
            response
        }
        other => panic!("{}: {other:?}", input.escape_ascii()),
    }
}

fn desync(input: &[u8]) -> Desync {
    match parse(input) {
        Parsed::Desync(why) => why,
        other => panic!("{}: {other:?}", input.escape_ascii()),
    }
}

#[test]
fn classic_answers() {
    let rows: &[(&[u8], Response<'_>)] = &[
        (b"END\r\n", Response::End),
        (b"STORED\r\n", Response::Stored),
        (b"NOT_STORED\r\n", Response::NotStored),
        (b"EXISTS\r\n", Response::Exists),
        (b"NOT_FOUND\r\n", Response::NotFound),
        (b"DELETED\r\n", Response::Deleted),
        (b"TOUCHED\r\n", Response::Touched),
        (b"OK\r\n", Response::Ok),
        (b"RESET\r\n", Response::Reset),
        (b"VERSION 1.6.45\r\n", Response::Version(b"1.6.45")),
        (b"18446744073709551615\r\n", Response::Number(u64::MAX)),
        (b"STAT pid 7\r\n", Response::Stat { name: b"pid", value: b"7" }),
        (b"STAT a b c\r\n", Response::Stat { name: b"a", value: b"b c" }),
        (b"STAT inter\r\n", Response::Stat { name: b"inter", value: b"" }),
        (b"ERROR\r\n", Response::Error(b"")),
        (b"CLIENT_ERROR bad data chunk\r\n", Response::ClientError(b"bad data chunk")),
        (b"SERVER_ERROR out of memory\r\n", Response::ServerError(b"out of memory")),
    ];
    for (input, expected) in rows {
        assert_eq!(done(input), *expected);
    }
}

#[test]
fn values_with_and_without_cas() {
    let plain = Response::Value { key: b"k", client_flags: 7, cas: None, data: b"a\r\nb" };
    assert_eq!(done(b"VALUE k 7 4\r\na\r\nb\r\n"), plain);
    let cas = Response::Value { key: b"k", client_flags: 0, cas: Some(9), data: b"" };
    assert_eq!(done(b"VALUE k 0 0 9\r\n\r\n"), cas);
}

#[test]
fn meta_answers() {
    let meta = |input| match done(input) {
        Response::Meta { status, flags, data } => (status, flags.collect::<Vec<_>>(), data),
        other => panic!("{other:?}"),
    };
    assert_eq!(meta(b"HD\r\n"), (Status::Done, vec![], None));
    assert_eq!(meta(b"EN O7\r\n"), (Status::Miss, vec![Flag::Opaque(b"7")], None));
    assert_eq!(meta(b"NF  O7  \r\n").1, [Flag::Opaque(b"7")]);
    assert_eq!(meta(b"NS c0\r\n"), (Status::NotStored, vec![Flag::Cas(0)], None));
    assert_eq!(meta(b"EX\r\n").0, Status::Exists);
    assert_eq!(meta(b"VA 0\r\n\r\n"), (Status::Value, vec![], Some(&b""[..])));
    assert_eq!(
        meta(b"VA 2 f5 c2 t-1 t30 s2 kZm9v b h0 h1 l3 O1 W X Z\r\nhi\r\n"),
        (
            Status::Value,
            vec![
                Flag::ClientFlags(5),
                Flag::Cas(2),
                Flag::Ttl(None),
                Flag::Ttl(Some(30)),
                Flag::Size(2),
                Flag::Key(b"Zm9v"),
                Flag::Base64Key,
                Flag::Fetched(false),
                Flag::Fetched(true),
                Flag::IdleSecs(3),
                Flag::Opaque(b"1"),
                Flag::Won,
                Flag::Stale,
                Flag::AlreadyWon,
            ],
            Some(&b"hi"[..])
        )
    );
    assert_eq!(meta(b"HD cx W1 q\r\n").1.len(), 3);
    assert_eq!(meta(b"HD cx\r\n").1, [Flag::Other(b'c', b"x")]);
    assert_eq!(done(b"MN\r\n"), Response::Noop);
}

#[test]
fn debug_names_and_values() {
    let Response::Debug(debug) = done(b"ME num exp=-1 la=0 size=82\r\n") else { panic!() };
    assert_eq!(debug.key, b"num");
    let fields: Vec<_> = debug.fields().collect();
    assert_eq!(fields, [(&b"exp"[..], &b"-1"[..]), (b"la", b"0"), (b"size", b"82")]);
}

#[test]
fn the_first_of_many_is_taken() {
    let input = b"VALUE a 0 1\r\nx\r\nEND\r\nSTORED\r\n";
    let Parsed::Done { consumed, .. } = parse(input) else { panic!() };
    assert_eq!(&input[consumed..], b"END\r\nSTORED\r\n");
}

#[test]
fn a_value_says_how_much_is_missing() {
    let whole = b"VA 5 O1\r\nhello\r\n";
    assert_eq!(parse(&whole[..4]), Parsed::Incomplete { missing: None });
    for len in 9..whole.len() {
        let missing = Some(whole.len() - len);
        assert_eq!(parse(&whole[..len]), Parsed::Incomplete { missing });
    }
}

#[test]
fn what_is_no_answer_loses_the_sync() {
    for input in [
        &b"\r\n"[..],
        b"HTTP/1.1 400 Bad Request\r\n",
        b"stored\r\n",
        b"STORED \r\n",
        b"-1\r\n",
        b"18446744073709551616\r\n",
        b"VA\r\n",
        b"VA x\r\n",
        b"VA -1\r\n",
        b"VALUE k 0\r\n",
        b"VALUE k 4294967296 1\r\n",
        b"VALUE k 0 1 x\r\n",
        b"VALUE k 0 1 2 3\r\n",
    ] {
        assert_eq!(desync(input), Desync::UnknownLine, "{}", input.escape_ascii());
    }
    assert_eq!(desync(b"END\n"), Desync::BareNewline);
    assert_eq!(desync(b"VA 1\r\nab\r\n"), Desync::ValueEnd);
    assert_eq!(desync(b"VA 3\r\nab\r\nHD\r\n"), Desync::ValueEnd);
}

#[test]
fn a_lying_server_is_cut_short() {
    let limits = Limits { line: 16, value: 8 };
    assert_eq!(parse_within(&[b'x'; 15], &limits), Parsed::Incomplete { missing: None });
    assert_eq!(parse_within(&[b'x'; 16], &limits), Parsed::Desync(Desync::LineTooLong));
    assert_eq!(
        parse_within(b"VERSION 1.6.18.19\r\n", &limits),
        Parsed::Desync(Desync::LineTooLong)
    );
    assert_eq!(parse_within(b"VA 8\r\n", &limits), Parsed::Incomplete { missing: Some(10) });
    assert_eq!(parse_within(b"VA 9\r\n", &limits), Parsed::Desync(Desync::ValueTooLong));
    assert_eq!(desync(b"VA 18446744073709551615\r\n"), Desync::ValueTooLong);
}

/// Bytes that are often an answer and often nearly one.
fn server_bytes() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        8 => proptest::sample::select(vec![
            "VALUE ", "VA ", "HD", "EN", "NF", "STAT ", "ME ", "MN", "END", "STORED", "ERROR",
            "SERVER_ERROR ", " ", "  ", "key", "0", "1", "5", "99", "c", "O7", "t-1", "W", "=",
            "\r\n", "\r\n", "\r\n", "\n", "\r", "hello",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(fragment, 0..24).prop_map(|fragments| fragments.concat())
}

proptest! {
    #[test]
    fn a_part_gives_incomplete_or_what_the_whole_gives(input in server_bytes()) {
        let limits = Limits { line: 64, value: 32 };
        let whole = parse_within(&input, &limits);
        for len in 0..input.len() {
            match parse_within(&input[..len], &limits) {
                Parsed::Incomplete { missing: Some(missing) } => match whole {
                    Parsed::Incomplete { missing: still } => {
                        prop_assert_eq!(still, Some(len + missing - input.len()));
                    }
                    Parsed::Done { consumed, .. } => prop_assert_eq!(consumed, len + missing),
                    Parsed::Desync(why) => prop_assert_eq!(why, Desync::ValueEnd),
                },
                Parsed::Incomplete { missing: None } => {}
                part => prop_assert_eq!(&part, &whole),
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(input in proptest::collection::vec(any::<u8>(), 0..256)) {
        if let Parsed::Done { response, consumed } = parse(&input) {
            prop_assert!(consumed <= input.len());
            match response {
                Response::Meta { flags, .. } => prop_assert!(flags.count() <= input.len()),
                Response::Debug(debug) => prop_assert!(debug.fields().count() <= input.len()),
                _ => {}
            }
        }
    }

    #[test]
    fn values_come_back_as_sent(
        key in "[!-~]{1,250}",
        client_flags: u32,
        cas: Option<u64>,
        data in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let cas_text = cas.map(|cas| format!(" {cas}")).unwrap_or_default();
        let mut sent = format!("VALUE {key} {client_flags} {}{cas_text}\r\n", data.len()).into_bytes();
        sent.extend_from_slice(&data);
        sent.extend_from_slice(b"\r\n");
        let expected = Response::Value { key: key.as_bytes(), client_flags, cas, data: &data };
        prop_assert_eq!(done(&sent), expected);
    }
}
