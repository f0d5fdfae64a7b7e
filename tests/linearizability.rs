//! Whether what clients saw of one key can have been one item, on which each command was carried out
//! at one moment between its being sent and its being answered.
//!
//! Commands of which nobody knows whether they were carried out (the connection broke, the node said
//! so) may have been at any moment after they were sent, or never.
//!
//! The judge goes over what happened in its order and keeps every way it can have been: what the item
//! is, and which of the commands under way were carried out already ("Testing for linearizability",
//! Lowe 2017, the just-in-time variant). There are few ways as long as few commands on a key are
//! under way at once, so clients should not keep to one key after many outcomes are unknown.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt;
use std::time::Instant;

/// What a client asks of the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Asked {
    /// `gets`.
    Get,
    /// `set`.
    Set(Vec<u8>),
    /// `add`.
    Add(Vec<u8>),
    /// `append`.
    Append(Vec<u8>),
    /// `cas` with a cas unique that a `gets` told.
    Cas(u64, Vec<u8>),
    /// `incr`.
    Incr(u64),
    /// `decr`.
    Decr(u64),
    /// `delete`.
    Delete,
    /// `touch` with a time that has passed.
    Lapse,
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answered {
    /// A value and its cas unique.
    Value(Vec<u8>, u64),
    /// The new number.
    Number(u64),
    /// `STORED`, `DELETED`, `TOUCHED`: it was done.
    Done,
    /// `NOT_STORED`.
    NotStored,
    /// `EXISTS`.
    Exists,
    /// `NOT_FOUND`, or no value.
    NotFound,
    /// It is not a number.
    NotANumber,
}

/// One command of a client.
#[derive(Clone, Debug)]
pub struct Command {
    /// Which client's.
    pub client: usize,
    /// What was asked.
    pub asked: Asked,
    /// When it was sent.
    pub sent: Instant,
    /// The answer and when it had come; `None` if the outcome is unknown.
    pub answered: Option<(Answered, Instant)>,
}

/// What no one item can have done.
#[derive(Debug)]
pub struct Violation {
    /// The commands of the key in the order of their beginnings, as far as the one that cannot be.
    history: Vec<Command>,
    /// The one whose answer cannot be.
    culprit: usize,
    /// What the item can have been then.
    items: Vec<Item>,
}

