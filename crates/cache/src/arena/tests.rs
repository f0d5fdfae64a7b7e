use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::mpsc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const SEGMENT: usize = 16 << 10;
const PER_SEGMENT: usize = SEGMENT / PAGE_BYTES;

/// An arena over a new file, and the directory of it.
fn over_file(segment_bytes: usize, limit: usize) -> (TempDir, Arc<Arena>) {
    let (dir, path) = place();
    let (recovery, _) = Arena::file(&path, segment_bytes, PAGE_BYTES).unwrap();
    assert_eq!(recovery.segments(), 0);
    (dir, recovery.finish(limit))
}

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("arena");
    (dir, path)
}

/// Which segment of its arena this is.
fn number_of(segment: &Segment) -> u32 {
    segment.run.held.numbers().start / segment.arena.pages_per_segment()
}

fn anonymous(segment_bytes: usize, limit: usize) -> Arc<Arena> {
    let arena = Arc::new(Arena::anonymous(segment_bytes));
    arena.set_limit(|| limit);
    arena
}

impl Arena {
    /// A segment, down to the last.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Segment> {
        self.take_leaving(0)
    }
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
            What::Segment(segment) => vec![number_of(segment) as usize; per_segment],
            What::Pages(pages) => {
                pages.numbers().flatten().map(|page| page as usize / per_segment).collect()
            }
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
                    assert!(pages.numbers().flatten().is_sorted());
                    taken.push(Taken::new(What::Pages(pages), seed));
                }
            }
            Step::Drop(index) if !taken.is_empty() => {
                drop(taken.swap_remove(index.index(taken.len())));
            }
            Step::Write(index) if !taken.is_empty() => index.get_mut(&mut taken).write(seed),
            Step::Drop(_) | Step::Write(_) => {}
            Step::SetLimit(limit) => arena.set_limit(|| limit),
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
        run(&anonymous(SEGMENT, limit), steps);
    }

    #[test]
    fn nothing_of_large_segments_is_given_twice(steps in steps(), limit in 0..6_usize) {
        run(&anonymous(512 << 10, limit), steps);
    }
}

proptest! {
    // A disk takes its time.
    #![proptest_config(ProptestConfig { cases: 50, ..ProptestConfig::default() })]

    #[test]
    fn nothing_of_a_file_is_given_twice(steps in steps(), limit in 0..24_usize) {
        let (_dir, arena) = over_file(SEGMENT, limit);
        run(&arena, steps);
    }
}

