//! Whether reads of one key that may be stale saw it as it was not long ago: each value was there at some
//! moment from so long before the read was sent until it was answered.
//!
//! What is written has to be told apart: no two writes of the key have the same value, and there is no
//! append and no arithmetic. Each read is judged by itself, against the writes: these have one order, which
//! [`linearizability`](crate::linearizability) judges, but clients know of it only that a write which was
//! sent after another was answered comes behind that. What is seen is a value that was surely replaced
//! more than that long before the read was sent, or was sent after it was answered, or never.

use std::fmt;
use std::time::{Duration, Instant};

use crate::linearizability::{Answered, Asked, Command};

/// A read whose value cannot have been there.
#[derive(Debug)]
pub struct Violation<'a> {
    read: &'a Command,
    /// What had surely replaced the value by then; `None` if it was not written at all.
    replaced: Option<&'a Command>,
    bound: Duration,
}

/// Judges the reads among the commands on one key, which was not there at first. They may be so old.
///
/// # Errors
///
/// The first read that cannot be.
pub fn judge(history: &[Command], bound: Duration) -> Result<(), Violation<'_>> {
    let writes: Vec<_> = history.iter().filter_map(write).collect();
    let Some(first) = history.iter().map(|command| command.sent).min() else { return Ok(()) };
    // Before all of them.
    let answered = first.checked_sub(Duration::from_nanos(1));
    let nothing = Write { value: None, sent: first, answered, command: None };
    for read in history {
        let Some((value, answered)) = value_read(read) else { continue };
        let candidates = [&nothing].into_iter().chain(&writes);
        let candidates = candidates.filter(|write| write.value == value);
        // One that would have to be before the clock began is later than it can be.
        let from = read.sent.checked_sub(bound).unwrap_or(read.sent);
        let (mut may_be, mut replaced) = (false, None);
        for write in candidates.filter(|write| write.sent <= answered) {
            match writes.iter().find(|next| write.is_replaced(next, from)) {
                None => may_be = true,
                next => replaced = next.and_then(|next| next.command),
            }
        }
        if !may_be {
            return Err(Violation { read, replaced, bound });
        }
    }
    Ok(())
}

/// A write that was done, or may have been.
struct Write<'a> {
    /// What is there afterwards.
    value: Option<&'a [u8]>,
    sent: Instant,
    /// `None` if it may be done yet.
    answered: Option<Instant>,
    command: Option<&'a Command>,
}

impl Write<'_> {
    /// Whether another was surely done behind this one, and before `by`.
    fn is_replaced(&self, next: &Self, by: Instant) -> bool {
        let is_behind = self.answered.is_some_and(|answered| next.sent > answered);
        is_behind && next.answered.is_some_and(|answered| answered < by)
    }
}

fn write(command: &Command) -> Option<Write<'_>> {
    let value = match &command.asked {
        Asked::Set(value) | Asked::Add(value) | Asked::Cas(_, value) => Some(&value[..]),
        Asked::Delete | Asked::Lapse => None,
        Asked::Get | Asked::Append(_) | Asked::Incr(_) | Asked::Decr(_) => return None,
    };
    let answered = match &command.answered {
        None => None,
        Some((Answered::Done, at)) => Some(*at),
        // It was not done.
        Some(_) => return None,
    };
    Some(Write { value, sent: command.sent, answered, command: Some(command) })
}

/// What a read saw, and when it was answered.
fn value_read(command: &Command) -> Option<(Option<&[u8]>, Instant)> {
    match (&command.asked, &command.answered) {
        (Asked::Get, Some((Answered::Value(value, _), at))) => Some((Some(value), *at)),
        (Asked::Get, Some((Answered::NotFound, at))) => Some((None, *at)),
        _ => None,
    }
}

impl fmt::Display for Violation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read, replaced, bound } = self;
        write!(f, "client {} was answered", read.client)?;
        if let Some((answer, _)) = &read.answered {
            write!(f, " {answer}")?;
        }
        let Some(next) = replaced else { return write!(f, ", which was not written by then") };
        let answered = next.answered.as_ref().map_or(next.sent, |(_, at)| *at);
        let before = read.sent.saturating_duration_since(answered);
        write!(f, ", but {} was done {before:?} before it asked, not {bound:?}", next.asked)
    }
}

