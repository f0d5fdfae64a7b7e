//! One table of conversations, held with every server: Larder's nodes, and the real memcached, so
//! that the table itself is checked. `notation` says how it is written.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::node::Node;
use crate::notation::{self, Conversation, Match, Step, To, Words};
use crate::process::{Memcached, Version};
use crate::trio::Trio;
use crate::wire::{PATIENCE, Silence, Wire};

/// The table, by what it is about.
const TABLE: [(&str, &str); 13] = [
    ("storage", include_str!("conversations/storage.txt")),
    ("retrieval", include_str!("conversations/retrieval.txt")),
    ("arithmetic", include_str!("conversations/arithmetic.txt")),
    ("deletion", include_str!("conversations/deletion.txt")),
    ("expiry", include_str!("conversations/expiry.txt")),
    ("administration", include_str!("conversations/administration.txt")),
    ("lines", include_str!("conversations/lines.txt")),
    ("meta_get", include_str!("conversations/meta_get.txt")),
    ("meta_set", include_str!("conversations/meta_set.txt")),
    ("meta_delete", include_str!("conversations/meta_delete.txt")),
    ("meta_arithmetic", include_str!("conversations/meta_arithmetic.txt")),
    ("memcachedb", include_str!("conversations/memcachedb.txt")),
    ("differences", include_str!("conversations/differences.txt")),
];

/// Who is spoken with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Partner {
    Memcached(Version),
    Cache,
    /// One of three caches that are one.
    Member,
    Store,
}

/// How what is sent is cut into pieces.
pub(crate) type Cut<'a> = &'a dyn Fn(&[u8]) -> Vec<usize>;

/// Every conversation of the table.
pub(crate) fn all() -> Vec<Conversation> {
    TABLE.iter().flat_map(|(name, text)| notation::parse(&format!("{name}.txt"), text)).collect()
}

impl Partner {
    /// Why a conversation does not apply to this partner.
    pub(crate) fn excused(self, conversation: &Conversation) -> Option<&str> {
        conversation.limits.iter().find(|limit| !self.within(limit.to)).map(|limit| &*limit.why)
    }

    fn within(self, to: To) -> bool {
        match (to, self) {
            (To::Memcached, partner) => matches!(partner, Self::Memcached(_)),
            (To::Larder, partner) => !matches!(partner, Self::Memcached(_)),
            (To::Cache, partner) => matches!(partner, Self::Cache | Self::Member),
            (To::ExceptMember, partner) => partner != Self::Member,
            (To::Store, partner) => partner == Self::Store,
            (To::ExceptStore, partner) => partner != Self::Store,
            (To::After(limit), Self::Memcached(version)) => version > limit,
            (To::After(_), _) => true,
        }
    }
}

/// Holds one conversation; if it goes wrong, says how.
pub(crate) fn hold(
    conversation: &Conversation,
    partner: Partner,
    address: SocketAddr,
    cut: Cut<'_>,
) -> Result<(), String> {
    let mut wire = Wire::connect(address);
    let mut words = Words::new();
    for step in &conversation.steps {
        let expected = match (&step.memcached_expected, partner) {
            (Some(expected), Partner::Memcached(_)) => expected,
            _ => &step.expected,
        };
        let outcome = if step.again {
            insist(&mut wire, step, expected, &mut words)
        } else {
            exchange(&mut wire, step, expected, &mut words, cut)
        };
        outcome.map_err(|received| {
            format!(
                "{} ({})\n    sent     {}\n    expected {}\n    received {}\n",
                conversation.title,
                conversation.place,
                show(&notation::spell(&step.sent, &words)),
                show_expected(expected),
                received,
            )
        })?;
        if notation::closes(expected) {
            return Ok(());
        }
    }
    // Nothing more was answered than the table says.
    wire.send(b"mn\r\n");
    match wire.line() {
        Ok(line) if line == b"MN\r\n" => Ok(()),
        other => Err(format!(
            "{} ({})\n    answered too much: {}\n",
            conversation.title,
            conversation.place,
            show(&other.unwrap_or_default()),
        )),
    }
}

/// Sends a step and compares the answer; if it is another, gives what was received.
fn exchange(
    wire: &mut Wire,
    step: &Step,
    expected: &[notation::Piece],
    words: &mut Words,
    cut: Cut<'_>,
) -> Result<(), String> {
    let sent = notation::spell(&step.sent, words);
    let mut from = 0;
    for to in cut(&sent).into_iter().chain([sent.len()]) {
        wire.send(&sent[from..to]);
        from = to;
    }
    loop {
        let mut learnt = words.clone();
        let silence = match notation::compare(expected, wire.received(), &mut learnt) {
            Match::Whole(len) => {
                wire.take(len);
                *words = learnt;
                return if notation::closes(expected) { await_close(wire) } else { Ok(()) };
            }
            Match::Begun => wire.receive(PATIENCE).err(),
            // Let the rest arrive, to show it.
            Match::Differs => Some(wire.receive(SHOWN_WITHIN).err().unwrap_or(Silence::TimedOut)),
        };
        if let Some(silence) = silence {
            let received = wire.take(wire.received().len());
            return Err(format!("{} and then {silence:?}", show(&received)));
        }
    }
}

