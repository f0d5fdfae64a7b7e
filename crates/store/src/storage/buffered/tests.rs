use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::super::rows::Row;
use super::*;

/// An engine with one number at each key, which takes its time.
#[derive(Default)]
struct Numbers {
    values: [AtomicU64; KEYS],
    reads: AtomicU64,
    /// Of each commit the keys, in their order.
    commits: Mutex<Vec<Vec<usize>>>,
    kept: Mutex<BTreeMap<GroupId, Option<Kept>>>,
    shut: Mutex<bool>,
    changed: Condvar,
    behind: AtomicBool,
    broken: AtomicBool,
}

const KEYS: usize = 4;

impl Numbers {
    fn shut(&self, shut: bool) {
        *self.shut.lock() = shut;
        self.changed.notify_all();
    }

    fn commits(&self) -> Vec<Vec<usize>> {
        self.commits.lock().clone()
    }
}

impl Storage for Arc<Numbers> {
    fn read(&self, _: GroupId, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        thread::yield_now();
        let number = self.values[usize::from(key[0])].load(Ordering::SeqCst);
        thread::yield_now();
        Ok((number > 0).then(|| Bytes::copy_from_slice(&number.to_le_bytes())))
    }

    fn kept(&self, group: GroupId) -> Result<Kept, Error> {
        Ok(self.kept.lock().get(&group).cloned().flatten().unwrap_or_default())
    }

    fn commit(
        &self,
        group: GroupId,
        changes: &[(&[u8], Option<Bytes>)],
        kept: Option<&Kept>,
    ) -> Result<(), Error> {
        assert!(!self.behind.load(Ordering::Relaxed), "it would have to wait");
        let mut shut = self.shut.lock();
        while *shut {
            self.changed.wait(&mut shut);
        }
        drop(shut);
        if self.broken.load(Ordering::Relaxed) {
            return Err(Error::io("sync", Path::new("/broken"))(io::Error::from_raw_os_error(5)));
        }
        rest();
        for (key, row) in changes {
            self.values[usize::from(key[0])].store(number(row), Ordering::SeqCst);
        }
        rest();
        self.commits.lock().push(changes.iter().map(|(key, _)| key[0].into()).collect());
        self.kept.lock().insert(group, kept.cloned());
        Ok(())
    }

    fn persist(&self) -> Result<(), Error> {
        Ok(())
    }

    fn whole(&self, _: GroupId) -> Result<(Kept, Items), Error> {
        Ok((Kept::default(), Box::new(std::iter::empty())))
    }

    fn walk(&self, _: GroupId, keys: Keys<'_>, visit: &mut Visit<'_>) -> Result<(), Error> {
        for (key, value) in (0..).zip(&self.values) {
            let number = value.load(Ordering::SeqCst);
            let wanted = number > 0 && RangeBounds::<[u8]>::contains(&keys, &[key][..]);
            if wanted && visit(Bytes::copy_from_slice(&[key]), record(number)).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn find_damaged(&self, _: &mut dyn FnMut(usize) -> bool) -> Option<Error> {
        None
    }

    fn room(&self) -> Result<u64, Error> {
        Ok(0)
    }

    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }
}

/// Lets others do something.
fn rest() {
    for _ in 0..10 {
        thread::yield_now();
    }
}

fn number(row: &Row) -> u64 {
    row.as_ref().map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap()))
}