impl std::error::Error for Violation<'_> {}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use Answered::{Done, NotFound, NotStored};
    use Asked::{Add, Delete, Get};

    const BOUND: Duration = Duration::from_millis(100);

    /// Commands by (from, to, what, answer), in milliseconds; to 0 for never.
    fn history(commands: &[(u64, u64, Asked, Answered)]) -> Vec<Command> {
        let start = Instant::now() + Duration::from_hours(1);
        let at = |ms: u64| start + Duration::from_millis(ms);
        let command = |(from, to, asked, answer): &(u64, u64, Asked, Answered)| Command {
            client: 0,
            asked: asked.clone(),
            sent: at(*from),
            answered: (*to > 0).then(|| (answer.clone(), at(*to))),
        };
        commands.iter().map(command).collect()
    }

    fn set(value: &str) -> Asked {
        Asked::Set(value.into())
    }

    fn value(value: &str) -> Answered {
        Answered::Value(value.into(), 1)
    }

    #[test]
    fn what_was_there_within_the_bound_is_believed() {
        let done = |from, to, asked| (from, to, asked, Done);
        for commands in [
            // Replaced no longer ago than that, also by what takes long.
            vec![done(1, 2, set("a")), done(3, 9, set("b")), (109, 110, Get, value("a"))],
            vec![done(1, 2, set("a")), done(3, 900, set("b")), (500, 501, Get, value("a"))],
            // In either order of two at once.
            vec![done(1, 5, set("a")), done(2, 6, set("b")), (900, 901, Get, value("a"))],
            // On its way.
            vec![done(1, 2, set("a")), done(3, 9, set("b")), (4, 5, Get, value("b"))],
            // Unknown, and done late, or never.
            vec![(1, 0, set("a"), Done), done(2, 3, set("b")), (900, 901, Get, value("a"))],
            vec![done(1, 2, set("a")), (3, 0, set("b"), Done), (900, 901, Get, value("a"))],
            // Not there at first, or not any more.
            vec![(50, 51, Get, NotFound), done(52, 60, set("a")), (160, 161, Get, NotFound)],
            vec![done(1, 2, set("a")), done(3, 4, Delete), (900, 901, Get, NotFound)],
            // What was not done replaces nothing.
            vec![
                done(1, 2, set("a")),
                (3, 4, Add("b".into()), NotStored),
                (900, 901, Get, value("a")),
            ],
        ] {
            let all = history(&commands);
            judge(&all, BOUND).unwrap_or_else(|violation| panic!("{commands:?}: {violation}"));
        }
    }

    #[test]
    fn what_was_replaced_before_is_seen() {
        let done = |from, to, asked| (from, to, asked, Done);
        for commands in [
            vec![done(1, 2, set("a")), done(3, 9, set("b")), (110, 111, Get, value("a"))],
            vec![done(1, 2, set("a")), done(3, 4, Delete), (110, 111, Get, value("a"))],
            vec![done(1, 9, set("a")), (110, 111, Get, NotFound)],
            vec![
                done(1, 2, set("a")),
                done(3, 4, Delete),
                done(5, 6, set("b")),
                (110, 111, Get, NotFound),
            ],
            // Not yet, never.
            vec![(1, 2, Get, value("a")), done(3, 4, set("a"))],
            vec![(1, 2, Get, value("a"))],
            vec![(1, 2, Add("a".into()), NotStored), (3, 4, Get, value("a"))],
        ] {
            judge(&history(&commands), BOUND).expect_err(&format!("{commands:?}"));
        }
    }

    /// Reads of a copy that lags behind, then one answer bent to what was there before the bound.
    #[test]
    fn a_bent_answer_is_seen_among_many_that_are_true() {
        for seed in 0..300 {
            let rng = &mut SmallRng::seed_from_u64(seed);
            // What was there from which moment on, and when that was answered.
            let mut versions = vec![(0, 0, NotFound)];
            let mut commands = Vec::new();
            for number in 1..=60_u64 {
                let at = 1000 + 20 * number;
                let (sent, answered) = (at - rng.random_range(0..30), at + rng.random_range(1..30));
                if rng.random_ratio(1, 3) {
                    let text = number.to_string();
                    let (asked, after) = if rng.random_ratio(1, 5) {
                        (Delete, NotFound)
                    } else {
                        (set(&text), value(&text))
                    };
                    versions.push((at, answered, after));
                    commands.push((sent, answered, asked, Done));
                } else {
                    let of = at - rng.random_range(0..=100);
                    let then = versions.iter().rfind(|(from, ..)| *from <= of).unwrap();
                    commands.push((sent.max(at - 5), answered, Get, then.2.clone()));
                }
            }
            let all = history(&commands);
            judge(&all, BOUND).unwrap_or_else(|violation| panic!("{seed}: {violation}"));
            let gets = commands.iter_mut().filter(|command| command.2 == Get);
            let read = gets.last().unwrap();
            // Two writes do not overlap if one is 60 ms behind the other.
            let next = versions.iter().rposition(|(_, answered, _)| *answered + 100 < read.0);
            let next = &versions[next.unwrap()];
            let old = versions.iter().rfind(|(from, _, is)| from + 60 < next.0 && *is != NotFound);
            let Some((.., old)) = old else { continue };
            read.3 = old.clone();
            judge(&history(&commands), BOUND).expect_err(&format!("{seed}"));
        }
    }
}
