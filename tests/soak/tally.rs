//! What was sent, as a server should have counted it.

use std::iter::Sum;
use std::ops::Add;

use super::answer::Answer;
use super::command::{Ask, Command};

/// Commands that were answered, by kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) commands: u64,
    pub(super) meta: u64,
    pub(super) gets: u64,
    pub(super) get_hits: u64,
    pub(super) get_misses: u64,
    pub(super) touches: u64,
    /// Of these, those that found an item or none.
    pub(super) touched: u64,
    pub(super) sets: u64,
    pub(super) compares: u64,
    pub(super) deletes: u64,
    pub(super) counts: u64,
    pub(super) too_large: u64,
    pub(super) no_memory: u64,
}

impl Tally {
    pub(super) fn count(&mut self, command: &Command, answer: &Answer<'_>) {
        self.commands += 1;
        self.meta += u64::from(command.is_meta());
        let done = *answer != Answer::NoMemory;
        self.no_memory += u64::from(!done);
        match &command.ask {
            Ask::Fetch(fetch) if fetch.ttl.is_some() => {
                self.touches += 1;
                self.touched += u64::from(done);
            }
            Ask::Fetch(_) => {
                self.gets += 1;
                let hit = matches!(answer, Answer::Done(_));
                self.get_hits += u64::from(hit);
                self.get_misses += u64::from(done && !hit);
            }
            Ask::Store(..) if *answer == Answer::TooLarge => self.too_large += 1,
            Ask::Store(store, _) => {
                self.sets += 1;
                self.compares += u64::from(store.compare.is_some() && done);
            }
            Ask::Delete(_) => self.deletes += 1,
            Ask::Count(_) => self.counts += u64::from(done && *answer != Answer::NotANumber),
        }
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            commands: self.commands + other.commands,
            meta: self.meta + other.meta,
            gets: self.gets + other.gets,
            get_hits: self.get_hits + other.get_hits,
            get_misses: self.get_misses + other.get_misses,
            touches: self.touches + other.touches,
            touched: self.touched + other.touched,
            sets: self.sets + other.sets,
            compares: self.compares + other.compares,
            deletes: self.deletes + other.deletes,
            counts: self.counts + other.counts,
            too_large: self.too_large + other.too_large,
            no_memory: self.no_memory + other.no_memory,
        }
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        tallies.fold(Self::default(), Self::add)
    }
}