/// Judges the commands on one key, which was not there at first.
///
/// # Errors
///
/// The first answer, by the time it came, that cannot be.
pub fn judge(mut history: Vec<Command>) -> Result<(), Violation> {
    history.sort_by_key(|command| command.sent);
    let mut events: Vec<(Instant, Event)> = Vec::new();
    for (number, command) in history.iter().enumerate() {
        events.push((command.sent, Event::Sent(number)));
        if let Some((_, at)) = command.answered {
            events.push((at, Event::Answered(number)));
        }
    }
    // Of two at the same moment the beginning first: they may have overlapped.
    events.sort();
    let mut under_way = BTreeSet::new();
    let mut ways = HashSet::from([Way::default()]);
    for (_, event) in events {
        match event {
            Event::Sent(number) => {
                under_way.insert(number);
            }
            Event::Answered(number) => {
                let after = carry_out(&history, &under_way, &ways, number);
                if after.is_empty() {
                    let items: BTreeSet<_> = ways.into_iter().map(|way| way.item).collect();
                    history.truncate(under_way.last().map_or(0, |last| last + 1));
                    return Err(Violation {
                        history,
                        culprit: number,
                        items: items.into_iter().collect(),
                    });
                }
                ways = after;
                under_way.remove(&number);
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Sent(usize),
    Answered(usize),
}

/// A way it can have been up to a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Way {
    item: Item,
    /// Which of the commands under way were carried out already.
    done: BTreeSet<usize>,
}

/// What the item is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Item {
    value: Option<Vec<u8>>,
    /// Its cas unique, if it was told since it was written.
    cas: Option<u64>,
}

/// All ways it can have been when a command was answered that must have been carried out by then.
fn carry_out(
    history: &[Command],
    under_way: &BTreeSet<usize>,
    ways: &HashSet<Way>,
    number: usize,
) -> HashSet<Way> {
    let unknown =
        |number: &usize| history.get(*number).is_some_and(|command| command.answered.is_none());
    // By the item and what else was done: what was done of the unknown. A way in which more of it was
    // done than in another that is otherwise the same can go on in no way that the other cannot. So
    // what is unknown and was overwritten costs nothing.
    let mut least = HashMap::<(Item, BTreeSet<usize>), Vec<BTreeSet<usize>>>::new();
    let mut is_needless = |way: &Way| {
        let (may_be, must_be) = way.done.iter().copied().partition(unknown);
        let least = least.entry((way.item.clone(), must_be)).or_default();
        let needless = least.iter().any(|less| less.is_subset(&may_be));
        if !needless {
            least.push(may_be);
        }
        needless
    };
    let mut after = HashSet::new();
    let mut left: Vec<Way> = ways.iter().cloned().collect();
    // Those in which the least was done first: they make others needless.
    left.sort_by_key(|way| way.done.len());
    let mut left: VecDeque<Way> = left.into_iter().filter(|way| !is_needless(way)).collect();
    while let Some(way) = left.pop_front() {
        if way.done.contains(&number) {
            let mut way = way;
            way.done.remove(&number);
            after.insert(way);
            continue;
        }
        for &next in under_way.difference(&way.done) {
            let Some(item) = history.get(next).and_then(|command| way.item.after(command)) else {
                continue;
            };
            let mut done = way.done.clone();
            done.insert(next);
            let way = Way { item, done };
            if !is_needless(&way) {
                left.push_back(way);
            }
        }
    }
    after
}

impl Item {
    /// What it is after a command; `None` if that would have been answered otherwise.
    fn after(&self, command: &Command) -> Option<Self> {
        let (answer, item) = self.carried_out(&command.asked);
        let Some((answered, _)) = &command.answered else { return Some(item) };
        match (answer, answered) {
            // A cas unique is learnt when it is told, and is the item's from then on.
            (Answered::Value(value, _), Answered::Value(told, cas)) => {
                let same = value == *told && self.cas.is_none_or(|known| known == *cas);
                same.then_some(Self { cas: Some(*cas), ..item })
            }
            (answer, answered) => (answer == *answered).then_some(item),
        }
    }

    fn carried_out(&self, asked: &Asked) -> (Answered, Self) {
        let written = |value: Vec<u8>| Self { value: Some(value), cas: None };
        match (asked, &self.value) {
            (Asked::Get, Some(value)) => (Answered::Value(value.clone(), 0), self.clone()),
            (Asked::Set(new), _) | (Asked::Add(new), None) => {
                (Answered::Done, written(new.clone()))
            }
            (Asked::Append(more), Some(value)) => {
                (Answered::Done, written([value.as_slice(), more].concat()))
            }
            (Asked::Add(_), Some(_)) | (Asked::Append(_), None) => {
                (Answered::NotStored, self.clone())
            }
            // A cas unique that was told is of what was there then. So this is it only if it was told
            // since it was written.
            (Asked::Cas(cas, new), Some(_)) if self.cas == Some(*cas) => {
                (Answered::Done, written(new.clone()))
            }
            (Asked::Cas(..), Some(_)) => (Answered::Exists, self.clone()),
            (Asked::Incr(delta) | Asked::Decr(delta), Some(value)) => {
                let text = std::str::from_utf8(value).ok();
                let text = text.and_then(|text| text.split_ascii_whitespace().next());
                let Some(before) = text.and_then(|text| text.parse::<u64>().ok()) else {
                    return (Answered::NotANumber, self.clone());
                };
                let number = match asked {
                    Asked::Decr(_) => before.saturating_sub(*delta),
                    _ => before.wrapping_add(*delta),
                };
                // As in memcached, a number never gets shorter: what it lacks is spaces.
                let len = value.len();
                (Answered::Number(number), written(format!("{number:<len$}").into_bytes()))
            }
            (Asked::Delete | Asked::Lapse, Some(_)) => (Answered::Done, Self::default()),
            (
                Asked::Get
                | Asked::Cas(..)
                | Asked::Incr(_)
                | Asked::Decr(_)
                | Asked::Delete
                | Asked::Lapse,
                None,
            ) => (Answered::NotFound, self.clone()),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let began = self.history.first().map(|command| command.sent);
        let since = |at: Instant| began.map_or(0.0, |began| (at - began).as_secs_f64() * 1e3);
        writeln!(f, "no one item can have been answered so. From when to when, in ms, and who:")?;
        for (number, command) in self.history.iter().enumerate() {
            let mark = if number == self.culprit { "->" } else { "  " };
            let (sent, client) = (since(command.sent), command.client);
            write!(f, "{mark} {sent:10.3} ")?;
            let (to, answer) = match &command.answered {
                Some((answer, at)) => (format!("{:.3}", since(*at)), answer.to_string()),
                None => ("?".to_owned(), "unknown".to_owned()),
            };
            writeln!(f, "{to:>10} {client:3} {}: {answer}", command.asked)?;
        }
        write!(f, "before the answer marked the item can have been")?;
        self.items.iter().try_for_each(|item| match (&item.value, item.cas) {
            (None, _) => write!(f, " nothing;"),
            (Some(value), Some(cas)) => write!(f, " {} of {cas};", value.escape_ascii()),
            (Some(value), None) => write!(f, " {};", value.escape_ascii()),
        })
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get => write!(f, "gets"),
            Self::Set(value) => write!(f, "set {}", value.escape_ascii()),
            Self::Add(value) => write!(f, "add {}", value.escape_ascii()),
            Self::Append(value) => write!(f, "append {}", value.escape_ascii()),
            Self::Cas(cas, value) => write!(f, "cas {cas} {}", value.escape_ascii()),
            Self::Incr(delta) => write!(f, "incr {delta}"),
            Self::Decr(delta) => write!(f, "decr {delta}"),
            Self::Delete => write!(f, "delete"),
            Self::Lapse => write!(f, "touch, long ago"),
        }
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value, cas) => write!(f, "{} of {cas}", value.escape_ascii()),
            Self::Number(number) => write!(f, "{number}"),
            other => write!(f, "{other:?}"),
        }
    }
}

