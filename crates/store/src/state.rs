//! What a partition knows besides its items: how far it has counted, and what is flushed.

use bytes::Bytes;
use larder_protocol::Seconds;

use crate::record::Unreadable;

/// What a partition knows besides its items. Each batch writes it along with the items it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The last place given out in the order of writes.
    pub(crate) sequence: u64,
    /// Records up to this place are gone.
    pub(crate) flushed: u64,
    /// From this second on all records written before it are gone; 0 for none.
    pub(crate) flush_at: Seconds,
    /// How many commands are done of the entry after the mark: an entry may be kept in slices.
    pub(crate) done: u32,
}

/// A state as it is kept, with the mark of the last entry that is done: how far the group's history is
/// in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) state: State,
    /// Empty before the first.
    pub(crate) mark: Bytes,
}

impl State {
    /// The next place in the order of writes.
    pub(crate) fn advance(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// A delayed flush whose time has come becomes a mark in the order of writes, so that what is
    /// written from now on lives.
    pub(crate) fn settle(&mut self, now: Seconds) {
        if self.flush_at != 0 && self.flush_at <= now {
            self.flushed = self.sequence;
            self.flush_at = 0;
        }
    }

    /// Everything written before the second `at` is to go; 0 or the past means now.
    pub(crate) fn flush(&mut self, at: Seconds, now: Seconds) {
        self.settle(now);
        self.flush_at = at.max(1);
        self.settle(now.max(1));
    }

    /// Whether a record of this place is gone at `now`.
    pub(crate) fn has_flushed(&self, sequence: u64, now: Seconds) -> bool {
        sequence <= self.flushed || (self.flush_at != 0 && self.flush_at <= now)
    }
}

impl Kept {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let State { sequence, flushed, flush_at, done } = self.state;
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.extend_from_slice(&flushed.to_le_bytes());
        bytes.extend_from_slice(&flush_at.to_le_bytes());
        bytes.extend_from_slice(&done.to_le_bytes());
        bytes.extend_from_slice(&self.mark);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let (version, rest) = bytes.split_first().ok_or(Unreadable::Damaged)?;
        if *version != VERSION {
            return Err(Unreadable::Version(*version));
        }
        let (sequence, rest) = rest.split_first_chunk().ok_or(Unreadable::Damaged)?;
        let (flushed, rest) = rest.split_first_chunk().ok_or(Unreadable::Damaged)?;
        let (flush_at, rest) = rest.split_first_chunk().ok_or(Unreadable::Damaged)?;
        let (done, mark) = rest.split_first_chunk().ok_or(Unreadable::Damaged)?;
        let state = State {
            sequence: u64::from_le_bytes(*sequence),
            flushed: u64::from_le_bytes(*flushed),
            flush_at: Seconds::from_le_bytes(*flush_at),
            done: u32::from_le_bytes(*done),
        };
        Ok(Self { state, mark: Bytes::copy_from_slice(mark) })
    }
}

const VERSION: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_these_for_good() {
        let state = State { sequence: 0x0102, flushed: 3, flush_at: 4, done: 5 };
        let kept = Kept { state, mark: Bytes::from_static(&[6, 7]) };
        let bytes =
            [2, 2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6, 7];
        assert_eq!(kept.encode(), bytes);
        assert_eq!(Kept::decode(&bytes), Ok(kept));
        assert_eq!(Kept::decode(&bytes[..24]), Err(Unreadable::Damaged));
        assert_eq!(Kept::decode(&[1]), Err(Unreadable::Version(1)));
    }

    #[test]
    fn a_delayed_flush_takes_what_was_written_before_its_second() {
        let mut state = State { sequence: 5, ..State::default() };
        state.flush(100, 90);
        assert!(!state.has_flushed(5, 99));
        assert!(state.has_flushed(5, 100));
        state.settle(100);
        let written = state.advance();
        assert!(!state.has_flushed(written, 100) && state.has_flushed(5, 100));
    }

    #[test]
    fn a_flush_replaces_one_that_has_not_come_to_pass() {
        let mut state = State { sequence: 5, ..State::default() };
        state.flush(100, 90);
        state.flush(200, 95);
        assert!(!state.has_flushed(5, 150));
        state.flush(0, 150);
        assert_eq!(state, State { sequence: 5, flushed: 5, ..State::default() });
    }
}
