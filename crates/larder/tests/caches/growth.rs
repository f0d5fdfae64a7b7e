//! A node comes and goes while clients ask, and what they find does not become less.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::distr::Distribution as _;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;

use crate::heat::Ending;
use crate::load::{Load, Odd, What};
use crate::support::caches::Caches;
use crate::support::stores::Client;

/// How many keys readers share, the `n`th asked for as often as `n^-0.99` says.
const KEYS: u32 = 20_000;

/// One request of so many is for what nobody has stored: 95 of 100 hit as long as nothing is lost.
const NEW: usize = 20;

/// An answer: when, and whether it was a hit.
type Answer = (Instant, bool);

/// Asks until it is told to end, and stores what it misses.
fn read(number: usize, mut client: Client, stop: &AtomicBool) -> Vec<Answer> {
    let weights = (1..=KEYS).map(|rank| f64::from(rank).powf(-0.99));
    let popular = WeightedIndex::new(weights).unwrap();
    let mut chance = StdRng::seed_from_u64(number as u64);
    let mut answers = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let asked = answers.len();
        let key = if asked % NEW == 0 {
            format!("new{number}:{asked}")
        } else {
            format!("key{}", popular.sample(&mut chance))
        };
        let found = client.get(&key);
        answers.push((Instant::now(), found.is_some()));
        match found {
            Some(value) => assert_eq!(value, key),
            None => assert_eq!(client.set(&key, &key), "STORED"),
        }
    }
    answers
}

/// The hits in each whole second, and of how many answers.
fn by_second(answers: &[Answer], from: Instant, until: Instant) -> Vec<(usize, usize)> {
    let seconds = until.duration_since(from).as_secs();
    let second = |number| {
        let begins = from + Duration::from_secs(number);
        let is_of =
            |answer: &&Answer| (begins..begins + Duration::from_secs(1)).contains(&answer.0);
        let answers: Vec<_> = answers.iter().filter(is_of).collect();
        let hits = answers.iter().filter(|(_, hit)| *hit).count();
        (hits, answers.len())
    };
    (0..seconds).map(second).collect()
}

#[test]
fn a_node_that_comes_and_goes_costs_no_hits_and_brings_nothing_back() {
    let mut caches = Caches::plan(6, "--peer-timeout 5000");
    (1..=5).for_each(|node| caches.open(node));
    caches.until_all_know(5);
    let mut filler = caches.client(1);
    for key in (0..KEYS).map(|number| format!("key{number}")) {
        assert_eq!(filler.set(&key, &key), "STORED");
    }
    let load = Load::start(&caches, 5, &[1, 2, 3, 4, 5]);
    let stop = AtomicBool::new(false);
    let (began, ended, answers) = thread::scope(|scope| {
        let ending = Ending(&stop);
        let readers: Vec<_> = (1..=5)
            .map(|node| {
                let (client, stop) = (caches.client(node), &stop);
                scope.spawn(move || read(node.into(), client, stop))
            })
            .collect();
        load.go_on(500);
        let began = Instant::now();
        caches.open(6);
        caches.until_all_see(6);
        // Until what is asked for often is there.
        (0..6).for_each(|_| load.go_on(500));
        let going = Instant::now();
        println!("it has come {:.1?} ago", began.elapsed());
        caches.stop(6);
        println!("it has gone in {:.1?}", going.elapsed());
        caches.until_all_see(5);
        load.go_on(500);
        let ended = Instant::now();
        drop(ending);
        let answers: Vec<_> =
            readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect();
        (began, ended, answers)
    });
    let seconds = by_second(&answers, began, ended);
    println!("hits by second: {seconds:?}");
    assert!(seconds.iter().all(|(hits, all)| hits * 100 >= all * 94), "{seconds:?}");
    let diary = load.end();
    let wrong: Vec<&Odd> = diary.odd.iter().filter(|odd| odd.what != What::Miss).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    // Who changes a key while nodes do not yet agree whose it is may change what lives for a short time only:
    // no more is lost to those who write than to those who read.
    let (missed, answered) = (diary.odd.len(), diary.answers.len());
    println!("{missed} of {answered} missed what their client had stored");
    assert!(missed * 100 < answered, "{missed} of {answered}");
    for node in 1..=5 {
        diary.compare(caches.client(node), &caches.owners(), &[6]);
    }
}
