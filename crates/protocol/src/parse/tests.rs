use proptest::prelude::*;

use super::*;

fn whole(input: &[u8]) -> (Request<'_>, usize) {
    match parse(input, &Limits::default()) {
        Parsed::Done { request, consumed } => (request, consumed),
        Parsed::Incomplete { need, .. } => panic!("{} needs {need}", input.escape_ascii()),
    }
}

fn refusal(input: &[u8]) -> Refusal<'_> {
    match whole(input).0 {
        Request::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn needs(input: &[u8]) -> usize {
    match parse(input, &Limits::default()) {
        Parsed::Incomplete { need, .. } => need,
        done @ Parsed::Done { .. } => panic!("{done:?}"),
    }
}

#[test]
fn keys_are_taken_one_by_one() {
    let (request, consumed) = whole(b"gets  a bb   ccc \r\nget d\r\n");
    let Request::Get(get) = request else { panic!("{request:?}") };
    assert!(get.cas);
    assert_eq!(get.keys.collect::<Vec<_>>(), [&b"a"[..], b"bb", b"ccc"]);
    assert_eq!(consumed, 19);
}

#[test]
fn a_set_takes_its_value() {
    let (request, consumed) = whole(b"set k 5 -1 3\r\na\nb\r\nget k\r\n");
    let Request::Item(command) = request else { panic!("{request:?}") };
    let Op::Store(store) = command.op else { panic!("{command:?}") };
    assert_eq!((store.value, store.client_flags, store.exptime), (&b"a\nb"[..], 5, Exptime(-1)));
    assert_eq!((command.key.text, command.form.quiet, consumed), (&b"k"[..], false, 19));
}

#[test]
fn a_range_has_five_words() {
    let range = |line: &str| match whole(format!("{line}\r\n").as_bytes()).0 {
        Request::Range(interval) => interval.map(|of| {
            let [start, end] = [of.start, of.end].map(|key| key.escape_ascii().to_string());
            format!("{start} {end} {} {} {}", of.left_open, of.right_open, of.most)
        }),
        other => panic!("{line}: {other:?}"),
    };
    let is = |text: &str| Some(text.to_owned());
    assert_eq!(range("rget a z 0 1 100"), is("a z false true 100"));
    assert_eq!(range("rget  z  a  1  0  7 "), is("z a true false 7"));
    assert_eq!(range("rget a z 0 0 0"), is(&format!("a z false false {}", usize::MAX)));
    let longest = "k".repeat(MAX_KEY_LEN);
    assert!(range(&format!("rget {longest} {longest} 0 0 1")).is_some());
    for line in [
        "rget a z 0 0 101",
        "rget a z 0 0 -1",
        "rget a z 0 0 x",
        "rget a z 0 0 4294967297",
        "rget a z 2 0 1",
        "rget a z 0 no 1",
        &format!("rget {longest}k z 0 0 1"),
        &format!("rget a {longest}k 0 0 1"),
    ] {
        assert_eq!(range(line), None, "{line}");
    }
    for line in ["rget", "rget a z 0 0", "rget a z 0 0 1 1", "rget a z 0 0 1 noreply"] {
        let unknown = refusal_of(line);
        assert_eq!((unknown.0.as_str(), unknown.1), ("ERROR", line.ends_with("noreply")), "{line}");
    }
}

#[test]
fn a_checkpoint_stands_alone() {
    for name in ["db_checkpoint", "db_archive"] {
        for line in [name.to_owned(), format!("{name} ")] {
            let line = format!("{line}\r\n");
            assert!(matches!(whole(line.as_bytes()).0, Request::Checkpoint), "{line}");
        }
        assert_eq!(refusal_of(&format!("{name} now")).0, "ERROR");
    }
}

#[test]
fn a_discovery_is_of_the_cluster() {
    for line in ["config get cluster", "config  get cluster "] {
        let line = format!("{line}\r\n");
        assert!(matches!(whole(line.as_bytes()).0, Request::Discover), "{line}");
    }
    assert!(matches!(whole(b"config get cluster\n").0, Request::Discover));
    for line in [
        "config",
        "config get",
        "config get nodes",
        "config get cluster x",
        "config set cluster",
        "config Get cluster",
        "config get cluster noreply",
    ] {
        let unknown = refusal_of(line);
        assert_eq!((unknown.0.as_str(), unknown.1), ("ERROR", line.ends_with("noreply")), "{line}");
    }
}

/// The line of a refusal, and whether it is left out.
fn refusal_of(line: &str) -> (String, bool) {
    let line = format!("{line}\r\n");
    let refusal = refusal(line.as_bytes());
    (refusal.line.to_owned(), refusal.quiet)
}

#[test]
fn more_is_asked_for_exactly() {
    assert_eq!(needs(b"set k 0 0 10\r\n"), 26);
    assert_eq!(needs(b"set k 0 0 10\r\n0123456789\r"), 26);
    assert_eq!(needs(b"get k"), 6);
    assert_eq!(needs(b""), 1);
}

#[test]
fn the_front_of_a_value_may_be_elsewhere() {
    let lands = |input: &[u8]| match parse(input, &Limits::default()) {
        Parsed::Incomplete { value, .. } => value,
        Parsed::Done { .. } => panic!(),
    };
    assert_eq!(lands(b"set k 0 0 10\r\n0123"), Some(14..24));
    assert_eq!(lands(b"ms k 10 ME\r\n"), Some(12..22));
    assert_eq!(lands(b"cas k 0 0 10 5\r\n"), Some(16..26));
    // These may be put behind or before another, and what is no value lands nowhere.
    for input in [&b"append k 0 0 10\r\n"[..], b"ms k 10 MP\r\n", b"set k 0 0 10", b"get k"] {
        assert_eq!(lands(input), None);
    }

    let parsed = parse_landed(b"set k 0 0 10\r\n89\r\nmn\r\n", 8, &Limits::default());
    let Parsed::Done { request: Request::Item(command), consumed } = parsed else { panic!() };
    let Op::Store(store) = command.op else { panic!() };
    assert_eq!((store.value, store.landed, store.value_len()), (&b"89"[..], 8, 10));
    assert_eq!(consumed, 18);
    let parsed = parse_landed(b"set k 0 0 10\r\n89", 8, &Limits::default());
    assert!(matches!(parsed, Parsed::Incomplete { need: 18, value: None }));
    let parsed = parse_landed(b"set k 0 0 10\r\n89abcd", 8, &Limits::default());
    let Parsed::Done { request: Request::Refused(refusal), .. } = parsed else { panic!() };
    assert_eq!((refusal.line, refusal.then), ("CLIENT_ERROR bad data chunk", Then::Close));
}

#[test]
fn noreply_is_the_last_word_whatever_the_command_expects_there() {
    for (line, quiet) in [
        (&b"set k 0 0 0 noreply\r\n\r\n"[..], true),
        (b"set k 0 0 0 noreply \r\n\r\n", true),
        (b"set k 0 0 0 noreply x\r\n\r\n", false),
        (b"delete noreply\r\n", true),
        (b"touch k 0 noreply\r\n", true),
        (b"incr k 1 no\r\n", false),
    ] {
        let (Request::Item(command), _) = whole(line) else { panic!() };
        assert_eq!(command.form.quiet, quiet, "{}", line.escape_ascii());
    }
}

#[test]
fn a_refused_value_is_skipped() {
    let long = [b"set ".as_slice(), &[b'k'; 251], b" 0 0 3\r\n"].concat();
    assert_eq!(refusal(&long).then, Then::Skip(5));
    assert_eq!(refusal(b"set k x 0 3\r\n").then, Then::Skip(5));
    let large = refusal(b"set k 0 0 1048517\r\n");
    assert_eq!((large.then, large.fault), (Then::Skip(1_048_519), Fault::TooLarge));
    assert_eq!(needs(b"set k 0 0 1048516\r\n"), 19 + 1_048_518);
    assert_eq!(refusal(b"set k 1 0 1048513\r\n").fault, Fault::TooLarge);
    assert!(large.forget.is_some());
    assert!(refusal(b"add k 0 0 1048577\r\n").forget.is_none());
    assert!(refusal(b"cas k 0 0 1048577 1\r\n").forget.is_none());
    assert_eq!(refusal(b"ms k 2 !\r\n").then, Then::Skip(4));
}

#[test]
fn a_value_there_is_no_memory_for_is_skipped() {
    let limits = Limits { buffer: 24, ..Limits::default() };
    let input = b"set k 0 0 20\r\nfirst half";
    let Parsed::Done { request: Request::Refused(refusal), consumed } = parse(input, &limits)
    else {
        panic!()
    };
    assert_eq!((refusal.fault, refusal.then, consumed), (Fault::NoMemory, Then::Skip(22), 14));
    assert_eq!(refusal.line, "SERVER_ERROR out of memory storing object");
    assert!(refusal.forget.is_some());
    let all = b"set k 0 0 20\r\nfirst half, and more\r\n";
    let Parsed::Done { request, .. } = parse(all, &limits) else { panic!() };
    assert!(matches!(request, Request::Item(_)), "what has come needs no more memory");
    assert!(matches!(parse(b"set k 0 0 2\r\nv", &limits), Parsed::Incomplete { need: 17, .. }));
}

#[test]
fn what_may_be_a_value_is_never_taken_for_a_command() {
    for line in [
        &b"set k 0 0 x\r\n"[..],
        b"set k 0 0 -1\r\n",
        b"set k 0 0\r\n",
        b"ms k\r\n",
        b"ms k x\r\n",
        b"set k 0 0 2147483646\r\n",
        b"set k 0 0 3\r\nabcd\r\n",
        b"ms k 3\r\nab\r\n.",
    ] {
        assert_eq!(refusal(line).then, Then::Close, "{}", line.escape_ascii());
    }
}

#[test]
fn lines_have_a_limit_wherever_they_are_cut() {
    let long = [b"mg ".as_slice(), &[b'k'; 2048], b"\r\n"].concat();
    assert_eq!(refusal(&long).line, "CLIENT_ERROR line too long");
    assert_eq!(refusal(&long[..2048]).line, "CLIENT_ERROR line too long");
    assert_eq!(needs(&long[..2047]), 2048);
    let keys = [b"get".as_slice(), &b" key".repeat(2000), b"\r\n"].concat();
    assert!(matches!(whole(&keys).0, Request::Get(_)));
}

#[test]
fn a_browser_is_shown_out() {
    let refusal = refusal(b"GET / HTTP/1.1\r\n");
    assert_eq!((refusal.line, refusal.then), ("", Then::Close));
}

#[test]
fn deletes_are_strict() {
    for line in [&b"delete k\r\n"[..], b"delete k 0\r\n", b"delete k 0 noreply\r\n"] {
        assert!(matches!(whole(line).0, Request::Item(_)), "{}", line.escape_ascii());
    }
    for line in [&b"delete k 1\r\n"[..], b"delete a b c d e\r\n", b"delete k 0 0\r\n"] {
        assert!(matches!(whole(line).0, Request::Refused(_)), "{}", line.escape_ascii());
    }
}

#[test]
fn meta_flags_are_checked() {
    for (line, error) in [
        (&b"mg k v v\r\n"[..], "CLIENT_ERROR duplicate flag"),
        (b"mg k w\r\n", "CLIENT_ERROR invalid flag"),
        (b"mg k !\r\n", "CLIENT_ERROR bad command line format"),
        (b"ma k w\r\n", "CLIENT_ERROR invalid or duplicate flag"),
        (b"ma k !\r\n", "CLIENT_ERROR bad command line format"),
        (b"ma k Mx\r\n", "CLIENT_ERROR invalid mode for ma M token"),
        (b"ms k 0 Mx\r\n\r\n", "CLIENT_ERROR invalid mode for ms M token"),
        (b"mg k T\r\n", "CLIENT_ERROR bad token in command line format"),
        (b"mg k Tx\r\n", "CLIENT_ERROR bad token in command line format"),
        (b"mg !!!! b\r\n", "CLIENT_ERROR error decoding key"),
        (b"md k O01234567890123456789012345678901\r\n", "CLIENT_ERROR opaque token too long"),
        (b"ma k O01234567890123456789012345678901\r\n", "CLIENT_ERROR opaque token too long"),
        (b"mg k a\x80\r\n", "CLIENT_ERROR invalid flag"),
        (b"mg\r\n", "CLIENT_ERROR bad command line format"),
    ] {
        assert_eq!(refusal(line).line, error, "{}", line.escape_ascii());
    }
    let flags = b" a b c d e f g h i j k l m n o p q r s".as_slice();
    assert_eq!(
        refusal(&[b"mg k", flags, b"\r\n"].concat()).line,
        "CLIENT_ERROR options flags are too long"
    );
}

proptest! {
    /// Whatever stands in the buffer, it is taken alike however little of it was there before.
    #[test]
    fn a_prefix_never_decides_otherwise(input in requests(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(input.len() + 1);
        let all = format!("{:?}", parse(&input, &LIMITS));
        match parse(&input[..cut], &LIMITS) {
            Parsed::Incomplete { need, .. } => prop_assert!(need > cut),
            done @ Parsed::Done { .. } => prop_assert_eq!(format!("{:?}", done), all),
        }
    }

    /// A request is the same with the front of its value elsewhere.
    #[test]
    fn what_has_landed_changes_nothing_else(
        key in "[a-z]{1,9}",
        mode in prop::sample::select(vec!["set", "add", "replace", "cas", "ms"]),
        value in prop::collection::vec(any::<u8>(), 1..9),
        ends in prop::bool::weighted(0.8),
        landed in any::<prop::sample::Index>(),
    ) {
        let len = value.len();
        let line = match mode {
            "ms" => format!("ms {key} {len} T30\r\n"),
            "cas" => format!("cas {key} 0 0 {len} 7\r\n"),
            _ => format!("{mode} {key} 0 0 {len}\r\n"),
        };
        let end = if ends { &b"\r\nmn\r\n"[..] } else { b"\r+" };
        let all = [line.as_bytes(), &value, end].concat();
        let Parsed::Incomplete { value: Some(range), .. } = parse(line.as_bytes(), &Limits::default()) else {
            return Err(TestCaseError::fail("it may land"));
        };
        prop_assert_eq!(&all[range.clone()], &value[..]);
        let landed = landed.index(len + 1);
        let rest = [&all[..range.start], &all[range.start + landed..]].concat();
        let Parsed::Done { request, consumed } = parse(&all, &Limits::default()) else { panic!() };
        let parsed = parse_landed(&rest, landed, &Limits::default());
        let Parsed::Done { request: other, consumed: of_rest } = parsed else { panic!() };
        prop_assert_eq!(consumed, of_rest + landed);
        let (Request::Item(whole), Request::Item(part)) = (&request, &other) else {
            prop_assert_eq!(format!("{request:?}"), format!("{other:?}"));
            return Ok(());
        };
        let (Op::Store(whole), Op::Store(part)) = (whole.op, part.op) else { panic!() };
        prop_assert_eq!(part.landed, landed);
        prop_assert_eq!(Store { landed: 0, value: &value, ..part }, whole);
    }

    /// Nothing panics, and the parser always gets on.
    #[test]
    fn parsing_gets_on(input in requests()) {
        let mut rest = &input[..];
        while let Parsed::Done { consumed, .. } = parse(rest, &LIMITS) {
            prop_assert!(consumed > 0 && consumed <= rest.len());
            rest = &rest[consumed..];
        }
    }
}

/// Small, so that they are met.
const LIMITS: Limits = Limits { item: 70, line: 48, keys_line: 96, buffer: usize::MAX };

/// Streams that look like requests often enough, and like nothing else often enough.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        prop::sample::select(vec![
            "get",
            "gets",
            "gat",
            "set",
            "add",
            "cas",
            "append",
            "delete",
            "incr",
            "touch",
            "mg",
            "ms",
            "md",
            "ma",
            "me",
            "mn",
            "noreply",
            "k",
            "key",
            "0",
            "1",
            "3",
            "9",
            "-1",
            "v",
            "q",
            "b",
            "Zm9v",
            "T30",
            "N0",
            "MA",
            "O1",
            "stats",
            "flush_all",
            "version",
            "quit",
        ])
        .prop_map(|word| word.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    let separator = prop::sample::select(vec![" ", " ", " ", "\r\n", "\r\n", "\n", ""]);
    prop::collection::vec((word, separator), 0..20).prop_map(|words| {
        words.into_iter().flat_map(|(word, end)| [word, end.into()].concat()).collect()
    })
}