impl std::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Commands by (client, from, to, what, answer); to 0 for never.
    fn history(commands: &[(usize, u64, u64, Asked, Answered)]) -> Vec<Command> {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let command =
            |(client, from, to, asked, answer): &(usize, u64, u64, Asked, Answered)| Command {
                client: *client,
                asked: asked.clone(),
                sent: at(*from),
                answered: (*to > 0).then(|| (answer.clone(), at(*to))),
            };
        commands.iter().map(command).collect()
    }

    fn set(value: &str) -> Asked {
        Asked::Set(value.into())
    }

    fn value(value: &str, cas: u64) -> Answered {
        Answered::Value(value.into(), cas)
    }

    use Answered::{Done, Exists, NotFound, NotStored, Number};
    use Asked::{Add, Append, Cas, Decr, Delete, Get, Incr, Lapse};

    #[test]
    fn what_can_have_been_is_believed() {
        for commands in [
            // A read during a write sees either.
            vec![
                (0, 0, 9, set("a"), Done),
                (1, 1, 2, Get, NotFound),
                (2, 3, 4, Get, value("a", 1)),
            ],
            // What is unknown may take effect late, or never.
            vec![
                (0, 0, 0, set("a"), Done),
                (1, 1, 2, Get, NotFound),
                (1, 3, 4, Get, value("a", 1)),
                (1, 5, 6, set("b"), Done),
                (1, 7, 8, Get, value("b", 2)),
            ],
            vec![(0, 0, 0, set("a"), Done), (1, 5, 6, Get, NotFound), (1, 7, 8, Get, NotFound)],
            // Two counted at once, in either order.
            vec![
                (0, 0, 1, set("5"), Done),
                (1, 2, 9, Incr(1), Number(7)),
                (2, 3, 8, Incr(1), Number(6)),
            ],
            // What counts down keeps its length, and stays at 0.
            vec![
                (0, 0, 1, set("10"), Done),
                (0, 2, 3, Decr(1), Number(9)),
                (0, 4, 5, Get, value("9 ", 4)),
                (0, 6, 7, Incr(2), Number(11)),
                (0, 8, 9, Decr(12), Number(0)),
                (0, 10, 11, Get, value("0 ", 5)),
            ],
            vec![
                (0, 0, 1, set("a"), Done),
                (1, 2, 3, Get, value("a", 4)),
                (2, 2, 3, Get, value("a", 4)),
                (1, 4, 9, Cas(4, b"b".into()), Exists),
                (2, 5, 8, Cas(4, b"c".into()), Done),
                (1, 10, 11, Append(b"d".into()), Done),
                (1, 12, 13, Add(b"e".into()), NotStored),
                (1, 14, 15, Get, value("cd", 9)),
                (1, 16, 17, Delete, Done),
                (1, 18, 19, Append(b"e".into()), NotStored),
                (1, 20, 21, Lapse, NotFound),
                (1, 22, 23, Add(b"f".into()), Done),
                (1, 24, 25, Lapse, Done),
                (1, 26, 27, Get, NotFound),
            ],
        ] {
            judge(history(&commands)).unwrap_or_else(|violation| panic!("{violation}"));
        }
    }

    #[test]
    fn what_cannot_have_been_is_seen() {
        for (culprit, commands) in [
            // A write that was acknowledged is lost.
            (1, vec![(0, 0, 1, set("a"), Done), (1, 2, 3, Get, NotFound)]),
            // Seen, and then not.
            (
                2,
                vec![
                    (0, 0, 9, set("a"), Done),
                    (1, 1, 2, Get, value("a", 1)),
                    (2, 3, 4, Get, NotFound),
                ],
            ),
            // A number twice.
            (
                2,
                vec![
                    (0, 0, 1, set("5"), Done),
                    (1, 2, 8, Incr(1), Number(6)),
                    (2, 3, 9, Incr(1), Number(6)),
                ],
            ),
            // Both win a cas.
            (
                3,
                vec![
                    (0, 0, 1, set("a"), Done),
                    (1, 2, 3, Get, value("a", 4)),
                    (1, 4, 8, Cas(4, b"b".into()), Done),
                    (2, 5, 9, Cas(4, b"c".into()), Done),
                ],
            ),
            // One cas unique for two values, two for one.
            (1, vec![(0, 0, 1, set("a"), Done), (1, 2, 3, Get, value("b", 4))]),
            (
                2,
                vec![
                    (0, 0, 1, set("a"), Done),
                    (1, 2, 3, Get, value("a", 4)),
                    (1, 4, 5, Get, value("a", 5)),
                ],
            ),
            // What is unknown takes effect twice.
            (
                4,
                vec![
                    (0, 0, 1, set("5"), Done),
                    (1, 2, 0, Incr(1), Done),
                    (0, 3, 4, Get, value("6", 2)),
                    (0, 5, 6, set("5"), Done),
                    (0, 7, 8, Get, value("6", 4)),
                ],
            ),
            // Deleted, and back.
            (
                2,
                vec![
                    (0, 0, 1, set("a"), Done),
                    (0, 2, 3, Delete, Done),
                    (1, 4, 5, Get, value("a", 1)),
                ],
            ),
            // Expired, and back.
            (
                2,
                vec![
                    (0, 0, 1, set("a"), Done),
                    (0, 2, 3, Lapse, Done),
                    (1, 4, 5, Get, value("a", 1)),
                ],
            ),
        ] {
            let violation = judge(history(&commands)).expect_err(&format!("{commands:?}"));
            assert_eq!(violation.culprit, culprit, "{violation}");
        }
    }

    #[test]
    fn what_is_unknown_and_was_overwritten_is_soon_judged() {
        let mut commands = Vec::new();
        for number in 0..40 {
            let at = 10 * number;
            commands.push((0, at, 0, set(&format!("lost {number}")), Done));
            commands.push((1, at + 1, at + 2, set("a"), Done));
            commands.push((1, at + 3, at + 4, Get, value("a", number + 1)));
        }
        // One of them takes effect at last, and another did not.
        commands.push((1, 500, 501, Get, value("lost 7", 100)));
        judge(history(&commands)).unwrap_or_else(|violation| panic!("{violation}"));
        commands.push((1, 502, 503, Get, NotFound));
        judge(history(&commands)).unwrap_err();
    }

    /// Commands carried out on an item at random moments, then one answer bent.
    #[test]
    fn a_bent_answer_is_seen_among_many_that_are_true() {
        for seed in 0..300 {
            let rng = &mut SmallRng::seed_from_u64(seed);
            let mut item = Item::default();
            let mut last = 0;
            let mut commands = Vec::new();
            for number in 0..60_u64 {
                let asked = match rng.random_range(0..9) {
                    0 => set(&number.to_string()),
                    1 => Add(number.to_string().into_bytes()),
                    2 => Append(number.to_string().into_bytes()),
                    3 => Cas(item.cas.filter(|_| rng.random()).unwrap_or(7), b"1".into()),
                    4 => Incr(number),
                    5 => Delete,
                    6 => Decr(number),
                    7 => Lapse,
                    _ => Get,
                };
                let (mut answer, after) = item.carried_out(&asked);
                item = after;
                let unknown = rng.random_ratio(1, 20);
                if let Answered::Value(_, cas) = &mut answer
                    && !unknown
                {
                    last += 1;
                    *cas = *item.cas.get_or_insert(100 + last);
                }
                let at = 10_000 + 1000 * number;
                let (before, behind) = (rng.random_range(0..3000), rng.random_range(1..3000));
                let to = if unknown { 0 } else { at + behind };
                commands.push((0, at - before, to, asked, answer));
            }
            judge(history(&commands)).unwrap_or_else(|violation| panic!("{seed}: {violation}"));
            // A value that nobody ever wrote.
            let gets = |command: &&mut (usize, u64, u64, Asked, Answered)| {
                command.2 > 0 && matches!(command.4, Answered::Value(..))
            };
            let Some(get) = commands.iter_mut().filter(gets).last() else { continue };
            get.4 = value("never", 1);
            judge(history(&commands)).expect_err(&format!("{seed}"));
        }
    }
}
