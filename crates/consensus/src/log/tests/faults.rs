//! What a log does on a disk that fails or hangs.

use std::future::Future;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake};
use std::time::Duration;

use parking_lot::Mutex;

use super::obstinate::{Faults, Obstinate};
use super::*;
use crate::log::keeper::Keeper;

fn on(faults: &Arc<Faults>, path: &Path) -> Log {
    Log::open_with(path, small(), Obstinate(Arc::clone(faults))).unwrap()
}

/// Whatever waits for a log that has failed must not wait for ever.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it hangs")
}

async fn is_refused(log: &Log, group: &mut GroupLog) {
    let last = ends(group).await.1.unwrap();
    let next = last.index + 1;
    for error in [
        soon(append(group, entries(1, next..next + 1))).await.unwrap_err(),
        soon(group.save_vote(&Vote::new(9, 9))).await.unwrap_err(),
        soon(group.truncate_after(Some(id(1, 0)))).await.unwrap_err(),
        soon(group.purge(last)).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains(log.failure().unwrap()), "{error}");
    }
    assert!(matches!(log.group(77), Err(Error::Failed { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_fails_all_that_is_queued_and_all_that_comes() {
    let place = tempfile::tempdir().unwrap();
    let faults = Faults::new(0);
    let log = on(&faults, place.path());
    let mut groups = [1, 2, 3].map(|group| log.group(group).unwrap());
    for group in &mut groups {
        append(group, entries(1, 0..5)).await.unwrap();
    }
    assert_eq!(log.failure(), None);
    faults.shut();
    let mut written = vec![begin(&mut groups[0], entries(1, 5..6)).await.unwrap()];
    faults.until_waiting();
    // These are another batch.
    for group in &mut groups[1..] {
        written.push(begin(group, entries(1, 5..8)).await.unwrap());
    }
    let mut voter = groups[0].clone();
    let vote = tokio::spawn(async move { voter.save_vote(&Vote::new(2, 1)).await });
    let mut cutter = groups[2].clone();
    let cut = tokio::spawn(async move { cutter.truncate_after(Some(id(1, 3))).await });
    faults.fail_syncs();
    faults.open();
    for written in written {
        soon(written).await.unwrap().unwrap_err();
    }
    soon(vote).await.unwrap().unwrap_err();
    soon(cut).await.unwrap().unwrap_err();
    assert_eq!(groups[0].read_vote().await.unwrap(), None);
    let failure = log.failure().unwrap();
    assert!(failure.contains("the disk is gone"), "{failure}");
    for group in &mut groups {
        is_refused(&log, group).await;
    }
    log.close();
    // What is there is not known: only another process may look.
    assert!(matches!(Log::open(place.path(), small()), Err(Error::InUse { .. })));
}

#[tokio::test]
async fn a_failed_write_is_for_good() {
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        let place = tempfile::tempdir().unwrap();
        let faults = Faults::new(0);
        let log = on(&faults, place.path());
        let mut group = log.group(1).unwrap();
        append(&mut group, entries(1, 0..5)).await.unwrap();
        faults.fail_writes(usize::MAX, kind);
        soon(append(&mut group, entries(1, 5..6))).await.unwrap_err();
        faults.fail_writes(0, kind);
        is_refused(&log, &mut group).await;
    }
}

/// raft-engine ends the file and begins another, once: it takes `nospace` for a full directory.
#[tokio::test]
async fn a_full_disk_that_has_room_again_at_once_is_no_failure() {
    let place = tempfile::tempdir().unwrap();
    let faults = Faults::new(0);
    let log = on(&faults, place.path());
    let mut group = log.group(1).unwrap();
    append(&mut group, entries(1, 0..5)).await.unwrap();
    faults.fail_writes(1, ErrorKind::StorageFull);
    append(&mut group, entries(1, 5..9)).await.unwrap();
    assert_eq!(log.failure(), None);
    log.close();
    assert_eq!(all(&mut open(place.path()).group(1).unwrap()).await, entries(1, 0..9));
}

#[tokio::test]
async fn a_sync_that_fails_while_files_are_removed_is_for_good() {
    let place = tempfile::tempdir().unwrap();
    let faults = Faults::new(0);
    let log = on(&faults, place.path());
    let mut keeper = Keeper::new(&log.shared).unwrap();
    let mut group = log.group(1).unwrap();
    log.group(2).unwrap().save_vote(&Vote::new(5, 2)).await.unwrap();
    for index in 0..100 {
        append(&mut group, vec![large(1, index, 1000)]).await.unwrap();
    }
    group.purge(id(1, 98)).await.unwrap();
    append(&mut group, vec![large(1, 100, 1000)]).await.unwrap();
    faults.fail_syncs();
    keeper.purge();
    is_refused(&log, &mut group).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_answered_before_its_sync_but_entries_are_readable() {
    let place = tempfile::tempdir().unwrap();
    let faults = Faults::new(0);
    let log = on(&faults, place.path());
    let mut group = log.group(1).unwrap();
    append(&mut group, entries(1, 0..5)).await.unwrap();
    faults.shut();
    let mut written = pin!(begin(&mut group, entries(1, 5..9)).await.unwrap());
    faults.until_waiting();
    let mut voter = group.clone();
    let mut vote = tokio::spawn(async move { voter.save_vote(&Vote::new(2, 1)).await });
    // Long enough for a hasty answer to be seen now and then; never for a true one to be missed.
    let moment = Duration::from_millis(50);
    tokio::time::timeout(moment, &mut written).await.unwrap_err();
    tokio::time::timeout(moment, &mut vote).await.unwrap_err();
    assert_eq!(group.read_vote().await.unwrap(), None);
    assert_eq!(all(&mut group).await, entries(1, 0..9));
    faults.open();
    soon(written).await.unwrap().unwrap();
    soon(vote).await.unwrap().unwrap();
    assert_eq!(group.read_vote().await.unwrap(), Some(Vote::new(2, 1)));
}

/// Notes when it is woken, which is when it is answered.
struct Place(usize, Arc<Mutex<Vec<usize>>>);

impl Wake for Place {
    fn wake(self: Arc<Self>) {
        self.1.lock().push(self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_come_in_the_order_of_the_appends() {
    let place = tempfile::tempdir().unwrap();
    let faults = Faults::new(0);
    let log = on(&faults, place.path());
    let mut groups = [1, 2, 3].map(|group| log.group(group).unwrap());
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut written = Vec::new();
    faults.shut();
    for number in 0..90 {
        let (group, index) = (number % 3, (number / 3) as u64);
        let batch = vec![large(1, index, 1 << 20)];
        let mut answer = Box::pin(begin(&mut groups[group], batch).await.unwrap());
        let waker = Arc::new(Place(number, Arc::clone(&order))).into();
        assert!(answer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        written.push(answer);
        if number == 0 {
            faults.until_waiting();
        }
    }
    faults.open();
    // The last poll may change who is woken, so it is asked for by another.
    let mut last = log.group(1).unwrap();
    soon(last.save_vote(&Vote::new(1, 1))).await.unwrap();
    assert_eq!(*order.lock(), (0..90).collect::<Vec<_>>());
    // The first alone, then as many as make 16 MiB at a time.
    let writes = log.stats().writes;
    assert!((6..=9).contains(&writes), "{writes}");
}
