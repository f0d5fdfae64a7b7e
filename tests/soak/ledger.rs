//! What one connection knows of its keys, which nobody else touches.

use super::answer::{Answer, Told};
use super::command::{Ask, Command};
use super::item::{Item, Presence};
use super::judge::{Judge, wrong};
use super::moment::Moment;
use super::value::Piece;
use super::violation::Violation;
use crate::filler::Filler;

/// All keys of a connection.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The number of its first key, over all connections.
    first: u64,
    entries: Vec<Entry>,
    /// The longest value that must be taken.
    longest: usize,
    filler: Filler,
    scratch: Vec<u8>,
    /// Items that were gone without a reason but eviction.
    pub(super) lost: u64,
}

/// What is known of a key.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    /// The item, unless it is surely gone.
    pub(super) item: Option<Item>,
    /// The last cas unique told for it.
    pub(super) last_cas: u64,
    /// Pieces of values that were made for it.
    pub(super) generation: u32,
}

impl Ledger {
    /// A ledger of `keys` keys that were never set.
    pub(super) fn new(first: u64, keys: usize, longest: usize) -> Self {
        let entries = vec![Entry::default(); keys];
        let (filler, scratch) = (Filler::default(), Vec::new());
        Self { first, entries, longest, filler, scratch, lost: 0 }
    }

    pub(super) fn filler(&self) -> &Filler {
        &self.filler
    }

    /// A key's bytes. Most are short.
    pub(super) fn key(&self, key: usize) -> Vec<u8> {
        let mut bytes = format!("k{}", self.first + key as u64).into_bytes();
        let len = match key % 16 {
            0 => 250,
            1..4 => 100,
            _ => 10 + key % 32,
        };
        bytes.resize(len.max(bytes.len()), b'x');
        bytes
    }

    /// A piece of a value like none before it.
    pub(super) fn piece(&mut self, key: usize, len: usize) -> Piece {
        let generation = self.entries.get_mut(key).map_or(0, |entry| {
            entry.generation += 1;
            entry.generation
        });
        Piece { key: self.first + key as u64, generation, len }
    }

    /// The length of a key's value, 0 if there is none.
    pub(super) fn held(&self, key: usize) -> usize {
        self.item(key).map_or(0, |item| item.value.len())
    }

    /// The cas unique told last for a key.
    pub(super) fn last_cas(&self, key: usize) -> u64 {
        self.entries.get(key).map_or(0, |entry| entry.last_cas)
    }

    fn item(&self, key: usize) -> Option<&Item> {
        self.entries.get(key)?.item.as_ref()
    }

    /// How many items there are at most, and how many unless they were evicted.
    pub(super) fn count(&self, moment: &Moment) -> (u64, u64) {
        let (mut most, mut least) = (0, 0);
        for item in self.entries.iter().filter_map(|entry| entry.item.as_ref()) {
            // Expired ones count until they are noticed.
            most += u64::from(!item.is_flushed(moment));
            least += u64::from(item.presence(moment) == Presence::Surely);
        }
        (most, least)
    }

    /// Judges an answer, and notes what it means.
    ///
    /// # Errors
    ///
    /// What of it can not be.
    pub(super) fn note(
        &mut self,
        command: &Command,
        answer: &Answer<'_>,
        moment: &Moment,
    ) -> Result<(), Violation> {
        let Some(entry) = self.entries.get_mut(command.key) else { return Ok(()) };
        let before = entry.item.clone();
        let mut judge = Judge {
            entry,
            moment,
            filler: &self.filler,
            scratch: &mut self.scratch,
            lost: &mut self.lost,
        };
        let judged = match &command.ask {
            Ask::Fetch(fetch) => judge.fetch(fetch, command, answer),
            Ask::Store(_, value)
                if (*answer == Answer::TooLarge) != (value.len() > self.longest) =>
            {
                wrong()
            }
            Ask::Store(store, value) => judge.store(store, value, answer),
            Ask::Delete(delete) => judge.delete(delete, answer),
            Ask::Count(count) => judge.count(count, answer),
        };
        judged.map_err(|why| {
            let key = self.first + command.key as u64;
            Violation::new(format_args!(
                "{why}\n  key      k{key}\n  asked    {command:?}\n  answered {}\n  known    {before:?}",
                shown(answer),
            ))
        })
    }
}

/// An answer, with no more of its value than tells what it is.
fn shown(answer: &Answer<'_>) -> String {
    let Answer::Done(told) = answer else { return format!("{answer:?}") };
    let value = told.value.unwrap_or_default();
    let head = value.get(..60).unwrap_or(value).escape_ascii();
    format!("{:?}, value {head}", Told { value: None, ..told.clone() })
}