fn record(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

/// With so many bytes for rows, and for what is to be given.
fn buffered(rows: u64, limit: u64) -> (Arc<Numbers>, Buffered) {
    let numbers = Arc::new(Numbers::default());
    let rows = Arc::new(Rows::new(2, rows));
    let engine = Arc::clone(&numbers);
    (numbers, Buffered::new(engine, rows, Path::new("/data"), limit).unwrap())
}

fn kept(sequence: u64) -> Kept {
    let mut kept = Kept::default();
    kept.state.sequence = sequence;
    kept
}

fn put(buffered: &Buffered, key: u8, number: u64) {
    buffered.commit(1, &[(&[key], Some(record(number)))], Some(&kept(number))).unwrap();
}

fn until(condition: impl Fn() -> bool) {
    let patience = Instant::now();
    while !condition() {
        assert!(patience.elapsed().as_secs() < 20);
        thread::yield_now();
    }
}

#[test]
fn the_engine_is_asked_once_for_what_does_not_change() {
    let (numbers, buffered) = buffered(1 << 20, 0);
    numbers.values[0].store(7, Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(number(&buffered.read(1, &[0]).unwrap()), 7);
        assert_eq!(buffered.read(1, &[1]).unwrap(), None);
    }
    put(&buffered, 0, 8);
    put(&buffered, 2, 9);
    assert_eq!(number(&buffered.read(1, &[0]).unwrap()), 8);
    assert_eq!(number(&buffered.read(1, &[2]).unwrap()), 9, "what is written is kept too");
    assert_eq!(numbers.reads.load(Ordering::Relaxed), 2);
    buffered.commit(1, &[(&[0], None)], None).unwrap();
    assert_eq!(buffered.read(1, &[0]).unwrap(), None);
}

#[test]
fn without_room_nothing_is_kept() {
    let (numbers, buffered) = buffered(0, 0);
    put(&buffered, 0, 1);
    for asked in 1..=3 {
        assert_eq!(number(&buffered.read(1, &[0]).unwrap()), 1);
        assert_eq!(numbers.reads.load(Ordering::Relaxed), asked);
    }
}

#[test]
fn what_is_done_is_seen_at_once_and_given_later_once_and_in_order() {
    let (numbers, buffered) = buffered(0, 1 << 20);
    numbers.shut(true);
    for (key, number) in [(3, 1), (1, 2), (3, 3), (2, 4)] {
        put(&buffered, key, number);
    }
    let read = |key| number(&buffered.read(1, &[key]).unwrap());
    assert_eq!([read(1), read(2), read(3)], [2, 4, 3]);
    assert_eq!(numbers.reads.load(Ordering::Relaxed), 0);
    // While some are given, others come, and are seen before those.
    until(|| buffered.inner.giving.is_locked());
    put(&buffered, 1, 5);
    put(&buffered, 0, 6);
    assert_eq!([read(0), read(1), read(3)], [6, 5, 3]);
    numbers.shut(false);
    assert_eq!(buffered.kept(1).unwrap(), kept(6), "it waits until all is given");
    let given: Vec<usize> = numbers.commits().concat();
    assert!(numbers.commits().iter().all(|keys| keys.is_sorted()), "{:?}", numbers.commits());
    assert!(given.len() <= 6 && given.iter().filter(|key| **key == 3).count() < 3, "{given:?}");
    assert_eq!([read(0), read(1), read(2), read(3)], [6, 5, 4, 3]);
    assert_eq!(buffered.inner.rows.backlog.bytes(), 0);
}

/// Else what is done again after a crash would be done to what has it already.
#[test]
fn the_engine_is_given_commits_as_a_whole_with_what_is_kept() {
    let (numbers, buffered) = buffered(0, 1 << 20);
    thread::scope(|scope| {
        let looked = scope.spawn(|| {
            let mut last = 0;
            for _ in 0..500 {
                let kept = loop {
                    let kept = buffered.kept(1).unwrap().state.sequence;
                    if kept > last {
                        break kept;
                    }
                };
                // Nobody else gives meanwhile.
                let _alone = buffered.inner.giving.lock();
                let now = numbers.kept(1).unwrap().state.sequence;
                let there = numbers.values.each_ref().map(|value| value.load(Ordering::SeqCst));
                assert!(now >= kept && there == [now; KEYS], "{there:?} with {now}");
                last = now;
            }
        });
        let keys: [[u8; 1]; KEYS] = [[0], [1], [2], [3]];
        let mut next = 0;
        while !looked.is_finished() {
            next += 1;
            let changes = keys.each_ref().map(|key| (&key[..], Some(record(next))));
            buffered.commit(1, &changes, Some(&kept(next))).unwrap();
        }
    });
}

#[test]
fn what_is_done_is_given_though_nobody_asks() {
    let (numbers, buffered) = buffered(0, 1 << 20);
    for next in 1..=3 {
        put(&buffered, 0, next);
        until(|| numbers.values[0].load(Ordering::SeqCst) == next);
        until(|| buffered.inner.rows.backlog.bytes() == 0);
    }
}

#[test]
fn who_does_more_than_may_wait_gives_it() {
    let (numbers, buffered) = buffered(0, 1000);
    let large = Some(Bytes::from(vec![0; 8]));
    for (key, commits) in [(0, 0), (1, 0)] {
        // Before the thread looks.
        let _alone = buffered.inner.giving.lock();
        buffered.commit(1, &[(&[key], large.clone())], None).unwrap();
        assert_eq!(numbers.commits().len(), commits);
    }
    let (numbers, buffered) = self::buffered(0, 100);
    put(&buffered, 0, 1);
    assert_eq!(numbers.commits().len(), 1);
}

#[test]
fn an_engine_that_is_behind_is_given_nothing_and_keeps_nobody_waiting_for_a_while() {
    let (numbers, buffered) = buffered(0, 10_000);
    numbers.behind.store(true, Ordering::Relaxed);
    put(&buffered, 0, 1);
    until(|| buffered.inner.giving.is_locked());
    put(&buffered, 1, 2);
    assert!(!buffered.is_behind());
    for next in 3..30 {
        put(&buffered, 2, next);
        put(&buffered, 3, next);
        let many: Vec<u8> = vec![0; 100];
        buffered.commit(2, &[(&many, Some(record(next)))], None).unwrap();
    }
    assert!(!buffered.is_behind(), "they were overwritten");
    let changes: Vec<_> = (0..30_u8).map(|at| vec![0, at]).collect();
    let changes: Vec<_> = changes.iter().map(|key| (&key[..], Some(record(1)))).collect();
    buffered.commit(1, &changes, None).unwrap();
    assert!(buffered.is_behind());
    numbers.behind.store(false, Ordering::Relaxed);
    buffered.persist().unwrap();
    assert_eq!(numbers.values[3].load(Ordering::SeqCst), 29);
}

#[test]
fn a_walk_waits_for_no_engine_and_shows_what_that_is_still_to_be_given() {
    let (numbers, buffered) = buffered(0, 1 << 20);
    for key in [0, 1, 3] {
        put(&buffered, key, 1);
    }
    buffered.persist().unwrap();
    numbers.behind.store(true, Ordering::Relaxed);
    put(&buffered, 2, 4);
    // Some are sealed, some not.
    until(|| buffered.inner.giving.is_locked());
    put(&buffered, 2, 5);
    put(&buffered, 1, 7);
    buffered.commit(1, &[(&[0], None)], None).unwrap();
    let walk = |from: Bound<&[u8]>, limit: usize| {
        let mut seen = Vec::new();
        let walked = buffered.walk(1, (from, Bound::Unbounded), &mut |key, record| {
            seen.push((key[0], number(&Some(record))));
            if seen.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        walked.unwrap();
        seen
    };
    let all = [(1, 7), (2, 5), (3, 1)];
    for limit in 1..=4 {
        assert_eq!(walk(Bound::Unbounded, limit), all[..limit.min(3)]);
        assert_eq!(walk(Bound::Excluded(&[1]), limit), all[1..(limit + 1).min(3)]);
    }
    assert_eq!(buffered.scan(2, &[], 9).unwrap().len(), 3, "nothing of another group");
    put(&buffered, 3, 8);
    assert_eq!(walk(Bound::Included(&[3]), 1), [(3, 8)]);
    numbers.broken.store(true, Ordering::Relaxed);
    numbers.behind.store(false, Ordering::Relaxed);
    until(|| buffered.check().is_err());
    assert_eq!(walk(Bound::Unbounded, 2), all[..2], "nor for one that has failed");
}

#[test]
fn what_the_engine_has_not_taken_is_seen_on_and_nothing_is_taken_any_more() {
    let (numbers, buffered) = buffered(1 << 20, 1 << 20);
    put(&buffered, 0, 1);
    buffered.persist().unwrap();
    numbers.broken.store(true, Ordering::Relaxed);
    put(&buffered, 0, 2);
    until(|| buffered.check().is_err());
    let error = buffered.commit(1, &[(&[1], Some(record(3)))], None).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot write the files in /data: an earlier write failed: cannot sync /broken: \
         Input/output error (os error 5)"
    );
    numbers.broken.store(false, Ordering::Relaxed);
    assert!(buffered.persist().is_err() && buffered.whole(1).is_err(), "for good");
    assert_eq!(number(&buffered.read(1, &[0]).unwrap()), 2);
    assert_eq!(buffered.read(1, &[1]).unwrap(), None);
}

/// Who has seen a number never sees an older one, and nobody one older than the last that was
/// acknowledged when he asked.
#[test]
fn no_row_is_older_than_what_was_seen() {
    for limit in [0, 600, 1 << 20] {
        let (numbers, buffered) = buffered(1 << 20, limit);
        let acknowledged: [AtomicU64; KEYS] = Default::default();
        let seen: [AtomicU64; KEYS] = Default::default();
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut over = false;
                    while !over {
                        over = ended.load(Ordering::SeqCst);
                        for key in 0..KEYS {
                            let least = acknowledged[key].load(Ordering::SeqCst);
                            let least = least.max(seen[key].load(Ordering::SeqCst));
                            let row = buffered.read(1, &[u8::try_from(key).unwrap()]).unwrap();
                            assert!(number(&row) >= least, "{} after {least}", number(&row));
                            seen[key].fetch_max(number(&row), Ordering::SeqCst);
                        }
                    }
                });
            }
            // Others may write at once, but not the same key.
            let writers: Vec<_> = (0..2)
                .map(|writer| {
                    let (buffered, acknowledged) = (&buffered, &acknowledged);
                    scope.spawn(move || {
                        for next in 1..=1_000 {
                            for key in [writer, writer + 2] {
                                put(buffered, u8::try_from(key).unwrap(), next);
                                acknowledged[key].store(next, Ordering::SeqCst);
                            }
                        }
                    })
                })
                .collect();
            for writer in writers {
                writer.join().unwrap();
            }
            ended.store(true, Ordering::SeqCst);
        });
        let reads = numbers.reads.load(Ordering::Relaxed);
        assert!(seen.iter().all(|seen| seen.load(Ordering::SeqCst) > 0), "{reads} reads");
    }
}
