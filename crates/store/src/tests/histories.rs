//! What clients of all nodes saw while nodes were killed, judged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use larder_protocol::{Arithmetic, Delete, Exptime, Fetch, Mode, Op, Outcome, Store as Put};
use larder_tests::linearizability::{Answered, Asked, Command, judge};

use super::basics::{NOW, put};
use super::block_on;
use super::cluster::{Cluster, eventually};
use crate::{Session, failure};

/// Keys of each round: in the next, nothing is unknown any more.
const KEYS: u64 = 12;

#[test]
fn what_clients_of_all_nodes_see_while_nodes_are_killed_is_one_history() {
    for seed in [0x1A6D_E600, 0x5EED] {
        let mut cluster = Cluster::of(3);
        cluster.leader();
        let mut chance = Chance(seed);
        let (mut unknown, mut all) = (0, 0);
        for round in 0..3 {
            let histories = run(&mut cluster, round, &mut chance);
            for (key, history) in histories {
                unknown += history.iter().filter(|command| command.answered.is_none()).count();
                all += history.len();
                let told = judge(history);
                told.unwrap_or_else(|violation| panic!("seed {seed:#x}, {key}: {violation}"));
            }
        }
        eprintln!("seed {seed:#x}: {all} commands, {unknown} of an unknown outcome");
    }
}

/// Two clients of each node ask at random, while one node after the other is killed and opened again:
/// those of the third ask to the end.
fn run(cluster: &mut Cluster, round: u64, chance: &mut Chance) -> BTreeMap<String, Vec<Command>> {
    let victims = [cluster.leader(), 1 + chance.below(3)];
    while_asked(cluster, (round, KEYS), chance, choose, |cluster, answers| {
        let go_on = || answers.go_on(100);
        go_on();
        for victim in victims {
            cluster.kill(victim);
            go_on();
            cluster.open(victim);
            go_on();
            if victims[0] == victims[1] {
                break;
            }
        }
    })
}

fn choose(turn: Turn<'_>) -> Asked {
    let Turn { value, number, cas, chance, .. } = turn;
    match chance.below(9) {
        0 => Asked::Set(value),
        1 => Asked::Set(number.to_string().into_bytes()),
        2 => Asked::Add(value),
        3 => Asked::Append(b"+".to_vec()),
        4 => Asked::Cas(cas.unwrap_or(u64::MAX), value),
        5 => Asked::Incr(1),
        6 => Asked::Decr(1),
        7 if chance.below(3) == 0 => Asked::Delete,
        _ => Asked::Get,
    }
}

/// A client's turn to ask for something.
pub(super) struct Turn<'a> {
    /// Clients 0 to 2 are of nodes 1 to 3, and so are 3 to 5.
    pub(super) client: usize,
    /// What nobody else writes.
    pub(super) value: Vec<u8>,
    number: u64,
    /// The cas unique that it has seen last of the key.
    cas: Option<u64>,
    pub(super) chance: &'a mut Chance,
}

/// How many answers there were that tell something, and whether clients are to end: they are when this
/// goes, also if a test fails.
#[derive(Default)]
pub(super) struct Answers {
    count: AtomicUsize,
    stop: AtomicBool,
}

impl Answers {
    /// Waits until there are so many more.
    pub(super) fn go_on(&self, more: usize) {
        let from = self.count.load(Ordering::Relaxed);
        let more = || (self.count.load(Ordering::Relaxed) > from + more).then_some(());
        eventually("clients are answered", more);
    }
}

