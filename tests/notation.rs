//! How conversations are written down, and when a reply is the one that was written.
//!
//! ```text
//! == what this conversation shows
//! after 1.6.18: why older memcacheds do it differently
//! > set a 0 0 3\r\n
//! > abc\r\n
//! < STORED\r\n
//! ```
//!
//! Lines that begin with `>` are sent in one piece, those that begin with `<` are the whole answer.
//! `>~` is sent again until the answer is the one expected. Where Larder differs from memcached on
//! purpose, `L<` is Larder's answer, `M<` memcached's, and a `why` line gives the reason.
//! `only cache:`, `only store:`, `except store:`, `except member:` (a cache that is one of several),
//! `only larder:` and `only memcached:` limit a conversation.
//!
//! Bytes stand for themselves, except `\r \n \t \0 \xNN \\ \< \{`, `{abc*100}` for `abc` a hundred
//! times, and in angle brackets what is left open: `<name>` matches one word and remembers it, or
//! is the word remembered (`<name+1>` one more); `<#>` is any number, `<*>` the rest of a line,
//! `<stats>` any number of `STAT` lines, `<closed>` the end of the connection.

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;

use crate::process::Version;

/// What is said on one connection.
pub(crate) struct Conversation {
    /// What it shows.
    pub(crate) title: String,
    /// Where it is written.
    pub(crate) place: String,
    /// Who it does not apply to.
    pub(crate) limits: Vec<Limit>,
    pub(crate) steps: Vec<Step>,
}

/// A limit to where a conversation applies, and why.
pub(crate) struct Limit {
    pub(crate) to: To,
    pub(crate) why: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Memcached,
    Larder,
    Cache,
    Store,
    ExceptStore,
    ExceptMember,
    After(Version),
}

/// Something sent, and what is to come back.
#[derive(Default)]
pub(crate) struct Step {
    pub(crate) sent: Vec<Piece>,
    pub(crate) expected: Vec<Piece>,
    /// If memcached answers differently from Larder.
    pub(crate) memcached_expected: Option<Vec<Piece>>,
    /// Sent again until the expected answer comes.
    pub(crate) again: bool,
}

/// A part of what is sent or expected.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    Word { name: String, plus: i64 },
    Number,
    Rest,
    Stats,
    Closed,
}

/// The words remembered.
pub(crate) type Words = HashMap<String, Vec<u8>>;

/// How a reply compares with the one expected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// It is the one, and this long.
    Whole(usize),
    /// So far it is.
    Begun,
    /// It is another.
    Differs,
}

/// Reads a file of conversations.
pub(crate) fn parse(file: &str, text: &str) -> Vec<Conversation> {
    let mut conversations: Vec<Conversation> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{file}:{}", number + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(title) = line.strip_prefix("== ") {
            let (title, limits, steps) = (title.to_owned(), Vec::new(), Vec::new());
            conversations.push(Conversation { title, place, limits, steps });
            continue;
        }
        let conversation =
            conversations.last_mut().unwrap_or_else(|| panic!("{place}: before any title"));
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        match mark {
            ">" | ">~" => conversation.send(pieces(rest), mark == ">~"),
            "<" => conversation.expect(&pieces(rest), true, true),
            "L<" => conversation.expect(&pieces(rest), true, false),
            "M<" => conversation.expect(&pieces(rest), false, true),
            "why:" => {}
            _ => conversation.limits.push(
                Limit::parse(line).unwrap_or_else(|| panic!("{place}: not understood: {line}")),
            ),
        }
    }
    conversations
}

impl Conversation {
    fn send(&mut self, pieces: Vec<Piece>, again: bool) {
        let answered = |step: &Step| !step.expected.is_empty() || step.memcached_expected.is_some();
        if self.steps.last().is_none_or(answered) {
            self.steps.push(Step::default());
        }
        let step = self.steps.last_mut().unwrap();
        step.sent.extend(pieces);
        step.again |= again;
    }

    fn expect(&mut self, pieces: &[Piece], by_larder: bool, by_memcached: bool) {
        let step = self.steps.last_mut().unwrap_or_else(|| panic!("{}: answers first", self.place));
        if by_larder != by_memcached && step.memcached_expected.is_none() {
            step.memcached_expected = Some(step.expected.clone());
        }
        if by_memcached && let Some(expected) = &mut step.memcached_expected {
            expected.extend_from_slice(pieces);
        }
        if by_larder {
            step.expected.extend_from_slice(pieces);
        }
    }

    /// Whether waiting for time to pass is part of it.
    pub(crate) fn takes_time(&self) -> bool {
        self.steps.iter().any(|step| step.again)
    }
}

impl Limit {
    fn parse(line: &str) -> Option<Self> {
        let (to, why) = line.split_once(": ")?;
        let to = match to {
            "only memcached" => To::Memcached,
            "only larder" => To::Larder,
            "only cache" => To::Cache,
            "only store" => To::Store,
            "except store" => To::ExceptStore,
            "except member" => To::ExceptMember,
            _ => {
                let mut numbers = to.strip_prefix("after ")?.split('.').map(str::parse);
                let mut next = || numbers.next()?.ok();
                To::After((next()?, next()?, next()?))
            }
        };
        Some(Self { to, why: why.to_owned() })
    }
}