fn await_close(wire: &mut Wire) -> Result<(), String> {
    match wire.receive(PATIENCE) {
        Err(Silence::Closed) => Ok(()),
        other => Err(format!("{} but not closed: {other:?}", show(wire.received()))),
    }
}

/// Sends a step again and again until the expected answer comes.
fn insist(
    wire: &mut Wire,
    step: &Step,
    expected: &[notation::Piece],
    words: &mut Words,
) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        wire.send(&notation::spell(&step.sent, words));
        wire.send(b"mn\r\n");
        let mut received = Vec::new();
        loop {
            let line = wire.line().map_err(|silence| format!("{silence:?}"))?;
            if line == b"MN\r\n" {
                break;
            }
            received.extend(line);
        }
        if notation::compare(expected, &received, words) == Match::Whole(received.len()) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{} for {PATIENCE:?}", show(&received)));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Holds the whole table with servers made by `start`; those conversations that wait for time to
/// pass each have a server of their own, at the same time.
fn hold_all<S>(
    partner: Partner,
    start: impl Fn() -> S + Sync,
    address: impl Fn(&S) -> SocketAddr + Sync,
) {
    let conversations = all();
    let (applicable, excused): (Vec<_>, Vec<_>) =
        conversations.iter().partition(|conversation| partner.excused(conversation).is_none());
    let (slow, quick): (Vec<_>, Vec<_>) =
        applicable.iter().partition(|conversation| conversation.takes_time());
    let mut failures = String::new();
    thread::scope(|scope| {
        let (start, address) = (&start, &address);
        let slow: Vec<_> = slow
            .into_iter()
            .map(|conversation| {
                scope.spawn(move || {
                    let server = start();
                    hold(conversation, partner, address(&server), &whole)
                })
            })
            .collect();
        let server = start();
        for conversation in quick {
            forget(address(&server));
            if let Err(failure) = hold(conversation, partner, address(&server), &whole) {
                writeln!(failures, "{failure}").unwrap();
            }
        }
        for failure in slow.into_iter().filter_map(|thread| thread.join().unwrap().err()) {
            writeln!(failures, "{failure}").unwrap();
        }
    });
    // Past the capture of test output: what is not tested is worth a line in every run.
    let _ = writeln!(
        std::io::stderr(),
        "conversations with {partner}: {} held, {} do not apply",
        applicable.len(),
        excused.len()
    );
    assert!(failures.is_empty(), "with {partner}:\n{failures}");
}

/// Empties a server between conversations.
pub(crate) fn forget(address: SocketAddr) {
    let mut wire = Wire::connect(address);
    wire.send(b"flush_all\r\n");
    assert_eq!(wire.line().as_deref(), Ok(&b"OK\r\n"[..]));
}

/// Sends in one piece.
pub(crate) fn whole(_sent: &[u8]) -> Vec<usize> {
    Vec::new()
}

impl std::fmt::Display for Partner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memcached((major, minor, patch)) => {
                write!(f, "memcached {major}.{minor}.{patch}")
            }
            Self::Cache => f.write_str("a cache node"),
            Self::Member => f.write_str("one of three cache nodes"),
            Self::Store => f.write_str("a store node"),
        }
    }
}

/// Bytes as the notation writes them, long ones cut.
pub(crate) fn show(bytes: &[u8]) -> String {
    let text = bytes.escape_ascii().to_string();
    if text.len() <= SHOWN_CHARS {
        return text;
    }
    format!("{}…{} ({} bytes)", &text[..SHOWN_CHARS / 2], &text[text.len() - 40..], bytes.len())
}

fn show_expected(expected: &[notation::Piece]) -> String {
    expected
        .iter()
        .map(|piece| match piece {
            notation::Piece::Bytes(bytes) => show(bytes),
            notation::Piece::Word { name, plus: 0 } => format!("<{name}>"),
            notation::Piece::Word { name, plus } => format!("<{name}+{plus}>"),
            notation::Piece::Number => "<#>".to_owned(),
            notation::Piece::Rest => "<*>".to_owned(),
            notation::Piece::Stats => "<stats>".to_owned(),
            notation::Piece::Closed => "<closed>".to_owned(),
        })
        .collect()
}

const SHOWN_WITHIN: Duration = Duration::from_millis(100);
const SHOWN_CHARS: usize = 400;

#[test]
fn memcached() {
    let version = Memcached::start(&[]).version();
    hold_all(Partner::Memcached(version), || Memcached::start(&[]), Memcached::address);
}

#[test]
fn cache_node() {
    hold_all(Partner::Cache, Node::cache, Node::address);
}

#[test]
fn cache_node_of_three() {
    // Whoever has a key, it is another for two of them.
    for node in 0..3 {
        hold_all(Partner::Member, Trio::start, |trio| trio.address(node));
    }
}

#[test]
fn store_node() {
    hold_all(Partner::Store, Node::store, Node::address);
}
