//! The engine alone, without sockets, beside `quick_cache` and `moka`.
//!
//! What is measured is nanoseconds for one operation; with several threads, those that each of them
//! takes for one of its own. A get copies the value into a buffer that is used again. All caches see
//! the same keys in the same order.
//!
//! - `engine`: the caches that are compared
//! - `workload`: the keys they are asked for

use std::cell::LazyCell;
use std::fs;
use std::hint::black_box;
use std::panic::resume_unwind;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode};

use engine::{Engine, Larder, Moka, QuickCache};
use workload::{Key, VALUE_BYTES, WORKLOADS, Workload, key};

mod engine;
mod workload;

/// One operation of so many in the mix is a set.
const ONE_SET_OF: usize = 11;

/// So many gets give a cache an idea of what is popular.
const SETTLING: usize = 1 << 20;

static VALUE: [u8; VALUE_BYTES] = [b'v'; VALUE_BYTES];

/// One cache of each kind.
struct Engines {
    larder: Larder,
    quick_cache: QuickCache,
    moka: Moka,
}

/// What is done with the keys.
#[derive(Clone, Copy)]
enum Operation {
    Get,
    Set,
    /// Ten gets, a set, and so on.
    Mix,
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let [smallest, ..] = &WORKLOADS;
    report(smallest);
    for workload in &WORKLOADS {
        measure(&mut criterion, workload);
    }
    criterion.final_summary();
}

/// What the same limit comes to. It comes first, while the allocator has no memory to use again.
fn report(workload: &Workload) {
    fn line<E: Engine>(workload: &Workload, draws: &[Key]) -> E {
        let before = resident_kib();
        let (engine, hits) = full::<E>(workload, draws);
        let (items, bytes) = engine.held();
        let resident = resident_kib() - before;
        println!(
            "{:12} {items} items, {} KiB by its own count, {resident} KiB resident, \
             {hits} of 1000 gets hit",
            E::NAME,
            bytes >> 10,
        );
        engine
    }
    println!("{}: {} keys", workload.name, workload.keys());
    let draws = workload.draw(0, workload.keys());
    // None is dropped before the last is full.
    let _engines = Engines {
        larder: line(workload, &draws),
        quick_cache: line(workload, &draws),
        moka: line(workload, &draws),
    };
}

/// Gets of what is there and of what is not, of caches that are not full; then sets, and gets with
/// sets, of more keys than fit.
fn measure(criterion: &mut Criterion, workload: &Workload) {
    let (all, fitting) = (workload.keys(), workload.fitting());
    let engines = LazyCell::new(|| Engines {
        larder: part(workload),
        quick_cache: part(workload),
        moka: part(workload),
    });
    let draws = LazyCell::new(|| workload.draw(0, fitting));
    group(criterion, workload, "get hit", Operation::Get, &engines, &draws);
    let draws = LazyCell::new(|| workload.draw(all, fitting));
    group(criterion, workload, "get miss", Operation::Get, &engines, &draws);
    drop(engines);

    let draws = LazyCell::new(|| workload.draw(0, all));
    let engines = LazyCell::new(|| Engines {
        larder: full(workload, &draws).0,
        quick_cache: full(workload, &draws).0,
        moka: full(workload, &draws).0,
    });
    group(criterion, workload, "set", Operation::Set, &engines, &draws);
    group(criterion, workload, "10 gets 1 set", Operation::Mix, &engines, &draws);
}

/// What is lazy is only made if the command line asks for one of these.
fn group(
    criterion: &mut Criterion,
    workload: &Workload,
    name: &str,
    operation: Operation,
    engines: &LazyCell<Engines, impl FnOnce() -> Engines>,
    draws: &LazyCell<Vec<Key>, impl FnOnce() -> Vec<Key>>,
) {
    let mut group = criterion.benchmark_group(format!("{}, {name}", workload.name));
    group.sampling_mode(SamplingMode::Flat);
    for threads in [1, 2] {
        bench(&mut group, || &engines.larder, operation, draws, threads);
        bench(&mut group, || &engines.quick_cache, operation, draws, threads);
        bench(&mut group, || &engines.moka, operation, draws, threads);
    }
}

