//! Random commands.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::differences::Differences;

/// One command, with its value if it has one.
#[derive(Clone, Debug)]
pub(super) struct Command {
    /// Its name, and whether it is malformed.
    pub(super) kind: &'static str,
    pub(super) parts: Vec<Part>,
    /// Commands of the same batch may be sent together; those of batch 0 are sent singly.
    pub(super) batch: u32,
}

/// A part of a command.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Bytes(Vec<u8>),
    /// A cas unique received earlier for this key, counted back from the last; each server gets
    /// its own.
    Cas {
        key: Vec<u8>,
        back: usize,
    },
}

impl Command {
    /// What is sent, with `<cas-1>` for the cas unique received last.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for part in &self.parts {
            match part {
                Part::Bytes(bytes) => text.extend_from_slice(bytes),
                Part::Cas { back, .. } => {
                    text.extend_from_slice(format!("<cas-{}>", back + 1).as_bytes());
                }
            }
        }
        text
    }
}

impl Command {
    /// The key it is about, as it is kept.
    pub(super) fn key(&self) -> Vec<u8> {
        kept_key(&self.text())
    }
}

/// The key of a command, as it is kept, if it is about one.
fn kept_key(command: &[u8]) -> Vec<u8> {
    let line = command.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(u8::is_ascii_whitespace);
    let key = words.nth(1).unwrap_or_default();
    let binary = words.any(|word| word == b"b");
    let name = BASE64_KEYS.iter().find(|(written, _)| binary && *written == key);
    name.map_or(key, |(_, kept)| kept).to_vec()
}

/// Makes streams of commands.
pub(super) struct Generator {
    rng: StdRng,
    pipelined: bool,
}

/// What may be asked for in a batch: counting an item that an unsent answer still holds is one of
/// the known differences.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Batch {
    All,
    NoCounting,
    NoFetching,
}

