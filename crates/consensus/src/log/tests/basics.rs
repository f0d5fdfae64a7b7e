//! What a log does on a disk that works.

use std::io;

use raft_engine::env::DefaultFileSystem;
use raft_engine::{Command, LogBatch};

use super::*;
use crate::log::keeper::Keeper;
use crate::log::record::{self, Start};

#[tokio::test]
async fn all_is_there_after_a_restart() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    for group in [0, 7, u64::MAX] {
        let mut log = log.group(group).unwrap();
        assert_eq!(ends(&mut log).await, (None, None));
        log.save_vote(&Vote::new(3, group)).await.unwrap();
        append(&mut log, entries(1, 0..50)).await.unwrap();
    }
    log.close();
    let log = open(place.path());
    for group in [0, 7, u64::MAX] {
        let mut log = log.group(group).unwrap();
        assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(3, group)));
        assert_eq!(ends(&mut log).await, (None, Some(id(1, 49))));
        assert_eq!(all(&mut log).await, entries(1, 0..50));
    }
}

/// Of two logs of a process each has its own entries, though they are in the same places of their files.
#[tokio::test]
async fn two_logs_that_one_thread_reads_are_not_mixed_up() {
    let places = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let write = async |term: u64, place: &Path| {
        let log = open(place);
        append(&mut log.group(1).unwrap(), entries(term, 0..50)).await.unwrap();
        log.close();
    };
    for (term, place) in (1..).zip(&places) {
        write(term, place.path()).await;
    }
    for (term, place) in (1..).zip(&places) {
        let log = open(place.path());
        let mut group = log.group(1).unwrap();
        assert_eq!(ends(&mut group).await.1, Some(id(term, 49)));
        assert_eq!(all(&mut group).await, entries(term, 0..50));
    }
}

