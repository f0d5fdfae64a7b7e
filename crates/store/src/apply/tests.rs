use larder_protocol::{Arithmetic, Delete, Exptime, Fetch, Store};

use super::*;
use crate::command::Command;
use crate::pending::Ticket;

const NOW: Seconds = 1_700_000_000;

fn command(key: &[u8], op: &Op<'_>) -> Command {
    Command::op(key, 0, op, NOW, Ticket::new().0)
}

fn set(value: &[u8]) -> Op<'_> {
    Op::Store(Store { value, ..Store::SET })
}

fn count() -> Op<'static> {
    Op::Arithmetic(Arithmetic {
        decrement: false,
        delta: 1,
        vivify: Some(Exptime::NEVER),
        initial: 1,
        compare: None,
        new_cas: None,
        ttl: None,
        binary_key: false,
    })
}

#[expect(clippy::unnecessary_wraps, reason = "it stands for a disk")]
fn nothing(_: &[u8]) -> Result<Option<Record>, &'static str> {
    Ok(None)
}

/// What a batch comes to.
struct Applied<'a> {
    answers: Vec<Answer>,
    changes: Vec<(&'a [u8], Option<Bytes>)>,
    state: State,
}

fn apply<'a>(
    state: State,
    commands: &'a [Command],
    admission: Admission,
    limit: usize,
    read: &Read<'_>,
) -> Applied<'a> {
    let mut batch = Batch::new(state, read);
    let mut answers = Vec::new();
    for command in commands {
        if batch.is_full(limit) {
            break;
        }
        answers.push(batch.step(&command.asked(), admission));
    }
    let Batch { changes, state, .. } = batch;
    Applied { answers, changes, state }
}

fn values(applied: &Applied<'_>) -> Vec<(String, Option<String>)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let value = |bytes: &Bytes| text(&Record::decode(bytes.clone()).unwrap().value);
    applied.changes.iter().map(|(key, bytes)| (text(key), bytes.as_ref().map(value))).collect()
}

#[test]
fn a_batch_sees_its_own_changes_and_writes_each_key_once() {
    let commands = [
        command(b"a", &count()),
        command(b"b", &set(b"x")),
        command(b"a", &count()),
        command(b"b", &Op::Delete(Delete::default())),
        command(b"a", &Op::Fetch(Fetch::GET)),
        command(b"b", &Op::Delete(Delete::default())),
    ];
    let applied = apply(State::default(), &commands, Admission::All, usize::MAX, &nothing);
    assert_eq!(values(&applied), [("a".into(), Some("2".into())), ("b".into(), None)]);
    assert_eq!(applied.state.sequence, 3);
    assert!(
        matches!(&applied.answers[4].outcome, Outcome::Hit(hit) if *hit.value.to_bytes() == *b"2")
    );
    assert!(matches!(applied.answers[5].outcome, Outcome::NotFound));
    let wrote: Vec<_> = applied.answers.iter().map(|answer| answer.wrote).collect();
    assert_eq!(wrote, [true, true, true, true, false, false]);
}

#[test]
fn a_plain_set_reads_nothing() {
    let read = |_: &[u8]| -> Result<Option<Record>, &'static str> { panic!("it looked") };
    let commands = [command(b"a", &set(b"x"))];
    let applied = apply(State::default(), &commands, Admission::All, usize::MAX, &read);
    assert_eq!(values(&applied), [("a".into(), Some("x".into()))]);
}

#[test]
fn what_is_refused_leaves_no_trace() {
    let commands = [command(b"a", &set(b"x")), command(b"a", &Op::Fetch(Fetch::GET))];
    let state = State { sequence: 9, ..State::default() };
    let applied = apply(state, &commands, Admission::Nothing("why"), usize::MAX, &nothing);
    assert!(matches!(applied.answers[0].outcome, Outcome::Failed("why")));
    assert!(matches!(applied.answers[1].outcome, Outcome::Miss));
    assert!(applied.changes.is_empty());
    assert_eq!(applied.state, state);
}

#[test]
fn what_is_written_in_the_second_of_a_delayed_flush_lives() {
    let state = State { sequence: 9, flush_at: NOW, ..State::default() };
    let commands = [command(b"a", &set(b"x")), command(b"a", &Op::Fetch(Fetch::GET))];
    let applied = apply(state, &commands, Admission::All, usize::MAX, &nothing);
    assert_eq!(applied.state, State { sequence: 10, flushed: 9, ..State::default() });
    assert!(matches!(applied.answers[1].outcome, Outcome::Hit(_)));
}

#[test]
fn the_sweeper_takes_the_dead_it_saw_and_nothing_newer() {
    let read = |_: &[u8]| {
        let header = larder_protocol::Header {
            cas: 5,
            client_flags: 0,
            exptime: NOW,
            last_access: 0,
            marks: larder_protocol::Marks::default(),
        };
        Ok(Some(Record { sequence: 5, header, value: Bytes::new() }))
    };
    for (sequence, now, taken) in [(5, NOW, true), (4, NOW, false), (5, NOW - 1, false)] {
        let commands = [Command::reclaim(b"a", sequence, now)];
        let applied = apply(State::default(), &commands, Admission::All, usize::MAX, &read);
        assert_eq!(!applied.changes.is_empty(), taken, "{sequence} {now}");
    }
}

#[test]
fn a_batch_ends_when_it_has_written_enough() {
    let append =
        Op::Store(Store { value: b"x", mode: larder_protocol::Mode::Append, ..Store::SET });
    let large = [b'v'; 1000];
    let mut commands = vec![command(b"a", &set(&large))];
    commands.extend((0..9).map(|_| command(b"a", &append)));
    let applied = apply(State::default(), &commands, Admission::All, 3000, &nothing);
    assert_eq!((applied.answers.len(), applied.state.sequence), (3, 3));
    let applied = apply(State::default(), &commands, Admission::All, 0, &nothing);
    assert_eq!(applied.answers.len(), 1, "at least one");
}
