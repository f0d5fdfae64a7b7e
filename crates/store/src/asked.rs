//! Reads of a group, until it is known who may answer them.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::bell::Bell;
use crate::command::Command;
use crate::placement::GroupId;

/// Reads of a group, until it is known who may answer them. What is found out is true of all that were
/// asked before: so they go in rounds, and what comes during one gathers for the next.
#[derive(Debug)]
pub(crate) struct Asked {
    group: GroupId,
    bell: Arc<Bell>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    waiting: VecDeque<Command>,
    /// How many rounds are under way, and how many may be.
    rounds: usize,
    room: usize,
    called: bool,
    closed: bool,
    /// It is known that none comes any more.
    ended: bool,
}

impl Asked {
    pub(crate) fn new(group: GroupId, bell: Arc<Bell>) -> Self {
        let waiting = VecDeque::new();
        let (called, closed, ended) = (false, false, false);
        let inner = Inner { waiting, rounds: 0, room: 1, called, closed, ended };
        Self { group, bell, inner: Mutex::new(inner) }
    }

    /// Appends; gives it back if the store is being closed.
    pub(crate) fn push(&self, read: Command) -> Option<Command> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Some(read);
        }
        inner.waiting.push_back(read);
        self.call(inner);
        None
    }

    /// Puts `reads` before all others; gives them back if the store is being closed.
    pub(crate) fn put_back(&self, mut reads: VecDeque<Command>) -> Result<(), VecDeque<Command>> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(reads);
        }
        reads.append(&mut inner.waiting);
        inner.waiting = reads;
        self.call(inner);
        Ok(())
    }

    /// Begins a round with up to `limit` reads, if fewer than `room` are under way and there are any: it
    /// goes on until it is [over](Self::round_over). Each range may be to be in one by itself. `None`
    /// once it is closed and empty, and no round is under way: what is in one is yet to be answered.
    pub(crate) fn begin_round(
        &self,
        room: usize,
        limit: usize,
        apart: bool,
    ) -> Option<Vec<Command>> {
        let mut inner = self.inner.lock();
        (inner.called, inner.room) = (false, room);
        if inner.ends() {
            inner.ended = true;
            return None;
        }
        if inner.waiting.is_empty() || inner.rounds >= room {
            return Some(Vec::new());
        }
        inner.rounds += 1;
        let range = inner.waiting.iter().take(limit).position(|read| apart && read.is_range());
        let count = range.map_or(inner.waiting.len().min(limit), |fetches| fetches.max(1));
        let reads = inner.waiting.drain(..count).collect();
        // There may be room for another.
        self.call(inner);
        Some(reads)
    }

    /// Calls the thread that begins rounds for a question of its own.
    pub(crate) fn call_for_question(&self) {
        let mut inner = self.inner.lock();
        if !inner.closed && !inner.called {
            inner.called = true;
            drop(inner);
            self.bell.ring(self.group);
        }
    }

    pub(crate) fn round_over(&self) {
        let mut inner = self.inner.lock();
        inner.rounds = inner.rounds.saturating_sub(1);
        self.call(inner);
    }

    /// Takes no more; what waits is still begun.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        self.call(inner);
    }

    /// Calls the thread that begins rounds, unless it was called or can do nothing.
    fn call(&self, mut inner: MutexGuard<'_, Inner>) {
        let waits = !inner.waiting.is_empty();
        let wanted = if waits { inner.rounds < inner.room } else { inner.ends() && !inner.ended };
        if wanted && !inner.called {
            inner.called = true;
            drop(inner);
            self.bell.ring(self.group);
        }
    }
}

impl Inner {
    fn ends(&self) -> bool {
        self.closed && self.waiting.is_empty() && self.rounds == 0
    }
}

#[cfg(test)]
mod tests {
    use larder_protocol::{Fetch, Op};

    use super::*;
    use crate::pending::Ticket;
    use crate::span::Span;
    use crate::tests::block_on;

    fn read() -> Command {
        Command::op(b"k", 0, &Op::Fetch(Fetch::GET), 1, Ticket::new().0).of_group(7)
    }

    fn called(bell: &Bell) -> bool {
        bell.ring(0);
        block_on(Box::pin(bell.wait())) != 0 && block_on(Box::pin(bell.wait())) == 0
    }

    #[test]
    fn what_is_asked_during_a_round_gathers_for_the_next() {
        let bell = Arc::<Bell>::default();
        let asked = Asked::new(7, Arc::clone(&bell));
        let begin = |room| asked.begin_round(room, 2, false).map(|reads| reads.len());
        assert!(asked.push(read()).is_none() && asked.push(read()).is_none());
        assert!(called(&bell));
        assert_eq!(begin(1), Some(2));
        for _ in 0..3 {
            assert!(asked.push(read()).is_none());
        }
        assert!(!called(&bell));
        assert_eq!(begin(1), Some(0));
        asked.round_over();
        assert!(called(&bell));
        assert_eq!((begin(1), called(&bell)), (Some(2), false));
        // Another thread may do more at once.
        assert_eq!(begin(2), Some(1));
        assert!(asked.put_back([read()].into()).is_ok());
        asked.close();
        assert!(asked.push(read()).is_some() && asked.put_back([read()].into()).is_err());
        asked.round_over();
        assert!(called(&bell));
        assert_eq!((begin(2), called(&bell), begin(2)), (Some(1), false, Some(0)));
        asked.round_over();
        assert!(!called(&bell), "another round goes on");
        asked.round_over();
        assert_eq!((called(&bell), begin(2)), (true, None));
        assert!(!called(&bell), "it has ended once");
    }

    #[test]
    fn a_question_calls_who_begins_rounds_once_until_it_is_closed() {
        let bell = Arc::<Bell>::default();
        let asked = Asked::new(7, Arc::clone(&bell));
        for _ in 0..2 {
            asked.call_for_question();
            asked.call_for_question();
            assert!(called(&bell));
            assert_eq!(asked.begin_round(1, 2, false).map(|reads| reads.len()), Some(0));
        }
        asked.close();
        assert!(called(&bell) && asked.begin_round(1, 2, false).is_none());
        asked.call_for_question();
        assert!(!called(&bell), "it has ended once");
    }

    #[test]
    fn a_range_may_be_to_be_in_a_round_by_itself() {
        let asked = Asked::new(7, Arc::default());
        let span = Span { end: b"z", left_open: false, right_open: false, most: 1, bytes: 1 };
        let range = || Command::range(b"a", span, 1, Ticket::new().0).of_group(7);
        let begin = |apart| {
            let reads = asked.begin_round(9, 3, apart).unwrap();
            reads.iter().map(Command::is_range).collect::<Vec<_>>()
        };
        for read in [read(), read(), range(), range(), read(), read(), read(), read()] {
            assert!(asked.push(read).is_none());
        }
        assert_eq!(
            [begin(true), begin(true), begin(true)],
            [vec![false; 2], vec![true], vec![true]]
        );
        assert_eq!([begin(true), begin(true)], [vec![false; 3], vec![false]]);
        for read in [read(), range(), read()] {
            assert!(asked.push(read).is_none());
        }
        assert_eq!(begin(false), [false, true, false]);
    }
}