#[tokio::test]
async fn what_is_truncated_does_not_come_back() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    // The last kept entry is on disk; in memory; there is none; the last kept one is purged.
    let lasts = [Some(id(1, 29)), Some(id(1, 55)), None, Some(id(1, 9))];
    for (group, last) in (0..).zip(lasts) {
        let mut log = log.group(group).unwrap();
        let first = if group == 2 { 0 } else { 5 };
        append(&mut log, entries(1, first..50)).await.unwrap();
        match group {
            1 => drop(begin(&mut log, entries(1, 50..60)).await.unwrap()),
            3 => log.purge(id(1, 9)).await.unwrap(),
            _ => {}
        }
        log.truncate_after(last).await.unwrap();
        // One past the end does nothing.
        log.truncate_after(Some(id(1, 70))).await.unwrap();
        assert_eq!(ends(&mut log).await.1, last);
    }
    log.close();
    for again in [false, true] {
        let log = open(place.path());
        let mut there = [entries(1, 5..30), entries(1, 5..56), vec![], vec![]];
        for (group, wanted) in there.iter_mut().enumerate() {
            let mut log = log.group(group as u64).unwrap();
            let first = [30, 56, 0, 10][group];
            if again {
                wanted.extend(entries(2, first..first + 9));
            }
            assert_eq!(&all(&mut log).await, wanted, "group {group}");
            if !again {
                append(&mut log, entries(2, first..first + 9)).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_log_goes_on_after_a_snapshot_that_is_beyond_its_end() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    let mut group = log.group(1).unwrap();
    append(&mut group, entries(1, 0..50)).await.unwrap();
    group.purge(id(4, 100)).await.unwrap();
    // An older one means nothing.
    group.purge(id(1, 30)).await.unwrap();
    assert_eq!(ends(&mut group).await, (Some(id(4, 100)), Some(id(4, 100))));
    let error = append(&mut group, entries(4, 102..103)).await.unwrap_err();
    assert!(error.to_string().contains("102 was appended where 101 is next"), "{error}");
    append(&mut group, entries(4, 101..110)).await.unwrap();
    log.close();
    let log = open(place.path());
    let mut group = log.group(1).unwrap();
    assert_eq!(ends(&mut group).await, (Some(id(4, 100)), Some(id(4, 109))));
    assert_eq!(all(&mut group).await, entries(4, 101..110));
}

#[tokio::test]
async fn entries_that_come_back_though_purged_are_not_counted() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    let mut group = log.group(1).unwrap();
    append(&mut group, entries(1, 0..50)).await.unwrap();
    // As after the file that told of the compaction was removed.
    let mut batch = LogBatch::default();
    let start = Start { purged: Some(id(4, 100)), first: u64::MAX };
    batch.put(1, record::START.to_vec(), record::encode_value(&start).unwrap()).unwrap();
    log.shared.disk().unwrap().write(&mut batch).unwrap();
    log.close();
    let log = open(place.path());
    let mut group = log.group(1).unwrap();
    assert_eq!(ends(&mut group).await, (Some(id(4, 100)), Some(id(4, 100))));
    append(&mut group, entries(4, 101..110)).await.unwrap();
    assert_eq!(all(&mut group).await, entries(4, 101..110));
    assert_eq!(log.failure(), None);
}

/// raft-engine has older copies of entries 3.. in another file than the log that is emptied.
#[tokio::test]
async fn what_was_truncated_and_copied_does_not_come_back_when_all_goes() {
    for purge in [false, true] {
        let place = tempfile::tempdir().unwrap();
        let log = Log::open_with(place.path(), small(), DefaultFileSystem).unwrap();
        let mut keeper = Keeper::new(&log.shared).unwrap();
        let mut group = log.group(1).unwrap();
        append(&mut group, entries(1, 0..20)).await.unwrap();
        let mut other = log.group(2).unwrap();
        for index in 0..100 {
            append(&mut other, vec![large(1, index, 1000)]).await.unwrap();
        }
        keeper.purge();
        group.truncate_after(Some(id(1, 2))).await.unwrap();
        let last = if purge { Some(id(1, 2)) } else { None };
        match last {
            Some(last) => group.purge(last).await.unwrap(),
            None => group.truncate_after(None).await.unwrap(),
        }
        drop(keeper);
        log.close();
        let log = open(place.path());
        let mut group = log.group(1).unwrap();
        assert_eq!(ends(&mut group).await, (last, last));
        assert_eq!(all(&mut group).await, []);
    }
}

#[tokio::test]
async fn what_is_committed_rides_along() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    let mut group = log.group(1).unwrap();
    append(&mut group, entries(1, 0..5)).await.unwrap();
    let writes = log.stats().writes;
    group.save_committed(Some(id(1, 4))).await.unwrap();
    assert_eq!(log.stats().writes, writes);
    append(&mut group, entries(1, 5..6)).await.unwrap();
    assert_eq!(log.stats().writes, writes + 1);
    log.close();
    let log = open(place.path());
    assert_eq!(log.group(1).unwrap().read_committed().await.unwrap(), Some(id(1, 4)));
}

#[tokio::test]
async fn reads_are_whole_or_errors_unless_they_may_be_short() {
    let place = tempfile::tempdir().unwrap();
    for tail_bytes in [0, 1 << 20] {
        let options = Options { tail_bytes, ..small() };
        let log = Log::open(&place.path().join(tail_bytes.to_string()), options).unwrap();
        let mut group = log.group(1).unwrap();
        append(&mut group, entries(1, 0..100)).await.unwrap();
        assert_eq!(group.try_get_log_entries(20..=29).await.unwrap(), entries(1, 20..30));
        assert_eq!(group.try_get_log_entries(90..200).await.unwrap(), entries(1, 90..100));
        assert_eq!(group.try_get_log_entries(200..300).await.unwrap(), []);
        let short = group.limited_get_log_entries(20, 100).await.unwrap();
        assert!((1..80).contains(&short.len()), "{}", short.len());
        assert_eq!(short, entries(1, 20..20 + short.len() as u64));
        append(&mut group, vec![large(1, 100, 5000), large(1, 101, 5000)]).await.unwrap();
        assert_eq!(group.limited_get_log_entries(100, 102).await.unwrap(), [large(1, 100, 5000)]);
    }
}

