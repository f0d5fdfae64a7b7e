//! Clients that ask without end, each about keys of its own, and know what they may be told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::caches::{Caches, Owners};
use crate::support::stores::Client;
use crate::support::until;

/// Clients that ask, until they are told to end.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    /// How many requests each has had an answer to.
    done: Vec<Arc<AtomicU64>>,
    clients: Vec<JoinHandle<Diary>>,
}

/// What clients have seen.
#[derive(Default)]
pub(crate) struct Diary {
    /// When each request was answered.
    pub(crate) answers: Vec<Instant>,
    pub(crate) odd: Vec<Odd>,
    items: Vec<Item>,
}

/// An answer that is right only sometimes.
#[derive(Debug)]
pub(crate) struct Odd {
    pub(crate) at: Instant,
    pub(crate) key: String,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// It could not be answered.
    Error(String),
    /// What was stored is not there.
    Miss,
    /// What was overwritten or deleted is there.
    Old,
}

/// What is known of a key. Its values are numbered.
#[derive(Clone, Debug)]
struct Item {
    key: String,
    /// The lowest number that it may have.
    least: u64,
    /// The number of the next value.
    next: u64,
    /// It is known to be there, unless the node was lost that had it.
    stored: bool,
}

impl Load {
    /// So many clients, by turns of these nodes.
    pub(crate) fn start(caches: &Caches, clients: usize, nodes: &[u16]) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let done: Vec<_> = (0..clients).map(|_| Arc::<AtomicU64>::default()).collect();
        let client = |(number, done): (usize, &Arc<AtomicU64>)| {
            let client = caches.client(nodes[number % nodes.len()]);
            let (stop, done) = (Arc::clone(&stop), Arc::clone(done));
            thread::spawn(move || ask(number, client, &stop, &done))
        };
        let clients = done.iter().enumerate().map(client).collect();
        Self { stop, done, clients }
    }

    /// Waits until each client has had so many more answers.
    pub(crate) fn go_on(&self, answers: u64) {
        for done in &self.done {
            let enough = done.load(Ordering::Relaxed) + answers;
            until("clients are answered", || {
                (done.load(Ordering::Relaxed) >= enough).then_some(())
            });
        }
    }

    pub(crate) fn end(self) -> Diary {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Diary::default();
        for client in self.clients {
            let Diary { answers, odd, items } = client.join().unwrap();
            all.answers.extend(answers);
            all.odd.extend(odd);
            all.items.extend(items);
        }
        all
    }
}

impl Diary {
    /// Reads all keys through a node: what is old is never told, and what is not another's than `lost` is
    /// there.
    pub(crate) fn compare(&self, mut client: Client, owners: &Owners, lost: &[u16]) {
        for item in &self.items {
            let told = item.clone().get(&mut client);
            let may_be_lost = lost.contains(&owners.of(item.key.as_bytes()));
            let right = told.is_none() || (told == Some(What::Miss) && may_be_lost);
            assert!(right, "{item:?}: {told:?}");
        }
    }
}

/// Asks until it is told to end: of ten requests one stores, of twenty one deletes, and the others read,
/// and store what was not there the last time.
fn ask(number: usize, mut client: Client, stop: &AtomicBool, done: &AtomicU64) -> Diary {
    let mut chance = StdRng::seed_from_u64(number as u64);
    let item = |key| Item { key, least: 0, next: 0, stored: false };
    let items = (0..KEYS).map(|key| item(format!("client{number}:{key}")));
    let mut diary = Diary { items: items.collect(), ..Diary::default() };
    for item in &mut diary.items {
        assert_eq!(item.set(&mut client), None);
    }
    while !stop.load(Ordering::Relaxed) {
        let item = &mut diary.items[chance.random_range(0..KEYS)];
        let what = match chance.random_range(0..20) {
            0..2 => item.set(&mut client),
            2 => item.delete(&mut client),
            _ if item.stored => item.get(&mut client),
            _ => item.get(&mut client).or_else(|| item.set(&mut client)),
        };
        let at = Instant::now();
        if let Some(what) = what {
            // As its client knows now.
            item.stored &= what != What::Miss;
            diary.odd.push(Odd { at, key: item.key.clone(), what });
        }
        diary.answers.push(at);
        done.fetch_add(1, Ordering::Relaxed);
        thread::sleep(PAUSE);
    }
    diary
}

impl Item {
    fn set(&mut self, client: &mut Client) -> Option<What> {
        let number = self.next;
        self.next += 1;
        let answer = client.set(&self.key, &format!("{} {number}", self.key));
        self.stored = answer == "STORED";
        if self.stored {
            self.least = number;
            return None;
        }
        Some(error(answer))
    }

    fn delete(&mut self, client: &mut Client) -> Option<What> {
        let answer = client.ask(&format!("delete {}\r\n", self.key));
        let stored = std::mem::replace(&mut self.stored, false);
        match &*answer {
            "DELETED" => self.least = self.next,
            "NOT_FOUND" => {
                self.least = self.next;
                return stored.then_some(What::Miss);
            }
            _ => return Some(error(answer)),
        }
        None
    }

    fn get(&mut self, client: &mut Client) -> Option<What> {
        let first = client.ask(&format!("get {}\r\n", self.key));
        if first == "END" {
            return self.stored.then_some(What::Miss);
        }
        if !first.starts_with("VALUE ") {
            return Some(error(first));
        }
        let value = client.line();
        assert_eq!(client.line(), "END");
        let (key, number) = value.split_once(' ').unwrap();
        let number: u64 = number.parse().unwrap();
        assert!(key == self.key && number < self.next, "{self:?}: {value}");
        (number < self.least).then_some(What::Old)
    }
}

fn error(answer: String) -> What {
    assert!(answer.starts_with("SERVER_ERROR "), "{answer}");
    What::Error(answer)
}

/// Of each client.
const KEYS: usize = 300;

/// Between two requests of a client: nodes share two processors with all of them.
const PAUSE: Duration = Duration::from_micros(500);