/// A cache of as many items as surely fit.
fn part<E: Engine>(workload: &Workload) -> E {
    let engine = E::new(workload.memory_limit, workload.items());
    let keys = || (0..workload.fitting()).map(key);
    keys().for_each(|key| engine.set(&key, &VALUE));
    let mut buffer = Vec::new();
    for key in keys() {
        buffer.clear();
        assert!(engine.get(&key, &mut buffer), "{} does not hold what fits", E::NAME);
        assert_eq!(buffer, VALUE);
    }
    engine
}

/// A cache that was given every key and then, for a while, was asked for what is drawn and given
/// what was missing. Beside it, how many of a thousand gets hit in the second half of that while.
fn full<E: Engine>(workload: &Workload, draws: &[Key]) -> (E, usize) {
    let engine = E::new(workload.memory_limit, workload.items());
    (0..workload.keys()).map(key).for_each(|key| engine.set(&key, &VALUE));
    let mut buffer = Vec::new();
    let mut found = |key: &&Key| {
        buffer.clear();
        let found = engine.get(*key, &mut buffer);
        if !found {
            engine.set(*key, &VALUE);
        }
        found
    };
    let draws = draws.get(..SETTLING).unwrap_or(draws);
    let (first, second) = draws.split_at(draws.len() / 2);
    first.iter().filter(&mut found).for_each(drop);
    let hits = second.iter().filter(&mut found).count();
    (engine, hits * 1000 / second.len())
}

/// Every measurement goes on with the keys where the one before ended; threads are as far from each
/// other as they can be.
fn bench<'a, E: Engine + 'a>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    engine: impl Fn() -> &'a E,
    operation: Operation,
    draws: &LazyCell<Vec<Key>, impl FnOnce() -> Vec<Key>>,
    threads: usize,
) {
    let mut at = 0;
    group.bench_function(BenchmarkId::new(E::NAME, threads), |bencher| {
        let (engine, draws) = (engine(), draws.as_slice());
        bencher.iter_custom(|operations| {
            let operations = usize::try_from(operations).unwrap_or(usize::MAX);
            let elapsed = at_once(threads, |number| {
                let first = (at + number * draws.len() / threads) % draws.len();
                let keys = draws.iter().skip(first).chain(draws.iter().cycle()).take(operations);
                run(engine, operation, keys);
            });
            at = (at + operations) % draws.len();
            elapsed
        });
    });
}

/// How long it takes from when the first of the threads begins `work` until the last has done it.
/// They begin together, and look at the clock themselves: another could be late for it.
fn at_once(threads: usize, work: impl Fn(usize) + Sync) -> Duration {
    let start = &Barrier::new(threads);
    let measured = |number| {
        start.wait();
        let begun = Instant::now();
        work(number);
        (begun, Instant::now())
    };
    thread::scope(|scope| {
        let running: Vec<_> =
            (0..threads).map(|number| scope.spawn(move || measured(number))).collect();
        let joined = running.into_iter().map(thread::ScopedJoinHandle::join);
        let times: Vec<_> =
            joined.map(|times| times.unwrap_or_else(|panic| resume_unwind(panic))).collect();
        let begun = times.iter().map(|(begun, _)| begun).min();
        let ended = times.iter().map(|(_, ended)| ended).max();
        begun.zip(ended).map_or(Duration::ZERO, |(begun, ended)| *ended - *begun)
    })
}

#[inline]
fn run<'a, E: Engine>(engine: &E, operation: Operation, keys: impl Iterator<Item = &'a Key>) {
    let mut buffer = Vec::new();
    let mut get = |key: &Key| {
        buffer.clear();
        black_box(engine.get(key, &mut buffer));
        black_box(&buffer);
    };
    let set = |key: &Key| engine.set(key, black_box(&VALUE));
    match operation {
        Operation::Get => keys.for_each(get),
        Operation::Set => keys.for_each(set),
        Operation::Mix => keys.zip((0..ONE_SET_OF).cycle()).for_each(|(key, turn)| match turn {
            0 => set(key),
            _ => get(key),
        }),
    }
}

/// What this process has of the machine's memory; 0 where there is no /proc.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