impl Generator {
    pub(super) fn new(seed: u64, pipelined: bool) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), pipelined }
    }

    /// A stream of commands, none of them among the known differences that leave no trace in
    /// their answers.
    pub(super) fn stream(&mut self, differences: &Differences) -> Vec<Command> {
        let mut stream = Vec::with_capacity(STREAM_LEN);
        let mut batch = 0;
        let mut what = Batch::All;
        let mut left = 0_usize;
        while stream.len() < STREAM_LEN {
            if self.pipelined && left == 0 {
                batch += 1;
                left = self.rng.random_range(1..40);
                what = *[Batch::NoCounting, Batch::NoFetching].choose(&mut self.rng).unwrap();
            }
            let command = self.command(what, batch);
            if differences.avoid(&command.text()) {
                continue;
            }
            left = left.saturating_sub(1);
            stream.push(command);
        }
        stream
    }

    fn command(&mut self, what: Batch, batch: u32) -> Command {
        let mut line = Line::default();
        let kind = match self.rng.random_range(0..100) {
            25..35 if what != Batch::NoFetching => self.retrieval(&mut line),
            35..38 => self.touch(&mut line),
            38..46 if what != Batch::NoCounting => self.arithmetic(&mut line),
            46..50 => self.delete(&mut line),
            50..66 if what != Batch::NoFetching => self.meta_get(&mut line),
            66..80 => self.meta_set(&mut line),
            80..86 => self.meta_delete(&mut line),
            86..93 if what != Batch::NoCounting => self.meta_arithmetic(&mut line),
            93..97 => self.other(&mut line),
            97..100 if !self.pipelined => self.noise(&mut line),
            _ => self.storage(&mut line),
        };
        if !self.pipelined && self.rng.random_bool(0.08) {
            self.spoil(&mut line);
            line.filler = FILLER;
        }
        Command { kind, parts: line.finish(), batch }
    }

    fn storage(&mut self, line: &mut Line) -> &'static str {
        let names = ["set", "set", "set", "add", "replace", "append", "prepend", "cas"];
        let name = *names.choose(&mut self.rng).unwrap();
        let value = self.value();
        line.word(name).word(self.key()).word(self.flags()).word(self.exptime());
        self.length(line, &value);
        if name == "cas" {
            self.cas(line, "");
        }
        self.noreply(line);
        line.value(value);
        name
    }

    fn retrieval(&mut self, line: &mut Line) -> &'static str {
        let name = *["get", "gets", "gets", "gat", "gats"].choose(&mut self.rng).unwrap();
        line.word(name);
        if name.starts_with("gat") {
            line.word(self.exptime());
        }
        for _ in 0..self.rng.random_range(1..5) {
            line.word(self.key());
        }
        name
    }

    fn touch(&mut self, line: &mut Line) -> &'static str {
        line.word("touch").word(self.key()).word(self.exptime());
        self.noreply(line);
        "touch"
    }

    fn arithmetic(&mut self, line: &mut Line) -> &'static str {
        let name = *["incr", "decr"].choose(&mut self.rng).unwrap();
        line.word(name).word(self.key()).word(self.amount());
        self.noreply(line);
        name
    }

    fn delete(&mut self, line: &mut Line) -> &'static str {
        line.word("delete").word(self.key());
        self.noreply(line);
        "delete"
    }

    fn meta_get(&mut self, line: &mut Line) -> &'static str {
        line.word("mg");
        self.meta_key(line);
        let flags =
            ["v", "v", "s", "c", "c", "f", "h", "k", "t", "l", "q", "u", "O", "T", "R", "N"];
        self.meta_flags(line, &flags, &["C", "E", "P", "L", "M", "F", "I", "J", "D", "x"]);
        "mg"
    }

    fn meta_set(&mut self, line: &mut Line) -> &'static str {
        let value = self.value();
        line.word("ms");
        let binary = self.meta_key(line);
        self.length(line, &value);
        if binary {
            line.word("b");
        }
        let flags = ["M", "M", "F", "T", "C", "C", "I", "c", "s", "k", "O", "q", "E"];
        self.meta_flags(line, &flags, &["N", "P", "L", "v", "t", "h", "x", "D"]);
        line.value(value);
        "ms"
    }

    fn meta_delete(&mut self, line: &mut Line) -> &'static str {
        line.word("md");
        self.meta_key(line);
        let flags = ["I", "I", "C", "T", "k", "O", "q", "x", "E"];
        self.meta_flags(line, &flags, &["F", "v", "P", "L", "N"]);
        "md"
    }

    fn meta_arithmetic(&mut self, line: &mut Line) -> &'static str {
        line.word("ma");
        self.meta_key(line);
        let flags =
            ["N", "J", "D", "D", "T", "M", "M", "v", "v", "t", "c", "k", "O", "q", "C", "E"];
        self.meta_flags(line, &flags, &["P", "L", "F", "I", "h"]);
        "ma"
    }

    fn other(&mut self, line: &mut Line) -> &'static str {
        match self.rng.random_range(0..40) {
            0..20 => {
                line.word("me").word(self.key());
                "me"
            }
            20..26 => {
                line.word("mn");
                "mn"
            }
            26..32 => {
                line.word("verbosity").word("0");
                self.noreply(line);
                "verbosity"
            }
            32..38 => {
                let word = *["nonsense", "getx", "mx", "ge", "SET"].choose(&mut self.rng).unwrap();
                line.word(word).word(self.key());
                "unknown"
            }
            _ => {
                line.word("flush_all");
                let delay = *["", "0", "-1", "x"].choose(&mut self.rng).unwrap();
                line.word(delay);
                self.noreply(line);
                "flush_all"
            }
        }
    }

    /// Bytes that are no command, most likely.
    fn noise(&mut self, line: &mut Line) -> &'static str {
        let len = self.rng.random_range(0..30);
        let mut bytes: Vec<u8> = (0..len).map(|_| self.rng.random()).collect();
        // A line end in it would make it two lines: also well.
        bytes.retain(|byte| *byte != b' ' || len % 2 == 0);
        line.word(bytes);
        "noise"
    }

    /// Makes a good line bad.
    fn spoil(&mut self, line: &mut Line) {
        let count = line.words.len();
        if count == 0 {
            return;
        }
        let at = self.rng.random_range(0..count);
        let bad: [&[u8]; 14] = [
            b"",
            b"x",
            b"-1",
            b"1x",
            b"18446744073709551616",
            b"99999999999",
            b"noreply",
            b"v",
            b"q",
            b"!",
            b"Z",
            b"\x80\xff",
            b"O12345678901234567890123456789012",
            b"a\tb",
        ];
        match self.rng.random_range(0..7) {
            0 if count > 1 => {
                line.words.remove(at);
            }
            1 => line.words.truncate(at.max(1)),
            2 => {
                let bad = bad.choose(&mut self.rng).unwrap().to_vec();
                line.words[at] = vec![Part::Bytes(bad)];
            }
            3 => {
                let bad = bad.choose(&mut self.rng).unwrap().to_vec();
                line.words.insert(at + 1, vec![Part::Bytes(bad)]);
            }
            4 => line.words.insert(at, line.words[at].clone()),
            5 => line.words[at.min(1)] = vec![Part::Bytes(vec![b'k'; 251])],
            _ => line.end = b"\n",
        }
    }

    /// The word that gives a value's length, now and then a wrong one.
    fn length(&mut self, line: &mut Line, value: &[u8]) {
        let wrong = !self.pipelined && self.rng.random_bool(0.03);
        let length = if wrong {
            line.filler = FILLER;
            (value.len() + self.rng.random_range(0..8)).saturating_sub(4)
        } else {
            value.len()
        };
        line.word(length.to_string());
    }

    fn key(&mut self) -> Vec<u8> {
        // Few, so that they meet.
        let keys: [&[u8]; 8] = [b"a", b"b", b"b", b"n", b"n", b"foo", b"Zm9v", b"noreply"];
        match self.rng.random_range(0..60) {
            0 => vec![b'k'; 250],
            1 if !self.pipelined => vec![b'k'; 251],
            _ => keys.choose(&mut self.rng).unwrap().to_vec(),
        }
    }

    /// A key, and whether it is to be taken as base64; the flag for that is given at once, but by
    /// `ms`, whose length comes first.
    fn meta_key(&mut self, line: &mut Line) -> bool {
        let binary = self.rng.random_bool(0.15);
        let set = line.is("ms");
        if binary {
            line.word(BASE64_KEYS.choose(&mut self.rng).unwrap().0);
            if !set {
                line.word("b");
            }
        } else {
            line.word(self.key());
        }
        binary
    }

    /// Some flags, each once but rarely twice; `rare` ones rarely.
    fn meta_flags(&mut self, line: &mut Line, usual: &[&str], rare: &[&str]) {
        let mut given: Vec<&str> = Vec::new();
        for _ in 0..self.rng.random_range(0..6) {
            let from = if self.rng.random_bool(0.06) { rare } else { usual };
            let flag = *from.choose(&mut self.rng).unwrap();
            let again = given.contains(&flag);
            if again && (self.pipelined || self.rng.random_bool(0.98)) {
                continue;
            }
            given.push(flag);
            if flag == "C" {
                self.cas(line, flag);
                continue;
            }
            let token = match flag {
                "T" | "N" => self.exptime(),
                "R" => self.one(&["30", "300", "3000", "0", "-1"]),
                "F" => self.flags(),
                "J" | "D" => self.amount(),
                "O" => self.one(&["", "1", "abc", "c5", "t9"]),
                "P" | "L" => self.one(&["", "path/"]),
                "M" if line.is("ma") => self.one(&["I", "+", "D", "-", "D", "D", "X"]),
                "M" => self.one(&["S", "E", "A", "P", "R", "A", "I"]),
                "E" => {
                    line.word(format!("E{}", self.large_cas()));
                    continue;
                }
                _ => "",
            };
            line.word(format!("{flag}{token}"));
        }
    }

    /// A cas unique: one of those received last, or another.
    fn cas(&mut self, line: &mut Line, flag: &str) {
        let mut word = vec![Part::Bytes(flag.as_bytes().to_vec())];
        word.push(match self.rng.random_range(0..10) {
            0..7 => Part::Cas { key: line.key(), back: self.rng.random_range(0..3) },
            7 => Part::Bytes(b"0".to_vec()),
            8 => Part::Bytes(u64::MAX.to_string().into_bytes()),
            _ => Part::Bytes(self.large_cas().to_string().into_bytes()),
        });
        line.words.push(word);
    }

    /// One of a few, so that they meet.
    fn large_cas(&mut self) -> u64 {
        LARGE_CAS + self.rng.random_range(1..6)
    }

    fn value(&mut self) -> Vec<u8> {
        match self.rng.random_range(0..40) {
            0..14 => {
                self.one(&["0", "1", "5", "9", "10", "99", "100", "18446744073709551615"]).into()
            }
            14..18 => self.one(&["7 ", "12  ", "+5", "-1", "-0", "1 2", "007", "1x"]).into(),
            18..21 => Vec::new(),
            21..37 => {
                let len = self.rng.random_range(1..200);
                (0..len).map(|_| self.rng.random()).collect()
            }
            37..39 => vec![b'x'; self.rng.random_range(200..3000)],
            _ => vec![b'y'; self.rng.random_range(3000..30_000)],
        }
    }

    fn flags(&mut self) -> &'static str {
        self.one(&["0", "0", "1", "5", "4294967295"])
    }

    /// Exptimes far from each other, from what `R` asks and from now, so that it does not matter
    /// when within a second, and in which second, a command arrives.
    fn exptime(&mut self) -> &'static str {
        self.one(&["0", "0", "0", "100", "1000", "10000", "-1", "2592001", "2147483647"])
    }

    fn amount(&mut self) -> &'static str {
        self.one(&["0", "1", "1", "5", "90", "100", "18446744073709551615"])
    }

    fn noreply(&mut self, line: &mut Line) {
        if self.rng.random_bool(0.1) {
            line.word("noreply");
        }
    }

    fn one(&mut self, of: &[&'static str]) -> &'static str {
        of.choose(&mut self.rng).unwrap()
    }
}

/// A line as it is put together.
#[derive(Clone)]
struct Line {
    words: Vec<Vec<Part>>,
    value: Option<Vec<u8>>,
    end: &'static [u8],
    /// Lines to be taken for what is missing of a value, if it is announced as longer than it is.
    filler: &'static [u8],
}

impl Default for Line {
    fn default() -> Self {
        Self { words: Vec::new(), value: None, end: b"\r\n", filler: b"" }
    }
}

impl Line {
    fn word(&mut self, word: impl Into<Vec<u8>>) -> &mut Self {
        let word = word.into();
        if !word.is_empty() {
            self.words.push(vec![Part::Bytes(word)]);
        }
        self
    }

    fn value(&mut self, value: Vec<u8>) {
        self.value = Some(value);
    }

    /// The key of the line as it is so far.
    fn key(&self) -> Vec<u8> {
        let command = Command { kind: "", parts: self.clone().finish(), batch: 0 };
        command.key()
    }

    fn is(&self, name: &str) -> bool {
        matches!(self.words.first().map(Vec::as_slice), Some([Part::Bytes(word)]) if word == name.as_bytes())
    }

    fn finish(self) -> Vec<Part> {
        let mut parts = Vec::new();
        for (index, word) in self.words.into_iter().enumerate() {
            if index > 0 {
                parts.push(Part::Bytes(b" ".to_vec()));
            }
            parts.extend(word);
        }
        parts.push(Part::Bytes(self.end.to_vec()));
        if let Some(mut value) = self.value {
            value.extend_from_slice(b"\r\n");
            parts.push(Part::Bytes(value));
        }
        parts.push(Part::Bytes(self.filler.to_vec()));
        parts
    }
}

const STREAM_LEN: usize = 200;

const FILLER: &[u8] = b"fill\r\nfill\r\nfill\r\n";

/// Keys as they are written in base64, and what they mean.
const BASE64_KEYS: [(&[u8], &[u8]); 5] = [
    (b"Zm9v", b"foo"),
    (b"YQ==", b"a"),
    (b"bg==", b"n"),
    (b"gIGC", b"\x80\x81\x82"),
    (b"bm9yZXBseQ==", b"noreply"),
];

/// Larger than any cas unique a server comes to by counting.
pub(super) const LARGE_CAS: u64 = 1 << 62;
