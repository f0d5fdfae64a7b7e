use std::collections::BTreeMap;
use std::sync::mpsc;

use proptest::prelude::*;

use super::*;

const SEGMENT: usize = 16 << 10;
const PER_SEGMENT: usize = SEGMENT / PAGE_BYTES;

fn limited(segment_bytes: usize, limit: usize) -> Arc<Arena> {
    let arena = Arc::new(Arena::new(segment_bytes));
    arena.set_limit(limit);
    arena
}

/// Which pages of the arena these are, in order.
fn numbers(pages: &Pages) -> impl Iterator<Item = usize> {
    pages.runs.iter().flat_map(|run| {
        let first = run.held.first() as usize;
        first..first + run.held.bytes() / PAGE_BYTES
    })
}

/// Something taken, and the pattern that was written to it.
struct Taken {
    what: What,
    seed: u64,
}

enum What {
    Segment(Segment),
    Pages(Pages),
}

impl Taken {
    fn new(what: What, seed: u64) -> Self {
        let mut taken = Self { what, seed };
        taken.write(seed);
        taken
    }

    fn write(&mut self, seed: u64) {
        self.seed = seed;
        let mut words = pattern(seed);
        let mut fill = |run: &mut [u8]| {
            for word in run.as_chunks_mut().0 {
                *word = words.next().unwrap();
            }
        };
        match &mut self.what {
            What::Segment(segment) => fill(segment),
            What::Pages(pages) => pages.runs_mut().for_each(fill),
        }
    }

    fn verify(&self) {
        let mut words = pattern(self.seed);
        let mut verify = |run: &[u8]| {
            assert!(run.as_chunks().0.iter().all(|word| *word == words.next().unwrap()));
        };
        match &self.what {
            What::Segment(segment) => verify(segment),
            What::Pages(pages) => pages.runs().for_each(verify),
        }
    }

    /// How many pages of which segments.
    fn segments(&self, per_segment: usize) -> Vec<usize> {
        match &self.what {
            What::Segment(segment) => {
                vec![segment.run.held.first() as usize / per_segment; per_segment]
            }
            What::Pages(pages) => numbers(pages).map(|page| page / per_segment).collect(),
        }
    }
}

/// Bytes that tell whose they are and where they belong.
fn pattern(seed: u64) -> impl Iterator<Item = [u8; 8]> {
    (0..).map(move |at: u64| (seed << 24 | at).to_le_bytes())
}

#[derive(Debug, Clone)]
enum Step {
    Take,
    TakePages(usize),
    Drop(prop::sample::Index),
    Write(prop::sample::Index),
    SetLimit(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Take),
        6 => (0..3 * PER_SEGMENT).prop_map(Step::TakePages),
        1 => (0..20 * PER_SEGMENT).prop_map(Step::TakePages),
        7 => any::<prop::sample::Index>().prop_map(Step::Drop),
        1 => any::<prop::sample::Index>().prop_map(Step::Write),
        1 => (0..24_usize).prop_map(Step::SetLimit),
    ];
    prop::collection::vec(step, 1..120)
}

/// Takes and gives as told, and holds the arena to what can be known about it from outside.
fn run(arena: &Arc<Arena>, steps: Vec<Step>) {
    let per_segment = arena.segment_bytes() / PAGE_BYTES;
    let mut taken: Vec<Taken> = Vec::new();
    for (seed, step) in (1..).zip(steps) {
        // Pages that are taken, of segments of which any are.
        let mut segments = BTreeMap::<usize, usize>::new();
        for segment in taken.iter().flat_map(|one| one.segments(per_segment)) {
            *segments.entry(segment).or_default() += 1;
        }
        assert!(segments.values().all(|&pages| pages <= per_segment));
        assert_eq!(arena.in_use(), segments.len());
        let room = arena.limit().saturating_sub(segments.len());
        match step {
            Step::Take => {
                let segment = arena.take();
                assert_eq!(segment.is_some(), room > 0);
                taken.extend(segment.map(|it| Taken::new(What::Segment(it), seed)));
            }
            Step::TakePages(number) => {
                let loose: usize = segments.values().map(|pages| per_segment - pages).sum();
                let pages = arena.take_pages(number);
                assert_eq!(pages.is_some(), number <= loose + room * per_segment);
                if let Some(pages) = pages {
                    assert_eq!(pages.bytes(), number * PAGE_BYTES);
                    assert!(numbers(&pages).is_sorted());
                    taken.push(Taken::new(What::Pages(pages), seed));
                }
            }
            Step::Drop(index) if !taken.is_empty() => {
                drop(taken.swap_remove(index.index(taken.len())));
            }
            Step::Write(index) if !taken.is_empty() => index.get_mut(&mut taken).write(seed),
            Step::Drop(_) | Step::Write(_) => {}
            Step::SetLimit(limit) => arena.set_limit(limit),
        }
        taken.iter().for_each(Taken::verify);
        arena.state.lock().ledger.check();
    }
    taken.clear();
    assert_eq!(arena.in_use(), 0);
    arena.state.lock().ledger.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_given_twice(steps in steps(), limit in 0..24_usize) {
        run(&limited(SEGMENT, limit), steps);
    }

    #[test]
    fn nothing_of_large_segments_is_given_twice(steps in steps(), limit in 0..6_usize) {
        run(&limited(512 << 10, limit), steps);
    }
}