/// The pieces of one line. An empty line is one empty piece: an answer of nothing.
fn pieces(text: &str) -> Vec<Piece> {
    let mut read = Vec::new();
    let mut bytes = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' => bytes.push(escaped(&mut chars)),
            '{' => {
                let body = until(&mut chars, '}');
                let (what, times) = body.rsplit_once('*').expect("{what*times}");
                let what = spell(&pieces(what), &Words::new());
                bytes.extend(what.repeat(times.parse().expect("a count")));
            }
            '<' => {
                read.push(Piece::Bytes(std::mem::take(&mut bytes)));
                read.push(open(&until(&mut chars, '>')));
            }
            _ => bytes.extend(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    read.push(Piece::Bytes(bytes));
    read
}

fn escaped(chars: &mut Peekable<Chars<'_>>) -> u8 {
    match chars.next().expect("something after the backslash") {
        'r' => b'\r',
        'n' => b'\n',
        't' => b'\t',
        '0' => 0,
        'x' => {
            let digits: String = chars.by_ref().take(2).collect();
            u8::from_str_radix(&digits, 16).expect("two hex digits")
        }
        other => u8::try_from(other).expect("an ASCII character"),
    }
}

fn until(chars: &mut Peekable<Chars<'_>>, end: char) -> String {
    let mut body = String::new();
    loop {
        match chars.next() {
            Some(char) if char == end => return body,
            Some(char) => body.push(char),
            None => panic!("no {end} after {body}"),
        }
    }
}

fn open(body: &str) -> Piece {
    match body {
        "#" => Piece::Number,
        "*" => Piece::Rest,
        "stats" => Piece::Stats,
        "closed" => Piece::Closed,
        _ => {
            let (name, plus) = match body.split_once('+') {
                Some((name, plus)) => (name, plus.parse().expect("a number")),
                None => (body, 0),
            };
            Piece::Word { name: name.to_owned(), plus }
        }
    }
}

/// The bytes to send.
pub(crate) fn spell(pieces: &[Piece], words: &Words) -> Vec<u8> {
    let mut spelt = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => spelt.extend_from_slice(bytes),
            Piece::Word { name, plus } => {
                let word = words.get(name).unwrap_or_else(|| panic!("<{name}> was never received"));
                spelt.extend(added(word, *plus));
            }
            other => panic!("{other:?} cannot be sent"),
        }
    }
    spelt
}

/// A remembered word, or the number it is plus something.
fn added(word: &[u8], plus: i64) -> Vec<u8> {
    if plus == 0 {
        return word.to_vec();
    }
    let number: u64 = std::str::from_utf8(word).unwrap().parse().expect("a number");
    number.checked_add_signed(plus).unwrap().to_string().into_bytes()
}

/// Whether an answer ends with the end of the connection.
pub(crate) fn closes(expected: &[Piece]) -> bool {
    expected.iter().any(|piece| matches!(piece, Piece::Closed))
}

/// Compares what was received with what is expected, and remembers the words that were open.
pub(crate) fn compare(expected: &[Piece], received: &[u8], words: &mut Words) -> Match {
    let mut at = 0;
    for piece in expected {
        let rest = &received[at..];
        let len = match piece {
            Piece::Bytes(bytes) => match literal(bytes, rest) {
                Match::Whole(len) => len,
                other => return other,
            },
            Piece::Word { name, plus } => {
                if let Some(word) = words.get(name) {
                    match literal(&added(word, *plus), rest) {
                        Match::Whole(len) => len,
                        other => return other,
                    }
                } else {
                    let Some(len) = rest.iter().position(u8::is_ascii_whitespace) else {
                        return Match::Begun;
                    };
                    words.insert(name.clone(), rest[..len].to_vec());
                    len
                }
            }
            Piece::Number => match rest.iter().position(|b| !b.is_ascii_digit()) {
                Some(0) => return Match::Differs,
                Some(len) => len,
                None => return Match::Begun,
            },
            Piece::Rest => match rest.iter().position(|b| *b == b'\r') {
                Some(len) => len,
                None => return Match::Begun,
            },
            Piece::Stats => stat_lines(rest),
            Piece::Closed => 0,
        };
        at += len;
    }
    Match::Whole(at)
}

fn literal(expected: &[u8], received: &[u8]) -> Match {
    let common = expected.len().min(received.len());
    if expected[..common] != received[..common] {
        Match::Differs
    } else if common < expected.len() {
        Match::Begun
    } else {
        Match::Whole(common)
    }
}

/// The length of the `STAT` lines at the start. What follows them decides whether they are all.
fn stat_lines(received: &[u8]) -> usize {
    let mut len = 0;
    while received[len..].starts_with(b"STAT ")
        && let Some(end) = received[len..].iter().position(|b| *b == b'\n')
    {
        len += end + 1;
    }
    len
}

#[test]
fn an_answer_is_compared_as_it_arrives() {
    let expected = pieces(r"VALUE a 0 2 <cas>\r\nxy\r\nEND\r\n");
    let mut words = Words::new();
    assert_eq!(compare(&expected, b"VALUE a 0 2 17", &mut words), Match::Begun);
    assert_eq!(compare(&expected, b"VALUE b", &mut words), Match::Differs);
    let whole = b"VALUE a 0 2 17\r\nxy\r\nEND\r\n";
    assert_eq!(compare(&expected, whole, &mut words), Match::Whole(whole.len()));
    assert_eq!(spell(&pieces("c <cas> <cas+2>"), &words), b"c 17 19");
    let other = b"VALUE a 0 2 18\r\nxy\r\nEND\r\n";
    assert_eq!(compare(&expected, other, &mut words), Match::Differs);
}

#[test]
fn bytes_are_spelt_as_written() {
    let spelt = spell(&pieces(r"\x00\xff\\\<\{{ab*3}\r\n"), &Words::new());
    assert_eq!(spelt, b"\x00\xff\\<{ababab\r\n");
}