#[tokio::test]
async fn a_hole_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    let mut group = log.group(1).unwrap();
    append(&mut group, entries(1, 0..20)).await.unwrap();
    let mut batch = LogBatch::default();
    batch.add_command(1, Command::Compact { index: 5 });
    let disk = log.shared.disk().unwrap();
    disk.write(&mut batch).unwrap();
    group.try_get_log_entries(0..20).await.unwrap_err();
    group.limited_get_log_entries(0, 20).await.unwrap_err();
    assert_eq!(group.try_get_log_entries(5..20).await.unwrap(), entries(1, 5..20));
    // A group that is not there at all is none of raft-engine's errors.
    disk.fetch(2, 0..1, None).unwrap_err();
    disk.fetch(2, 0..1, Some(9)).unwrap_err();
    drop(disk);
    log.close();
    let error = open(place.path()).group(1).unwrap_err().to_string();
    assert!(error.contains("group 1: its entries begin at 0, of these 5..20 are there"), "{error}");
}

#[tokio::test]
async fn a_group_is_one_however_often_it_is_asked_for() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    let (mut one, mut other) = (log.group(1).unwrap(), log.group(1).unwrap());
    append(&mut one, entries(1, 0..3)).await.unwrap();
    append(&mut other, entries(1, 3..5)).await.unwrap();
    assert_eq!(all(&mut one).await, entries(1, 0..5));
}

#[tokio::test]
async fn a_closed_log_is_let_go_whatever_is_left_of_it() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    let mut left = log.group(1).unwrap();
    let written = begin(&mut left, entries(1, 0..3)).await.unwrap();
    let error = Log::open(place.path(), small()).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    log.close();
    written.await.unwrap().unwrap();
    append(&mut left, entries(1, 3..4)).await.unwrap_err();
    left.save_vote(&Vote::new(1, 1)).await.unwrap_err();
    left.try_get_log_entries(0..3).await.unwrap_err();
    let log = open(place.path());
    assert_eq!(all(&mut log.group(1).unwrap()).await, entries(1, 0..3));
}

#[tokio::test]
async fn what_is_purged_is_given_back_to_the_disk() {
    let place = tempfile::tempdir().unwrap();
    let log = Log::open_with(place.path(), small(), DefaultFileSystem).unwrap();
    let mut keeper = Keeper::new(&log.shared).unwrap();
    let bytes = || log.shared.disk().unwrap().directory.disk_bytes().unwrap();
    // Its vote is in the first file.
    log.group(2).unwrap().save_vote(&Vote::new(5, 2)).await.unwrap();
    let mut group = log.group(1).unwrap();
    for index in 0..400 {
        append(&mut group, vec![large(1, index, 1000)]).await.unwrap();
    }
    keeper.purge();
    assert!(bytes() > 400_000, "{}", bytes());
    group.purge(id(1, 394)).await.unwrap();
    append(&mut group, vec![large(1, 400, 1000)]).await.unwrap();
    // What is asked for but not compacted is copied later than what is not needed is removed.
    for _ in 0..3 {
        keeper.purge();
    }
    assert!(bytes() < 120_000, "{}", bytes());
    drop(keeper);
    log.close();
    let log = open(place.path());
    assert_eq!(log.group(2).unwrap().read_vote().await.unwrap(), Some(Vote::new(5, 2)));
    let wanted: Vec<_> = (395..401).map(|index| large(1, index, 1000)).collect();
    assert_eq!(all(&mut log.group(1).unwrap()).await, wanted);
}