#[test]
fn threads_share_an_arena() {
    let (_dir, file) = over_file(64 << 10, 40);
    for arena in [anonymous(64 << 10, 40), file] {
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
                                arena.set_limit(|| 20 + (random >> 32) as usize % 40);
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
}

#[test]
fn the_limit_is_lowered_and_raised() {
    let arena = anonymous(SEGMENT, 3);
    let mut taken = vec![arena.take().unwrap(), arena.take().unwrap(), arena.take().unwrap()];
    assert!(arena.take().is_none() && arena.take_pages(1).is_none());
    arena.set_limit(|| 1);
    assert_eq!((arena.limit(), arena.in_use()), (1, 3));
    taken.pop();
    taken.pop();
    assert!(arena.take().is_none());
    taken.pop();
    assert!(arena.take().is_some());
    arena.set_limit(|| usize::MAX);
    // More than an extent.
    let taken: Vec<_> = (0..5000).map(|_| arena.take().unwrap()).collect();
    assert!(taken.is_sorted_by_key(number_of));
    assert_eq!(arena.in_use(), 5000);
}

#[test]
fn pages_are_all_or_none() {
    let arena = anonymous(SEGMENT, 2);
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
    let arena = anonymous(64 << 10, 2000);
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
    let arena = anonymous(64 << 10, 2);
    let all: Vec<_> = (0..32).map(|_| arena.take_pages(1).unwrap()).collect();
    let (mut first, mut second): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|page| page.numbers().flatten().all(|page| page < 16));
    first.truncate(4);
    second.truncate(10);
    let page = arena.take_pages(1).unwrap();
    assert!(page.numbers().flatten().all(|page| page >= 16));
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
    let arena = anonymous(SIZE, NUMBER);
    let mut taken: Vec<_> = (0..NUMBER).map(|_| arena.take().unwrap()).collect();
    has(0);
    for segment in &mut taken {
        segment.fill(1);
    }
    has(bytes);
    // Free, but kept.
    taken.truncate(NUMBER / 2);
    has(bytes);
    arena.set_limit(|| NUMBER * 3 / 4);
    has(bytes * 3 / 4);
    // In use beyond the limit, and then given back.
    arena.set_limit(|| 0);
    has(bytes / 2);
    taken.truncate(NUMBER / 4);
    has(bytes / 4);
    taken.clear();
    has(0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_has_no_more_than_is_needed() {
    const SIZE: usize = 64 << 10;
    let (dir, arena) = over_file(SIZE, 1000);
    let path = dir.path().join("arena");
    let used = || std::fs::metadata(&path).unwrap().blocks() * 512 / SIZE as u64;
    let mut taken: Vec<_> = (0..500).map(|_| arena.take().unwrap()).collect();
    // All that is taken is there before anyone writes, lest a full disk is found out too late.
    assert!((500..510).contains(&used()), "{}", used());
    for segment in &mut taken {
        segment.fill(1);
    }
    taken.truncate(300);
    assert!((500..510).contains(&used()), "{}", used());
    arena.set_limit(|| 100);
    assert!((300..310).contains(&used()), "{}", used());
    taken.clear();
    assert!((100..110).contains(&used()), "{}", used());
    arena.set_limit(|| 0);
    assert!(used() < 10, "{}", used());
    arena.set_limit(|| 1);
    assert!(arena.take().unwrap().iter().all(|&byte| byte == 0));
}

#[test]
fn the_next_process_finds_what_it_claims() {
    const SIZE: usize = 64 << 10;
    let (_dir, path) = place();
    let (recovery, mut header) = Arena::file(&path, SIZE, 2 * PAGE_BYTES).unwrap();
    let arena = recovery.finish(100);
    header.fill(b'h');
    let taken = |what| Taken::new(what, 1);
    let segments: Vec<_> = (0..10).map(|_| taken(What::Segment(arena.take().unwrap()))).collect();
    let number_of = |one: &Taken| match &one.what {
        What::Segment(segment) => number_of(segment),
        What::Pages(_) => panic!(),
    };
    let numbers: Vec<_> = segments.iter().map(number_of).collect();
    let values: Vec<_> = [3, 40, 5, 256, 7].map(|pages| arena.take_pages(pages).unwrap()).into();
    let values: Vec<_> = values.into_iter().map(|pages| taken(What::Pages(pages))).collect();
    let pages_of = |one: &Taken| match &one.what {
        What::Pages(pages) => pages.numbers().flatten().collect::<Vec<_>>(),
        What::Segment(_) => Vec::new(),
    };
    let pages: Vec<_> = values.iter().map(pages_of).collect();
    let in_use = arena.in_use();
    drop((segments, values, header, arena));

    let (mut recovery, header) = Arena::file(&path, SIZE, 2 * PAGE_BYTES).unwrap();
    assert!(header.iter().all(|&byte| byte == b'h') && header.len() == 2 * PAGE_BYTES);
    // Where nothing was ever taken there is nothing, although the file is that long.
    assert_eq!(recovery.segments() as usize, EXTENT_BYTES / SIZE);
    let found = (0..recovery.segments()).filter(|&number| recovery.segment(number).is_some());
    assert_eq!(found.count(), in_use);

    let mut again = Vec::new();
    for &number in &numbers[..5] {
        assert_eq!(recovery.segment(number).unwrap()[..8], pattern(1).next().unwrap());
        let what = What::Segment(recovery.claim(number).unwrap());
        again.push(Taken { what, seed: 1 });
        assert!(recovery.segment(number).is_none() && recovery.claim(number).is_none());
        assert!(recovery.claim_pages(&[number * 16]).is_none());
    }
    for pages in &pages[..4] {
        let what = What::Pages(recovery.claim_pages(pages).unwrap());
        again.push(Taken { what, seed: 1 });
        assert!(recovery.claim_pages(&pages[..1]).is_none());
        assert!(recovery.claim(pages[0] / 16).is_none());
        assert!(recovery.segment(pages[0] / 16).is_none());
    }
    // Twice the same, or one that is not there; and a claim that failed changed nothing.
    let free = pages[4][0];
    assert!(recovery.claim_pages(&[free, free]).is_none());
    assert!(recovery.claim_pages(&[free, u32::MAX]).is_none());
    assert!(recovery.claim_pages(&[numbers[9] * 16 + 1, numbers[0] * 16]).is_none());
    assert!(recovery.segment(numbers[9]).is_some());
    assert!(recovery.claim(u32::MAX).is_none() && recovery.segment(u32::MAX).is_none());
    // What is claimed and given back is gone.
    drop(again.remove(0));
    assert!(recovery.claim(numbers[0]).is_none());
    // Pages can be in any order.
    let mut backwards = pages[4].clone();
    backwards.reverse();
    let value = recovery.claim_pages(&backwards).unwrap();
    assert!(value.numbers().flatten().eq(backwards.iter().copied()));
    assert_eq!(value.runs().len(), backwards.len());
    drop(value);

    let arena = recovery.finish(80);
    arena.state.lock().ledger.check();
    let mut more: Vec<_> = std::iter::from_fn(|| arena.take()).collect();
    assert_eq!(arena.in_use(), 80);
    for segment in &mut more {
        segment.fill(0);
    }
    again.iter().for_each(Taken::verify);
    drop((more, again));
    assert_eq!(arena.in_use(), 0);
    arena.state.lock().ledger.check();
    drop((header, arena));

    // Nothing is claimed by one who does not know what it is; also if the file ends anywhere.
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len((2 * PAGE_BYTES + 3 * SIZE + 5) as u64).unwrap();
    let (recovery, _) = Arena::file(&path, SIZE, 2 * PAGE_BYTES).unwrap();
    assert_eq!(recovery.segments(), 3);
    let arena = recovery.finish(2);
    let mut taken: Vec<_> = std::iter::from_fn(|| arena.take()).collect();
    for segment in &mut taken {
        segment.fill(1);
    }
    assert_eq!(taken.len(), 2);
}

#[test]
fn a_file_grows_over_extents() {
    let (_dir, path) = place();
    let number = EXTENT_BYTES / SEGMENT + 10;
    let fill = |segment: &mut Segment| {
        let number = number_of(segment).to_le_bytes();
        segment[..4].copy_from_slice(&number);
    };
    let (recovery, _) = Arena::file(&path, SEGMENT, PAGE_BYTES).unwrap();
    let arena = recovery.finish(number);
    let mut taken: Vec<_> = (0..number).map(|_| arena.take().unwrap()).collect();
    taken.iter_mut().for_each(fill);
    drop((taken, arena));
    let (mut recovery, _) = Arena::file(&path, SEGMENT, PAGE_BYTES).unwrap();
    assert_eq!(recovery.segments() as usize, 2 * EXTENT_BYTES / SEGMENT);
    for number in 0..u32::try_from(number).unwrap() {
        assert_eq!(recovery.claim(number).unwrap()[..4], number.to_le_bytes());
    }
}

#[test]
fn what_is_no_file_of_ours_is_refused() {
    let (dir, path) = place();
    let refused = |path: &std::path::Path| {
        let error = Arena::file(path, SEGMENT, PAGE_BYTES).err().unwrap();
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        error.to_string()
    };
    assert!(refused(dir.path()).ends_with("is not a regular file"));
    assert!(refused("/dev/null".as_ref()).ends_with("is not a regular file"));
    assert!(refused(&dir.path().join("none/arena")).contains("No such file"));
    for header in [0, 1, PAGE_BYTES + 1] {
        let error = Arena::file(&path, SEGMENT, header).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    let first = Arena::file(&path, SEGMENT, PAGE_BYTES).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(refused(&path).ends_with("is in use by another process"));
    // Any part of it keeps it in use.
    let (recovery, header) = first;
    drop(recovery);
    assert!(refused(&path).ends_with("is in use by another process"));
    drop(header);
    let arena = Arena::file(&path, SEGMENT, PAGE_BYTES).unwrap().0.finish(1);
    let segment = arena.take();
    drop(arena);
    assert!(refused(&path).ends_with("is in use by another process"));
    drop(segment);
    Arena::file(&path, SEGMENT, PAGE_BYTES).unwrap();
}

#[test]
fn what_is_asked_for_may_be_anywhere() {
    prefetch("text");
    prefetch::<[u8]>(&[]);
    prefetch(&anonymous(SEGMENT, 1).take().unwrap()[5..]);
}

/// What the system says of the mapping at an address.
fn flags_of_mapping(address: usize) -> String {
    let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut here = false;
    for line in text.lines() {
        let range = line.split(' ').next().and_then(|word| word.split_once('-'));
        let number = |text| usize::from_str_radix(text, 16).ok();
        if let Some((Some(from), Some(to))) = range.map(|(from, to)| (number(from), number(to))) {
            here = (from..to).contains(&address);
        }
        if here && let Some(flags) = line.strip_prefix("VmFlags:") {
            return flags.to_owned();
        }
    }
    panic!("nothing is mapped at {address:#x}")
}

#[test]
fn memory_is_never_in_huge_pages() {
    if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        return;
    }
    let arena = anonymous(SEGMENT, 1 << 20);
    let segment = arena.take().unwrap();
    let other = zeros(1 << 20).unwrap();
    for address in [segment.as_ptr().addr(), other.as_ptr().addr()] {
        let flags = flags_of_mapping(address);
        assert!(flags.split(' ').any(|flag| flag == "nh"), "{flags}");
    }
}

#[test]
fn what_is_given_back_is_what_was_said_and_no_more() {
    let page = system_page_bytes();
    let mut memory = zeros(4 * page).unwrap();
    memory.fill(1);
    for (start, end) in [(page, page + 1), (1, page), (3 * page, 5 * page), (4 * page, 8 * page)] {
        assert!(!give_back(&mut memory, start..end), "{start} to {end}");
    }
    assert!(memory.iter().all(|byte| *byte == 1));
    assert!(give_back(&mut memory, page..3 * page));
    let pages: Vec<_> =
        memory.chunks(page).map(|page| page.iter().all(|byte| *byte == 0)).collect();
    assert_eq!(pages, [false, true, true, false]);
}