struct Stops<'a>(&'a Answers);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Has two clients of each of three nodes ask what they `choose` for of so many keys of a round, while
/// `meanwhile` goes on. Gives what was asked of each key, but for what was surely not done.
pub(super) fn while_asked(
    cluster: &mut Cluster,
    keys: (u64, u64),
    chance: &mut Chance,
    choose: fn(Turn<'_>) -> Asked,
    meanwhile: impl FnOnce(&mut Cluster, &Answers),
) -> BTreeMap<String, Vec<Command>> {
    let answers = Answers::default();
    let session = |client| (client, cluster.session(1 + client as u64 % 3));
    let sessions: Vec<_> = (0..6_usize).map(session).collect();
    let seeds: Vec<_> = sessions.iter().map(|_| chance.next()).collect();
    thread::scope(|scope| {
        let (answers, stops) = (&answers, Stops(&answers));
        let clients = sessions.into_iter().zip(seeds).map(|((client, session), seed)| {
            scope.spawn(move || ask_at_random(client, session, keys, Chance(seed), choose, answers))
        });
        let clients: Vec<_> = clients.collect();
        meanwhile(cluster, answers);
        drop(stops);
        let mut histories = BTreeMap::<_, Vec<_>>::new();
        for client in clients {
            for (key, command) in client.join().unwrap() {
                histories.entry(key).or_default().push(command);
            }
        }
        histories
    })
}

/// Asks until it is to end, or its node is killed. Gives what was asked, but for what was surely not done.
fn ask_at_random(
    client: usize,
    mut session: Session,
    (round, keys): (u64, u64),
    mut chance: Chance,
    choose: fn(Turn<'_>) -> Asked,
    answers: &Answers,
) -> Vec<(String, Command)> {
    let (mut seen, mut known) = (Vec::new(), BTreeMap::new());
    for number in 0.. {
        if answers.stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{round}-{}", chance.below(keys));
        let value = format!("{client}.{number}").into_bytes();
        let cas = known.get(&key).copied();
        let asked = choose(Turn { client, value, number, cas, chance: &mut chance });
        let sent = Instant::now();
        let outcome = block_on(session.execute(key.as_bytes(), &op(&asked), NOW));
        let at = Instant::now();
        let answer = match outcome {
            Outcome::Hit(hit) => {
                known.insert(key.clone(), hit.before.cas);
                Some(Answered::Value(hit.value.to_bytes().into_owned(), hit.before.cas))
            }
            Outcome::Counted(counted) => Some(Answered::Number(counted.number)),
            Outcome::Stored { .. } | Outcome::Deleted => Some(Answered::Done),
            Outcome::NotStored => Some(Answered::NotStored),
            Outcome::Exists => Some(Answered::Exists),
            Outcome::NotFound | Outcome::Miss => Some(Answered::NotFound),
            Outcome::NotANumber => Some(Answered::NotANumber),
            Outcome::Failed(failure::CLOSED) => break,
            Outcome::Failed(why) if why.starts_with("outcome unknown") => None,
            Outcome::Failed(_) => continue,
            other => panic!("{other:?}"),
        };
        answers.count.fetch_add(answer.is_some().into(), Ordering::Relaxed);
        seen.push((key, Command { client, asked, sent, answered: answer.map(|is| (is, at)) }));
    }
    seen
}

fn op(asked: &Asked) -> Op<'_> {
    match asked {
        Asked::Get => Op::Fetch(Fetch::GET),
        Asked::Set(value) => Op::Store(put(value)),
        Asked::Add(value) => Op::Store(Put { mode: Mode::Add, ..put(value) }),
        Asked::Append(value) => Op::Store(Put { mode: Mode::Append, ..put(value) }),
        Asked::Cas(cas, value) => Op::Store(Put { compare: Some(*cas), ..put(value) }),
        Asked::Incr(delta) => Op::Arithmetic(Arithmetic { delta: *delta, ..Arithmetic::INCR }),
        Asked::Decr(delta) => {
            Op::Arithmetic(Arithmetic { decrement: true, delta: *delta, ..Arithmetic::INCR })
        }
        Asked::Delete => Op::Delete(Delete::default()),
        Asked::Lapse => Op::Fetch(Fetch { ttl: Some(Exptime(-1)), ..Fetch::GET }),
    }
}

/// Numbers that look like chance, the same for the same seed (`SplitMix64`).
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