#[tokio::test]
async fn what_a_reader_looks_for_may_be_moved_or_removed_meanwhile() {
    let place = tempfile::tempdir().unwrap();
    let log = Log::open_with(place.path(), small(), DefaultFileSystem).unwrap();
    let mut keeper = Keeper::new(&log.shared).unwrap();
    let mut group = log.group(1).unwrap();
    append(&mut group, entries(1, 0..1)).await.unwrap();
    let mut reader = group.get_log_reader().await;
    let reading = tokio::spawn(async move {
        loop {
            let (purged, last) = ends(&mut reader).await;
            let first = purged.map_or(0, |id| id.index + 1);
            let there = reader.try_get_log_entries(first..).await.unwrap();
            assert!(there.windows(2).all(|two| two[0].log_id.index + 1 == two[1].log_id.index));
            assert!(there.last().is_none_or(|there| there.log_id.index >= last.unwrap().index));
            if last.is_some_and(|id| id.index >= 600) {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    for index in 1..=600 {
        append(&mut group, vec![large(1, index, 500)]).await.unwrap();
        if index % 40 == 0 {
            group.purge(id(1, index - 20)).await.unwrap();
            keeper.purge();
        }
    }
    reading.await.unwrap();
}

#[tokio::test]
async fn counters_count() {
    let place = tempfile::tempdir().unwrap();
    let log = open(place.path());
    let mut group = log.group(1).unwrap();
    append(&mut group, entries(1, 0..5)).await.unwrap();
    append(&mut group, entries(1, 5..7)).await.unwrap();
    let stats = log.stats();
    assert_eq!((stats.writes, stats.entries), (2, 7));
    assert!(stats.longest_write_micros <= stats.write_micros);
    assert!(stats.longest_write_micros >= stats.write_micros / 2);
}

#[test]
fn bytes_on_disk_are_these() {
    let hex = |bytes: &[u8]| {
        let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.concat()
    };
    let record = record::encode(&large(300, 5, 3)).unwrap();
    assert_eq!(hex(&record.value), RECORD);
    assert_eq!(record::decode(5, record.clone()).unwrap(), large(300, 5, 3));
    assert_eq!(hex(&record::encode_value(&Vote::new(3, 9)).unwrap()), VOTE);
    let start = Start { purged: Some(id(2, 6)), first: 7 };
    assert_eq!(hex(&record::encode_value(&start).unwrap()), START);
    assert_eq!(hex(&record::encode_value(&id(2, 6)).unwrap()), COMMITTED);
    assert_eq!(hex(&record::encode_value(&300_u64).unwrap()), "01ac02");

    // Another's place, another version, and nothing are refused.
    record::decode(6, record.clone()).unwrap_err();
    for change in
        [|value: &mut Vec<u8>| value[8] = 2, Vec::clear, |value: &mut Vec<u8>| value.truncate(8)]
    {
        let mut record = record.clone();
        change(&mut record.value);
        let error = record::decode(5, record).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

const RECORD: &str = "050000000000000001ac0201050103363636";
const VOTE: &str = "01030900";
const START: &str = "010102010607";
const COMMITTED: &str = "01020106";

#[test]
fn a_group_that_is_forgotten_is_gone_for_good_and_the_others_are_as_they_were() {
    let place = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let fill = |log: &Log, group, term| {
        let mut log = log.group(group).unwrap();
        runtime.block_on(async {
            log.save_vote(&Vote::new(term, group)).await.unwrap();
            append(&mut log, entries(term, 0..200)).await.unwrap();
        });
    };
    let look = |log: &Log, group| {
        let mut log = log.group(group).unwrap();
        runtime.block_on(async { (log.read_vote().await.unwrap(), all(&mut log).await) })
    };
    let mut log = open(place.path());
    for (round, others) in [(1, vec![1, 3]), (2, vec![])] {
        for group in others.iter().chain([&2]) {
            fill(&log, *group, round);
        }
        log.forget(2).unwrap();
        // The other is the only one there ever was.
        for again in [false, true] {
            assert_eq!(look(&log, 2), (None, vec![]), "{round} {again}");
            for group in &others {
                let there = (Some(Vote::new(round, *group)), entries(round, 0..200));
                assert_eq!(look(&log, *group), there);
            }
            assert!(!log.groups().unwrap().contains(&2));
            log.close();
            log = open(place.path());
        }
        // One that begins anew has nothing of the old, wherever that is by now.
        fill(&log, 2, round + 10);
        log.close();
        log = open(place.path());
        assert_eq!(look(&log, 2).1, entries(round + 10, 0..200));
        log.forget(2).unwrap();
        if round == 1 {
            log.forget(1).unwrap();
            log.forget(3).unwrap();
        }
        log.close();
        log = open(place.path());
        assert_eq!(log.groups().unwrap(), Vec::<u64>::new());
    }
}