#[test]
fn threads_share_an_arena() {
    let arena = limited(64 << 10, 40);
    let (sender, receiver) = mpsc::channel::<Arc<Taken>>();
    std::thread::scope(|scope| {
        for thread in 1..=4_u64 {
            let (arena, sender) = (&arena, sender.clone());
            scope.spawn(move || {
                let mut taken: Vec<Arc<Taken>> = Vec::new();
                let mut random = thread;
                for round in 0..1000 {
                    random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                    let seed = thread << 32 | round;
                    let what = match random >> 60 {
                        0..4 => arena.take().map(What::Segment),
                        4..8 => arena.take_pages((random >> 32) as usize % 50).map(What::Pages),
                        8 => {
                            arena.set_limit(20 + (random >> 32) as usize % 40);
                            None
                        }
                        _ => None,
                    };
                    if let Some(what) = what {
                        let one = Arc::new(Taken::new(what, seed));
                        sender.send(Arc::clone(&one)).unwrap();
                        taken.push(one);
                    } else if !taken.is_empty() {
                        taken.swap_remove((random >> 40) as usize % taken.len()).verify();
                    }
                }
                for one in taken {
                    one.verify();
                }
            });
        }
        drop(sender);
        // Another thread looks at what is there, and is often the last to have it.
        for one in receiver {
            one.verify();
        }
    });
    assert_eq!(arena.in_use(), 0);
    arena.state.lock().ledger.check();
}

#[test]
fn the_limit_is_lowered_and_raised() {
    let arena = limited(SEGMENT, 3);
    let mut taken = vec![arena.take().unwrap(), arena.take().unwrap(), arena.take().unwrap()];
    assert!(arena.take().is_none() && arena.take_pages(1).is_none());
    arena.set_limit(1);
    assert_eq!((arena.limit(), arena.in_use()), (1, 3));
    taken.pop();
    taken.pop();
    assert!(arena.take().is_none());
    taken.pop();
    assert!(arena.take().is_some());
    arena.set_limit(usize::MAX);
    // More than an extent.
    let taken: Vec<_> = (0..5000).map(|_| arena.take().unwrap()).collect();
    assert!(taken.is_sorted_by_key(|segment| segment.run.held.first()));
    assert_eq!(arena.in_use(), 5000);
}

#[test]
fn pages_are_all_or_none() {
    let arena = limited(SEGMENT, 2);
    let one = arena.take_pages(1).unwrap();
    assert!(arena.take_pages(2 * PER_SEGMENT).is_none());
    assert_eq!(arena.in_use(), 1);
    let rest = arena.take_pages(2 * PER_SEGMENT - 1).unwrap();
    assert!(arena.take_pages(1).is_none() && arena.take().is_none());
    drop(one);
    assert!(arena.take_pages(2).is_none() && arena.take().is_none());
    assert!(arena.take_pages(1).is_some());
    drop(rest);
    assert_eq!(arena.in_use(), 0);
    assert!(arena.take_pages(0).is_some_and(|pages| pages.runs().len() == 0));
}

#[test]
fn new_pages_are_in_few_runs() {
    let arena = limited(64 << 10, 2000);
    let large = arena.take_pages(256).unwrap();
    assert_eq!(large.runs().len(), 1);
    // Also when its segments were used before.
    drop(large);
    let large = arena.take_pages(256).unwrap();
    assert_eq!(large.runs().len(), 1);
    // A run ends with its mapping.
    let larger = arena.take_pages(EXTENT_BYTES / PAGE_BYTES).unwrap();
    assert_eq!(larger.runs().len(), 2);
}

#[test]
fn pages_fill_the_fullest_segment() {
    let arena = limited(64 << 10, 2);
    let all: Vec<_> = (0..32).map(|_| arena.take_pages(1).unwrap()).collect();
    let (mut first, mut second): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|page| numbers(page).all(|page| page < 16));
    first.truncate(4);
    second.truncate(10);
    let page = arena.take_pages(1).unwrap();
    assert!(numbers(&page).all(|page| page >= 16));
    // The first holds 4, which go: then it is a segment again.
    drop(first);
    assert_eq!(arena.in_use(), 1);
    assert!(arena.take().is_some());
}

/// Bytes of memory that this process has.
fn resident() -> i64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<i64>().unwrap() * 4096
}

#[test]
fn memory_goes_back_to_the_system() {
    const SIZE: usize = 64 << 10;
    const NUMBER: usize = 4096;
    // Other tests run meanwhile.
    const MARGIN: i64 = 48 << 20;
    let bytes = i64::try_from(SIZE * NUMBER).unwrap();
    let before = resident();
    let has = |expected: i64| {
        let found = resident() - before;
        assert!((found - expected).abs() < MARGIN, "{found} instead of {expected}");
    };
    let arena = limited(SIZE, NUMBER);
    let mut taken: Vec<_> = (0..NUMBER).map(|_| arena.take().unwrap()).collect();
    has(0);
    for segment in &mut taken {
        segment.fill(1);
    }
    has(bytes);
    // Free, but kept.
    taken.truncate(NUMBER / 2);
    has(bytes);
    arena.set_limit(NUMBER * 3 / 4);
    has(bytes * 3 / 4);
    // In use beyond the limit, and then given back.
    arena.set_limit(0);
    has(bytes / 2);
    taken.truncate(NUMBER / 4);
    has(bytes / 4);
    taken.clear();
    has(0);
}

#[test]
fn what_is_asked_for_may_be_anywhere() {
    prefetch("text");
    prefetch::<[u8]>(&[]);
    prefetch(&limited(SEGMENT, 1).take().unwrap()[5..]);
}
